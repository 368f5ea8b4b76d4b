"""Normal distributions: triangular maps and densities."""

from __future__ import annotations

import math

import torch

__all__ = ["lower_triangular", "standard_normal_log_density", "triangular_size"]


def standard_normal_log_density(x: torch.Tensor) -> torch.Tensor:
    """Return log N(x; 0, I), (B,), of vectors (B, D)."""
    return -0.5 * (x.square().sum(-1) + x.shape[-1] * math.log(2 * math.pi))


def triangular_size(dimension: int) -> int:
    """Return how many numbers `lower_triangular` takes."""
    return dimension * (dimension + 1) // 2


def lower_triangular(entries: torch.Tensor, dimension: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return lower triangular matrices with a positive diagonal, and their log-determinants.

    Parameters
    ----------
    entries : (B, dimension (dimension + 1) / 2) tensor
        Logarithms of the diagonal, then what is below it, row by row.
    dimension : int

    Returns
    -------
    (B, dimension, dimension) tensor
    (B,) tensor

    Examples
    --------
    >>> matrix, log_determinant = lower_triangular(torch.tensor([[0.0, 0.0, 0.5]]), 2)
    >>> matrix.tolist(), log_determinant.tolist()
    ([[[1.0, 0.0], [0.5, 1.0]]], [0.0])
    """
    logarithms, below = entries[:, :dimension], entries[:, dimension:]
    rows, columns = torch.tril_indices(dimension, dimension, -1)
    places = torch.cat([torch.arange(dimension) * (dimension + 1), rows * dimension + columns])
    # Several times faster than index_put, and it is what training waits for.
    flat = entries.new_zeros(len(entries), dimension * dimension)
    flat = flat.index_copy(1, places, torch.cat([logarithms.exp(), below], dim=1))
    return flat.view(-1, dimension, dimension), logarithms.sum(-1)
