"""Atoms that have fallen onto each other: found, refused as steps, mended in a start.

A hydrogen without a Lennard-Jones core (of a hydroxyl group, of a water) has an energy without
bottom near an opposite charge. What keeps it away are its neighbours, and a long step passes them.
"""

from __future__ import annotations

import numpy as np

from ..geometry.neighbors import nearest_image
from .point import Point
from .potential import Potential
from .unbonded import UnbondedPairs

__all__ = ["TOO_NEAR", "CollapseCheck"]

# Atoms that are not bonded and feel each other come no nearer (nm) in any sound structure.
TOO_NEAR = 0.08
# A pair of charges nearer than that pulls with more (kJ/mol/nm): hydroxyl and carboxylate 6000.
LARGE_FORCE = 1000.0
# A step's fall of energy beyond so many times what its slope promises is looked into.
SUSPICIOUS_FALL = 2.0
# So much of a step's fall that comes from pairs too near is a collapse; less is the end of a clash.
LARGE_SHARE = 0.5
# Atoms i and j of pairs, and their distances in nm: (n,) each.
_Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


class CollapseCheck:
    """Finds unbonded atoms that are too near because they attract each other.

    Where a NonbondedForce knows a pair, its Lennard-Jones and Coulomb energy tells a collapse from
    a clash, and from atoms that overlap on purpose. Of pairs in other potentials nothing is known
    but that a step to them has lowered the energy far more than it promised.

    Parameters
    ----------
    potential : Potential

    Examples
    --------
    >>> from openmm_reparam.potentials.potential import Potential
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> potential = Potential(peptide("SD").simulation("CPU").context)
    >>> CollapseCheck(potential).pairs(potential.positions())
    []
    """

    def __init__(self, potential: Potential) -> None:
        self._potential = potential
        self._unbonded = UnbondedPairs(potential)
        self._movable = potential.moves.copy()
        self._movable[[site for site, atoms in potential.carriers.items() if atoms]] = True

    def pairs(
        self,
        positions: np.ndarray,
        before: np.ndarray | None = None,
        *,
        unknown: bool = False,
        cutoff: float = TOO_NEAR,
    ) -> list[tuple[int, int, float]]:
        """Collapsed pairs (i, j, distance in nm), the nearest first.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        before : (N, 3) array, optional
            Only pairs that were further apart there.
        unknown : bool
            Count pairs of which no NonbondedForce knows whether they attract each other.
        cutoff : float
            In nm.
        """
        return self._attracting(self._near(positions, before, cutoff), unknown)

    def sound(self, point: Point) -> bool:
        """Whether no pair has collapsed, of those a NonbondedForce knows."""
        pulled = self._pulled(point)
        if self._potential.nonbonded is None or not len(pulled):
            return True
        return not self._attracting(self._near(point.positions, None, TOO_NEAR, pulled), False)

    def refuses(self, before: Point, after: Point, promised: float) -> bool:
        """Whether a step leads into a collapse, and has to be shorter.

        Parameters
        ----------
        before, after : Point
        promised : float
            The fall of energy to first order, kJ/mol.
        """
        fall = before.energy - after.energy
        known, pulled = self._potential.nonbonded, self._pulled(after)
        if known is not None and len(pulled):
            i, j, lengths = self._near(after.positions, before.positions, TOO_NEAR, pulled)
            energies = known.energies(i, j, lengths)
            attract = energies < 0
            i, j = i[attract], j[attract]
            earlier = known.energies(i, j, self._distances(before.positions, i, j))
            if len(i) and (earlier - energies[attract]).sum() > LARGE_SHARE * fall:
                return True
        if fall <= SUSPICIOUS_FALL * promised:
            return False
        return known is None and bool(self.pairs(after.positions, before.positions, unknown=True))

    def pushed_apart(
        self, positions: np.ndarray, pairs: list[tuple], distance: float = TOO_NEAR
    ) -> np.ndarray:
        """Positions, (N, 3) in nm, with the atoms of pairs moved apart to a distance in nm.

        Along the line between them, each halfway; an atom that does not move leaves all of the way
        to the other one, a virtual site takes its parents along.
        """
        i, j = np.array([pair[:2] for pair in pairs]).T
        vectors = self._vectors(positions, i, j)
        lengths = np.linalg.norm(vectors, axis=1)[:, None]
        missing = np.maximum(distance * (1 + 1e-6) - lengths, 0.0) * vectors / lengths
        positions = np.array(positions)
        for a, b, way in zip(i.tolist(), j.tolist(), missing, strict=True):
            first, second = self._carriers(a), self._carriers(b)
            share = 0.5 if first and second else 1.0
            positions[first] += share * way
            positions[second] -= share * way
        return positions

    def named(self, pairs: list[tuple], most: int = 5) -> str:
        """Name pairs for a person."""
        label = self._potential.label
        text = "; ".join(
            f"{label(i)} and {label(j)} ({d:.2g} nm apart)" for i, j, d in pairs[:most]
        )
        return text + (f" and {len(pairs) - most} pairs more" if len(pairs) > most else "")

    def _pulled(self, point: Point) -> np.ndarray:
        """Return atoms of which a collapsing pair consists: with large forces, or none at all.

        Forces on virtual sites are their parents', and those on fixed atoms are not asked for.
        """
        large = np.einsum("ij,ij->i", point.forces, point.forces) > LARGE_FORCE**2
        return np.flatnonzero(large | ~self._potential.moves) if large.any() else np.empty(0, int)

    def _carriers(self, atom: int) -> list[int]:
        """Return the atoms to move for this one to move."""
        if self._potential.moves[atom]:
            return [atom]
        return self._potential.carriers.get(atom, [])

    def _near(
        self,
        positions: np.ndarray,
        before: np.ndarray | None,
        cutoff: float,
        among: np.ndarray | None = None,
    ) -> _Pairs:
        """Return unbonded pairs nearer than a cutoff that can move: i, j and their distances."""
        i, j, vectors = self._unbonded.near(positions, cutoff, among)
        lengths = np.linalg.norm(vectors, axis=1)
        kept = self._movable[i] | self._movable[j]
        if before is not None and len(i):
            kept &= lengths < self._distances(before, i, j)
        return i[kept], j[kept], lengths[kept]

    def _attracting(self, near: _Pairs, unknown: bool) -> list[tuple[int, int, float]]:
        """Return the pairs that attract each other; all or none where that is not known."""
        known, (i, j, lengths) = self._potential.nonbonded, near
        attract = np.full(len(i), unknown)
        if known is not None:
            attract = known.energies(i, j, lengths) < 0
        pairs = zip(
            i[attract].tolist(), j[attract].tolist(), lengths[attract].tolist(), strict=True
        )
        return sorted(pairs, key=lambda pair: pair[2])

    def _vectors(self, positions: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        box = self._potential.box()
        return nearest_image(positions[i] - positions[j], box, box is not None)

    def _distances(self, positions: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return np.linalg.norm(self._vectors(positions, i, j), axis=1)
