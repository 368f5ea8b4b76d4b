"""Close pairs over periodic images, and the positive curvature they add."""

import itertools

import numpy as np
import openmm as mm
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from openmm_reparam import Potential, dense_hessian
from openmm_reparam.geometry.neighbors import near_pairs
from openmm_reparam.precon.contacts import Contacts

BOXES = {
    "rectangular": np.diag([1.2, 1.5, 2.0]),
    "triclinic": np.array([[1.6, 0, 0], [0.5, 1.5, 0], [-0.6, 0.7, 1.4]]),
    "octahedron": 1.6
    * np.array([[1, 0, 0], [1 / 3, 2 * 2**0.5 / 3, 0], [-1 / 3, 2**0.5 / 3, 6**0.5 / 3]]),
}


def brute_force(x, cutoff, box):
    """Return {(i, j): x_i - x_j} of every pair with an image nearer than the cutoff."""
    i, j = np.triu_indices(len(x), 1)
    vectors = x[i] - x[j]
    if box is not None:
        # Into the cell about the origin, then every image around it.
        vectors = vectors - np.round(vectors @ np.linalg.inv(box)) @ box
        shifts = np.array(list(itertools.product(range(-2, 3), repeat=3))) @ box
        images = vectors[:, None] + shifts
        nearest = np.argmin(np.linalg.norm(images, axis=2), axis=1)
        vectors = images[np.arange(len(i)), nearest]
    near = np.linalg.norm(vectors, axis=1) < cutoff
    return {(int(a), int(b)): v for a, b, v in zip(i[near], j[near], vectors[near], strict=True)}


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    name=st.sampled_from([None, *BOXES]),
    spread=st.sampled_from([0.5, 1.0, 5.0]),
)
def test_near_pairs_are_those_of_all_images(seed, name, spread):
    box = None if name is None else BOXES[name]
    rng = np.random.default_rng(seed)
    x = spread * rng.uniform(-1, 1, (25, 3))
    if box is not None:
        # Atoms on faces and corners, too.
        x[:3] = np.array([[0, 0, 0], [1, 1, 0.02], [0.99, 0, 0]]) @ box
    expected = brute_force(x, 0.35, box)
    i, j, vectors = near_pairs(x, 0.35, box)
    got = {
        (int(min(p)), int(max(p))): (p, v)
        for p, v in zip(zip(i, j, strict=True), vectors, strict=True)
    }
    assert len(i) == len(got), "a pair is listed twice"
    assert set(got) == set(expected)
    for pair, (order, vector) in got.items():
        sign = 1 if order == pair else -1
        assert np.allclose(sign * vector, expected[pair], atol=1e-9)


def test_there_may_be_no_pairs():
    i, j, vectors = near_pairs(np.array([[0.0, 0, 0], [1, 1, 1]]), 0.35, None)
    assert len(i) == len(j) == len(vectors) == 0


def pair_potential(r, charge, periodic=False, masses=(12.0, 12.0), exception=False):
    system = mm.System()
    force = mm.NonbondedForce()
    for mass in masses:
        system.addParticle(mass)
        force.addParticle(charge, 0.3, 0.8)
        charge = abs(charge)
    if exception:
        force.addException(0, 1, 0.4, 0.3, 0.5)
    x = np.array([[0.05, 0.02, 0.01], [0, 0, 0]])
    x[1] = x[0] + r * np.array([2.0, 1.0, -2.0]) / 3
    if periodic:
        force.setNonbondedMethod(mm.NonbondedForce.CutoffPeriodic)
        force.setCutoffDistance(0.9)
        system.setDefaultPeriodicBoxVectors([2, 0, 0], [0, 2.2, 0], [0, 0, 2.4])
        x[1] -= [2, 0, 2.4]
    system.addForce(force)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(x)
    return Potential(context), x


def stiffness(potential, x, box=None, *, coupled=True, molecules=(0, 0)):
    """Return what contacts add to P, dense."""
    molecules = np.asarray(molecules)
    couples = np.full(molecules.max() + 1, coupled)
    blocks, pairs, curvatures = Contacts(potential, molecules, couples).evaluate(x, box)
    rows = np.sqrt(curvatures[:, 3, None]) * curvatures[:, :3]
    rows = np.stack([rows, -rows], axis=1)
    jacobian = np.zeros((len(pairs), len(x), 3))
    for row, pair, values in zip(jacobian, pairs, rows, strict=True):
        row[pair] = values
    jacobian = jacobian.reshape(len(pairs), 3 * len(x))
    return scipy.linalg.block_diag(*blocks) + jacobian.T @ jacobian


@pytest.mark.parametrize("charge", [0.0, 0.3, -0.3])
@pytest.mark.parametrize("r", [0.24, 0.31])
@pytest.mark.parametrize("exception", [False, True])
def test_one_pair_is_the_positive_part_of_its_hessian(charge, r, exception):
    """Its radial part where the pair is coupled, all of it where one atom is held still."""
    potential, x = pair_potential(r, charge, exception=exception)
    hessian = dense_hessian(potential, x)
    unit = (x[0] - x[1]) / np.linalg.norm(x[0] - x[1])
    along = np.outer(unit, unit)
    block = hessian[:3, :3]
    radial = max(unit @ block @ unit, 0.0) * along
    transverse = max((np.trace(block) - unit @ block @ unit) / 2, 0.0) * (np.eye(3) - along)
    largest = np.abs(hessian).max()
    got = stiffness(potential, x)
    assert np.abs(got - np.kron([[1, -1], [-1, 1]], radial)).max() < 1e-4 * largest
    alone = stiffness(potential, x, coupled=False)
    assert np.abs(alone - np.kron(np.eye(2), radial + transverse)).max() < 1e-4 * largest
    # Nothing but the whole pair's own evaluations for the comparison was counted.
    assert potential.counter.total == 12


def test_pairs_across_the_box_are_contacts():
    potential, x = pair_potential(0.26, 0.0, periodic=True)
    near, y = pair_potential(0.26, 0.0)
    box = np.diag([2, 2.2, 2.4])
    got = stiffness(potential, x, box)
    expected = stiffness(near, y)
    assert np.allclose(got, expected, rtol=1e-9)


def test_different_molecules_share_no_block_but_stay_stiff():
    potential, x = pair_potential(0.26, 0.0)
    got = stiffness(potential, x, molecules=[0, 1])
    together = stiffness(potential, x)
    assert not got[:3, 3:].any()
    assert np.allclose(got[:3, :3], together[:3, :3])


@pytest.mark.parametrize("exception", [False, True])
def test_fixed_atoms_have_no_stiffness(exception):
    """Else P^-1 would pass the motion of one atom on to another that may not move."""
    potential, x = pair_potential(0.26, 0.2, masses=(12.0, 0.0), exception=exception)
    got = stiffness(potential, x)
    assert not got[3:].any()
    assert not got[:, 3:].any()


def test_contacts_are_positive_semidefinite_and_symmetric(tripeptide):
    potential = Potential(tripeptide.simulation("Reference").context)
    rng = np.random.default_rng(0)
    for spread in (0.0, 0.05):
        x = potential.positions() + rng.normal(0, spread, (33, 3))
        got = stiffness(potential, x, molecules=np.zeros(33, dtype=int))
        values = np.linalg.eigvalsh(got)
        assert np.abs(got - got.T).max() <= 1e-12 * np.abs(got).max()
        assert values[0] > -1e-9 * values[-1]


def test_other_force_groups_and_systems_without_charges_have_no_contacts(tripeptide):
    integrator = mm.VerletIntegrator(0.001)
    integrator.setIntegrationForceGroups({7})
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(tripeptide.system, integrator, platform)
    context.setPositions(tripeptide.positions)
    potential = Potential(context)
    x = potential.positions()
    assert not stiffness(potential, x, molecules=np.zeros(33, dtype=int)).any()


def test_contacts_of_a_virtual_site_hold_its_parents():
    """Displaced together, parents are as stiff as an atom where the site is; each by its share."""
    plain, x = pair_potential(0.26, 0.3)
    expected = stiffness(plain, x, molecules=[0, 1])[:3, :3]
    system = mm.System()
    force = mm.NonbondedForce()
    for mass in (0.0, 12.0, 16.0, 1.0):
        system.addParticle(mass)
        site = force.getNumParticles() < 2
        force.addParticle(0.3 * site, 0.3, 0.8 * site)
    system.setVirtualSite(0, mm.TwoParticleAverageSite(2, 3, 0.8, 0.2))
    # Too far away to be contacts themselves.
    far = np.array([0.0, 0.0, 0.5])
    x = np.concatenate([x, [x[0] - 0.2 * far * 4, x[0] + 0.8 * far * 4]])
    system.addForce(force)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(x)
    got = stiffness(Potential(context), x, molecules=[0, 1, 2, 2], coupled=False)
    got = got.reshape(4, 3, 4, 3).swapaxes(1, 2)
    assert np.allclose(got[2, 2], 0.8 * expected, rtol=1e-9)
    assert np.allclose(got[3, 3], 0.2 * expected, rtol=1e-9)
    assert np.allclose(got[1, 1], expected, rtol=1e-9)
    assert not got[0].any()
