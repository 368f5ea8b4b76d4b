"""Where a search stands between two of its rounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["SearchState", "WalkerState"]


@dataclass(frozen=True)
class WalkerState:
    """Where a walker stands; see `Walker`.

    Attributes
    ----------
    positions : (N, 3) array
        Of the minimum that it moves from, in nm.
    energy : float
        Of that minimum, in kJ/mol.
    amplitude : float
        In nm.
    temperature_factor : float
    lowest : float
        In kJ/mol.
    stagnation : int
    """

    positions: np.ndarray
    energy: float
    amplitude: float
    temperature_factor: float
    lowest: float
    stagnation: int


@dataclass(frozen=True)
class SearchState:
    """Where a search stands: enough to go on in another process.

    The minima found are not part of it. They go on in the database.

    Attributes
    ----------
    walkers : tuple of WalkerState
    rises : tuple of float
        Changes of energy in the last hops, in kJ/mol; the temperature follows them.
    """

    walkers: tuple[WalkerState, ...]
    rises: tuple[float, ...] = ()

    @property
    def lowest(self) -> float:
        """Lowest energy in kJ/mol since the last restart."""
        return min(walker.lowest for walker in self.walkers)

    @property
    def current(self) -> WalkerState:
        """The walker at the lowest minimum."""
        return min(self.walkers, key=lambda walker: walker.energy)
