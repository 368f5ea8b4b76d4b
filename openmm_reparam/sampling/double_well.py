"""The double well in two dimensions on which the published model was shown."""

from __future__ import annotations

import torch

__all__ = ["DoubleWell"]


class DoubleWell:
    """U(x) = x1^4 / 4 - 3 x1^2 + x1 + x2^2 / 2 in kT: two wells, 4.777 kT apart in free energy.

    Attributes
    ----------
    periodic : (2,) bool tensor
        Neither is an angle.

    References
    ----------
    Schöberl, Zabaras, Koutsourelakis, arXiv:2002.10148 (2020).

    Examples
    --------
    >>> easy, wanted = DoubleWell()(torch.tensor([[-2.5, 0.0], [2.5, 0.0]]))
    >>> wanted.tolist()
    [11.484375, 6.484375]
    """

    periodic = torch.tensor([False, False])

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log p0, zero, and log p1 = -U, (B,), of points (B, 2)."""
        a, b = x.T
        energies = a**4 / 4 - 3 * a**2 + a + b**2 / 2
        return torch.zeros_like(energies), -energies
