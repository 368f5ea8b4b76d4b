"""Factors of P, molecule by molecule: small ones as batches of dense blocks, the rest sparse."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .. import compiled
from ..compiled import BlockCholesky, SmallInverses, Stiffness
from .contacts import ContactStiffness

__all__ = ["LargeMolecules", "SmallMolecules", "small_molecules"]

# Waters, ions and small solvents: molecules up to this many atoms have dense blocks.
LARGEST_SMALL_MOLECULE = 6


class SmallMolecules:
    """Molecules of one size: P = R^T R + atom blocks + mu I and its inverse as one batch.

    Parameters
    ----------
    atoms : (M, n) int array
        Of each molecule.
    num_rows : int
        Terms of each molecule.
    terms : list of (selected, places)
        For every kind of terms, which of them are in these molecules, and where the entries of
        their rows lie in the flattened (M, num_rows, 3 n) batch of R.
    """

    def __init__(self, atoms: np.ndarray, num_rows: int, terms: list) -> None:
        self.atoms = atoms
        self.index = _as_slice(atoms.ravel())
        self._num_rows = num_rows
        self._terms = terms

    def stiffness(self, rows: list[np.ndarray], contacts: ContactStiffness, others) -> np.ndarray:
        """R^T R with the blocks of contacts on its diagonal: (M, 3 n, 3 n)."""
        count, width = self.atoms.shape
        jacobian = np.zeros((count, self._num_rows, 3 * width))
        for (selected, places), values in zip(self._terms, rows, strict=True):
            jacobian.reshape(-1)[places.ravel()] = values[selected].ravel()
        stiffness = jacobian.transpose(0, 2, 1) @ jacobian
        for k in range(width):
            here = slice(3 * k, 3 * k + 3)
            stiffness[:, here, here] += contacts.blocks[self.atoms[:, k]]
        return stiffness

    def factors(self, stiffness: np.ndarray, shift: float) -> SmallInverses | None:
        """Inverses of stiffness + shift I; None if one is not positive definite."""
        return compiled.small_inverses(stiffness, shift)

    def solve(self, inverses: SmallInverses, vectors: np.ndarray) -> np.ndarray:
        """P^-1 times the molecules' part of an (N, 3) array: (atoms at ``index``, 3)."""
        return inverses.solve(vectors[self.index])

    def entries(self, stiffness: np.ndarray, size: int) -> sp.coo_array:
        """Return a stiffness at its indices in the whole (size, size) matrix."""
        places = (3 * self.atoms[:, :, None] + np.arange(3)).reshape(len(self.atoms), -1)
        i = np.broadcast_to(places[:, :, None], stiffness.shape)
        j = np.broadcast_to(places[:, None, :], stiffness.shape)
        return sp.coo_array((stiffness.ravel(), (i.ravel(), j.ravel())), shape=(size, size))


class LargeMolecules:
    """Everything else: P = R^T R + atom blocks + others + mu I, factorized as sparse L L^T.

    Contacts couple their atoms, the stiffest first, as long as that keeps a factorization as cheap
    as a few force evaluations. Of the others each atom is held as if the other one stood still.

    Parameters
    ----------
    atoms : (n,) int array
    size : int
        Number of all particles.
    terms : list of (selected, atoms)
        For every kind of terms, which of them are in these molecules, and the atoms of those.
    """

    def __init__(self, atoms: np.ndarray, size: int, terms: list) -> None:
        self.atoms = atoms
        self.index = _as_slice(atoms)
        self._place = np.full(size, -1)
        self._place[atoms] = np.arange(len(atoms))
        self._selected = [selected for selected, _ in terms]
        local = [self._place[members] for _, members in terms]
        self._assembler = compiled.StiffnessAssembler(len(atoms), local)

    def stiffness(
        self, rows: list[np.ndarray], contacts: ContactStiffness, others: sp.csr_array | None
    ) -> Stiffness:
        """Return R^T R + atom blocks + others.

        Parameters
        ----------
        rows : list of (T, w, 3) arrays
            Of every kind of terms, of all molecules.
        contacts : ContactStiffness
        others : (3N, 3N) sparse array, optional
            Added as it is.
        """
        chosen = [r[selected] for r, selected in zip(rows, self._selected, strict=True)]
        return self._assembler.assemble(
            chosen,
            contacts.blocks[self.atoms],
            self._place[contacts.pairs],
            contacts.curvatures,
            *self._blocks_of(others),
        )

    def _blocks_of(self, others: sp.csr_array | None) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (K, 2) and blocks (K, 3, 3) of a sparse (3N, 3N) matrix."""
        if others is None:
            return np.empty((0, 2), dtype=np.int64), np.empty((0, 3, 3))
        index = (3 * self.atoms[:, None] + np.arange(3)).ravel()
        found = others[index][:, index].tobsr((3, 3))
        rows = np.repeat(np.arange(len(self.atoms)), np.diff(found.indptr))
        return np.stack([rows, found.indices.astype(np.int64)], axis=1), found.data

    def factors(self, stiffness: Stiffness, shift: float) -> BlockCholesky | None:
        """Factors of stiffness + shift I; None if it is not positive definite."""
        return stiffness.factorize(shift)

    def solve(self, factors: BlockCholesky, vectors: np.ndarray) -> np.ndarray:
        """P^-1 times these atoms' part of an (N, 3) array: (n, 3)."""
        return factors.solve(vectors[self.index])

    def entries(self, stiffness: Stiffness, size: int) -> sp.coo_array:
        """Return a stiffness at its indices in the whole (size, size) matrix."""
        row, column, blocks = stiffness.blocks()
        upper = row > column
        i = 3 * self.atoms[np.concatenate([row, column[upper]])]
        j = 3 * self.atoms[np.concatenate([column, row[upper]])]
        values = np.concatenate([blocks, blocks[upper].transpose(0, 2, 1)])
        first, second = np.divmod(np.arange(9), 3)
        where = ((i[:, None] + first).ravel(), (j[:, None] + second).ravel())
        return sp.coo_array((values.ravel(), where), shape=(size, size))


def small_molecules(
    labels: np.ndarray, chosen: np.ndarray, terms: list[np.ndarray]
) -> list[SmallMolecules]:
    """Sort small molecules by their numbers of atoms and terms.

    Parameters
    ----------
    labels : (N,) int array
        The molecule of every atom.
    chosen : (molecules,) bool array
        The small ones.
    terms : list of (T, w) int arrays
        Atoms of the terms of every kind.
    """
    sizes = np.bincount(labels)
    by_molecule = np.argsort(labels, kind="stable")
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.empty(len(labels), dtype=np.int64)
    place[by_molecule] = np.arange(len(labels)) - first[labels[by_molecule]]
    # Each term's row among those of its molecule.
    num_rows, row_of = np.zeros(len(sizes), dtype=np.int64), []
    for atoms in terms:
        owner = labels[atoms[:, 0]]
        counts = np.bincount(owner, minlength=len(sizes))
        order = np.argsort(owner, kind="stable")
        rank = np.empty(len(owner), dtype=np.int64)
        begins = np.concatenate([[0], np.cumsum(counts)[:-1]])
        rank[order] = np.arange(len(owner)) - begins[owner[order]]
        row_of.append(rank + num_rows[owner])
        num_rows += counts
    groups = []
    for size, rows in np.unique(np.stack([sizes, num_rows], axis=1)[chosen], axis=0):
        members = np.flatnonzero(chosen & (sizes == size) & (num_rows == rows))
        index = np.full(len(sizes), -1)
        index[members] = np.arange(len(members))
        entries = []
        for atoms, row in zip(terms, row_of, strict=True):
            owner = index[labels[atoms[:, 0]]]
            selected = np.flatnonzero(owner >= 0)
            begin = (owner[selected] * rows + row[selected]) * 3 * size
            columns = 3 * place[atoms[selected]][:, :, None] + np.arange(3)
            entries.append((selected, begin[:, None, None] + columns))
        atoms = by_molecule[first[members][:, None] + np.arange(size)]
        groups.append(SmallMolecules(atoms, int(rows), entries))
    return groups


def _as_slice(atoms: np.ndarray) -> slice | np.ndarray:
    """Return the same selection as a slice where the atoms are consecutive: no copy is needed."""
    first, last = int(atoms[0]), int(atoms[-1])
    if np.array_equal(atoms, np.arange(first, last + 1)):
        return slice(first, last + 1)
    return atoms
