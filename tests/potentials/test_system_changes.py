"""A System changed after its Context was made, or a Context without positions: refused in words."""

import copy
import dataclasses
import functools
import re

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from openmm_reparam import NonFiniteError, Potential, UnsupportedSystemError, minimize_reparam
from openmm_reparam.potentials.constraints import constraint_manifold
from openmm_reparam.potentials.system_changes import refuse_changed_system
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.prepare.system_builder import build_system


def custom_integrator():
    integrator = mm.CustomIntegrator(0.001)
    integrator.addComputePerDof("v", "v+dt*f/m")
    integrator.addComputePerDof("x", "x+dt*v")
    return integrator


def compound_integrator():
    integrator = mm.CompoundIntegrator()
    integrator.addIntegrator(mm.VerletIntegrator(0.001))
    integrator.addIntegrator(custom_integrator())
    integrator.setCurrentIntegrator(1)
    return integrator


INTEGRATORS = {
    "Verlet": lambda: mm.VerletIntegrator(0.001),
    "LangevinMiddle": lambda: mm.LangevinMiddleIntegrator(300, 1, 0.002),
    "VariableVerlet": lambda: mm.VariableVerletIntegrator(0.001),
    "Brownian": lambda: mm.BrownianIntegrator(300, 1, 0.001),
    "NoseHoover": lambda: mm.NoseHooverIntegrator(300, 1, 0.001),
    "Custom": custom_integrator,
    "Compound": compound_integrator,
}


@functools.cache
def chain(constraints="none"):
    alanines = peptide("AAA")
    return build_system(alanines.topology, alanines.positions, constraints=constraints)


def made(constraints="HBonds", platform="Reference", integrator=None, frozen=()):
    """Return a Simulation of AAA with velocities, and atoms frozen before the Context was made."""
    molecule = dataclasses.replace(
        chain(constraints), system=copy.deepcopy(chain(constraints).system)
    )
    for atom in frozen:
        molecule.system.setParticleMass(atom, 0.0)
    simulation = molecule.simulation(platform, integrator)
    simulation.context.setVelocitiesToTemperature(300, 1)
    return simulation


def check(simulation):
    """Ask as a minimization does, without the minimization."""
    context = getattr(simulation, "context", simulation)
    potential = Potential(context, getattr(simulation, "topology", None))
    refuse_changed_system(potential, constraint_manifold(potential))


def longer_constraints(simulation, factor=1.1):
    system = simulation.system
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        system.setConstraintParameters(k, i, j, factor * length)


def late_force(simulation):
    force = mm.CustomExternalForce("pull*x")
    force.addGlobalParameter("pull", 1.0)
    simulation.system.addForce(force)


def nothing(state):
    return 0.0, np.zeros((33, 3))


def late_python_force(simulation):
    simulation.system.addForce(mm.PythonForce(nothing, {"grip": 1.0}))


def a_constraint_more(simulation):
    """One that the positions satisfy already."""
    state = simulation.context.getState(positions=True)
    x = state.getPositions(asNumpy=True)._value
    simulation.system.addConstraint(4, 14, np.linalg.norm(x[4] - x[14]))


CHANGES = {
    "masses to zero": (
        {},
        lambda simulation: [simulation.system.setParticleMass(i, 0) for i in (4, 5)],
        r"the mass of (CA|HA) of ALA 1 \(atom [45]\) was set to zero",
    ),
    "mass from zero": (
        {"constraints": "none", "frozen": [4, 7]},
        lambda simulation: simulation.system.setParticleMass(7, 16.0),
        r"the mass of O of ALA 1 \(atom 7\) was zero",
    ),
    "as much mass elsewhere": (
        {"constraints": "none", "frozen": [4]},
        lambda simulation: [
            simulation.system.setParticleMass(i, m) for i, m in ((4, 12.01), (14, 0))
        ],
        r"the mass of CA of ALA 2 \(atom 14\) was set to zero",
    ),
    "distances": ({}, longer_constraints, r"constraint between .* of 0\.\d+ nm in the System"),
    "distances by a little": (
        {},
        lambda simulation: longer_constraints(simulation, 1.002),
        "constraint between",
    ),
    "a constraint more": ({}, a_constraint_more, r"constraint between CA of ALA 1 \(atom 4\)"),
    "first constraint": ({"constraints": "none"}, a_constraint_more, "constraint between CA"),
    "a constraint less": (
        {},
        lambda simulation: simulation.system.removeConstraint(3),
        "removed or changed near",
    ),
    "a bond's constraint less": (
        {"constraints": "AllBonds"},
        lambda simulation: simulation.system.removeConstraint(3),
        "removed or changed near",
    ),
    "all constraints less": (
        {},
        lambda s: [s.system.removeConstraint(0) for _ in range(s.system.getNumConstraints())],
        "removed or changed near",
    ),
    "a particle more": ({}, lambda s: s.system.addParticle(1.0), "34 particles and its Context 33"),
    "a force more": ({}, late_force, r"CustomExternalForce \(force \d\) .* parameter 'pull'"),
    "a PythonForce more": ({}, late_python_force, "PythonForce .* parameter 'grip'"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_named_and_the_context_stays(change, platform, snapshot):
    options, apply, words = CHANGES[change]
    simulation = made(platform=platform, **options)
    apply(simulation)
    before = snapshot(simulation.context)
    with pytest.raises(UnsupportedSystemError, match=words) as caught:
        minimize_reparam(simulation)
    assert "simulation.context.reinitialize(preserveState=True)" in str(caught.value)
    assert snapshot(simulation.context) == before


@pytest.mark.parametrize("change", ["mass from zero", "distances", "a constraint less"])
def test_a_context_made_again_is_minimized(change):
    options, apply, _ = CHANGES[change]
    simulation = made(**options)
    apply(simulation)
    simulation.context.reinitialize(preserveState=True)
    assert minimize_reparam(simulation).converged


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("change", ["masses to zero", "mass from zero", "distances"])
def test_every_integrator_tells(integrator, change, platform, snapshot):
    options, apply, words = CHANGES[change]
    simulation = made(platform=platform, integrator=INTEGRATORS[integrator](), **options)
    before = snapshot(simulation.context)
    check(simulation)
    assert snapshot(simulation.context) == before
    apply(simulation)
    with pytest.raises(UnsupportedSystemError, match=words):
        check(simulation)


def test_a_kinetic_energy_of_another_kind_tells_nothing_of_masses():
    integrator = custom_integrator()
    integrator.setKineticEnergyExpression("0")
    simulation = made(integrator=integrator)
    check(simulation)
    longer_constraints(simulation)
    with pytest.raises(UnsupportedSystemError, match="constraint between"):
        check(simulation)


def test_another_mass_does_no_harm():
    simulation = made("AllBonds")
    for atom in range(33):
        simulation.system.setParticleMass(atom, 10.0 + atom)
    check(simulation)


@pytest.mark.parametrize("exponent", [4, 6, 8])
@pytest.mark.parametrize("constraints", ["none", "HBonds", "AllBonds", "HAngles"])
def test_no_false_alarm_at_any_tolerance_or_start(constraints, exponent, platform, snapshot):
    integrator = mm.LangevinMiddleIntegrator(300, 1, 0.002)
    integrator.setConstraintTolerance(10.0**-exponent)
    simulation = made(constraints, platform, integrator)
    x = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value
    rng = np.random.default_rng(exponent)
    for far in (0.0, 1e-3, 0.02, 0.1, 1.0):
        simulation.context.setPositions(x + rng.normal(0, far, x.shape))
        before = snapshot(simulation.context)
        check(simulation)
        assert snapshot(simulation.context) == before


def rigid_benzenes(platform):
    """Every pair of atoms constrained: 66 constraints for 30 internal degrees of freedom."""
    angles = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    shape = np.concatenate([0.139 * ring, 0.2475 * ring])
    system, positions = mm.System(), []
    for k in range(3):
        for atom in range(12):
            system.addParticle(12.0 if atom < 6 else 1.0)
            for other in range(atom):
                length = np.linalg.norm(shape[atom] - shape[other])
                system.addConstraint(12 * k + atom, 12 * k + other, round(length, 4))
        positions.append(shape + [0, 0, 0.4 * k])
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName(platform)
    )
    context.setPositions(np.concatenate(positions))
    return context


def test_redundant_constraints_are_no_change(platform):
    check(rigid_benzenes(platform))


def tip4pew_box():
    topology, positions = app.Topology(), []
    chain = topology.addChain()
    for k in range(27):
        residue = topology.addResidue("HOH", chain)
        oxygen = topology.addAtom("O", app.element.oxygen, residue)
        for n in (1, 2):
            atom = topology.addAtom(f"H{n}", app.element.hydrogen, residue)
            topology.addBond(oxygen, atom)
        place = 0.31 * np.array([k % 3, k // 3 % 3, k // 9])
        positions += [place, place + [0.09572, 0, 0], place + [-0.0239872, 0.0926627, 0]]
    topology.setUnitCellDimensions((2.0, 2.0, 2.0) * unit.nanometer)
    field = app.ForceField("tip4pew.xml")
    modeller = app.Modeller(topology, np.array(positions) * unit.nanometer)
    modeller.addExtraParticles(field)
    system = field.createSystem(
        modeller.topology, nonbondedMethod=app.CutoffPeriodic, nonbondedCutoff=0.9
    )
    system.addForce(mm.MonteCarloBarostat(1.0, 300.0))
    return modeller.topology, system, modeller.positions


def test_rigid_water_with_virtual_sites_and_a_barostat(platform, snapshot):
    topology, system, positions = tip4pew_box()
    integrator = mm.LangevinMiddleIntegrator(300, 1, 0.002)
    chosen = mm.Platform.getPlatformByName(platform)
    simulation = app.Simulation(topology, system, integrator, chosen)
    simulation.context.setPositions(positions)
    before = snapshot(simulation.context)
    check(simulation)
    assert snapshot(simulation.context) == before
    simulation.system.removeConstraint(2)  # of a water, which stays constrained otherwise
    with pytest.raises(UnsupportedSystemError, match="near .* of HOH"):
        check(simulation)


@pytest.mark.parametrize("platform_name", ["Reference", "CPU"])
def test_atoms_frozen_in_time_and_anchors_are_no_change(platform_name):
    check(made("none", platform_name, frozen=range(0, 33, 3)))
    alanines = chain()
    system = mm.XmlSerializer.clone(alanines.system)
    anchor = system.addParticle(0.0)
    bond = mm.HarmonicBondForce()
    bond.addBond(anchor, 4, 0.0, 1000.0)
    system.addForce(bond)
    for force in system.getForces():
        if isinstance(force, mm.NonbondedForce):
            force.addParticle(0, 0.1, 0)
    x = alanines.positions._value
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName(platform_name)
    )
    context.setPositions(np.concatenate([x, x[4:5]]))
    check(context)


def test_no_force_is_evaluated(platform):
    calls = []

    def compute(state):
        calls.append(1)
        return 0.0, np.full((33, 3), np.nan)

    molecule = peptide("AAA", constraints="HBonds")
    system = mm.XmlSerializer.clone(molecule.system)
    system.addForce(mm.PythonForce(compute))
    chosen = mm.Platform.getPlatformByName(platform)
    context = mm.Context(system, mm.LangevinMiddleIntegrator(300, 1, 0.002), chosen)
    context.setPositions(molecule.positions)
    check(context)
    assert not calls


def test_positions_never_set_are_asked_for(platform, tripeptide):
    chosen = mm.Platform.getPlatformByName(platform)
    context = mm.Context(tripeptide.system, mm.VerletIntegrator(0.001), chosen)
    with pytest.raises(NonFiniteError, match=re.escape("call context.setPositions(...) first")):
        minimize_reparam(context)


def test_one_particle_may_stand_at_the_origin(platform):
    system = mm.System()
    system.addParticle(1.0)
    force = mm.CustomExternalForce("50*(x-0.1)^2")
    force.addParticle(0, [])
    system.addForce(force)
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName(platform)
    )
    with pytest.raises(NonFiniteError, match="setPositions"):
        minimize_reparam(context, 0.01)
    context.setPositions(np.zeros((1, 3)))
    result = minimize_reparam(context, 0.01)
    assert result.converged
    assert result.energy == pytest.approx(0.0, abs=1e-6)


def test_positions_that_are_not_finite_are_named_as_such(platform):
    simulation = made(platform=platform)
    x = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value.copy()
    x[3] = np.nan
    simulation.context.setPositions(x)
    with pytest.raises(NonFiniteError, match="NaN"):
        minimize_reparam(simulation)


def test_thermostats_of_some_particles_raise_no_alarm(tripeptide):
    """Such an integrator's kinetic energy is that of its thermostatted particles."""
    integrator = mm.NoseHooverIntegrator(0.001)
    integrator.addSubsystemThermostat(list(range(10)), [], 300, 1, 300, 1)
    reference = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(tripeptide.system, integrator, reference)
    context.setPositions(tripeptide.positions)
    assert minimize_reparam(context).converged
