"""What the steps and forces of a descent are: a protocol, and displacements of the atoms."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..potentials.point import Point

__all__ = ["Coordinates", "Cartesian"]


class Coordinates(Protocol):
    """What the vectors of a descent are, steps and forces: `Cartesian`, or ones along curves.

    Arrays of one shape, whatever that is.
    """

    def forces(self, point: Point) -> np.ndarray:
        """Return the forces along the coordinates at the start, or where the last step led."""

    def longest(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom, to first order, in nm."""

    def longest_within(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom relative to its molecule, in nm."""

    def moved(self, positions: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Try a step: return (N, 3) positions in nm after it."""

    def accepted(self, before: Point, after: Point) -> np.ndarray:
        """Note that the last step tried is taken, and return it."""


class Cartesian:
    """Displacements of the atoms, (N, 3) in nm, along straight lines.

    Parameters
    ----------
    molecules : (N,) int array, optional
        The molecule of each atom; all are of one by default.
    """

    def __init__(self, molecules: np.ndarray | None = None) -> None:
        self._molecules = molecules

    def forces(self, point: Point) -> np.ndarray:
        """Return the point's."""
        return point.forces

    def longest(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return the largest displacement in nm."""
        return float(np.sqrt(np.einsum("ij,ij->i", step, step).max()))

    def longest_within(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return the largest displacement relative to the mean of its molecule, in nm."""
        labels = self._molecules
        if labels is None:
            labels = np.zeros(len(step), dtype=int)
        counts = np.bincount(labels)
        means = np.stack([np.bincount(labels, column) for column in step.T], axis=1)
        return self.longest(positions, step - (means / counts[:, None])[labels])

    def moved(self, positions: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return the sum."""
        return positions + step

    def accepted(self, before: Point, after: Point) -> np.ndarray:
        """Return the displacement, what a retraction has made of it included."""
        return after.positions - before.positions
