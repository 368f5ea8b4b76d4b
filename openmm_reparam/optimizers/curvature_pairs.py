"""Curvature that steps have met, and the inverse Hessian made of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np

from .. import compiled
from ..potentials.point import dot

__all__ = ["CurvaturePair", "Solver", "curvature_ratio", "in_memory", "inverse_hessian_times"]

# Pairs of so many numbers, and of less, are kept in double precision. Of larger ones the recursion
# takes as long as memory takes to read.
LARGEST_IN_DOUBLE = 30_000

# v -> P^-1 v, a new array.
Solver = Callable[[np.ndarray], np.ndarray]


class CurvaturePair(NamedTuple):
    """A step s, the fall y of the forces along it, and s.y."""

    step: np.ndarray
    change: np.ndarray
    curvature: float


def curvature_ratio(pair: CurvaturePair, solve: Solver) -> float:
    """s.y / y.P^-1 y of a pair: what P makes of the curvature along a step, over what it is."""
    change = np.asarray(pair.change, dtype=float)
    return pair.curvature / dot(change, solve(change))


def in_memory(pair: CurvaturePair) -> CurvaturePair:
    """Return a pair as it is kept: that of a large System in single precision.

    Examples
    --------
    >>> import numpy as np
    >>> large = np.ones((20_000, 3))
    >>> in_memory(CurvaturePair(large, large, 6e4)).step.dtype
    dtype('float32')
    """
    if pair.step.size <= LARGEST_IN_DOUBLE:
        return pair
    single = np.float32
    return CurvaturePair(pair.step.astype(single), pair.change.astype(single), pair.curvature)


def inverse_hessian_times(
    vector: np.ndarray, pairs: Collection[CurvaturePair], solve: Solver, ratio: float
) -> np.ndarray:
    """Two-loop recursion of L-BFGS (Nocedal, Math. Comp. 1980, 35, 773).

    Parameters
    ----------
    vector : array
    pairs : collection of CurvaturePair
        The newest last.
    solve : callable
        v -> P^-1 v, a new array: the initial inverse Hessian.
    ratio : float
        What that is multiplied with where there are pairs: `curvature_ratio` of the newest.

    Returns
    -------
    array
        Of the vector's shape.

    Examples
    --------
    >>> import numpy as np
    >>> pair = CurvaturePair(np.array([1.0, 0.0]), np.array([4.0, 0.0]), 4.0)
    >>> inverse_hessian_times(np.array([4.0, 4.0]), [pair], np.copy, curvature_ratio(pair, np.copy))
    array([1., 1.])
    """
    steps = [np.ascontiguousarray(pair.step) for pair in pairs]
    changes = [np.ascontiguousarray(pair.change) for pair in pairs]
    curvatures = [pair.curvature for pair in pairs]
    vector = np.array(vector, dtype=float, order="C")
    weights = compiled.towards_oldest(vector, steps, changes, curvatures)
    vector = solve(vector)
    if steps:
        vector *= ratio
        compiled.towards_newest(vector, steps, changes, curvatures, weights)
    return vector
