"""Near pairs are those that a look at all pairs and images finds."""

import itertools

import numpy as np
import pytest

from openmm_reparam.compiled import PairSet
from openmm_reparam.geometry.neighbors import near_pairs

CUBE = np.eye(3)
SHEARED = np.array([[1.3, 0, 0], [-0.6, 1.1, 0], [0.5, -0.5, 0.9]])


def brute_force(x, cutoff, box):
    """Sorted (i, j, distance) of all pairs, image by image."""
    images = np.zeros((1, 3))
    if box is not None:
        images = np.array(list(itertools.product(range(-6, 7), repeat=3))) @ box
    found = []
    for i, j in itertools.combinations(range(len(x)), 2):
        distances = np.linalg.norm(x[i] - x[j] + images, axis=1)
        found += [(i, j, float(d)) for d in distances[distances <= cutoff].round(9)]
    return sorted(found)


@pytest.mark.parametrize("box", [None, CUBE, SHEARED, 0.3 * SHEARED], ids=str)
@pytest.mark.parametrize("cutoff", [0.05, 0.35])
def test_near_pairs(box, cutoff):
    x = np.random.default_rng(1).uniform(-0.5, 0.5, (40, 3))
    i, j, vectors = near_pairs(x, cutoff, box)
    distances = np.linalg.norm(vectors, axis=1).round(9)
    found = sorted(zip(i.tolist(), j.tolist(), distances.tolist(), strict=True))
    assert found == brute_force(x, cutoff, box)
    offsets = vectors - (x[i] - x[j])
    whole = np.zeros_like(offsets) if box is None else offsets @ np.linalg.inv(box)
    np.testing.assert_allclose(whole, whole.round(), atol=1e-9)


def test_pairs_beside_points_far_away():
    x = np.array([[0, 0, 0], [0.1, 0, 0], [1e9, 0, 0], [1e9, 0.1, 0], [-1e300, 0, 0]])
    i, j, _ = near_pairs(x, 0.2, None)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 1), (2, 3)]


def test_excluded_pairs_and_names():
    x = np.zeros((3, 3))
    names = np.array([7, 2, 5])
    i, j, _ = near_pairs(x, 0.1, None, excluded=PairSet(np.array([[7, 5]]), 8), names=names)
    assert sorted(zip(i.tolist(), j.tolist(), strict=True)) == [(2, 5), (7, 2)]


def test_places_of_pairs():
    pairs = PairSet(np.array([[3, 1], [0, 2], [1, 2]]), 4)
    assert pairs.find(np.array([1, 2, 0, 2]), np.array([3, 0, 1, 1])).tolist() == [0, 1, -1, 2]


def test_positions_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        near_pairs(np.array([[0, 0, 0], [np.nan, 0, 0]]), 0.1, None)


def test_pairs_of_particles_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="does not exist"):
        PairSet(np.array([[0, 4]]), 4)
