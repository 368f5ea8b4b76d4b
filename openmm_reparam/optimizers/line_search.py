"""How far to go along a direction: backtracking, and the bound of the step to try first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import NonFiniteError
from ..potentials.point import Point, dot

__all__ = ["LineSearchError", "LineSearch", "StepBound"]

ARMIJO = 1e-4
MAX_BACKTRACKS = 12
# So many full steps in a row that ended as promised, and the step bound begins to double.
PROVEN = 5


class LineSearchError(RuntimeError):
    """No step along any direction tried lowers the energy: rounding has been reached."""


class LineSearch:
    """Backtracking along a direction until the energy has fallen enough.

    Parameters
    ----------
    evaluate, coordinates, refuses
        As `lbfgs` takes them.
    noise : float
        In kJ/mol: up to so much, the slope decides.

    Attributes
    ----------
    refused : bool
        Whether a step that lowers the energy was.
    """

    def __init__(self, evaluate, coordinates, refuses, noise: float) -> None:
        self._evaluate, self._coordinates = evaluate, coordinates
        self._refuses, self._noise = refuses, noise
        self.refused, self._failed = False, ""

    def __call__(
        self, point: Point, direction: np.ndarray, slope: float, length: float, *, content: bool
    ) -> tuple[Point | None, float]:
        """Return what a step led to and its length; None if none lowers the energy.

        Where ``content``, the lowest point will do that lies lower at all: at a singular geometry
        (a torsion of atoms in line) the slope promises what no step can keep.
        """
        lowest, there = point.energy - self._noise, 0.0
        for _ in range(MAX_BACKTRACKS):
            try:
                trial = self._evaluate(self._coordinates.moved(point.positions, length * direction))
            except NonFiniteError as error:
                self._failed = str(error)
                length *= 0.2
                continue
            if self._lower(point, trial, direction, slope, length):
                if self._refuses is None or not self._refuses(point, trial, -length * slope):
                    return trial, length
                self.refused = True
                length *= 0.2
                continue
            if trial.energy < lowest:
                lowest, there = trial.energy, length
            # The minimum of the parabola through both energies and the slope, kept in bounds.
            rise = trial.energy - point.energy
            parabola = -slope * length**2 / (2 * (rise - slope * length))
            length = min(max(parabola, 0.1 * length), 0.5 * length)
        if not (content and there):
            return None, length
        moved = self._coordinates.moved(point.positions, there * direction)
        found = self._evaluate(moved)
        refused = self._refuses is not None and self._refuses(point, found, -there * slope)
        return (None if refused else found), there

    def _lower(self, point: Point, trial: Point, direction, slope: float, length: float) -> bool:
        rise = trial.energy - point.energy
        if rise <= ARMIJO * length * slope:
            return True
        # Near the minimum the fall drowns in rounding; the slope there is still exact enough.
        if rise > self._noise:
            return False
        slope_there = -dot(self._coordinates.forces(trial), direction)
        return slope_there <= (2 * ARMIJO - 1) * slope

    def why(self) -> str:
        """Say why no step is left."""
        if self.refused:
            return (
                "no step lowers the energy any more without unbonded atoms falling onto each other"
            )
        if self._failed:
            return f"every step led to energies that could not be used: {self._failed}"
        return (
            "no step lowers the energy any more: the forces are as small as the "
            "platform's precision allows, or inconsistent with the energy"
        )


class StepBound:
    """How far a step may move an atom, in nm: further where steps keep their promise.

    Only whole molecules go further: within one, no atom moves beyond the smallest bound relative to
    the others, so that none is torn.
    """

    def __init__(self, smallest: float, largest: float) -> None:
        self._smallest = self._bound = smallest
        self._largest = largest
        self._kept, self._held, self._flat = 0, False, False

    def reset(self) -> None:
        """Go back to the bound of the start."""
        self._bound, self._kept = self._smallest, 0

    def length(self, longest: float, within: Callable[[], float]) -> float:
        """Return the step to try, in units of a direction.

        Parameters
        ----------
        longest : float
            How far the direction moves an atom, in nm.
        within : callable
            How far it moves an atom relative to its molecule.
        """
        full = self._bound / max(longest, np.finfo(float).tiny)
        self._held = full < 1.0 or self._flat
        if self._bound == self._smallest:
            return min(1.0, full)
        # Where the slope does not change along a step, the length of P's step means nothing.
        full = full if self._flat else min(1.0, full)
        return min(full, self._smallest / max(within(), np.finfo(float).tiny))

    def learn(
        self, length: float, at_once: bool, fall: float, promised: float, curvature: float
    ) -> None:
        """Note how a step of a length went: whether at its first trial, and as promised."""
        self._flat = curvature <= 0.01 * promised
        if not (at_once and (self._held or self._flat)):
            self.reset()
            return
        # Between the fall of a parabola whose minimum is one step away and that of a straight line.
        least = max(0.5, 1.0 - length / 2)
        self._kept = self._kept + 1 if 0.9 * least * promised < fall < 1.1 * promised else 0
        grown = min(2 * self._bound, self._largest)
        self._bound = grown if self._kept >= PROVEN else self._smallest
