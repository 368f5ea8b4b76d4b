"""Bond lengths, angles and dihedrals: values against mdtraj, gradients against differences."""

import mdtraj
import numpy as np
import pytest

from openmm_reparam.geometry import internal_coordinates as ic
from openmm_reparam.geometry.neighbors import nearest_image


def four_atoms(count=20, seed=0):
    """Return (count, 4, 3) chains of random shape."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(count, 4, 3))
    return 0.15 * steps.cumsum(axis=1)


def coordinate(kind, x):
    i, j, k, m = x.transpose(1, 0, 2)
    if kind == "distance":
        return ic.distances(i - j)
    if kind == "angle":
        return ic.angles(i - j, k - j)
    return ic.dihedrals(i - j, k - j, k - m)


@pytest.mark.parametrize(("kind", "width"), [("distance", 2), ("angle", 3), ("dihedral", 4)])
def test_gradients_are_those_of_finite_differences(kind, width):
    x = four_atoms()
    _, gradients = coordinate(kind, x)
    assert gradients.shape == (20, width, 3)
    step = 1e-6
    for atom in range(width):
        for axis in range(3):
            there, back = x.copy(), x.copy()
            there[:, atom, axis] += step
            back[:, atom, axis] -= step
            change = coordinate(kind, there)[0] - coordinate(kind, back)[0]
            change = (change + np.pi) % (2 * np.pi) - np.pi if kind == "dihedral" else change
            assert np.allclose(gradients[:, atom, axis], change / (2 * step), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["distance", "angle", "dihedral"])
def test_values_are_those_of_mdtraj(kind):
    x = four_atoms(seed=1)
    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for _ in range(4):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    trajectory = mdtraj.Trajectory(x, topology)
    compute, atoms = {
        "distance": (mdtraj.compute_distances, [[0, 1]]),
        "angle": (mdtraj.compute_angles, [[0, 1, 2]]),
        "dihedral": (mdtraj.compute_dihedrals, [[0, 1, 2, 3]]),
    }[kind]
    assert np.allclose(coordinate(kind, x)[0], compute(trajectory, atoms)[:, 0], atol=1e-4)


@pytest.mark.parametrize("kind", ["distance", "angle", "dihedral"])
def test_gradients_neither_translate_nor_turn(kind):
    x = four_atoms(seed=2)
    _, gradients = coordinate(kind, x)
    width = gradients.shape[1]
    assert np.abs(gradients.sum(axis=1)).max() < 1e-10
    assert np.abs(np.cross(x[:, :width], gradients).sum(axis=1)).max() < 1e-10


@pytest.mark.parametrize("bend", [0.0, 1e-9, np.pi, np.pi - 1e-9])
def test_straight_angles_and_chains_have_bounded_gradients(bend):
    """A gradient of 1e5 rad/nm would freeze the atoms of every straight chain."""
    chain = np.array([[[0.1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]], dtype=float)
    chain[0, 2] = 0.1 * np.array([np.cos(bend), np.sin(bend), 0])
    chain[0, 3] = chain[0, 2] + [0.0, 0.0, 0.1]
    straight = chain.copy()
    straight[0, 3] = 2 * chain[0, 2]
    for kind, x in (("angle", chain), ("dihedral", chain), ("dihedral", straight)):
        value, gradients = coordinate(kind, x)
        assert np.isfinite(value).all()
        assert np.abs(gradients).max() < 1e5


@pytest.mark.parametrize("kind", ["distance", "angle", "dihedral"])
@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3)])
@pytest.mark.parametrize("apart", [0.0, 1e-200, 1e-13, 1e-9, 1e-4, 0.01])
def test_coincident_atoms_have_bounded_gradients_that_move_no_whole(kind, pair, apart):
    x = four_atoms(seed=3)
    x[:, pair[1]] = x[:, pair[0]] + apart * np.array([0.6, 0, -0.8])
    with np.errstate(all="raise", under="ignore"):
        value, gradients = coordinate(kind, x)
    assert np.isfinite(value).all()
    assert np.isfinite(gradients).all()
    assert np.abs(gradients).max() < 1e4
    assert np.abs(gradients.sum(axis=1)).max() < 1e-9


def test_a_distance_of_zero_has_a_gradient_of_length_one():
    length, gradients = ic.distances(np.zeros((3, 3)))
    assert not length.any()
    assert np.allclose(np.linalg.norm(gradients, axis=2), 1.0)
    assert np.array_equal(gradients[:, 0], -gradients[:, 1])


def test_directions_have_length_one_or_none():
    vectors = np.array([[3.0, 0, -4.0], [0, 1e-11, 0], [0, 0, 0]])
    lengths, units = ic.directions(vectors)
    assert np.allclose(lengths, [5.0, 1e-11, 0.0], atol=0, rtol=1e-12)
    assert np.allclose(units, [[0.6, 0, -0.8], [0, 1, 0], [0, 0, 0]])


BOXES = {
    "none": None,
    "rectangular": np.diag([2.0, 2.5, 3.0]),
    "triclinic": np.array([[2.0, 0, 0], [0.6, 2.2, 0], [-0.7, 0.8, 2.1]]),
}


@pytest.mark.parametrize("name", ["rectangular", "triclinic"])
def test_nearest_image_is_the_shortest_of_all_images(name):
    """For vectors shorter than half the box's smallest height, as bonded terms are."""
    box = BOXES[name]
    rng = np.random.default_rng(0)
    short = rng.uniform(-0.55, 0.55, (50, 3))
    shifts = rng.integers(-3, 4, (50, 3)) @ box
    assert np.allclose(nearest_image(short + shifts, box, True), short, atol=1e-12)


def test_nearest_image_changes_nothing_where_nothing_is_periodic():
    vectors = np.array([[17.0, 0, 0]])
    assert np.array_equal(nearest_image(vectors, BOXES["rectangular"], False), vectors)
    assert np.array_equal(nearest_image(vectors, None, True), vectors)


def test_nearest_image_leaves_its_input_alone():
    vectors = np.array([[1.9, 0, 0]])
    nearest_image(vectors, BOXES["rectangular"], True)
    assert vectors[0, 0] == 1.9
