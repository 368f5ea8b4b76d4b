"""Overlapping atoms: from forces that overflow to a minimum, or an error that names the pairs."""

import copy

import numpy as np
import openmm as mm
import pytest
from openmm import app

from openmm_reparam import NonFiniteError, Potential, minimize_reparam
from openmm_reparam.prepare.peptides import peptide


def overlapping(molecule, pair, distance):
    """Return positions with the second atom this far (nm) from the first."""
    x = np.array(molecule.positions._value)
    direction = x[pair[1]] - x[pair[0]]
    x[pair[1]] = x[pair[0]] + distance * direction / np.linalg.norm(direction)
    return x


@pytest.mark.parametrize("constraints", [None, app.HBonds])
@pytest.mark.parametrize("distance", [3e-2, 1e-3, 1e-4, 1e-5])
def test_overlapping_atoms_reach_a_minimum(platform, distance, constraints):
    """In single precision Lennard-Jones forces overflow below about 3e-4 nm."""
    molecule = peptide("AAA", constraints=constraints)
    pair = (5, 25)
    simulation = molecule.simulation(platform)
    simulation.context.setPositions(overlapping(molecule, pair, distance))
    result = minimize_reparam(simulation, tolerance=1)
    assert result.converged
    assert result.energy < 0
    potential = Potential(simulation.context)
    x = potential.positions()
    assert np.linalg.norm(x[pair[0]] - x[pair[1]]) > 0.15


@pytest.mark.parametrize(
    ("sigma", "seed", "force"), [(0.03, 6, 1e9), (0.05, 3, 1e10), (0.05, 6, 1e12), (0.08, 1, 1e12)]
)
def test_a_start_with_huge_forces_converges(platform, sigma, seed, force):
    molecule = peptide("AFWPG", "random-coil", seed=1)
    simulation = molecule.simulation(platform)
    x = np.array(molecule.positions._value)
    x += np.random.default_rng(seed).normal(0, sigma, x.shape)
    simulation.context.setPositions(x)
    assert np.abs(Potential(simulation.context).evaluate(x)[1]).max() > force
    result = minimize_reparam(simulation, tolerance=1)
    assert result.converged
    assert result.energy < 0


def test_pushing_costs_counted_evaluations(tripeptide):
    x = overlapping(tripeptide, (5, 25), 1e-5)
    simulation = tripeptide.simulation("CPU")
    simulation.context.setPositions(x)
    result = minimize_reparam(simulation, tolerance=10)
    # The start that overflows, the one pushed apart, and one for each step at least.
    assert result.force_evaluations >= result.iterations + 2


def test_a_pair_that_nothing_can_part_is_named(tripeptide, snapshot):
    """Neither a push nor a step changes a force that is infinite whatever the positions."""
    system = copy.deepcopy(tripeptide.system)
    force = mm.CustomExternalForce("1/(x-x)")
    force.addParticle(3)
    system.addForce(force)
    reference = mm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(tripeptide.topology, system, mm.VerletIntegrator(0.001), reference)
    simulation.context.setPositions(overlapping(tripeptide, (5, 25), 1e-3))
    before = snapshot(simulation.context)
    with pytest.raises(NonFiniteError, match="0.001 nm apart") as caught:
        minimize_reparam(simulation)
    atoms = list(tripeptide.topology.atoms())
    for k in (5, 25):
        assert f"{atoms[k].name} of ALA {atoms[k].residue.id}" in str(caught.value)
    assert snapshot(simulation.context) == before


def test_infinite_forces_without_a_clash_are_reported_as_they_are(tripeptide):
    system = copy.deepcopy(tripeptide.system)
    force = mm.CustomExternalForce("1/(x-x)")
    force.addParticle(3)
    system.addForce(force)
    reference = mm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(tripeptide.topology, system, mm.VerletIntegrator(0.001), reference)
    simulation.context.setPositions(tripeptide.positions)
    with pytest.raises(NonFiniteError, match="energy is inf"):
        minimize_reparam(simulation)


def test_a_budget_too_small_to_part_them_names_the_pair(tripeptide):
    simulation = tripeptide.simulation("CPU")
    simulation.context.setPositions(overlapping(tripeptide, (5, 25), 1e-5))
    with pytest.raises(NonFiniteError, match="nm apart"):
        minimize_reparam(simulation, max_force_evaluations=1)


def test_the_fixed_atom_of_a_pair_stays(tripeptide, nanometers):
    system = copy.deepcopy(tripeptide.system)
    system.setParticleMass(5, 0.0)
    cpu = mm.Platform.getPlatformByName("CPU")
    simulation = app.Simulation(tripeptide.topology, system, mm.VerletIntegrator(0.001), cpu)
    x = overlapping(tripeptide, (5, 25), 1e-5)
    simulation.context.setPositions(x)
    result = minimize_reparam(simulation, tolerance=10)
    assert result.converged
    assert np.array_equal(nanometers(simulation.context)[5], x[5])
