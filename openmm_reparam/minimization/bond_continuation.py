"""Continuation over springs: bonds caught outside their wells first descend as harmonic springs.

A bond beyond the inflection of its well (a Lennard-Jones contact that has not formed, a Morse bond
torn apart) hardly pulls, and one behind a barrier (a soft core) pulls the wrong way; descent leaves
both where they are. Springs with the same minima and the same curvatures there pull from anywhere.
That is the idea of Gaussian continuation in distance geometry (More, Wu, SIAM J. Optim. 1997, 7,
814): first an energy without the false minima, then the energy itself.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import openmm as mm

from ..geometry.neighbors import nearest_image
from ..optimizers.lbfgs import lbfgs
from ..optimizers.line_search import LineSearchError
from ..potentials.bonded import bonded_system, bonded_terms
from ..potentials.point import Point
from ..potentials.potential import Potential
from ..precon.custom_bonds import BondCurves
from ..precon.preconditioner import Preconditioner

__all__ = ["spring_points"]

# The springs end once no atom moves further in an iteration than this (nm), or after so many.
SMALL_STEP, LIMIT = 1e-3, 200
# A bond as near to its minimum as this (nm) is in its well.
IN_WELL = 1e-3


def spring_points(
    potential: Potential, evaluate: Callable[[np.ndarray], Point], start: Point
) -> Iterator[Point]:
    """Pull bonds into their wells from wherever they are.

    If any term of a CustomBondForce is outside its deepest well at the start (its curvature is
    negative, or it pulls away from that well), the energy is replaced by the bonded forces alone
    with all those terms as springs, and that is minimized by preconditioned L-BFGS. What it ends
    in is meant as the start of a descent on the energy itself.

    Parameters
    ----------
    potential : Potential
        Every evaluation of bonded forces alone is counted, as "bonded".
    evaluate : callable
        (N, 3) positions in nm -> Point.
    start : Point

    Yields
    ------
    Point
        The end of the springs, evaluated; nothing where every bond is in its well.

    Raises
    ------
    NonFiniteError
        From ``evaluate``: the springs have led to overlapping atoms.
    """
    forces, caught = [], False
    for force in potential.system.getForces():
        if not potential.groups >> force.getForceGroup() & 1 or bonded_terms(force) is None:
            continue
        if isinstance(force, mm.CustomBondForce):
            curves = BondCurves(potential, force)
            wells = curves.wells()
            periodic = force.usesPeriodicBoundaryConditions()
            box = potential.box() if periodic else None
            caught |= _any_outside(curves, wells, start.positions, box)
            force = _springs(curves.atoms, wells, periodic)
        forces.append(force)
    if caught:
        side = potential.side_potential("bonded", bonded_system(potential, forces))
        yield evaluate(_relaxed(side, start.positions))


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
