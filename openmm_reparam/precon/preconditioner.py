"""The preconditioner P = H + mu I of a molecule's stiff terms, and its inverse.

P^-1 is the linear one-layer graph convolution whose propagation is H^(-1/2): with
P = S^-T S^-1 and X = X0 + S Z, a gradient step on the latents Z moves X by -P^-1 g.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from .. import compiled
from ..compiled import MAX_SHIFT, MoleculeFactors, MoleculeStiffness
from ..errors import NonFiniteError
from ..potentials.potential import Potential
from .contacts import Contacts, NoContacts
from .metric_terms import UNKNOWN_STIFFNESS, metric_terms

__all__ = ["Preconditioner"]

SHIFT, CONDENSED_SHIFT = 1e3, 5e3
# An update may spend this share of the force evaluations that are left: the rest is for moving.
UPDATE_SHARE = 0.25


class Preconditioner:
    """P = H + mu I, sparse and positive definite, with P^-1 as an operation.

    H is the positive semi-definite (Gauss-Newton) part of the Hessian of the bonded terms, in
    closed form: k grad(q) grad(q)^T for each bond, angle and torsion coordinate q, constraints as
    stiff springs, and the positive curvature of non-bonded pairs in contact. It costs no force
    evaluation. Curvatures of custom bonds, angles and torsions take two evaluations of those terms
    alone, other bonded Custom forces coloured finite differences, all counted as "bonded". Where a
    quarter of the force evaluations left does not pay for them, they stay as they were last.

    Parameters
    ----------
    potential : Potential
    shift : float, optional
        mu in kJ/mol/nm^2, the smallest stiffness of any direction: about that of the non-bonded
        surroundings. 1000 by default, 5000 in periodic boxes; raised by itself until P is positive
        definite.
    contacts : bool
        Include non-bonded pairs nearer than 0.35 nm.
    metric : {"auto", "terms", "model"} or callable
        Where H comes from: the force field's terms, completed by a model Hessian where a force of
        unknown terms acts (see `model_terms`); these terms alone; the model Hessian of all atoms;
        or (N, 3) positions in nm -> positive semi-definite (3N, 3N) array, dense or sparse.

    Attributes
    ----------
    shift : float
        mu in use.
    assembled : compiled.MoleculeStiffness or None
        H of the last update.
    factors : compiled.MoleculeFactors or None
        Of the last update.
    updates : int
        Factorizations so far.
    free : bool
        Whether an update costs no force evaluation.
    informed : bool
        Whether anything is known of the stiffness of any atom; if not, P is mu I.
    molecules : (N,) int array
        Label of the molecule of each atom, as far as terms and constraints bond it.
    complete : bool
        Whether all forces are ones whose stiff terms can be read.

    Examples
    --------
    >>> from openmm_reparam.potentials.potential import Potential
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> potential = Potential(peptide("AAA").simulation("CPU").context)
    >>> preconditioner = Preconditioner(potential)
    >>> preconditioner.update(potential.positions())
    >>> preconditioner.solve(potential.positions()).shape == (potential.num_particles, 3)
    True
    >>> potential.counter.total
    0
    """

    def __init__(
        self,
        potential: Potential,
        *,
        shift: float | None = None,
        contacts: bool = True,
        metric: str | Callable = "auto",
    ) -> None:
        self._potential = potential
        periodic = potential.system.usesPeriodicBoundaryConditions()
        default = CONDENSED_SHIFT if periodic else SHIFT
        self.shift = self._smallest_shift = default if shift is None else float(shift)
        if not 0 < self.shift <= MAX_SHIFT:
            raise ValueError(f"shift is {shift!r}; it must be positive, in kJ/mol/nm^2")
        self.updates = 0
        source = metric_terms(potential, metric)
        self._terms, self._unknown, self.complete = source.terms, source.unknown, source.complete
        self._others = source.others
        self.free = all(term.free for term in self._terms) and (
            self._others is None or not self._others.cost
        )
        known = contacts and potential.nonbonded is not None
        self.informed = bool(self._terms or self._others or known)
        members = [term.atoms for term in self._terms]
        coloured = [] if self._others is None else self._others.atoms
        self._assembler = compiled.MoleculeAssembler(potential.moves, members, coloured)
        labels = self._assembler.molecules
        couple = np.full(labels.max(initial=0) + 1, False)
        couple[labels[self._assembler.large != 0]] = True
        self.molecules = _merged(labels, self._unknown)
        self._contacts = Contacts(potential, labels, couple) if contacts else NoContacts(potential)
        self.assembled: MoleculeStiffness | None = None
        self.factors: MoleculeFactors | None = None

    def update(self, positions: np.ndarray) -> None:
        """Rebuild and factorize P at (N, 3) positions in nm.

        Raises
        ------
        NonFiniteError
            P could not be factorized; the one before stays in use.
        """
        stiffness = self._evaluate(positions)
        self.factors = _factorized(stiffness, self._smallest_shift)
        self.assembled, self.shift = stiffness, self.factors.shift
        self.updates += 1

    def raise_shift(self) -> None:
        """Raise the shift tenfold, until the next update: shorter steps along soft directions."""
        if self.assembled is None:
            return
        with contextlib.suppress(NonFiniteError):
            self.factors = _factorized(self.assembled, 10 * self.shift)
            self.shift = self.factors.shift

    def solve(self, vectors: np.ndarray) -> np.ndarray:
        """Return P^-1 v for an (N, 3) array v; zero on atoms that do not move."""
        if self.factors is None:
            raise RuntimeError("the preconditioner has not been updated yet")
        return self.factors.solve(vectors)

    def matrix(self) -> sp.csr_array:
        """P as factorized last: sparse (3N, 3N), kJ/mol/nm^2."""
        size = 3 * self._potential.num_particles
        return self.stiffness() + self.shift * sp.eye_array(size, format="csr")

    def stiffness(self, positions: np.ndarray | None = None) -> sp.csr_array:
        """H at (N, 3) positions in nm: sparse (3N, 3N), kJ/mol/nm^2; fixed atoms have none.

        By default where P was factorized last.
        """
        stiffness = self.assembled if positions is None else self._evaluate(positions)
        if stiffness is None:
            raise RuntimeError("the preconditioner has not been updated yet")
        row, column, blocks = stiffness.blocks()
        first, second = np.divmod(np.arange(9), 3)
        where = (3 * row[:, None] + first).ravel(), (3 * column[:, None] + second).ravel()
        size = 3 * self._potential.num_particles
        return sp.coo_array((blocks.ravel(), where), shape=(size, size)).tocsr()

    def _evaluate(self, positions: np.ndarray) -> MoleculeStiffness:
        box = self._potential.box()
        rows = [term.rows(positions, box, spend=self._affords(term.cost)) for term in self._terms]
        others = None
        if self._others is not None:
            others = self._others.hessian(positions, spend=self._affords(self._others.cost))
        contacts = self._contacts.evaluate(positions, box)
        contacts.blocks[self._unknown] += UNKNOWN_STIFFNESS * np.eye(3)
        return self._assembler.assemble(
            rows, contacts.blocks, contacts.pairs, contacts.curvatures, *_blocks_of(others)
        )

    def _affords(self, cost: int) -> bool:
        return cost <= UPDATE_SHARE * self._potential.counter.left


def _factorized(stiffness: MoleculeStiffness, shift: float) -> MoleculeFactors:
    """Return the factors with the smallest shift from here on that makes P definite."""
    factors = stiffness.factorize(shift)
    if factors is None:
        raise NonFiniteError("the bonded forces have curvatures that are not finite")
    return factors


def _blocks_of(matrix: sp.csr_array | None) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (K, 2) and blocks (K, 3, 3) of a sparse (3N, 3N) matrix."""
    if matrix is None:
        return np.empty((0, 2), dtype=np.int64), np.empty((0, 3, 3))
    found = matrix.tobsr((3, 3))
    rows = np.repeat(np.arange(len(found.indptr) - 1), np.diff(found.indptr))
    return np.stack([rows, found.indices.astype(np.int64)], axis=1), found.data


def _merged(labels: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Return labels of molecules with some atoms, and what they are bonded to, as one."""
    merged = np.isin(labels, labels[atoms])
    return np.unique(np.where(merged, -1, labels), return_inverse=True)[1].ravel()


def __getattr__(name: str):
    """Return what has another name now, with a warning."""
    if name != "Whitening":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("Whitening is Preconditioner now", DeprecationWarning, stacklevel=2)
    return Preconditioner
