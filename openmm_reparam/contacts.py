"""Positive curvature of non-bonded pairs that stand close, for the whitening."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import openmm as mm
import scipy.sparse as sp
from scipy.spatial import cKDTree

from .internal_coordinates import nearest_image
from .potential import Potential

__all__ = ["ContactStiffness", "Contacts", "NoContacts", "near_pairs", "unbonded_pairs"]

COULOMB = 138.93545764438198  # kJ/mol nm / e^2, as in OpenMM
CUTOFF = 0.35  # nm: hydrogen bonds and everything that clashes
# A molecule up to this many atoms gets the full blocks of its contacts; the fill-in of a larger
# one's factors would cost more than the contacts' off-diagonal blocks gain.
LARGEST_COUPLED_MOLECULE = 3000
# Curvatures of clashing pairs grow without bound; beyond this (kJ/mol/nm^2) they only freeze atoms.
LARGEST_CURVATURE = 1e8


class ContactStiffness(NamedTuple):
    """What contacts add to P: R^T R of a row for each pair, and a block for each atom.

    Attributes
    ----------
    blocks : (N, 3, 3) array
        Stiffness of each atom against surroundings that are held still, kJ/mol/nm^2.
    pairs : (C, 2) int array
    rows : (C, 2, 3) array
        sqrt(k) times the gradient of the pair's distance.
    """

    blocks: np.ndarray
    pairs: np.ndarray
    rows: np.ndarray


class NoContacts:
    """Where contacts are not asked for."""

    def __init__(self, potential: Potential) -> None:
        self._size = potential.num_particles

    def evaluate(self, positions: np.ndarray, box: np.ndarray | None) -> ContactStiffness:
        """Nothing."""
        return _nothing(self._size)


class Contacts:
    """Positive curvature of Lennard-Jones and Coulomb pairs that stand close.

    Parameters
    ----------
    potential : Potential
    molecules : (N,) int array
        Label of each atom's molecule.
    couples : (molecules,) bool array
        Molecules in which the pair's two atoms are coupled by a row (unless they are larger than
        3000 atoms). Elsewhere each atom of a pair has its own block, as if the other one were held
        still, so that the factors of P stay sparse.
    """

    def __init__(self, potential: Potential, molecules: np.ndarray, couples: np.ndarray) -> None:
        self._moves = potential.moves
        self._size = potential.num_particles
        self._molecules = molecules
        self._couples = (couples & (np.bincount(molecules) <= LARGEST_COUPLED_MOLECULE))[molecules]
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

    def evaluate(self, positions: np.ndarray, box: np.ndarray | None) -> ContactStiffness:
        """Return the stiffness of contacts at (N, 3) positions in nm."""
        if self._force is None:
            return _nothing(self._size)
        periodic = box is not None and self._force.usesPeriodicBoundaryConditions()
        i, j, vectors = near_pairs(positions, CUTOFF, box if periodic else None)
        within = np.flatnonzero(self._molecules[i] == self._molecules[j])
        keys = np.minimum(i, j)[within] * self._size + np.maximum(i, j)[within]
        free = np.ones(len(i), dtype=bool)
        free[within[np.isin(keys, self._excepted)]] = False
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
        units, radial, transverse = _curvatures(vectors, charges, sigmas, epsilons)
        a, b = self._moves[i], self._moves[j]
        coupled = (self._molecules[i] == self._molecules[j]) & self._couples[i] & a & b
        # An atom that does not move is a wall to the other one of its pair.
        alone = np.flatnonzero(~coupled & (a | b) & (radial + transverse > 0))
        ends = np.stack([i[alone], j[alone]], axis=1)
        blocks = _summed_blocks(
            self._size, ends, self._moves[ends], units[alone], radial[alone], transverse[alone]
        )
        stretched = np.flatnonzero(coupled & (radial > 0))
        rows = np.sqrt(radial[stretched])[:, None] * units[stretched]
        pairs = np.stack([i[stretched], j[stretched]], axis=1)
        return ContactStiffness(blocks, pairs, np.stack([rows, -rows], axis=1))


def _curvatures(vectors, charges, sigmas, epsilons):
    """Directions of pairs, and the positive parts of their radial and transverse curvatures."""
    r = np.maximum(np.sqrt(np.einsum("ti,ti->t", vectors, vectors)), 1e-3)
    sixth = (sigmas / r) ** 6
    coulomb = COULOMB * charges / r
    slope = 24 * epsilons * (sixth - 2 * sixth**2) - coulomb
    curvature = 4 * epsilons * (156 * sixth**2 - 42 * sixth) + 2 * coulomb
    radial, transverse = np.clip(np.stack([curvature, slope]) / r**2, 0.0, LARGEST_CURVATURE)
    return vectors / r[:, None], radial, transverse


def _summed_blocks(size, ends, weights, units, radial, transverse) -> np.ndarray:
    """Sum radial u u^T + transverse (I - u u^T) over the pairs of every atom: (size, 3, 3)."""
    x, y, z = units.T
    tensors = (radial - transverse) * np.stack([x * x, x * y, x * z, y * y, y * z, z * z])
    tensors[[0, 3, 5]] += transverse
    starts = np.arange(0, ends.size + 1, 2)
    summing = sp.csc_array((weights.ravel().astype(float), ends.ravel(), starts), (size, len(ends)))
    return (summing @ tensors.T)[:, [[0, 1, 2], [1, 3, 4], [2, 4, 5]]]


def _nothing(size: int) -> ContactStiffness:
    return ContactStiffness(
        np.zeros((size, 3, 3)), np.empty((0, 2), dtype=np.int64), np.empty((0, 2, 3))
    )


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


def unbonded_pairs(potential: Potential, positions: np.ndarray, cutoff: float):
    """Near pairs, as `near_pairs` returns them, without those excluded from non-bonded forces.

    Parameters
    ----------
    potential : Potential
    positions : (N, 3) array
        In nm.
    cutoff : float
        In nm.

    Returns
    -------
    (n,), (n,) int and (n, 3) arrays
        Atoms i and j of each pair, and the vector from j to i in nm.
    """
    i, j, vectors = near_pairs(positions, cutoff, potential.box())
    excluded = potential.excluded_pairs
    pairs = zip(np.minimum(i, j).tolist(), np.maximum(i, j).tolist(), strict=True)
    free = np.array([pair not in excluded for pair in pairs], dtype=bool)
    return i[free], j[free], vectors[free]
