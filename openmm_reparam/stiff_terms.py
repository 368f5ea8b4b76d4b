"""The stiff terms of a System as rows of one Jacobian R: their Gauss-Newton Hessian is R^T R."""

from __future__ import annotations

import numpy as np
import openmm as mm

from . import internal_coordinates as ic
from .bond_curves import BondCurves
from .bonded import CONSTRAINT_STIFFNESS, bonded_terms
from .potential import Potential

__all__ = ["StiffTerms", "stiff_terms"]


class StiffTerms:
    """Terms of one kind: k grad(q) grad(q)^T for a bond, angle or torsion coordinate q each.

    Attributes
    ----------
    atoms : (T, n) int array
    free : bool
        Whether the rows cost no force evaluation.
    """

    free = True

    def __init__(self, atoms: np.ndarray, periodic: bool, moves: np.ndarray) -> None:
        self.atoms = atoms
        self._periodic = periodic
        self._fixed = ~moves[atoms] if not moves.all() else None

    def rows(self, positions: np.ndarray, box: np.ndarray | None) -> np.ndarray:
        """sqrt(k) grad(q) of every term, (T, n, 3), zero on atoms that do not move.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        box : (3, 3) array, optional
            For terms that act between nearest images.
        """
        constants, gradients = self._curvature(positions, box)
        rows = gradients * np.sqrt(constants)[:, None, None]
        if self._fixed is not None:
            rows[self._fixed] = 0.0
        return rows

    def _vectors(self, i, j, positions, box):
        return ic.nearest_image(positions[i] - positions[j], box, self._periodic)

    def _curvature(self, positions, box):
        raise NotImplementedError


class _Bonds(StiffTerms):
    def __init__(self, atoms, constants, periodic, moves):
        super().__init__(atoms, periodic, moves)
        self._constants = constants

    def _curvature(self, positions, box):
        i, j = self.atoms.T
        return self._constants, ic.distances(self._vectors(i, j, positions, box))[1]


class _CustomBonds(StiffTerms):
    """Curvature along each bond by two evaluations; negative curvature is left to the shift."""

    free = False

    def __init__(self, curves: BondCurves, periodic, moves):
        super().__init__(curves.atoms, periodic, moves)
        self._curves = curves

    def _curvature(self, positions, box):
        i, j = self.atoms.T
        lengths, gradients = ic.distances(self._vectors(i, j, positions, box))
        return np.maximum(self._curves.curvatures(lengths), 0.0), gradients


class _Angles(_Bonds):
    def _curvature(self, positions, box):
        i, j, k = self.atoms.T
        ij, kj = (self._vectors(a, j, positions, box) for a in (i, k))
        return self._constants, ic.angles(ij, kj)[1]


class _Torsions(StiffTerms):
    """``second_derivative(phi)`` of the energy; negative curvature is left to the shift."""

    def __init__(self, atoms, second_derivative, periodic, moves):
        super().__init__(atoms, periodic, moves)
        self._second_derivative = second_derivative

    def _curvature(self, positions, box):
        i, j, k, m = self.atoms.T
        ij, kj = (self._vectors(a, b, positions, box) for a, b in ((i, j), (k, j)))
        dihedrals, gradients = ic.dihedrals(ij, kj, self._vectors(k, m, positions, box))
        return np.maximum(self._second_derivative(dihedrals), 0.0), gradients


def stiff_terms(potential: Potential) -> tuple[list[StiffTerms], list[mm.Force]]:
    """Terms known in closed form, and the bonded forces that are not.

    Parameters
    ----------
    potential : Potential
        Whose bonded forces, in its force groups, are taken; constraints become springs of
        ``CONSTRAINT_STIFFNESS``. CMAP terms are left out: they are soft, and eight atoms each.

    Returns
    -------
    list of StiffTerms, list of openmm.Force
    """
    terms, others = [], []
    for force in potential.system.getForces():
        if not potential.groups >> force.getForceGroup() & 1:
            continue
        atoms = bonded_terms(force)
        if atoms is None or not len(atoms) or isinstance(force, mm.CMAPTorsionForce):
            continue
        term = _closed_form(force, atoms, potential)
        terms += [term] if term is not None else []
        others += [force] if term is None else []
    pairs, _ = potential.constraints
    if len(pairs):
        constants = np.full(len(pairs), CONSTRAINT_STIFFNESS)
        terms.append(_Bonds(pairs, constants, False, potential.moves))
    return terms, others


def _closed_form(force: mm.Force, atoms: np.ndarray, potential: Potential) -> StiffTerms | None:
    periodic, moves = force.usesPeriodicBoundaryConditions(), potential.moves
    if isinstance(force, mm.CustomBondForce):
        return _CustomBonds(BondCurves(potential, force), periodic, moves)
    if isinstance(force, mm.HarmonicBondForce):
        parameters = [force.getBondParameters(i) for i in range(len(atoms))]
        return _Bonds(atoms, np.array([p[3]._value for p in parameters]), periodic, moves)
    if isinstance(force, mm.HarmonicAngleForce):
        parameters = [force.getAngleParameters(i) for i in range(len(atoms))]
        return _Angles(atoms, np.array([p[4]._value for p in parameters]), periodic, moves)
    if isinstance(force, mm.PeriodicTorsionForce):
        parameters = [force.getTorsionParameters(i) for i in range(len(atoms))]
        n, phase, k = np.array([(p[4], p[5]._value, p[6]._value) for p in parameters]).T
        # E = k (1 + cos(n phi - phase))
        return _Torsions(atoms, lambda phi: -k * n**2 * np.cos(n * phi - phase), periodic, moves)
    if isinstance(force, mm.RBTorsionForce):
        parameters = [force.getTorsionParameters(i) for i in range(len(atoms))]
        c = np.array([[x._value for x in p[4:]] for p in parameters])
        return _Torsions(atoms, lambda phi: _ryckaert_bellemans(c, phi), periodic, moves)
    return None


def _ryckaert_bellemans(c: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Second derivative of sum_n c_n cos^n(phi - pi)."""
    x, square = -np.cos(phi), np.sin(phi) ** 2
    total = np.zeros_like(phi)
    for n in range(1, 6):
        curved = n * (n - 1) * x ** max(n - 2, 0) * square
        total += c[:, n] * (curved - n * x**n)
    return total
