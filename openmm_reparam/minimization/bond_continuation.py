"""Harmonic continuation: bonds caught outside their wells first descend as harmonic springs.

A bond beyond the inflection of its well (a Lennard-Jones contact that has not formed, a Morse bond
torn apart) hardly pulls, and one behind a barrier (a soft core) pulls the wrong way; descent leaves
both where they are. Springs with the same minima and the same curvatures there pull from anywhere.
That is the idea of Gaussian continuation in distance geometry (More, Wu, SIAM J. Optim. 1997, 7,
814): first an energy without the false minima, then the energy itself.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator

import numpy as np
import openmm as mm

from ..errors import NonFiniteError
from ..geometry.neighbors import nearest_image
from ..optimizers.lbfgs import lbfgs
from ..optimizers.line_search import LineSearchError
from ..optimizers.stage_end import StageEnd
from ..potentials.bonded import bonded_system, bonded_terms
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..potentials.potential import Potential
from ..precon.custom_bonds import BondCurves
from ..precon.preconditioner import Preconditioner

__all__ = ["HarmonicContinuation"]

# The springs end once no atom moves further in an iteration than this (nm), or after so many.
SMALL_STEP, LIMIT = 1e-3, 200
# A bond as near to its minimum as this (nm) is in its well.
IN_WELL = 1e-3


class HarmonicContinuation:
    """Pulls bonds into their wells from wherever they are.

    If any term of a CustomBondForce is outside its deepest well at the start (its curvature is
    negative, or it pulls away from that well), the energy is replaced by the bonded forces alone
    with all those terms as springs, and that is minimized by preconditioned L-BFGS. What it ends
    in is meant as the start of a descent on the energy itself.

    Parameters
    ----------
    evaluator : Evaluator
        Every evaluation of bonded forces alone is counted by its potential, as "bonded".

    Attributes
    ----------
    name, label : str
        What the result and the progress call it.
    searches : bool
        False.
    """

    name = label = "harmonic continuation"
    searches = False

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def points(self, begin: Point) -> Generator[Point, None, None]:
        """Yield the end of the springs, evaluated; nothing where every bond is in its well.

        Raises
        ------
        StageEnd
            At the end; the message says what the springs did.
        """
        potential = self._evaluator.potential
        try:
            forces, caught = _with_springs(potential, begin.positions)
            if caught:
                side = potential.side_potential("bonded", bonded_system(potential, forces))
                yield self._evaluator.evaluate(_relaxed(side, begin.positions))
        except NonFiniteError as error:
            raise StageEnd(f"left as it was: {error}") from None
        raise StageEnd(
            "bonds out of their wells were pulled in" if caught else "no bond is out of its well"
        )


def _with_springs(potential: Potential, positions: np.ndarray) -> tuple[list[mm.Force], bool]:
    """Return bonded forces, custom bonds as springs; and whether any is out of its well."""
    forces, caught = [], False
    for force in potential.system.getForces():
        if not potential.groups >> force.getForceGroup() & 1 or bonded_terms(force) is None:
            continue
        if isinstance(force, mm.CustomBondForce):
            curves = BondCurves(potential, force)
            wells = curves.wells()
            periodic = force.usesPeriodicBoundaryConditions()
            box = potential.box() if periodic else None
            caught |= _any_outside(curves, wells, positions, box)
            force = _springs(curves.atoms, wells, periodic)
        forces.append(force)
    return forces, caught


def _any_outside(curves: BondCurves, wells, positions: np.ndarray, box) -> bool:
    minima, curvatures = wells
    i, j = curves.atoms.T
    vectors = nearest_image(positions[i] - positions[j], box, box is not None)
    lengths = np.linalg.norm(vectors, axis=1)
    away = lengths - minima
    outside = (curves.curvatures(lengths) <= 0) | (curves.slopes(lengths) * away < 0)
    return bool((outside & ~np.isnan(curvatures) & (np.abs(away) > IN_WELL)).any())


def _springs(pairs: np.ndarray, wells, periodic: bool) -> mm.HarmonicBondForce:
    springs = mm.HarmonicBondForce()
    springs.setUsesPeriodicBoundaryConditions(periodic)
    for (i, j), length, curvature in zip(pairs.tolist(), *wells, strict=True):
        if not np.isnan(curvature):
            springs.addBond(i, j, length, curvature)
    return springs


def _relaxed(side: Potential, positions: np.ndarray) -> np.ndarray:
    def evaluate(x: np.ndarray) -> Point:
        return Point(x, *side.evaluate(x))

    metric = Preconditioner(side, contacts=False)
    metric.update(positions)
    points = lbfgs(evaluate, evaluate(positions), metric=metric)
    with contextlib.suppress(LineSearchError):
        for point in itertools.islice(points, LIMIT):
            moved = np.linalg.norm(point.positions - positions, axis=1).max()
            positions = point.positions
            if moved < SMALL_STEP:
                break
    return positions
