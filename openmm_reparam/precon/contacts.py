"""Positive curvature of non-bonded pairs that stand close, for the preconditioner."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import compiled
from ..potentials.potential import Potential

__all__ = [
    "ContactStiffness",
    "Contacts",
    "NoContacts",
]

# A molecule up to this many atoms gets the full blocks of its contacts; the fill-in of a larger
# one's factors would cost more than the contacts' off-diagonal blocks gain.
LARGEST_COUPLED_MOLECULE = 3000


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
        self._size = potential.num_particles
        self._contacts = None
        known = potential.nonbonded
        if known is None:
            return
        self._periodic = known.periodic
        small = np.bincount(molecules) <= LARGEST_COUPLED_MOLECULE
        felt = (known.exception_products != 0) | (known.exception_epsilons != 0)
        self._contacts = compiled.Contacts(
            np.column_stack([known.charges, known.sigmas, known.epsilons]),
            molecules.astype(np.int64),
            (couples & small)[molecules],
            potential.moves,
            known.exception_set,
            known.exception_pairs[felt],
            known.exceptions[felt],
        )

    def evaluate(self, positions: np.ndarray, box: np.ndarray | None) -> ContactStiffness:
        """Return the stiffness of contacts at (N, 3) positions in nm."""
        if self._contacts is None:
            return _nothing(self._size)
        blocks, pairs, rows = self._contacts.evaluate(
            positions, box if self._periodic else None, coupled=True
        )
        return ContactStiffness(blocks, pairs, np.stack([rows, -rows], axis=1))


def _nothing(size: int) -> ContactStiffness:
    return ContactStiffness(
        np.zeros((size, 3, 3)), np.empty((0, 2), dtype=np.int64), np.empty((0, 2, 3))
    )
