"""The whitening P = H + mu I of a molecule's stiff terms, and its inverse.

P^-1 is the linear one-layer graph convolution whose propagation is H^(-1/2): with
P = S^-T S^-1 and X = X0 + S Z, a gradient step on the latents Z moves X by -P^-1 g.
"""

from __future__ import annotations

import numpy as np
import openmm as mm
import qdldl
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from . import internal_coordinates as ic
from .bonded import (
    CONSTRAINT_STIFFNESS,
    bonded_system,
    bonded_terms,
    constraints_of,
    coupling_pattern,
)
from .contacts import Contacts
from .errors import NonFiniteError
from .hessian import ColouredHessian
from .potential import Potential

__all__ = ["Whitening"]

SHIFT, CONDENSED_SHIFT, MAX_SHIFT = 1e3, 5e3, 1e12


class Whitening:
    """P = H + mu I, sparse and positive definite, with P^-1 as an operation.

    H is the positive semi-definite (Gauss-Newton) part of the Hessian of the bonded terms, in
    closed form: k grad(q) grad(q)^T for each bond, angle and torsion coordinate q, constraints as
    stiff springs, and the positive curvature of non-bonded pairs in contact. It costs no force
    evaluation. Bonded Custom forces are added by coloured finite differences, counted.

    Parameters
    ----------
    potential : Potential
    shift : float, optional
        mu in kJ/mol/nm^2, the smallest stiffness of any direction: about that of the non-bonded
        surroundings. 1000 by default, 5000 in periodic boxes; raised by itself until P is positive
        definite.
    contacts : bool
        Include non-bonded pairs nearer than 0.35 nm.

    Attributes
    ----------
    shift : float
        mu in use.
    updates : int
        Factorizations so far.

    Examples
    --------
    >>> from openmm_reparam.potential import Potential
    >>> from openmm_reparam.testsystems import peptide
    >>> potential = Potential(peptide("AAA").simulation("CPU").context)
    >>> whitening = Whitening(potential)
    >>> whitening.update(potential.positions())
    >>> whitening.solve(potential.positions()).shape == (potential.num_particles, 3)
    True
    >>> potential.counter.total
    0
    """

    def __init__(
        self, potential: Potential, *, shift: float | None = None, contacts: bool = True
    ) -> None:
        self._potential = potential
        periodic = potential.system.usesPeriodicBoundaryConditions()
        default = CONDENSED_SHIFT if periodic else SHIFT
        self.shift = self._smallest_shift = default if shift is None else float(shift)
        if not 0 < self.shift <= MAX_SHIFT:
            raise ValueError(f"shift is {shift!r}; it must be positive, in kJ/mol/nm^2")
        self.updates = 0
        self._terms, others = _harmonic_terms(potential)
        self._others = _coloured_others(potential, others) if others else None
        self._contacts = Contacts(potential, self._molecules()) if contacts else None
        self._factors = None

    def update(self, positions: np.ndarray) -> None:
        """Rebuild and factorize P at (N, 3) positions in nm."""
        stiffness = self.stiffness(positions)
        identity = sp.eye_array(stiffness.shape[0])
        self.shift = self._smallest_shift
        while True:
            matrix = sp.csc_matrix(sp.triu(stiffness + self.shift * identity))
            factors = qdldl.Solver(matrix, upper=True)
            if factors.factors()[1].min() > 0:
                break
            if self.shift > MAX_SHIFT:
                raise NonFiniteError("the bonded forces have curvatures that are not finite")
            self.shift *= 3
        self._factors, self._matrix = factors, matrix
        self.updates += 1

    def solve(self, vectors: np.ndarray) -> np.ndarray:
        """Return P^-1 v for an (N, 3) array v; zero on atoms that do not move."""
        solution = self._factors.solve(np.ascontiguousarray(vectors).reshape(-1)).reshape(-1, 3)
        solution[~self._potential.moves] = 0.0
        return solution

    def matrix(self) -> sp.csr_array:
        """P as factorized last: sparse (3N, 3N), kJ/mol/nm^2."""
        upper = sp.csr_array(self._matrix)
        return (upper + sp.triu(upper, k=1).T).tocsr()

    def stiffness(self, positions: np.ndarray) -> sp.csr_array:
        """H at (N, 3) positions in nm: sparse (3N, 3N), kJ/mol/nm^2; fixed atoms have none."""
        box = self._potential.box()
        size = 3 * self._potential.num_particles
        rows, columns, values, count = [], [], [], 0
        for term in self._terms:
            weights, gradients = term.curvature(positions, box)
            gradients = gradients * np.sqrt(weights)[:, None, None]
            gradients[~self._potential.moves[term.atoms]] = 0.0
            number, width = term.atoms.shape
            rows.append(np.repeat(np.arange(count, count + number), 3 * width))
            columns.append((3 * term.atoms[:, :, None] + np.arange(3)).ravel())
            values.append(gradients.ravel())
            count += number
        stiffness = sp.csr_array((size, size))
        if count:
            entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
            jacobian = sp.csr_array(entries, shape=(count, size))
            stiffness = (jacobian.T @ jacobian).tocsr()
        if self._others is not None:
            self._others.potential.follow(self._potential)
            stiffness = stiffness + self._others.evaluate(positions)
        if self._contacts is not None:
            stiffness = stiffness + self._contacts.stiffness(positions, box)
        return stiffness

    def _molecules(self) -> np.ndarray:
        """Label of the bonded component of every particle."""
        pairs = [np.empty((0, 2), dtype=np.int64)]
        for term in self._terms:
            pairs += [term.atoms[:, [0, k]] for k in range(1, term.atoms.shape[1])]
        i, j = np.concatenate(pairs).T
        size = self._potential.num_particles
        graph = sp.coo_array((np.ones(len(i)), (i, j)), shape=(size, size))
        return connected_components(graph, directed=False)[1]


class _Bonds:
    def __init__(self, atoms, constants, periodic=False):
        self.atoms, self.constants, self.periodic = atoms, constants, periodic

    def curvature(self, positions, box):
        i, j = self.atoms.T
        _, gradients = ic.distances(
            ic.nearest_image(positions[i] - positions[j], box, self.periodic)
        )
        return self.constants, gradients


class _Angles:
    def __init__(self, atoms, constants, periodic=False):
        self.atoms, self.constants, self.periodic = atoms, constants, periodic

    def curvature(self, positions, box):
        i, j, k = self.atoms.T
        _, gradients = ic.angles(
            ic.nearest_image(positions[i] - positions[j], box, self.periodic),
            ic.nearest_image(positions[k] - positions[j], box, self.periodic),
        )
        return self.constants, gradients


class _Torsions:
    """``second_derivative(phi)`` of the energy; negative curvature is left to the shift."""

    def __init__(self, atoms, second_derivative, periodic=False):
        self.atoms, self.second_derivative, self.periodic = atoms, second_derivative, periodic

    def curvature(self, positions, box):
        i, j, k, m = self.atoms.T
        dihedrals, gradients = ic.dihedrals(
            ic.nearest_image(positions[i] - positions[j], box, self.periodic),
            ic.nearest_image(positions[k] - positions[j], box, self.periodic),
            ic.nearest_image(positions[k] - positions[m], box, self.periodic),
        )
        return np.maximum(self.second_derivative(dihedrals), 0.0), gradients


def _harmonic_terms(potential: Potential):
    """Return terms known in closed form, and the bonded forces that are not."""
    terms, others = [], []
    for force in potential.system.getForces():
        if not potential.groups >> force.getForceGroup() & 1:
            continue
        term = _closed_form(force)
        if term is not None:
            terms += [term] if len(term.atoms) else []
        # CMAP is soft and costs eight-atom differences: the shift stands for it.
        elif not isinstance(force, mm.CMAPTorsionForce):
            atoms = bonded_terms(force)
            others += [force] if atoms is not None and len(atoms) else []
    pairs, _ = constraints_of(potential.system)
    if len(pairs):
        terms.append(_Bonds(pairs, np.full(len(pairs), CONSTRAINT_STIFFNESS)))
    return terms, others


def _closed_form(force: mm.Force):
    periodic = force.usesPeriodicBoundaryConditions()
    if isinstance(force, mm.HarmonicBondForce):
        parameters = [force.getBondParameters(i) for i in range(force.getNumBonds())]
        constants = np.array([p[3]._value for p in parameters])
        return _Bonds(bonded_terms(force), constants, periodic)
    if isinstance(force, mm.HarmonicAngleForce):
        parameters = [force.getAngleParameters(i) for i in range(force.getNumAngles())]
        constants = np.array([p[4]._value for p in parameters])
        return _Angles(bonded_terms(force), constants, periodic)
    if isinstance(force, mm.PeriodicTorsionForce):
        parameters = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
        n = np.array([p[4] for p in parameters])
        phase, k = np.array([(p[5]._value, p[6]._value) for p in parameters]).reshape(-1, 2).T
        # E = k (1 + cos(n phi - phase))
        return _Torsions(
            bonded_terms(force), lambda phi: -k * n**2 * np.cos(n * phi - phase), periodic
        )
    if isinstance(force, mm.RBTorsionForce):
        parameters = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
        c = np.array([[x._value for x in p[4:]] for p in parameters]).reshape(-1, 6)
        return _Torsions(bonded_terms(force), lambda phi: _ryckaert_bellemans(c, phi), periodic)
    return None


def _ryckaert_bellemans(c: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Second derivative of sum_n c_n cos^n(phi - pi)."""
    x, square = -np.cos(phi), np.sin(phi) ** 2
    total = np.zeros_like(phi)
    for n in range(1, 6):
        curved = n * (n - 1) * x ** max(n - 2, 0) * square
        total += c[:, n] * (curved - n * x**n)
    return total


def _coloured_others(potential: Potential, forces: list[mm.Force]) -> ColouredHessian:
    system = bonded_system(potential, forces)
    pattern = coupling_pattern(system, potential.moves)
    return ColouredHessian(potential.side_potential("bonded", system), pattern)
