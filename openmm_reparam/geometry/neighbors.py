"""Pairs of points that stand close, and vectors over periodic images."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

__all__ = ["near_pairs", "nearest_image"]


def near_pairs(positions: np.ndarray, cutoff: float, box: np.ndarray | None):
    """Pairs i < j nearer than the cutoff (nm) and their vectors x_i - x_j, over periodic images."""
    if box is None:
        i, j = cKDTree(positions).query_pairs(cutoff, output_type="ndarray").T
        return i, j, positions[i] - positions[j]
    # Wrapped into one cell and surrounded by the images that lie within the cutoff of it.
    fractions = positions @ np.linalg.inv(box)
    wrapped = (fractions - np.floor(fractions)) @ box
    heights = 1.0 / np.linalg.norm(np.linalg.inv(box), axis=0)
    margins = cutoff / heights
    images, owners = [wrapped], [np.arange(len(positions))]
    inside = fractions - np.floor(fractions)
    for cell in np.ndindex(3, 3, 3):
        shift = np.array(cell) - 1
        if not shift.any():
            continue
        moved = inside + shift
        near = ((moved > -margins) & (moved < 1 + margins)).all(axis=1)
        images.append(moved[near] @ box)
        owners.append(np.flatnonzero(near))
    points, owner = np.concatenate(images), np.concatenate(owners)
    i, j = cKDTree(points).query_pairs(cutoff, output_type="ndarray").T
    # Each pair once: one end in the cell itself; of two ends across a face, the lower index.
    size = len(positions)
    keep = (i < size) & ((j < size) | (owner[i] < owner[j]))
    i, j = i[keep], j[keep]
    return owner[i], owner[j], points[i] - points[j]


def nearest_image(vectors: np.ndarray, box: np.ndarray | None, periodic: bool) -> np.ndarray:
    """Vectors reduced to their nearest periodic image (OpenMM's reduced box vectors)."""
    if not periodic or box is None:
        return vectors
    vectors = np.array(vectors)
    for axis in (2, 1, 0):
        vectors -= np.round(vectors[:, axis] / box[axis, axis])[:, None] * box[axis]
    return vectors
