"""Factors of P, molecule by molecule: small ones as batches of dense blocks, the rest sparse."""

from __future__ import annotations

import contextlib

import numpy as np
import qdldl
import scipy.sparse as sp

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

    def factors(self, stiffness: np.ndarray, shift: float) -> np.ndarray | None:
        """Inverse of stiffness + shift I; None if there is no finite one."""
        with contextlib.suppress(np.linalg.LinAlgError):
            inverse = np.linalg.inv(stiffness + shift * np.eye(stiffness.shape[1]))
            if np.isfinite(inverse).all():
                return inverse
        return None

    def solve(self, inverse: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """P^-1 times the molecules' part of an (N, 3) array: (atoms at ``index``, 3)."""
        mine = vectors[self.index].reshape(len(self.atoms), -1)
        return np.einsum("bij,bj->bi", inverse, mine).reshape(-1, 3)

    def entries(self, stiffness: np.ndarray, size: int) -> sp.coo_array:
        """Return a stiffness at its indices in the whole (size, size) matrix."""
        places = (3 * self.atoms[:, :, None] + np.arange(3)).reshape(len(self.atoms), -1)
        i = np.broadcast_to(places[:, :, None], stiffness.shape)
        j = np.broadcast_to(places[:, None, :], stiffness.shape)
        return sp.coo_array((stiffness.ravel(), (i.ravel(), j.ravel())), shape=(size, size))


class LargeMolecules:
    """Everything else: P = R^T R + atom blocks + others + mu I, factorized as sparse L D L^T.

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
        columns = [self._columns(members) for _, members in terms]
        self._bonded_columns = np.concatenate([c.ravel() for c in columns] or [np.empty(0, int)])
        self._widths = np.concatenate(
            [np.full(len(c), c.shape[1]) for c in columns] or [np.empty(0, int)]
        )

    def _columns(self, members: np.ndarray) -> np.ndarray:
        places = self._place[members]
        return (3 * places[:, :, None] + np.arange(3)).reshape(len(members), 3 * members.shape[1])

    def stiffness(
        self, rows: list[np.ndarray], contacts: ContactStiffness, others: sp.csr_array | None
    ) -> sp.csr_array:
        """Sparse (3 n, 3 n).

        Parameters
        ----------
        rows : list of (T, w, 3) arrays
            Of every kind of terms, of all molecules.
        contacts : ContactStiffness
        others : (3N, 3N) sparse array, optional
            Added as it is.
        """
        size = 3 * len(self.atoms)
        parts = [r[chosen].ravel() for r, chosen in zip(rows, self._selected, strict=True)]
        values = np.concatenate([*parts, contacts.rows.ravel()])
        columns = np.concatenate([self._bonded_columns, self._columns(contacts.pairs).ravel()])
        widths = np.concatenate([self._widths, np.full(len(contacts.pairs), 6)])
        starts = np.concatenate([[0], np.cumsum(widths)])
        jacobian = sp.csr_array((values, columns, starts), shape=(len(widths), size))
        blocks = (contacts.blocks[self.atoms], np.arange(len(self.atoms)), np.arange(size // 3 + 1))
        stiffness = jacobian.T @ jacobian + sp.bsr_array(blocks, shape=(size, size)).tocsr()
        if others is not None:
            index = (3 * self.atoms[:, None] + np.arange(3)).ravel()
            stiffness = stiffness + others[index][:, index]
        return stiffness.tocsr()

    def factors(self, stiffness: sp.csr_array, shift: float) -> qdldl.Solver | None:
        """Factors of stiffness + shift I; None if it is not positive definite."""
        matrix = (stiffness + shift * sp.eye_array(stiffness.shape[0], format="csr")).tocsr()
        # It is symmetric: its lower triangle by rows is its upper one by columns.
        upper = sp.tril(matrix, format="csr").T
        # A pivot of zero is an error of qdldl's, one that is not finite or negative is none.
        with contextlib.suppress(RuntimeError):
            factors = qdldl.Solver(sp.csc_matrix(upper), upper=True)
            pivots = factors.factors()[1]
            if pivots.min() > 0 and np.isfinite(pivots).all():
                return factors
        return None

    def solve(self, factors: qdldl.Solver, vectors: np.ndarray) -> np.ndarray:
        """P^-1 times these atoms' part of an (N, 3) array: (n, 3)."""
        return factors.solve(vectors[self.index].ravel()).reshape(-1, 3)

    def entries(self, stiffness: sp.csr_array, size: int) -> sp.coo_array:
        """Return a stiffness at its indices in the whole (size, size) matrix."""
        index = (3 * self.atoms[:, None] + np.arange(3)).ravel()
        local = stiffness.tocoo()
        where = (index[local.row], index[local.col])
        return sp.coo_array((local.data, where), shape=(size, size))


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
