"""X = Z: gradient descent on the coordinates themselves, the paper's baseline ("GD")."""

from __future__ import annotations

import numpy as np
import torch

from .base import Start, register

__all__ = ["Cartesian"]


class Cartesian(torch.nn.Module):
    """The identity.

    Parameters
    ----------
    positions : (N, 3) array
        In nm.

    Examples
    --------
    >>> import numpy as np
    >>> Cartesian(np.eye(3))().shape
    torch.Size([3, 3])
    """

    learning_rate = 0.01

    def __init__(self, positions: np.ndarray) -> None:
        super().__init__()
        self.latents = torch.nn.Parameter(torch.from_numpy(np.array(positions, dtype=np.float64)))

    def forward(self) -> torch.Tensor:
        """Positions, (N, 3) float64 in nm."""
        # A new tensor, so that what is handed out is not the parameter itself.
        return self.latents * 1.0


@register("cartesian")
def build_cartesian(start: Start) -> Cartesian:
    """Build a `Cartesian` at the start."""
    return Cartesian(start.positions)
