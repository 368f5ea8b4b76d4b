"""How far to go along a direction: backtracking until the energy has fallen enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import NonFiniteError
from ..potentials.point import Point, dot
from .coordinates import Chart, Coordinates

__all__ = ["Direction", "LineSearch", "LineSearchError", "LineSearchResult", "Trial"]

ARMIJO = 1e-4
MAX_BACKTRACKS = 12


class LineSearchError(RuntimeError):
    """No step along any direction tried lowers the energy: rounding has been reached."""


class Direction(NamedTuple):
    """Where a line search begins, and where it goes.

    ``vector`` is a step of length 1, ``slope`` the derivative of the energy by the length there.
    """

    point: Point
    chart: Chart
    vector: np.ndarray
    slope: float


class Trial(NamedTuple):
    """A step tried, and where it led: ``step`` is ``length`` times the direction's vector."""

    length: float
    step: np.ndarray
    point: Point
    chart: Chart


@dataclass(frozen=True)
class LineSearchResult:
    """How a line search ended.

    Attributes
    ----------
    trial : Trial or None
        The step to take; None where none lowers the energy.
    refused : bool
        Whether a step that lowers the energy was.
    failed : str
        Why the last energy that could not be used was not finite; "" where there was none.
    """

    trial: Trial | None
    refused: bool = False
    failed: str = ""

    def why(self) -> str:
        """Say why no step is left."""
        if self.refused:
            return (
                "no step lowers the energy any more without unbonded atoms falling onto each other"
            )
        if self.failed:
            return f"every step led to energies that could not be used: {self.failed}"
        return (
            "no step lowers the energy any more: the forces are as small as the "
            "platform's precision allows, or inconsistent with the energy"
        )


@dataclass(frozen=True)
class LineSearch:
    """Backtracking along a direction until the energy has fallen enough.

    Attributes
    ----------
    evaluate, coordinates, refuses
        As `lbfgs` takes them.
    noise : float
        In kJ/mol: up to so much, the slope decides.
    """

    evaluate: Callable[[np.ndarray], Point]
    coordinates: Coordinates
    refuses: Callable[[Point, Point, float], bool] | None
    noise: float

    def __call__(self, way: Direction, length: float, *, content: bool) -> LineSearchResult:
        """Go along a direction; the first trial has this length.

        Where ``content``, the lowest point will do that lies lower at all: at a singular geometry
        (a torsion of atoms in line) the slope promises what no step can keep.
        """
        lowest, there = way.point.energy - self.noise, 0.0
        refused, failed = False, ""
        for _ in range(MAX_BACKTRACKS):
            try:
                trial = self._tried(way, length)
            except NonFiniteError as error:
                failed = str(error)
                length *= 0.2
                continue
            if self._lower(way, trial):
                if self._allowed(way, trial):
                    return LineSearchResult(trial, refused, failed)
                refused = True
                length *= 0.2
                continue
            if trial.point.energy < lowest:
                lowest, there = trial.point.energy, length
            # The minimum of the parabola through both energies and the slope, kept in bounds.
            rise = trial.point.energy - way.point.energy
            parabola = -way.slope * length**2 / (2 * (rise - way.slope * length))
            length = min(max(parabola, 0.1 * length), 0.5 * length)
        if not (content and there):
            return LineSearchResult(None, refused, failed)
        found = self._tried(way, there)
        return LineSearchResult(found if self._allowed(way, found) else None, refused, failed)

    def _tried(self, way: Direction, length: float) -> Trial:
        step = length * way.vector
        positions, chart = self.coordinates.moved(way.chart, way.point.positions, step)
        return Trial(length, step, self.evaluate(positions), chart)

    def _allowed(self, way: Direction, trial: Trial) -> bool:
        if self.refuses is None:
            return True
        return not self.refuses(way.point, trial.point, -trial.length * way.slope)

    def _lower(self, way: Direction, trial: Trial) -> bool:
        rise = trial.point.energy - way.point.energy
        if rise <= ARMIJO * trial.length * way.slope:
            return True
        # Near the minimum the fall drowns in rounding; the slope there is still exact enough.
        if rise > self.noise:
            return False
        slope_there = -dot(self.coordinates.forces(trial.chart, trial.point), way.vector)
        return slope_there <= (2 * ARMIJO - 1) * way.slope
