"""Structures laid onto each other: rigid least squares, RMSDs and clusters of them."""

from __future__ import annotations

import mdtraj
import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.spatial.transform import Rotation

__all__ = ["rmsd_matrix", "rmsd_clusters", "superposed", "superposed_rmsd"]

# nm: replicas nearer than this on average are one structure.
CLUSTER_RADIUS = 0.1


def rmsd_matrix(positions: np.ndarray) -> np.ndarray:
    """RMSD in nm between all pairs of (R, N, 3) structures after superposition (mdtraj).

    Examples
    --------
    >>> import numpy as np
    >>> triangle = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    >>> moved = triangle[:, [1, 2, 0]] + 5
    >>> bool(rmsd_matrix(np.stack([triangle, moved]))[0, 1] < 1e-3)
    True
    """
    # mdtraj keeps single precision: centring first keeps its digits for the shape.
    centred = positions - positions.mean(axis=1, keepdims=True)
    structures = mdtraj.Trajectory(centred, None)
    rows = [mdtraj.rmsd(structures, structures, frame=k) for k in range(len(positions))]
    matrix = np.array(rows, dtype=float)
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 0.0)
    return matrix


def rmsd_clusters(
    rmsd: np.ndarray, energies: np.ndarray, radius: float = CLUSTER_RADIUS
) -> np.ndarray:
    """Label (R,) structures by average linkage of their (R, R) RMSDs, lowest energies first."""
    if len(rmsd) == 1:
        return np.zeros(1, dtype=int)
    labels = fcluster(linkage(squareform(rmsd, checks=False), "average"), radius, "distance")
    order = dict.fromkeys(labels[np.argsort(energies, kind="stable")])
    number = {label: k for k, label in enumerate(order)}
    return np.array([number[label] for label in labels])


def superposed(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Move some atoms rigidly onto a reference, with least squares."""
    centre, target = x.mean(axis=0), reference.mean(axis=0)
    if len(x) < 3:
        return x - centre + target
    rotation = Rotation.align_vectors(reference - target, x - centre)[0]
    return rotation.apply(x - centre) + target


def superposed_rmsd(x: np.ndarray, reference: np.ndarray) -> float:
    """Return the RMSD of two (N, 3) arrays in nm after mdtraj has superposed them."""
    # mdtraj keeps single precision: centring first keeps its digits for the shape.
    moving, fixed = (mdtraj.Trajectory(y - y.mean(axis=0), None) for y in (x, reference))
    moving.superpose(fixed)
    difference = moving.xyz[0].astype(float) - fixed.xyz[0]
    return float(np.sqrt((difference**2).sum(axis=1).mean()))
