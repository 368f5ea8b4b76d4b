"""Bonds from elements and distances alone."""

from __future__ import annotations

import numpy as np

from .neighbors import near_pairs

__all__ = ["bonded_pairs", "covalent_radii"]

# Single-bond radii of hydrogen to radon in pm (Pyykkö, Atsumi, Chem. Eur. J. 2009, 15, 186).
# fmt: off
RADII_PM = (
    32, 46, 133, 102, 85, 75, 71, 63, 64, 67, 155, 139, 126, 116, 111, 103, 99, 96,
    196, 171, 148, 136, 134, 122, 119, 116, 111, 110, 112, 118, 124, 121, 121, 116, 114, 117,
    210, 185, 163, 154, 147, 138, 128, 125, 125, 120, 128, 136, 142, 140, 140, 136, 133, 131,
    232, 196, 180, 163, 176, 174, 173, 172, 168, 169, 168, 167, 166, 165, 164, 170, 162,
    152, 146, 137, 131, 129, 122, 123, 124, 133, 144, 144, 151, 145, 147, 142,
)
# fmt: on
# Two atoms are bonded up to this multiple of the sum of their radii.
STRETCHED = 1.3


def covalent_radii(numbers: np.ndarray) -> np.ndarray:
    """Covalent radii in nm.

    Parameters
    ----------
    numbers : (N,) int array
        Atomic numbers. Elements beyond radon get radon's radius.

    Returns
    -------
    (N,) array

    Examples
    --------
    >>> covalent_radii(np.array([1, 6])).tolist()
    [0.032, 0.075]
    """
    table = np.array(RADII_PM) / 1000
    return table[np.clip(numbers, 1, len(table)) - 1]


def bonded_pairs(
    numbers: np.ndarray,
    positions: np.ndarray,
    box: np.ndarray | None = None,
    stretched: float = STRETCHED,
) -> np.ndarray:
    """Pairs of atoms nearer than a multiple of the sum of their covalent radii.

    Parameters
    ----------
    numbers : (N,) int array
        Atomic numbers.
    positions : (N, 3) array
        In nm.
    box : (3, 3) array, optional
        Periodic box vectors in nm.
    stretched : float
        The multiple.

    Returns
    -------
    (B, 2) int array
        Pairs i < j, sorted.

    Examples
    --------
    >>> water = np.array([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]])
    >>> bonded_pairs(np.array([8, 1, 1]), water).tolist()
    [[0, 1], [0, 2]]
    """
    radii = covalent_radii(numbers)
    if len(numbers) < 2:
        return np.empty((0, 2), dtype=np.int64)
    i, j, vectors = near_pairs(positions, 2 * stretched * radii.max(), box)
    near = np.linalg.norm(vectors, axis=1) < stretched * (radii[i] + radii[j])
    pairs = np.sort(np.stack([i[near], j[near]], axis=1), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
