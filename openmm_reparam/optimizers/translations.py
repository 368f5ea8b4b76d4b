"""Whole molecules moved, as coordinates of an L-BFGS: nothing within them changes."""

from __future__ import annotations

import numpy as np

from ..potentials.point import Point
from .coordinates import Chart, Projection
from .metric import Metric

__all__ = ["Translations"]


class Translations:
    """One displacement for each molecule, (M, 3) in nm.

    Parameters
    ----------
    molecules : (N,) int array
        The molecule of each atom, 0 to M - 1.
    moves : (N,) bool array
        Molecules with an atom that does not move stay.

    Examples
    --------
    >>> import numpy as np
    >>> translations = Translations(np.array([0, 0, 1]), np.array([True, True, False]))
    >>> translations.sums(np.ones((3, 3)))[:, 0].tolist()  # the second molecule stays
    [2.0, 0.0]
    """

    def __init__(self, molecules: np.ndarray, moves: np.ndarray) -> None:
        self._molecules = molecules
        self._free = np.bincount(molecules, ~moves) == 0

    def sums(self, vectors: np.ndarray) -> np.ndarray:
        """Return the sum over each molecule of (N, 3) vectors, (M, 3); zero where one stays."""
        columns = [np.bincount(self._molecules, column) for column in vectors.T]
        return np.where(self._free[:, None], np.stack(columns, axis=1), 0.0)

    def means(self, vectors: np.ndarray) -> np.ndarray:
        """Return the mean over each molecule of (N, 3) vectors, (M, 3); zero where one stays."""
        counts = np.bincount(self._molecules)
        return self.sums(vectors) / counts[:, None]

    def begin(self, positions: np.ndarray) -> Chart:
        """Return the empty chart."""
        return ()

    def moved(
        self, chart: Chart, positions: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, Chart]:
        """Return (N, 3) positions in nm after a step."""
        return positions + step[self._molecules], chart

    def step_taken(self, before: Point, after: Point, step: np.ndarray) -> np.ndarray:
        """Return the step asked for: rigid molecules violate no constraint within them."""
        return step

    def forces(self, chart: Chart, point: Point) -> np.ndarray:
        """Return the force on each molecule, (M, 3) in kJ/mol/nm."""
        return self.sums(point.forces)

    def solve(self, metric: Metric, chart: Chart, vectors: np.ndarray) -> np.ndarray:
        """Return what the metric, one of molecules, makes of (M, 3) vectors."""
        return metric.solve(vectors)

    def project(
        self, projection: Projection, chart: Chart, positions: np.ndarray, step: np.ndarray
    ) -> np.ndarray:
        """Return the step: constraints are within molecules."""
        return step

    def longest(self, chart: Chart, positions: np.ndarray, step: np.ndarray) -> float:
        """Return the largest displacement in nm."""
        return float(np.linalg.norm(step, axis=1).max())

    def longest_within(self, chart: Chart, positions: np.ndarray, step: np.ndarray) -> float:
        """Return 0: molecules are rigid here."""
        return 0.0
