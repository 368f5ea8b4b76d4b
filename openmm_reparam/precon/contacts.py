"""Positive curvature of non-bonded pairs that stand close, for the preconditioner."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from ..geometry.neighbors import near_pairs, nearest_image
from ..potentials.nonbonded import COULOMB
from ..potentials.potential import Potential

__all__ = [
    "ContactStiffness",
    "Contacts",
    "NoContacts",
]

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
        self._parameters = parameters = potential.nonbonded
        if parameters is None:
            return
        felt = (parameters.exception_products != 0) | (parameters.exception_epsilons != 0)
        self._exceptions = np.flatnonzero(felt)
        first, second = parameters.exception_pairs.T
        # Looked up among a molecule's own pairs only, unless anchors are excluded from strangers.
        self._strangers = bool((molecules[first] != molecules[second]).any())

    def evaluate(self, positions: np.ndarray, box: np.ndarray | None) -> ContactStiffness:
        """Return the stiffness of contacts at (N, 3) positions in nm."""
        known = self._parameters
        if known is None:
            return _nothing(self._size)
        periodic = box is not None and known.periodic
        i, j, vectors = near_pairs(positions, CUTOFF, box if periodic else None)
        within = np.flatnonzero(self._strangers | (self._molecules[i] == self._molecules[j]))
        free = np.ones(len(i), dtype=bool)
        excepted = np.isin(known.keys(i[within], j[within]), known.exception_keys)
        free[within[excepted]] = False
        i, j, vectors = i[free], j[free], vectors[free]
        a, b = known.exception_pairs[self._exceptions].T
        charges = np.concatenate(
            [known.charges[i] * known.charges[j], known.exception_products[self._exceptions]]
        )
        sigmas = np.concatenate(
            [(known.sigmas[i] + known.sigmas[j]) / 2, known.exception_sigmas[self._exceptions]]
        )
        depths = np.maximum(known.epsilons[i] * known.epsilons[j], 0.0)
        epsilons = np.concatenate([np.sqrt(depths), known.exception_epsilons[self._exceptions]])
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
