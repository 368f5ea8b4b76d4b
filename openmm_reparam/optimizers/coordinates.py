"""What the steps and forces of a descent are: a protocol, and displacements of the atoms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from .. import compiled
from ..potentials.point import Point
from .metric import Metric

__all__ = ["Cartesian", "Chart", "Coordinates", "Projection"]

# Arrays that coordinates follow along the way: axes that rotate with their surroundings, say.
# Straight coordinates need none: their chart is empty.
Chart = tuple[np.ndarray, ...]
# (N, 3) positions and (N, 3) vectors -> the vectors in the tangent space of the constraints.
Projection = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Coordinates(Protocol):
    """What the vectors of a descent are, steps and forces: arrays of one shape, whatever that is.

    No method changes anything: what depends on the way comes in, and goes out, as the chart.
    """

    def begin(self, positions: np.ndarray) -> Chart:
        """Return the chart at (N, 3) positions in nm where a descent begins."""

    def moved(
        self, chart: Chart, positions: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, Chart]:
        """Return (N, 3) positions in nm after a step, and the chart there."""

    def step_taken(self, before: Point, after: Point, step: np.ndarray) -> np.ndarray:
        """Return the step that led from a point to the next, where ``step`` was asked for.

        They may differ: constraints are retracted, and steps of internal coordinates found by
        iteration.
        """

    def forces(self, chart: Chart, point: Point) -> np.ndarray:
        """Return minus the derivatives of the energy by steps from a point."""

    def solve(self, metric: Metric, chart: Chart, vectors: np.ndarray) -> np.ndarray:
        """Return P^-1 v, where ``chart`` is that at the positions of the metric's last update."""

    def project(
        self, projection: Projection, chart: Chart, positions: np.ndarray, step: np.ndarray
    ) -> np.ndarray:
        """Return a step at (N, 3) positions in nm with its displacements projected."""

    def longest(self, chart: Chart, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom, to first order, in nm."""

    def longest_within(self, chart: Chart, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom relative to its molecule, in nm."""


class Cartesian:
    """Displacements of the atoms, (N, 3) in nm, along straight lines.

    Parameters
    ----------
    molecules : (N,) int array, optional
        The molecule of each atom; all are of one by default.

    Attributes
    ----------
    molecules : (N,) int array or None

    Examples
    --------
    >>> import numpy as np
    >>> coordinates = Cartesian()
    >>> x = np.zeros((2, 3))
    >>> positions, chart = coordinates.moved(coordinates.begin(x), x, x + 0.1)
    >>> float(positions.max()), chart
    (0.1, ())
    """

    def __init__(self, molecules: np.ndarray | None = None) -> None:
        self.molecules = None if molecules is None else np.asarray(molecules, dtype=np.int64)

    def begin(self, positions: np.ndarray) -> Chart:
        """Return the empty chart."""
        return ()

    def moved(
        self, chart: Chart, positions: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, Chart]:
        """Return the sum."""
        return positions + step, chart

    def step_taken(self, before: Point, after: Point, step: np.ndarray) -> np.ndarray:
        """Return the displacement, what a retraction has made of it included."""
        return after.positions - before.positions

    def forces(self, chart: Chart, point: Point) -> np.ndarray:
        """Return the point's."""
        return point.forces

    def solve(self, metric: Metric, chart: Chart, vectors: np.ndarray) -> np.ndarray:
        """Return what the metric does."""
        return metric.solve(vectors)

    def project(
        self, projection: Projection, chart: Chart, positions: np.ndarray, step: np.ndarray
    ) -> np.ndarray:
        """Return the projection."""
        return projection(positions, step)

    def longest(self, chart: Chart, positions: np.ndarray, step: np.ndarray) -> float:
        """Return the largest displacement in nm."""
        return compiled.longest(step)

    def longest_within(self, chart: Chart, positions: np.ndarray, step: np.ndarray) -> float:
        """Return the largest displacement relative to the mean of its molecule, in nm."""
        return compiled.longest_within(step, self.molecules)
