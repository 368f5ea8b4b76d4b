"""Redundant internal coordinates of a System: values, Wilson's B matrix and differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from . import internal_coordinates as ic
from .neighbors import nearest_image

__all__ = ["RedundantInternals", "TermLists"]


class TermLists(Protocol):
    """Atoms of internal coordinates by kind, each a (T, n) int array."""

    @property
    def bonds(self) -> np.ndarray:
        """Pairs of bonded atoms, (B, 2)."""

    @property
    def angles(self) -> np.ndarray:
        """Angles i-j-k, (A, 3)."""

    @property
    def torsions(self) -> np.ndarray:
        """Dihedrals i-j-k-l, (T, 4)."""

    @property
    def out_of_plane(self) -> np.ndarray:
        """Improper dihedrals, (P, 4)."""

    @property
    def pairs(self) -> np.ndarray:
        """Other pairs of atoms whose distance counts, (Q, 2)."""


class RedundantInternals:
    """Bonds, angles, torsions, out-of-plane angles and pair distances of atoms.

    An angle that is straight at the reference has two coordinates: how far the directions of its
    arms lean towards each of two axes across it, in radians. The axes are fixed in space.

    Parameters
    ----------
    terms : TermLists
    reference : (N, 3) array
        In nm: which angles are straight is decided there.
    box : (3, 3) array, optional
        Vectors between atoms go to the nearest image.

    Attributes
    ----------
    count : int
        Number of coordinates M.
    dihedral : (M,) bool array
        Those whose differences are wrapped.

    References
    ----------
    Wilson, Decius, Cross, "Molecular Vibrations", McGraw-Hill 1955; Peng, Ayala, Schlegel, Frisch,
    J. Comput. Chem. 1996, 17, 49.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> none = np.empty((0, 4), dtype=int)
    >>> water = SimpleNamespace(
    ...     bonds=np.array([[0, 1], [0, 2]]), angles=np.array([[1, 0, 2]]),
    ...     torsions=none, out_of_plane=none, pairs=none[:, :2])
    >>> x = np.array([[0, 0, 0], [0.096, 0, 0], [0, 0.096, 0]])
    >>> values, jacobian = RedundantInternals(water, x)(x)
    >>> values.round(3).tolist(), jacobian.shape
    ([0.096, 0.096, 1.571], (3, 9))
    """

    def __init__(
        self, terms: TermLists, reference: np.ndarray, box: np.ndarray | None = None
    ) -> None:
        self._box, self._size = box, reference.size
        i, j, k = terms.angles.T
        values = ic.angles(self._vectors(reference, i, j), self._vectors(reference, k, j))[0]
        self._bends = values <= ic.STRAIGHT
        self._bonds, self._pairs = terms.bonds, terms.pairs
        self._bent, self._straight = terms.angles[self._bends], terms.angles[~self._bends]
        self._dihedrals = np.concatenate([terms.torsions, terms.out_of_plane])
        self._axes = self._across(reference)
        twice = np.repeat(self._straight, 2, axis=0)
        members = [self._bonds, self._bent, twice, self._dihedrals, self._pairs]
        self.count = sum(map(len, members))
        kinds = np.repeat(np.arange(len(members)), [len(atoms) for atoms in members])
        self.dihedral = kinds == 3
        widths = np.array([3 * atoms.shape[1] for atoms in members])[kinds]
        self._starts = np.concatenate([[0], np.cumsum(widths)])
        self._columns = np.concatenate(
            [(3 * atoms[:, :, None] + np.arange(3)).ravel() for atoms in members]
        )

    def of_terms(self, terms: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return what belongs to terms, (T,) of each kind, in the order of coordinates, (M,).

        Parameters
        ----------
        terms : mapping of str to array
            By the names of `TermLists`.
        """
        bent, straight = terms["angles"][self._bends], terms["angles"][~self._bends]
        return np.concatenate(
            [
                terms["bonds"],
                bent,
                np.repeat(straight, 2),
                terms["torsions"],
                terms["out_of_plane"],
                terms["pairs"],
            ]
        )

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, sp.csr_array]:
        """Return coordinates and Wilson's B matrix.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.

        Returns
        -------
        (M,) array, sparse (M, 3N) array
            In nm and radians, and their derivatives by positions.
        """
        found = [
            self._distances(positions, self._bonds),
            self._angles(positions),
            self._straight_bends(positions),
            self._torsions(positions),
            self._distances(positions, self._pairs),
        ]
        gradients = np.concatenate([gradients.ravel() for _, gradients in found])
        shape = (self.count, self._size)
        jacobian = sp.csr_array((gradients, self._columns, self._starts), shape=shape)
        return np.concatenate([values for values, _ in found]), jacobian

    def differences(self, after: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Return how far coordinates, (M,) each, have changed; dihedrals within (-pi, pi]."""
        change = after - before
        turns = np.ceil(change[self.dihedral] / (2 * np.pi) - 0.5)
        change[self.dihedral] -= 2 * np.pi * turns
        return change

    def _vectors(self, positions, i, j):
        return nearest_image(positions[i] - positions[j], self._box, self._box is not None)

    def _distances(self, positions, atoms):
        return ic.distances(self._vectors(positions, *atoms.T))

    def _angles(self, positions):
        i, j, k = self._bent.T
        return ic.angles(self._vectors(positions, i, j), self._vectors(positions, k, j))

    def _torsions(self, positions):
        i, j, k, m = self._dihedrals.T
        ij, kj, km = (self._vectors(positions, *ends) for ends in ((i, j), (k, j), (k, m)))
        return ic.dihedrals(ij, kj, km)

    def _arms(self, positions):
        """Return lengths and directions of both arms of the straight angles."""
        i, j, k = self._straight.T
        return [ic.directions(self._vectors(positions, end, j)) for end in (i, k)]

    def _across(self, reference):
        """Return two axes across each straight angle, (S, 2, 3)."""
        (_, u), (_, v) = self._arms(reference)
        return ic.across(u, v)

    def _straight_bends(self, positions):
        """Return sums of the arms' directions along the axes, (2S,), and gradients, (2S, 3, 3)."""
        (length_i, u), (length_k, v) = self._arms(positions)
        first, last = (
            (self._axes - np.einsum("sai,si->sa", self._axes, unit)[:, :, None] * unit[:, None])
            / np.maximum(length, ic.SHORTEST_ARM)[:, None, None]
            for length, unit in ((length_i, u), (length_k, v))
        )
        values = np.einsum("sai,si->sa", self._axes, u + v)
        return values.ravel(), np.stack([first, -first - last, last], axis=2).reshape(-1, 3, 3)
