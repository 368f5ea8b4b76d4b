"""Whole molecules moved, as coordinates of an L-BFGS: nothing within them changes."""

from __future__ import annotations

import numpy as np

from ..potentials.point import Point

__all__ = ["Translations"]


class Translations:
    """One displacement for each molecule, (M, 3) in nm.

    Parameters
    ----------
    molecules : (N,) int array
        The molecule of each atom, 0 to M - 1.
    moves : (N,) bool array
        Molecules with an atom that does not move stay.
    """

    def __init__(self, molecules: np.ndarray, moves: np.ndarray) -> None:
        self._molecules = molecules
        self._free = np.bincount(molecules, ~moves) == 0
        self._step = np.zeros((len(self._free), 3))

    def means(self, vectors: np.ndarray) -> np.ndarray:
        """Return the mean over each molecule of (N, 3) vectors, (M, 3); zero where one stays."""
        counts = np.bincount(self._molecules)
        return self._sums(vectors) / counts[:, None]

    def forces(self, point: Point) -> np.ndarray:
        """Return the force on each molecule, (M, 3) in kJ/mol/nm."""
        return self._sums(point.forces)

    def longest(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return the largest displacement in nm."""
        return float(np.linalg.norm(step, axis=1).max())

    def longest_within(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return 0: molecules are rigid here."""
        return 0.0

    def moved(self, positions: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return (N, 3) positions in nm after a step."""
        self._step = step
        return positions + step[self._molecules]

    def accepted(self, before: Point, after: Point) -> np.ndarray:
        """Return the last step tried."""
        return self._step

    def _sums(self, vectors: np.ndarray) -> np.ndarray:
        columns = [np.bincount(self._molecules, column) for column in vectors.T]
        return np.where(self._free[:, None], np.stack(columns, axis=1), 0.0)
