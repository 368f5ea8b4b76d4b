"""Atoms that have fallen onto each other: found, refused as steps, mended in a start.

A hydrogen without a Lennard-Jones core (of a hydroxyl group, of a water) has an energy without
bottom near an opposite charge. What keeps it away are its neighbours, and a long step passes them.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .. import compiled
from ..geometry.neighbors import nearest_image
from .point import Point
from .potential import Potential
from .unbonded import UnbondedPairs

__all__ = ["TOO_NEAR", "CollapseCheck"]

# Atoms that are not bonded and feel each other come no nearer (nm) in any sound structure.
TOO_NEAR = 0.08


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

    @cached_property
    def _compiled(self) -> compiled.CollapseCheck:
        potential, known = self._potential, self._potential.nonbonded
        movable = potential.moves.copy()
        movable[[site for site, atoms in potential.carriers.items() if atoms]] = True
        return compiled.CollapseCheck(
            None if known is None else known.particles,
            np.empty((0, 2), dtype=np.int64) if known is None else known.exception_pairs,
            np.empty((0, 3)) if known is None else known.exceptions,
            UnbondedPairs(potential).excluded,
            potential.moves,
            movable,
        )

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
        return self._compiled.pairs(positions, before, self._potential.box(), cutoff, unknown)

    def sound(self, point: Point) -> bool:
        """Whether no pair has collapsed, of those a NonbondedForce knows."""
        return self._compiled.sound(point.positions, point.forces, self._potential.box())

    def refuses(self, before: Point, after: Point, promised: float) -> bool:
        """Whether a step leads into a collapse, and has to be shorter.

        Parameters
        ----------
        before, after : Point
        promised : float
            The fall of energy to first order, kJ/mol.
        """
        return self._compiled.refuses(
            before.energy,
            before.positions,
            after.energy,
            after.positions,
            after.forces,
            promised,
            self._potential.box(),
        )

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

    def _carriers(self, atom: int) -> list[int]:
        """Return the atoms to move for this one to move."""
        if self._potential.moves[atom]:
            return [atom]
        return self._potential.carriers.get(atom, [])

    def _vectors(self, positions: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        box = self._potential.box()
        return nearest_image(positions[i] - positions[j], box, box is not None)
