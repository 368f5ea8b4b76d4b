"""The stiff terms of a System as rows of one Jacobian R: their Gauss-Newton Hessian is R^T R."""

from __future__ import annotations

import contextlib

import numpy as np
import openmm as mm

from .. import compiled
from ..errors import BudgetExhausted, NonFiniteError
from ..geometry import internal_coordinates as ic
from ..geometry.neighbors import nearest_image
from ..potentials.bonded import bonded_terms
from ..potentials.potential import Potential
from .custom_bonds import BondCurves
from .term_curves import SHORTEST, TermCurves

__all__ = ["StiffTerms", "constraint_terms", "stiff_terms"]

# Stiffness across a bond, relative to that along it, below which it does not matter.
TENSE = 0.01
# Custom bonds (kJ/mol/nm^2), angles and torsions (kJ/mol/rad^2) count as no stiffer than this:
# walls and cusps are, and would only freeze their atoms.
STIFFEST = {2: 1e8, 3: 1e6, 4: 1e6}


class StiffTerms:
    """Terms of one kind: k grad(q) grad(q)^T for a bond, angle or torsion coordinate q each.

    Parameters
    ----------
    atoms : (T, n) int array
        Two make a bond, three an angle, four a torsion.
    periodic : bool
        Whether the terms act between nearest images.
    moves : (N,) bool array

    Attributes
    ----------
    atoms : (R, n) int array
        Of each row. Most terms have one row.
    cost : int
        Force evaluations that `rows` takes.
    """

    cost = 0

    def __init__(self, atoms: np.ndarray, periodic: bool, moves: np.ndarray) -> None:
        self.atoms = atoms
        self._terms = atoms
        self._periodic = periodic
        self._moves = moves

    @property
    def free(self) -> bool:
        """Whether the rows cost no force evaluation."""
        return self.cost == 0

    def rows(
        self, positions: np.ndarray, box: np.ndarray | None, *, spend: bool = True
    ) -> np.ndarray:
        """sqrt(k) grad(q) of every term, (R, n, 3), zero on atoms that do not move.

        Bounded and finite wherever the positions are, on atoms that coincide, too.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        box : (3, 3) array, optional
            For terms that act between nearest images.
        spend : bool
            Whether `cost` force evaluations may be made. Without them, terms that need them have
            the curvatures of the last time; zero if there was none.

        Raises
        ------
        BudgetExhausted
            Fewer evaluations than `cost` are left; none was made.
        """
        rows = self._rows(positions, box, spend)
        if not self._moves.all():
            rows[~self._moves[self.atoms]] = 0.0
        return rows

    def _rows(self, positions, box, spend):
        values, gradients = self._coordinates(positions, box)
        constants = np.maximum(self._curvatures(values, spend), 0.0)
        return gradients * np.sqrt(constants)[:, None, None]

    def _curvatures(self, values, spend):
        """E''(q) of every term (T,); what is negative is left to the shift."""
        raise NotImplementedError

    def _coordinates(self, positions, box):
        """Return bond lengths, angles or dihedrals (T,) and gradients (T, n, 3)."""
        i, j, *further = self._terms.T
        ij = self._vectors(i, j, positions, box)
        if not further:
            return ic.distances(ij)
        kj = self._vectors(further[0], j, positions, box)
        if len(further) == 1:
            return ic.angles(ij, kj)
        return ic.dihedrals(ij, kj, self._vectors(*further, positions, box))

    def _vectors(self, i, j, positions, box):
        return nearest_image(positions[i] - positions[j], box, self._periodic)


class _ClosedForm(StiffTerms):
    """Terms whose second derivatives are known: rows by the compiled core."""

    def __init__(self, terms: compiled.StiffTerms, moves):
        super().__init__(terms.atoms, False, moves)
        self._compiled = terms

    def _rows(self, positions, box, spend):
        return self._compiled.rows(positions, box)


class _CustomTerms(StiffTerms):
    """Slopes and curvatures by two evaluations; the last ones stay where a term is not finite."""

    cost = TermCurves.cost

    def __init__(self, curves: TermCurves, periodic, moves):
        super().__init__(curves.atoms, periodic, moves)
        self._curves = curves
        self._last = np.zeros((2, len(curves.atoms)))

    def _derivatives(self, values, spend):
        if spend:
            with contextlib.suppress(NonFiniteError):
                slopes, curvatures = self._curves.derivatives(values)
                self._last = slopes, np.minimum(curvatures, STIFFEST[self._terms.shape[1]])
        return self._last

    def _curvatures(self, values, spend):
        return self._derivatives(values, spend)[1]


class _CustomBonds(_CustomTerms):
    """Three rows for each bond: E'' along it and E'/r across, if it holds its atoms on one spot.

    Which bonds do so is asked once, when a bond is under a tension that would count.
    """

    def __init__(self, curves: BondCurves, periodic, moves):
        super().__init__(curves, periodic, moves)
        self.atoms = np.repeat(curves.atoms, 3, axis=0)
        self._on_one_spot = None

    def _rows(self, positions, box, spend):
        i, j = self._terms.T
        lengths, units = ic.directions(self._vectors(i, j, positions, box))
        slopes, curvatures = self._derivatives(lengths, spend)
        along = np.maximum(curvatures, 0.0)
        across = np.clip(slopes / np.maximum(lengths, SHORTEST), 0.0, STIFFEST[2])
        across[~self._hold_on_one_spot(across > TENSE * along, spend)] = 0.0
        # At length zero no direction is along the bond.
        across = np.where(units.any(axis=1), across, np.maximum(across, along))
        along, across = np.sqrt([along, across])[:, :, None, None]
        outer = units[:, :, None] * units[:, None, :]
        return _ends(across * np.eye(3) + (along - across) * outer)

    def _hold_on_one_spot(self, tense, spend):
        if self._on_one_spot is None and spend and tense.any():
            with contextlib.suppress(BudgetExhausted):
                self._on_one_spot = self._curves.hold_on_one_spot()
        return np.zeros_like(tense) if self._on_one_spot is None else self._on_one_spot


def _ends(blocks: np.ndarray) -> np.ndarray:
    """Three rows for each bond, (3 T, 2, 3), from the blocks (T, 3, 3) of its first atom."""
    return np.stack([blocks, -blocks], axis=2).reshape(-1, 2, 3)


def stiff_terms(potential: Potential) -> tuple[list[StiffTerms], list[mm.Force]]:
    """Terms whose curvatures are known one by one, and the bonded forces that are left.

    Parameters
    ----------
    potential : Potential
        Whose bonded forces, in its force groups, are taken; constraints become springs of
        4e5 kJ/mol/nm^2. CMAP terms are left out: they are soft, and eight atoms each.

    Returns
    -------
    list of StiffTerms, list of openmm.Force
    """
    terms: list[StiffTerms] = []
    others = []
    for force in potential.system.getForces():
        if not potential.groups >> force.getForceGroup() & 1:
            continue
        atoms = bonded_terms(force)
        if atoms is None or not len(atoms) or isinstance(force, mm.CMAPTorsionForce):
            continue
        known = _terms_of(force, atoms, potential)
        terms += known
        others += [] if known else [force]
    return terms + constraint_terms(potential), others


def constraint_terms(potential: Potential) -> list[StiffTerms]:
    """Return a System's constraints as springs of 4e5 kJ/mol/nm^2: one kind, or none."""
    found = compiled.constraint_terms(compiled.address(potential.system))
    return [_ClosedForm(terms, potential.moves) for terms in found]


def _terms_of(force: mm.Force, atoms: np.ndarray, potential: Potential) -> list[StiffTerms]:
    """Return the terms of a force; none where they are not known one by one."""
    periodic, moves = force.usesPeriodicBoundaryConditions(), potential.moves
    if isinstance(force, mm.CustomBondForce):
        return [_CustomBonds(BondCurves(potential, force), periodic, moves)]
    if isinstance(force, mm.CustomAngleForce | mm.CustomTorsionForce):
        return [_CustomTerms(TermCurves(potential, force), periodic, moves)]
    found = compiled.force_terms(compiled.address(force))
    return [_ClosedForm(terms, moves) for terms in found]
