"""Positive curvature of non-bonded pairs that stand close, for the whitening."""

from __future__ import annotations

import numpy as np
import openmm as mm
import scipy.sparse as sp
from scipy.spatial import cKDTree

from .internal_coordinates import nearest_image
from .potential import Potential

__all__ = ["Contacts", "near_pairs"]

COULOMB = 138.93545764438198  # kJ/mol nm / e^2, as in OpenMM
CUTOFF = 0.35  # nm: hydrogen bonds and everything that clashes
# A molecule up to this many atoms gets the full blocks of its contacts; the fill-in of a larger
# one's factors would cost more than the contacts' off-diagonal blocks gain.
LARGEST_COUPLED_MOLECULE = 3000
# Curvatures of clashing pairs grow without bound; beyond this (kJ/mol/nm^2) they only freeze atoms.
LARGEST_CURVATURE = 1e8


class Contacts:
    """Positive curvature of Lennard-Jones and Coulomb pairs that stand close."""

    def __init__(self, potential: Potential, molecules: np.ndarray) -> None:
        self._moves = potential.moves
        self._size = potential.num_particles
        self._molecules = molecules
        self._full = np.bincount(molecules)[molecules] <= LARGEST_COUPLED_MOLECULE
        forces = [
            force
            for force in potential.system.getForces()
            if isinstance(force, mm.NonbondedForce)
            and potential.groups >> force.getForceGroup() & 1
        ]
        self._force = forces[0] if forces else None
        if self._force is None:
            return
        force = self._force
        parameters = [force.getParticleParameters(i) for i in range(self._size)]
        self._charge, self._sigma, self._epsilon = np.array(
            [[p[0]._value, p[1]._value, p[2]._value] for p in parameters]
        ).T
        exceptions = [force.getExceptionParameters(i) for i in range(force.getNumExceptions())]
        self._excepted = np.unique([min(p[:2]) * self._size + max(p[:2]) for p in exceptions])
        kept = [p for p in exceptions if p[2]._value != 0 or p[4]._value != 0]
        self._exception_pairs = np.array([p[:2] for p in kept], dtype=np.int64).reshape(-1, 2)
        self._exception_parameters = np.array(
            [[p[2]._value, p[3]._value, p[4]._value] for p in kept]
        ).reshape(-1, 3)

    def stiffness(self, positions: np.ndarray, box: np.ndarray | None) -> sp.csr_array:
        """Return the sparse (3N, 3N) stiffness at (N, 3) positions in nm, in kJ/mol/nm^2.

        Pairs of different molecules, and of molecules too large, contribute to the diagonal blocks
        of their atoms alone, so that the factors of P stay sparse.
        """
        size = 3 * self._size
        if self._force is None:
            return sp.csr_array((size, size))
        periodic = box is not None and self._force.usesPeriodicBoundaryConditions()
        i, j, vectors = near_pairs(positions, CUTOFF, box if periodic else None)
        keys = np.minimum(i, j) * self._size + np.maximum(i, j)
        free = ~np.isin(keys, self._excepted)
        i, j, vectors = i[free], j[free], vectors[free]
        a, b = self._exception_pairs.T
        charge, sigma, epsilon = self._exception_parameters.T
        charges = np.concatenate([self._charge[i] * self._charge[j], charge])
        sigmas = np.concatenate([(self._sigma[i] + self._sigma[j]) / 2, sigma])
        epsilons = np.concatenate([np.sqrt(self._epsilon[i] * self._epsilon[j]), epsilon])
        vectors = np.concatenate(
            [vectors, nearest_image(positions[a] - positions[b], box, periodic)]
        )
        i, j = np.concatenate([i, a]), np.concatenate([j, b])
        blocks = _pair_stiffness(vectors, charges, sigmas, epsilons)
        # An atom that does not move is a wall to the other one of its pair.
        a, b = self._moves[i], self._moves[j]
        coupled = (self._molecules[i] == self._molecules[j]) & self._full[i] & a & b
        rows = [i[a], j[b], i[coupled], j[coupled]]
        columns = [i[a], j[b], j[coupled], i[coupled]]
        values = [blocks[a], blocks[b], -blocks[coupled], -blocks[coupled]]
        return _from_blocks(
            np.concatenate(values), np.concatenate(rows), np.concatenate(columns), size
        )


def _pair_stiffness(vectors, charges, sigmas, epsilons) -> np.ndarray:
    """3x3 blocks with the positive radial and transverse curvatures of each pair."""
    r = np.maximum(np.linalg.norm(vectors, axis=1), 1e-3)
    unit = vectors / r[:, None]
    sixth = (sigmas / r) ** 6
    slope = 4 * epsilons * (6 * sixth - 12 * sixth**2) / r - COULOMB * charges / r**2
    curvature = 4 * epsilons * (156 * sixth**2 - 42 * sixth) / r**2 + 2 * COULOMB * charges / r**3
    radial = np.clip(curvature, 0.0, LARGEST_CURVATURE)
    transverse = np.clip(slope / r, 0.0, LARGEST_CURVATURE)
    outer = unit[:, :, None] * unit[:, None, :]
    return (radial - transverse)[:, None, None] * outer + transverse[:, None, None] * np.eye(3)


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
    for shift in np.ndindex(3, 3, 3):
        shift = np.array(shift) - 1
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


def _from_blocks(blocks, rows, columns, size: int) -> sp.csr_array:
    """Assemble (size, size) from 3x3 blocks at atom indices, duplicates summed."""
    three = np.arange(3)
    i = np.broadcast_to((3 * rows[:, None] + three)[:, :, None], blocks.shape)
    j = np.broadcast_to((3 * columns[:, None] + three)[:, None, :], blocks.shape)
    entries = (blocks.ravel(), (i.ravel(), j.ravel()))
    return sp.coo_array(entries, shape=(size, size)).tocsr()
