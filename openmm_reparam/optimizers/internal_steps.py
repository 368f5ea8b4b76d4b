"""Redundant internal coordinates beside displacements, as coordinates of an L-BFGS.

Curvature that a step has met stays true along a curve where bonds keep their lengths and torsions
turn, and the constants of bonds, angles and torsions are nearly diagonal there. For energies of
which an evaluation costs more than the step: linear algebra is dense.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
import scipy.sparse as sp

from ..geometry.redundant_internals import RedundantInternals
from ..potentials.point import Point
from .coordinates import Cartesian, Chart, Projection
from .metric import Metric

__all__ = ["InternalMetric", "InternalSteps"]

# Smallest stiffness of a displacement, kJ/mol/nm^2.
SHIFT = 100.0
# Positions of a step are found once an iteration moves no atom further than this (nm); after so
# many iterations, the step is straight.
CLOSE, ITERATIONS = 1e-6, 10
# A curved step ends no further from the end of the straight one than this share of its length.
FURTHEST_FROM_STRAIGHT = 1.0
# Geometries that are remembered: those at both ends of a step.
REMEMBERED = 4


class _Geometry(NamedTuple):
    """Internal coordinates (M,), their derivatives (M, 3n) by atoms that move, factors of P."""

    values: np.ndarray
    jacobian: sp.csr_array
    factors: tuple[np.ndarray, bool]


class InternalMetric:
    """W^-1, the inverse Hessian in internal coordinates and displacements; see `InternalSteps`.

    Parameters
    ----------
    weights : (M + 3n,) array
        W, a diagonal.
    shifted : (M + 3n,) bool array
        Displacements: what `raise_shift` makes stiffer.

    Examples
    --------
    >>> metric = InternalMetric(np.array([4.0, 2.0]), np.array([False, True]))
    >>> metric.solve(np.ones(2)).tolist()
    [0.25, 0.5]
    """

    complete = False

    def __init__(self, weights: np.ndarray, shifted: np.ndarray) -> None:
        self._weights, self._shifted, self._raised = weights, shifted, 1.0

    def update(self, positions: np.ndarray) -> None:
        """Take back what `raise_shift` did: W is the same everywhere."""
        self._raised = 1.0

    def solve(self, vectors: np.ndarray) -> np.ndarray:
        """Return W^-1 v, (M + 3n,)."""
        return vectors / np.where(self._shifted, self._raised * self._weights, self._weights)

    def raise_shift(self) -> None:
        """Make displacements ten times stiffer, until the next update."""
        self._raised *= 10


class InternalSteps:
    """Coordinates of an L-BFGS: redundant internal ones, and displacements of the atoms.

    Vectors are flat, (M + 3n,): M internal coordinates in nm and radians, then displacements of the
    n atoms that move, in nm. With Wilson's matrix B, A = [B; I] and W = diag(K, mu),
    P = A^T W A = B^T K B + mu I is a preconditioner of displacements. Forces f are W A P^-1 f here,
    and a step d moves atoms by P^-1 A^T W d, so the work of forces along a step is exact. The
    initial inverse Hessian is W^-1 (`metric`): the first direction moves atoms by P^-1 f.

    A step ends where internal coordinates and displacements have changed by as much as to first
    order, A dx, or as near to that as can be, with W as weights: bonds keep their lengths in a
    rotation. These positions are found by iteration; where that does not converge, the step is
    straight. Pairs of the L-BFGS hold the changes that internal coordinates really made.

    Parameters
    ----------
    internals : RedundantInternals
    stiffness : (M,) array
        K, positive, in kJ/mol/nm^2 and kJ/mol/rad^2.
    moves : (N,) bool array
        Atoms that a step moves.
    shift : float
        mu in kJ/mol/nm^2.
    molecules : (N,) int array, optional
        The molecule of each atom; all are of one by default.

    References
    ----------
    Pulay, Fogarasi, J. Chem. Phys. 1992, 96, 2856; Peng, Ayala, Schlegel, Frisch, J. Comput. Chem.
    1996, 17, 49.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> none = np.empty((0, 4), dtype=int)
    >>> dimer = SimpleNamespace(
    ...     bonds=np.array([[0, 1]]), angles=none[:, :3], torsions=none, out_of_plane=none,
    ...     pairs=none[:, :2])
    >>> x = np.array([[0, 0, 0], [0.1, 0, 0]])
    >>> coordinates = InternalSteps(RedundantInternals(dimer, x), np.array([1e5]), np.full(2, True))
    >>> forces = np.array([[-50.0, 0, 0], [50.0, 0, 0]])
    >>> along = coordinates.forces((), Point(x, 0.0, forces))
    >>> direction = coordinates.solve(coordinates.metric(), (), along)
    >>> coordinates.moved((), x, direction)[0].round(5).tolist()
    [[-0.00025, 0.0, 0.0], [0.10025, 0.0, 0.0]]
    """

    def __init__(
        self,
        internals: RedundantInternals,
        stiffness: np.ndarray,
        moves: np.ndarray,
        *,
        shift: float = SHIFT,
        molecules: np.ndarray | None = None,
    ) -> None:
        self._internals, self._stiffness, self._shift = internals, stiffness, shift
        self._size = len(moves)
        self._columns = np.flatnonzero(np.repeat(moves, 3))
        self._weights = np.concatenate([stiffness, np.full(len(self._columns), shift)])
        self._cartesian = Cartesian(molecules)
        # A function of the positions alone: what is remembered changes no result.
        self._remembered = lru_cache(REMEMBERED)(self._computed)

    def metric(self) -> InternalMetric:
        """Return the initial inverse Hessian, W^-1."""
        shifted = np.arange(len(self._weights)) >= self._internals.count
        return InternalMetric(self._weights, shifted)

    def begin(self, positions: np.ndarray) -> Chart:
        """Return the empty chart."""
        return ()

    def moved(
        self, chart: Chart, positions: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, Chart]:
        """Return (N, 3) positions in nm after a step."""
        here, moves = self._geometry(positions), self._displacements(positions, step)
        straight = positions + self._spread(moves)
        asked, longest = _beside(here, moves), np.abs(moves).max()
        found = straight
        for _ in range(ITERATIONS):
            correction = self._correction(here, asked, found, found - positions)
            if correction is None:
                break
            found = found + self._spread(correction)
            if not np.abs(found - straight).max() <= FURTHEST_FROM_STRAIGHT * longest:
                break
            if np.abs(correction).max() < CLOSE:
                return found, chart
        return straight, chart

    def step_taken(self, before: Point, after: Point, step: np.ndarray) -> np.ndarray:
        """Return the changes of internal coordinates, dihedrals' wrapped, and the displacements."""
        values = [self._internals(point.positions)[0] for point in (after, before)]
        moves = (after.positions - before.positions).ravel()[self._columns]
        return np.concatenate([self._internals.differences(*values), moves])

    def forces(self, chart: Chart, point: Point) -> np.ndarray:
        """Return W A P^-1 f of a point's forces, (M + 3n,)."""
        here = self._geometry(point.positions)
        moves = sl.cho_solve(here.factors, point.forces.ravel()[self._columns])
        return self._weights * _beside(here, moves)

    def solve(self, metric: Metric, chart: Chart, vectors: np.ndarray) -> np.ndarray:
        """Return what the metric, one of these coordinates, makes of (M + 3n,) vectors."""
        return metric.solve(vectors)

    def project(
        self, projection: Projection, chart: Chart, positions: np.ndarray, step: np.ndarray
    ) -> np.ndarray:
        """Return the step whose displacements are the projected ones."""
        moves = projection(positions, self._spread(self._displacements(positions, step)))
        return _beside(self._geometry(positions), moves.ravel()[self._columns])

    def longest(self, chart: Chart, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom, to first order, in nm."""
        moves = self._spread(self._displacements(positions, step))
        return self._cartesian.longest(chart, positions, moves)

    def longest_within(self, chart: Chart, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom relative to its molecule, in nm."""
        moves = self._spread(self._displacements(positions, step))
        return self._cartesian.longest_within(chart, positions, moves)

    def _displacements(self, positions: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return P^-1 A^T W d, (3n,)."""
        here, weighted = self._geometry(positions), self._weights * step
        inner, outer = np.split(weighted, [self._internals.count])
        return sl.cho_solve(here.factors, here.jacobian.T @ inner + outer)

    def _correction(
        self, here: _Geometry, asked: np.ndarray, found: np.ndarray, taken: np.ndarray
    ) -> np.ndarray | None:
        """Return the Gauss-Newton step, (3n,), to where the changes are nearest to those asked.

        Nearest in W: what no stiff coordinate tells of, stays on the straight way.
        """
        values, jacobian = self._internals(found)
        jacobian = jacobian[:, self._columns]
        changes = self._internals.differences(values, here.values)
        left = asked - np.concatenate([changes, taken.ravel()[self._columns]])
        inner, outer = np.split(self._weights * left, [self._internals.count])
        try:
            factors = self._factors(jacobian)
            return sl.cho_solve(factors, jacobian.T @ inner + outer)
        except (np.linalg.LinAlgError, ValueError):  # not definite; not finite
            return None

    def _geometry(self, positions: np.ndarray) -> _Geometry:
        return self._remembered(np.ascontiguousarray(positions, dtype=float).tobytes())

    def _computed(self, content: bytes) -> _Geometry:
        values, jacobian = self._internals(np.frombuffer(content).reshape(-1, 3))
        jacobian = jacobian[:, self._columns]
        return _Geometry(values, jacobian, self._factors(jacobian))

    def _factors(self, jacobian: sp.csr_array) -> tuple[np.ndarray, bool]:
        """Return the Cholesky factors of P = B^T K B + mu I."""
        matrix = (jacobian.T @ sp.diags_array(self._stiffness) @ jacobian).toarray()
        return sl.cho_factor(matrix + self._shift * np.eye(len(matrix)), lower=True)

    def _spread(self, moves: np.ndarray) -> np.ndarray:
        """Return (3n,) displacements as those of all atoms, (N, 3)."""
        full = np.zeros(3 * self._size)
        full[self._columns] = moves
        return full.reshape(-1, 3)


def _beside(here: _Geometry, moves: np.ndarray) -> np.ndarray:
    """Return A dx, (M + 3n,), of (3n,) displacements."""
    return np.concatenate([here.jacobian @ moves, moves])
