"""What an initial inverse Hessian must offer."""

from __future__ import annotations

from typing import Protocol

import numpy as np

__all__ = ["Metric"]


class Metric(Protocol):
    """An initial inverse Hessian P^-1 of an L-BFGS: `Preconditioner` is one.

    Attributes
    ----------
    complete : bool
        Whether P holds all that is stiff: what it finds far too stiff then is a clash.
    """

    complete: bool

    def update(self, positions: np.ndarray) -> None:
        """Rebuild P at (N, 3) positions in nm; after a `NonFiniteError` the old one is in use."""

    def solve(self, vectors: np.ndarray) -> np.ndarray:
        """Return P^-1 v for an array of the shape of steps, along axes that do not rotate."""

    def raise_shift(self) -> None:
        """Make P stiffer along soft directions, until the next update."""
