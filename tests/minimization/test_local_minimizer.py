"""C++ programs' `LocalMinimizer` ends where `minimize_reparam` does, after as many evaluations."""

import copy

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from openmm_reparam import _core, compiled, minimize_reparam
from openmm_reparam.prepare.peptides import peptide

REFERENCE = mm.Platform.getPlatformByName("Reference")


def in_vacuum():
    """Return a System of a peptide, of seven bonded forces' kinds, and its positions."""
    molecule = peptide("ACDEFGHIK", "random-coil", seed=2)
    return molecule.system, molecule.positions


def with_massless_atoms():
    """The same, every fifth atom held, and bonds to hydrogen constrained."""
    molecule = peptide("ACDEF", constraints="HBonds")
    system = copy.deepcopy(molecule.system)
    held = [system.getConstraintParameters(k)[:2] for k in range(system.getNumConstraints())]
    for atom in set(range(0, system.getNumParticles(), 5)) - {i for pair in held for i in pair}:
        system.setParticleMass(atom, 0.0)
    return system, molecule.positions


def water(model):
    """Return a System of a periodic box of rigid water, and positions."""
    field = app.ForceField(f"amber14/{model}.xml")
    modeller = app.Modeller(app.Topology(), [])
    modeller.addSolvent(field, model=model, boxSize=mm.Vec3(1.5, 1.5, 1.5) * unit.nanometer)
    system = field.createSystem(
        modeller.topology,
        nonbondedMethod=app.CutoffPeriodic,
        nonbondedCutoff=0.7 * unit.nanometer,
    )
    return system, modeller.positions


def in_water():
    """Return a System of a dipeptide in a periodic box, and positions."""
    molecule = peptide("AG", solvent="tip3p")
    return molecule.system, molecule.positions


CASES = {
    "peptide": in_vacuum,
    "massless": with_massless_atoms,
    "tip3p": lambda: water("tip3p"),
    "tip4pew": lambda: water("tip4pew"),
    "peptide in water": in_water,
}


def context_of(system, positions):
    context = mm.Context(system, mm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(positions)
    context.computeVirtualSites()
    return context


@pytest.mark.parametrize(
    "case", [*CASES][:-1] + [pytest.param("peptide in water", marks=pytest.mark.slow)]
)
def test_it_ends_where_python_does(case, nanometers):
    system, positions = CASES[case]()
    ours, theirs = context_of(system, positions), context_of(system, positions)
    expected = minimize_reparam(ours, 10)
    converged, _, initial, energy, force, iterations, evaluations = _core.local_minimize(
        compiled.address(theirs), 10, 0
    )
    assert converged
    assert expected.converged
    assert initial == pytest.approx(expected.initial_energy, rel=1e-9)
    assert energy == pytest.approx(expected.energy, rel=1e-9)
    assert force == pytest.approx(expected.rms_force, rel=1e-6)
    assert (iterations, evaluations) == (expected.iterations, expected.force_evaluations)
    np.testing.assert_allclose(nanometers(theirs), nanometers(ours), atol=1e-7)
