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


class ContactStiffness(NamedTuple):
    """What contacts add to P: a block for each atom, and pairs that may be coupled.

    Attributes
    ----------
    blocks : (N, 3, 3) array
        Stiffness of each atom against surroundings that are held still, kJ/mol/nm^2.
    pairs : (C, 2) int array
        Pairs within molecules whose atoms may be coupled.
    curvatures : (C, 5) array
        Their unit vectors; radial and transverse curvatures in kJ/mol/nm^2, neither negative.
    """

    blocks: np.ndarray
    pairs: np.ndarray
    curvatures: np.ndarray


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
        Molecules within which a pair's atoms may be coupled. Elsewhere each atom of a pair has its
        own block, as if the other one were held still.
    """

    def __init__(self, potential: Potential, molecules: np.ndarray, couples: np.ndarray) -> None:
        self._size = potential.num_particles
        self._contacts = None
        known = potential.nonbonded
        if known is None:
            return
        self._periodic = known.periodic
        felt = (known.exception_products != 0) | (known.exception_epsilons != 0)
        self._contacts = compiled.Contacts(
            known.particles,
            molecules.astype(np.int64),
            couples[molecules],
            potential.moves,
            known.exception_set,
            known.exception_pairs[felt],
            known.exceptions[felt],
            *compiled.virtual_sites(compiled.address(potential.system)),
        )

    def evaluate(self, positions: np.ndarray, box: np.ndarray | None) -> ContactStiffness:
        """Return the stiffness of contacts at (N, 3) positions in nm."""
        if self._contacts is None:
            return _nothing(self._size)
        box = box if self._periodic else None
        return ContactStiffness(*self._contacts.evaluate(positions, box))


def _nothing(size: int) -> ContactStiffness:
    return ContactStiffness(
        np.zeros((size, 3, 3)), np.empty((0, 2), dtype=np.int64), np.empty((0, 5))
    )
