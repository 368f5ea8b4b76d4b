"""Pairs of points that stand close, and vectors over periodic images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import compiled

if TYPE_CHECKING:
    from ..compiled import PairSet

__all__ = ["near_pairs", "nearest_image"]


def near_pairs(
    positions: np.ndarray,
    cutoff: float,
    box: np.ndarray | None,
    *,
    excluded: PairSet | None = None,
    names: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs nearer than a cutoff, each periodic image of a pair by itself.

    Parameters
    ----------
    positions : (N, 3) array
        In nm.
    cutoff : float
        In nm.
    box : (3, 3) array, optional
        OpenMM's reduced vectors in nm.
    excluded : PairSet, optional
        Pairs that are left out.
    names : (N,) int array, optional
        Which particles these are, in the answer and in ``excluded``; 0 to N - 1 by default.

    Returns
    -------
    (n,), (n,) int and (n, 3) arrays
        Particles of each pair, the one that stands first in ``positions`` first, and the vectors
        x_i - x_j in nm.

    Raises
    ------
    ValueError
        A position is not finite.

    Examples
    --------
    >>> x = np.array([[0.1, 0, 0], [0.9, 0, 0], [0.5, 0, 0]])
    >>> i, j, vectors = near_pairs(x, 0.3, np.eye(3))
    >>> i.tolist(), j.tolist(), vectors[:, 0].round(6).tolist()
    ([0], [1], [0.2])
    """
    return compiled.near_pairs(positions, cutoff, box, excluded, names)


def nearest_image(vectors: np.ndarray, box: np.ndarray | None, periodic: bool) -> np.ndarray:
    """Vectors reduced to their nearest periodic image (OpenMM's reduced box vectors)."""
    if not periodic or box is None:
        return vectors
    vectors = np.array(vectors)
    for axis in (2, 1, 0):
        vectors -= np.round(vectors[:, axis] / box[axis, axis])[:, None] * box[axis]
    return vectors
