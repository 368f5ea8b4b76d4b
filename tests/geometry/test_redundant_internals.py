"""Redundant internal coordinates: values, derivatives, straight angles, periodic images."""

import numpy as np
import pytest

from openmm_reparam.geometry.redundant_internals import RedundantInternals
from openmm_reparam.precon.model_hessian import internal_terms

ALLENE_LIKE = np.array(
    [[0, 0, 0], [0.131, 0, 0], [-0.131, 0, 0], [0.19, 0.09, 0], [0.19, -0.09, 0.01],
     [-0.19, 0.01, 0.09], [-0.19, 0, -0.09]]
)  # fmt: skip
NUMBERS = np.array([6, 6, 6, 1, 1, 1, 1])


def made(box=None, positions=ALLENE_LIKE):
    return RedundantInternals(internal_terms(NUMBERS, positions, box=box), positions, box)


def test_the_jacobian_is_the_derivative_of_the_values():
    internals, rng = made(), np.random.default_rng(0)
    x = ALLENE_LIKE + 0.01 * rng.normal(size=ALLENE_LIKE.shape)
    jacobian = internals(x)[1].toarray()
    for _ in range(5):
        way = rng.normal(size=x.shape)
        ahead, behind = (internals(x + sign * 1e-6 * way)[0] for sign in (1, -1))
        slope = internals.differences(ahead, behind) / 2e-6
        assert jacobian @ way.ravel() == pytest.approx(slope, abs=1e-6, rel=1e-6)


def test_a_straight_angle_bends_in_two_directions():
    internals = made()
    values, jacobian = internals(ALLENE_LIKE)
    # Bonds, four H-C-C and two H-C-H angles and two bends, no torsion about a straight axis.
    bends = slice(6 + 6, 6 + 6 + 2)
    assert values[bends] == pytest.approx([0, 0], abs=1e-12)
    for axis in (1, 2):
        way = np.zeros_like(ALLENE_LIKE)
        way[0, axis] = 1e-4
        turned = internals(ALLENE_LIKE + way)[0][bends]
        assert np.linalg.norm(turned) == pytest.approx(2e-4 / 0.131, rel=1e-4)
    assert np.linalg.matrix_rank(jacobian.toarray()[bends]) == 2


def test_whole_molecules_move_and_turn_without_a_change():
    internals = made()
    jacobian = internals(ALLENE_LIKE)[1]
    for axis in np.eye(3):
        assert jacobian @ np.tile(axis, 7) == pytest.approx(0, abs=1e-12)
        assert jacobian @ np.cross(axis, ALLENE_LIKE).ravel() == pytest.approx(0, abs=1e-12)


def test_dihedrals_differ_by_the_shorter_way_round():
    internals = made()
    after, before = np.zeros((2, internals.count))
    after[:], before[:] = 3.0, -3.0
    change = internals.differences(after, before)
    assert internals.dihedral.any()
    assert change[internals.dihedral] == pytest.approx(6 - 2 * np.pi)
    assert change[~internals.dihedral] == pytest.approx(6)
    turn = internals.differences(before + np.pi, before)
    assert turn == pytest.approx(np.pi)


def test_a_molecule_across_the_boundary_has_the_same_coordinates():
    box = np.array([[2.0, 0, 0], [0.3, 2.1, 0], [-0.2, 0.4, 1.9]])
    shifted = ALLENE_LIKE + 0.01
    split = shifted + np.array([[0, 0, 0], [1, 0, 0], [0, -1, 0], [0, 0, 1], *np.eye(3)]) @ box
    whole, torn = made()(ALLENE_LIKE), made(box, split)(split)
    assert torn[0] == pytest.approx(whole[0])
    assert torn[1].toarray() == pytest.approx(whole[1].toarray(), abs=1e-9)


def test_what_belongs_to_terms_goes_to_their_coordinates():
    terms = internal_terms(NUMBERS, ALLENE_LIKE)
    internals = made()
    lengths = {
        kind: np.full(len(found), float(k)) for k, (kind, found) in enumerate(vars(terms).items())
    }
    ordered = internals.of_terms(lengths)
    assert len(ordered) == internals.count
    assert np.count_nonzero(ordered == 1) == len(terms.angles) + 1  # one is straight
    assert np.array_equal((ordered == 2) | (ordered == 3), internals.dihedral)
