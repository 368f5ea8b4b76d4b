"""Slow modes against matrices whose spectra are known."""

import networkx as nx
import numpy as np
import openmm as mm
import pytest
import scipy.sparse as sp

from openmm_reparam import Potential, molecular_slow_modes
from openmm_reparam.modes.slow_modes import hessian_modes, principal_angles, slow_modes
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.testsystems import lennard_jones_cluster


def path_laplacian(n):
    return sp.csr_array(nx.laplacian_matrix(nx.path_graph(n)).astype(float))


@pytest.mark.parametrize("dense_limit", [3000, 10])
def test_slow_modes_of_a_path_are_its_cosines(dense_limit):
    """Eigenvalues 2 - 2 cos(pi k / n); dense and by LOBPCG."""
    n, count = 200, 6
    modes = slow_modes(path_laplacian(n), count, dense_limit=dense_limit)
    expected = 2 - 2 * np.cos(np.pi * np.arange(count + 1) / n)
    assert np.allclose(modes.eigenvalues, expected[:count], rtol=1e-5, atol=1e-8)
    assert modes.next_eigenvalue == pytest.approx(expected[count], rel=1e-4)
    assert np.allclose(modes.vectors.T @ modes.vectors, np.eye(count), atol=1e-8)
    cosines = np.cos(np.pi * np.outer(np.arange(n) + 0.5, np.arange(count)) / n)
    # A tolerance of degrees: LOBPCG stops at a residual, not at an angle.
    assert principal_angles(modes.vectors, cosines).max() < 0.5


def test_modes_are_chosen_by_magnitude():
    values = np.array([-9.0, -0.1, 0.5, 2.0, 7.0])
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    modes = slow_modes((basis * values) @ basis.T, 2)
    assert np.allclose(modes.eigenvalues, [-0.1, 0.5])
    assert modes.next_eigenvalue == pytest.approx(2.0)
    assert len(modes) == 2


def test_threshold_is_that_of_the_paper():
    """|lambda| < eps^2 max|lambda|."""
    matrix = np.diag([1.0, 3.0, 5.0, 100.0])
    assert slow_modes(matrix, threshold=0.2).eigenvalues.tolist() == [1, 3]
    with pytest.raises(ValueError, match="threshold"):
        slow_modes(matrix, threshold=0.05)


def test_a_fraction_is_one_of_all_rows():
    assert len(slow_modes(path_laplacian(50), fraction=0.3)) == 15
    assert len(slow_modes(path_laplacian(50), fraction=1.0)) == 50
    assert len(slow_modes(path_laplacian(50), fraction=1e-6)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"count": 3, "fraction": 0.3},
        {"count": 0},
        {"count": 51},
        {"count": -1},
        {"fraction": 0.0},
        {"fraction": 1.5},
        {"fraction": 0.5, "threshold": 0.1},
    ],
)
def test_wrong_numbers_of_modes_are_refused(arguments):
    with pytest.raises(ValueError, match="count|fraction|modes"):
        slow_modes(path_laplacian(50), **arguments)


def test_a_threshold_of_a_large_matrix_is_refused():
    with pytest.raises(ValueError, match="threshold"):
        slow_modes(path_laplacian(50), threshold=0.3, dense_limit=10)


def test_all_but_the_rigid_modes_of_a_hessian():
    values = np.concatenate([np.zeros(6), np.arange(1.0, 10.0)])
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(15, 15)))[0]
    modes = hessian_modes((basis * values) @ basis.T, 3, rigid=6)
    assert np.allclose(modes.eigenvalues, [1, 2, 3])
    assert modes.next_eigenvalue == pytest.approx(4.0)
    assert principal_angles(modes.vectors, basis[:, 6:9]).max() < 1e-4


def potential_of(molecule, platform="Reference"):
    potential = Potential(molecule.simulation(platform).context)
    return potential, potential.positions()


def test_the_slowest_mode_of_a_peptide_is_its_translation(tripeptide):
    potential, x = potential_of(tripeptide)
    modes = molecular_slow_modes(potential, x, 6)
    assert modes.vectors.shape == (33, 6)
    assert np.allclose(np.abs(modes.vectors[:, 0]), 33**-0.5)
    assert abs(modes.eigenvalues[0]) < 1e-9 * potential.num_particles * modes.eigenvalues[-1]
    assert (np.diff(np.abs(modes.eigenvalues)) >= 0).all()


def test_the_second_mode_of_a_chain_parts_its_ends():
    """The Fiedler vector: smooth along the chain, of opposite sign at its ends."""
    potential, x = potential_of(peptide("A" * 10))
    fiedler = molecular_slow_modes(potential, x, 2).vectors[:, 1]
    assert np.sign(fiedler[:5]).sum() == -np.sign(fiedler[-5:]).sum() != 0


def test_auto_takes_all_forces_where_nothing_is_bonded():
    potential, x = potential_of(lennard_jones_cluster(6))
    assert len(molecular_slow_modes(potential, x, fraction=0.5)) == 3
    assert potential.counter.side == 36


def test_a_large_fluid_is_not_given_a_dense_hessian_by_itself():
    """6N evaluations of the Reference platform are hours for a few thousand argon atoms."""
    size = 2000
    system = mm.System()
    force = mm.NonbondedForce()
    for _ in range(size):
        system.addParticle(39.9)
        force.addParticle(0, 0.34, 1.0)
    system.addForce(force)
    platform = mm.Platform.getPlatformByName("CPU")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    x = 0.38 * np.stack(np.unravel_index(np.arange(size), (15, 15, 15)), axis=1)
    context.setPositions(x)
    potential = Potential(context)
    potential.counter.limit = 5
    modes = molecular_slow_modes(potential, x, 10)
    assert modes.vectors.shape == (size, 10)


def test_small_molecules_are_left_out_beside_a_large_one():
    molecule = peptide("GG")
    system = molecule.system
    forces = {type(f): f for f in system.getForces()}
    for _ in range(3):
        first = system.getNumParticles()
        for mass, charge in ((16.0, -0.8), (1.0, 0.4), (1.0, 0.4)):
            system.addParticle(mass)
            forces[mm.NonbondedForce].addParticle(charge, 0.3, 0.1)
        for h in (1, 2):
            forces[mm.HarmonicBondForce].addBond(first, first + h, 0.1, 4e5)
            forces[mm.NonbondedForce].addException(first, first + h, 0, 0.1, 0)
        forces[mm.NonbondedForce].addException(first + 1, first + 2, 0, 0.1, 0)
    rng = np.random.default_rng(0)
    size = molecule.positions.shape[0]
    x = np.vstack([molecule.positions._value, 5 + rng.uniform(0, 2, (9, 3))])
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(x)
    modes = molecular_slow_modes(Potential(context), x, 4)
    assert not modes.vectors[size:].any()
    assert np.allclose(modes.vectors.T @ modes.vectors, np.eye(4))


def test_fixed_atoms_have_no_part_in_slow_modes():
    molecule = peptide("AA")
    molecule.system.setParticleMass(4, 0.0)
    potential, x = potential_of(molecule)
    modes = molecular_slow_modes(potential, x, fraction=0.3)
    assert not modes.vectors[4].any()


def test_principal_angles_of_known_planes():
    first = np.eye(4)[:, :2]
    turned = first.copy()
    turned[[1, 3], 1] = np.cos(np.radians(30)), np.sin(np.radians(30))
    assert np.allclose(principal_angles(first, turned), [0, 30], atol=1e-5)
