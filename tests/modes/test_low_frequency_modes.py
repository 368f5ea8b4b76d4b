"""Modes of least stiffness against dense diagonalization, and what a rigid motion is."""

import copy

import numpy as np
import openmm as mm
import pytest

from openmm_reparam import Potential, dense_hessian, minimize_reparam
from openmm_reparam.modes.low_frequency_modes import low_frequency_modes, rigid_motions
from openmm_reparam.modes.slow_modes import principal_angles


@pytest.fixture(scope="module")
def minimum(molecule):
    """Return the Potential of AGK and a minimum of it."""
    simulation = molecule.simulation("Reference")
    minimize_reparam(simulation, 0.01, reparametrization="spectral")
    potential = Potential(simulation.context)
    return potential, potential.positions()


def test_rigid_motions_are_the_null_space_of_a_minimum(minimum):
    potential, positions = minimum
    hessian = dense_hessian(potential, positions)
    rigid = rigid_motions(potential, positions)
    assert rigid.shape == (positions.size, 6)
    assert np.abs(hessian @ rigid).max() < 1e-4 * np.abs(hessian).max()
    modes = low_frequency_modes(potential, positions, 5)
    np.testing.assert_allclose(modes.eigenvalues, np.linalg.eigvalsh(hessian)[6:11], rtol=1e-2)


def test_modes_without_a_hessian_are_those_of_the_hessian(minimum):
    potential, positions = minimum
    dense = low_frequency_modes(potential, positions, 6)
    before = potential.counter.side
    iterative = low_frequency_modes(potential, positions, 6, dense_limit=10)
    assert 0 < potential.counter.side - before < 6 * len(positions)
    np.testing.assert_allclose(iterative.eigenvalues, dense.eigenvalues, rtol=1e-3)
    assert principal_angles(iterative.vectors[:, :4], dense.vectors[:, :4])[-1] < 1.0


def test_the_bonded_hessian_has_modes_of_its_own(minimum):
    potential, positions = minimum
    modes = low_frequency_modes(potential, positions, 4, source="bonded")
    rigid = rigid_motions(potential, positions)
    assert np.abs(rigid.T @ modes.vectors).max() < 1e-8


def test_negative_curvature_is_found_away_from_a_minimum(molecule):
    potential = Potential(molecule.simulation("Reference").context)
    modes = low_frequency_modes(potential, potential.positions(), 30)
    assert modes.eigenvalues.min() < 0


def test_a_linear_molecule_turns_about_two_axes():
    system = mm.System()
    for _ in range(3):
        system.addParticle(12.0)
    context = mm.Context(system, mm.VerletIntegrator(0.001))
    positions = np.array([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]])
    assert rigid_motions(Potential(context), positions).shape == (9, 5)


def test_an_atom_held_in_place_leaves_no_rigid_motion(molecule):
    system = copy.deepcopy(molecule.system)
    system.setParticleMass(0, 0.0)
    context = mm.Context(system, mm.VerletIntegrator(0.001))
    positions = np.array(molecule.positions._value)
    assert rigid_motions(Potential(context), positions).shape == (positions.size, 0)


@pytest.mark.parametrize(("count", "source"), [(0, "full"), (3, "other")])
def test_bad_choices_are_refused(minimum, count, source):
    with pytest.raises(ValueError, match="modes|source"):
        low_frequency_modes(*minimum, count, source=source)
