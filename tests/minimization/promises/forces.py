"""Random forces for a `Model`: each function adds one to its System."""

import numpy as np
import openmm as mm
from hypothesis import strategies as st

from .models import SIGMA

GROUPS = 3
BOND_CONSTANTS = st.sampled_from([1e4, 1e2, 3e5])
CUSTOM_BONDS = [
    "D*(1-exp(-10*(r-r0)))^2",
    "D*r^2",
    "-D*log(1-(r/1.5)^2)",
    "lambda*D*((r0/r)^12-2*(r0/r)^6)",
    "D*step(r-r0)*(r-r0)^2",
    "D*(r-r0)^4",
]
EXTERNAL = [
    "k*((x-x0)^2+(y-y0)^2+(z-z0)^2)",
    "k*max(0, sqrt((x-x0)^2+(y-y0)^2+(z-z0)^2)-0.3)^2",
    "k*abs(z-z0)",
    "k*z",
]
PERIODIC_RESTRAINT = "k*periodicdistance(x,y,z,x0,y0,z0)^2"
SOFT_CORES = [
    "4*depth*(s^2-s); s=1/(0.5+(r/0.3)^6); depth=sqrt(depth1*depth2)",
    "depth*(0.3/r)^12; depth=sqrt(depth1*depth2)",
    "10*depth1*depth2*exp(-r/0.1)/r",
]


def harmonic_bonds(draw, model):
    """Bonds of the chain that no constraint holds, and those of the anchors."""
    lengths = [0.15, 0.1, 0.38] + ([0.0] if model.zero_length else [])
    force = mm.HarmonicBondForce()
    for i, j in model.runs(2):
        if (i, j) not in model.constrained():
            force.addBond(i, j, draw(st.sampled_from(lengths)), draw(BOND_CONSTANTS))
    for atom, anchor in model.anchored:
        force.addBond(atom, anchor, 0.0, draw(BOND_CONSTANTS))
    return force


def harmonic_angles(draw, model):
    force = mm.HarmonicAngleForce()
    for triple in model.runs(3):
        force.addAngle(*triple, draw(st.sampled_from([1.9, 2.1, 1.6])), 300.0)
    return force


def periodic_torsions(draw, model):
    force = mm.PeriodicTorsionForce()
    for quadruple in model.runs(4):
        constant = draw(st.sampled_from([5.0, -5.0, 20.0]))
        force.addTorsion(*quadruple, draw(st.integers(1, 4)), np.pi, constant)
    return force


def custom_bonds(draw, model):
    """Bonds between any two atoms: Morse, FENE, soft, flat-bottomed."""
    expression = draw(st.sampled_from(CUSTOM_BONDS))
    force = mm.CustomBondForce(expression)
    if "lambda" in expression:
        force.addGlobalParameter("lambda", 1.0)
    force.addPerBondParameter("D")
    force.addPerBondParameter("r0")
    for _ in range(draw(st.integers(1, 3))):
        i = draw(st.integers(0, model.chain - 2))
        j = draw(st.integers(i + 1, model.chain - 1))
        force.addBond(i, j, [draw(st.sampled_from([100.0, 2.0])), 0.3])
    return force


def custom_angles(draw, model):
    force = mm.CustomAngleForce("50*(cos(theta)+0.5)^2")
    for triple in model.runs(3):
        force.addAngle(*triple)
    return force


def custom_torsions(draw, model):
    force = mm.CustomTorsionForce("k*min(d, 6.2831853-d)^2; d=abs(theta-1)")
    force.addPerTorsionParameter("k")
    for quadruple in model.runs(4):
        force.addTorsion(*quadruple, [draw(st.sampled_from([5.0, 100.0]))])
    return force


def external_forces(draw, model):
    """Restraints near where atoms were built, a cusp, a field."""
    expressions = EXTERNAL if model.box is None else [PERIODIC_RESTRAINT, *EXTERNAL]
    force = mm.CustomExternalForce(draw(st.sampled_from(expressions)))
    force.addGlobalParameter("k", draw(st.sampled_from([1000.0, 1.0, 1e5])))
    for name in ("x0", "y0", "z0"):
        force.addPerParticleParameter(name)
    for i in range(model.chain):
        if draw(st.booleans()):
            force.addParticle(i, model.positions[i] + 0.05)
    return force


def nonbonded(draw, model):
    """Charges and Lennard-Jones."""
    force = mm.NonbondedForce()
    for charge, depth in model.kinds:
        force.addParticle(charge, SIGMA, depth)
    for i, j in sorted(model.excluded):
        force.addException(i, j, 0.0, 1.0, 0.0)
    for i, j in model.scaled:
        (charge, depth), (other, well) = model.kinds[i], model.kinds[j]
        force.addException(i, j, charge * other / 2, SIGMA, np.sqrt(depth * well) / 2)
    boxed = [force.PME, force.CutoffPeriodic, force.LJPME]
    _set_cutoff(force, model, draw(st.sampled_from(boxed)))
    return force


def soft_cores(draw, model):
    """Potentials of the distance, finite at zero distance or not."""
    force = mm.CustomNonbondedForce(draw(st.sampled_from(SOFT_CORES)))
    force.addPerParticleParameter("depth")
    for _ in model.kinds:
        force.addParticle([draw(st.sampled_from([0.5, 2.0, 0.0]))])
    # OpenMM's CPU platform wants the same exclusions and the same kind of cutoff in all forces.
    for i, j in sorted({*model.excluded, *model.scaled}):
        force.addExclusion(i, j)
    _set_cutoff(force, model, force.CutoffPeriodic)
    return force


def _set_cutoff(force, model, periodic):
    whole = force.CutoffNonPeriodic if model.cutoff else force.NoCutoff
    force.setNonbondedMethod(whole if model.box is None else periodic)
    force.setCutoffDistance(0.9)


CURVED = [harmonic_angles, periodic_torsions, custom_angles, custom_torsions]


def add_forces(draw, model):
    """Add random forces, in random force groups, to the model's System."""
    kinds = [nonbonded, harmonic_bonds, external_forces, custom_bonds, soft_cores]
    if not model.zero_length:
        kinds += CURVED
    for make in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5, unique=True)):
        force = make(draw, model)
        force.setForceGroup(draw(st.integers(0, GROUPS - 1)))
        bonded = hasattr(force, "setUsesPeriodicBoundaryConditions")
        if bonded and model.box is not None and draw(st.booleans()):
            force.setUsesPeriodicBoundaryConditions(True)
        model.system.addForce(force)
