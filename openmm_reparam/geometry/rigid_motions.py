"""Translations and rotations of a structure as a basis of displacements."""

from __future__ import annotations

import numpy as np

__all__ = ["rigid_basis"]


def rigid_basis(x: np.ndarray, rotations: bool = True) -> np.ndarray:
    """Orthonormal rigid motions of some atoms.

    Parameters
    ----------
    x : (n, 3) array
        In nm.
    rotations : bool
        About their centre, beside the translations.

    Returns
    -------
    (3n, k) array
        Of unit columns; k is 6 or less.
    """
    motions = [np.broadcast_to(axis, x.shape) for axis in np.eye(3)]
    if rotations:
        motions += [np.cross(axis, x - x.mean(axis=0)) for axis in np.eye(3)]
    columns = [m.ravel() / max(float(np.linalg.norm(m)), 1e-12) for m in motions]
    basis, sizes, _ = np.linalg.svd(np.stack(columns, axis=1), full_matrices=False)
    return basis[:, sizes > 1e-6]
