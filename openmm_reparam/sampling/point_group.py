"""Symmetry of a structure: how many rotations leave it as it is, and whether it is chiral."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

__all__ = ["PointGroup", "point_group"]

# nm: atoms this near to one another's places are taken to be there.
TOLERANCE = 2e-3
# Relative: a structure thinner than this is linear.
THIN = 1e-3


@dataclass(frozen=True)
class PointGroup:
    """What of a structure's point group counts its permutational isomers.

    Attributes
    ----------
    rotations : int
        Proper rotations, the identity among them: the symmetry number of rotational spectra. Of a
        linear structure 1, or 2 where its ends are alike.
    chiral : bool
        Whether the mirror image is another structure.
    """

    rotations: int
    chiral: bool

    @property
    def isomers(self) -> float:
        """2 / (order of the point group): permutational isomers up to a constant of all minima."""
        return (2 if self.chiral else 1) / self.rotations


def point_group(
    positions: np.ndarray, labels: np.ndarray, tolerance: float = TOLERANCE
) -> PointGroup:
    """Find the rotations and reflections that take each atom to one of its kind.

    Parameters
    ----------
    positions : (N, 3) array
        In nm.
    labels : (N,) array
        Kinds of atoms: masses, say.
    tolerance : float
        In nm.

    Returns
    -------
    PointGroup

    Examples
    --------
    A tetrahedron has twelve rotations.

    >>> corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    >>> point_group(0.1 * corners, np.zeros(4))
    PointGroup(rotations=12, chiral=False)
    """
    kinds = np.unique(labels, return_inverse=True)[1].ravel()
    x = positions - positions.mean(axis=0)
    spread = np.linalg.svd(x, compute_uv=False)
    if len(x) == 1:
        return PointGroup(1, chiral=False)
    if spread[1] <= THIN * spread[0]:
        alike = _maps(np.eye(3) * -1, x, x, kinds, tolerance)
        return PointGroup(2 if alike else 1, chiral=False)
    rotations = sum(1 for _ in _rotations(x, x, kinds, tolerance))
    chiral = next(_rotations(x, -x, kinds, tolerance), None) is None
    return PointGroup(rotations, chiral)


def _rotations(
    x: np.ndarray, target: np.ndarray, kinds: np.ndarray, tolerance: float
) -> Iterator[np.ndarray]:
    """Yield the proper rotations that take centred atoms to places of their kind in a target."""
    first, second = _frame_atoms(x, kinds, tolerance)
    frame = _frame(x[first], x[second])
    radii = np.linalg.norm(target, axis=1)
    span = np.linalg.norm(x[second] - x[first])
    candidates = [
        np.flatnonzero((kinds == kinds[a]) & (np.abs(radii - np.linalg.norm(x[a])) < tolerance))
        for a in (first, second)
    ]
    for a in candidates[0]:
        for b in candidates[1]:
            if a != b and abs(np.linalg.norm(target[b] - target[a]) - span) < 2 * tolerance:
                rotation = _frame(target[a], target[b]).T @ frame
                if _maps(rotation, x, target, kinds, tolerance):
                    yield rotation


def _frame_atoms(x: np.ndarray, kinds: np.ndarray, tolerance: float) -> tuple[int, int]:
    """Two atoms not in line with the centre, of shells (kind and radius) with few atoms."""
    radii = np.linalg.norm(x, axis=1)
    alike = (np.abs(radii[:, None] - radii) < tolerance) & (kinds[:, None] == kinds)
    sizes = alike.sum(axis=1)
    far = radii > 0.1 * radii.max()
    first = int(np.argmin(np.where(far, sizes, len(x) + 1)))
    sines = np.linalg.norm(np.cross(x[first], x), axis=1) / (radii[first] * np.maximum(radii, 1e-9))
    usable = far & (sines > min(0.3, 0.9 * sines[far].max()))
    return first, int(np.argmin(np.where(usable, sizes, len(x) + 1)))


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Right-handed orthonormal rows spanned by two vectors."""
    a = first / np.linalg.norm(first)
    c = np.cross(a, second)
    c /= max(float(np.linalg.norm(c)), 1e-12)
    return np.stack([a, np.cross(c, a), c])


def _maps(
    rotation: np.ndarray, x: np.ndarray, target: np.ndarray, kinds: np.ndarray, tolerance: float
) -> bool:
    """Whether a rotation takes each atom to the place of one of its kind, each place used once."""
    distances, places = cKDTree(target).query(x @ rotation.T)
    return bool(
        distances.max() < 3 * tolerance
        and (kinds[places] == kinds).all()
        and len(np.unique(places)) == len(places)
    )
