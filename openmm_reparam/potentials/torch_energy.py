"""An energy function of numpy arrays as a differentiable function of torch tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = ["torch_energy"]


def torch_energy(
    positions: torch.Tensor, evaluate: Callable[[np.ndarray], tuple[float, np.ndarray]]
) -> torch.Tensor:
    """Make an energy function of numpy arrays differentiable: the backward pass is -F.

    Parameters
    ----------
    positions : (N, 3) tensor
    evaluate : callable
        (N, 3) float64 array -> (energy, forces (N, 3)).

    Returns
    -------
    () float64 tensor
        On the CPU.

    Examples
    --------
    >>> import torch
    >>> x = torch.ones(2, 3, requires_grad=True)
    >>> torch_energy(x, lambda x: ((x**2).sum(), -2 * x)).backward()
    >>> x.grad.tolist()
    [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    """
    return _Energy.apply(positions, evaluate)


class _Energy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        positions: torch.Tensor,
        evaluate: Callable[[np.ndarray], tuple[float, np.ndarray]],
    ) -> torch.Tensor:
        energy, forces = evaluate(positions.detach().double().cpu().numpy())
        ctx.save_for_backward(torch.from_numpy(forces).to(positions))
        return torch.tensor(energy, dtype=torch.float64)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (forces,) = ctx.saved_tensors
        return -grad.to(forces) * forces, None
