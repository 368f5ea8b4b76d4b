"""Bond lengths, angles, dihedrals and their gradients (the rows of Wilson's B matrix), vectorized.

Wilson, Decius, Cross, "Molecular Vibrations", McGraw-Hill 1955. Every function takes the vectors
between a term's atoms, so that the caller decides about periodic images.
"""

from __future__ import annotations

import numpy as np

from .. import compiled

__all__ = [
    "STRAIGHT",
    "across",
    "angles",
    "dihedrals",
    "directions",
    "distances",
]

# A vector shorter than this (nm) is rounding: it has no direction.
NO_LENGTH = 1e-12
# Arms of angles and axes of dihedrals that are shorter than this (nm), which atoms that have fallen
# onto each other have, count as this long; in the compiled core, too.
SHORTEST_ARM = 0.02
# An angle beyond this (radians) counts as straight: its gradient has no limit at 180 degrees, and
# no torsion is about its arms.
STRAIGHT = np.radians(170.0)


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ti,ti->t", vectors, vectors))[:, None]


def directions(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and unit vectors.

    Parameters
    ----------
    vectors : (T, 3) array

    Returns
    -------
    (T,) array, (T, 3) array
        Lengths, and unit vectors: zero for a vector of length zero, which has no direction.
    """
    length = _norm(vectors)
    units = np.where(length > NO_LENGTH, vectors, 0.0) / np.maximum(length, NO_LENGTH)
    return length[:, 0], units


def across(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Two axes across each straight angle.

    Parameters
    ----------
    u, v : (T, 3) arrays
        Unit vectors along its arms.

    Returns
    -------
    (T, 2, 3) array
        Unit vectors, perpendicular to each other and to the angle's axis.
    """
    axis = directions(u - v)[1]
    helper = np.eye(3)[np.argmin(np.abs(axis), axis=1)]
    first = directions(np.cross(axis, helper))[1]
    return np.stack([first, np.cross(axis, first)], axis=1)


def distances(ij: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances and gradients.

    Parameters
    ----------
    ij : (T, 3) array
        x_i - x_j.

    Returns
    -------
    (T,) array, (T, 2, 3) array
        Distances, and their gradients with respect to x_i and x_j; at distance zero, where none
        exists, those along the x axis.
    """
    return compiled.distances(ij)


def angles(ij: np.ndarray, kj: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angles i-j-k in radians and gradients, kept bounded where none exists.

    That is so near 0 and pi, and where two atoms coincide (the angle is then said to be pi/2).

    Parameters
    ----------
    ij, kj : (T, 3) arrays
        x_i - x_j and x_k - x_j.

    Returns
    -------
    (T,) array, (T, 3, 3) array
        Angles, and their gradients with respect to x_i, x_j and x_k.
    """
    return compiled.angles(ij, kj)


def dihedrals(ij: np.ndarray, kj: np.ndarray, kl: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dihedrals i-j-k-l in radians (IUPAC sign) and gradients, kept bounded where none exists.

    That is so in straight chains, and where two atoms coincide.

    Parameters
    ----------
    ij, kj, kl : (T, 3) arrays
        x_i - x_j, x_k - x_j and x_k - x_l.

    Returns
    -------
    (T,) array, (T, 4, 3) array
        Dihedrals, and their gradients with respect to x_i, x_j, x_k and x_l.

    References
    ----------
    Blondel, Karplus, J. Comput. Chem. 1996, 17, 1132.
    """
    return compiled.dihedrals(ij, kj, kl)
