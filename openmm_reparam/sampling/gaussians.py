"""Normal distributions: triangular maps and densities."""

from __future__ import annotations

import math

import torch

__all__ = [
    "lower_triangular",
    "standard_normal_log_density",
    "triangular_size",
    "truncated_normal",
    "truncated_normal_log_density",
]


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


def truncated_normal(
    factor: torch.Tensor, half_widths: torch.Tensor, count: int, generator: torch.Generator
) -> torch.Tensor:
    """Draw (count, D) from a sequentially truncated normal distribution.

    Coordinates are drawn one after the other from N(0, L L^T), each given those before it and
    within its half width of zero.

    Parameters
    ----------
    factor : (D, D) tensor
        L, lower triangular with a positive diagonal.
    half_widths : (D,) tensor
    count : int
    generator : torch.Generator

    References
    ----------
    Geweke, J. Computing Science and Statistics 1991, 23, 571.
    """
    places = torch.rand((count, len(factor)), generator=generator, dtype=factor.dtype)
    x = factor.new_zeros(count, len(factor))
    noise = torch.zeros_like(x)
    for k in range(len(factor)):
        mean, (lower, upper) = _bounds(factor, half_widths, noise, k)
        place = lower + (upper - lower) * places[:, k]
        noise[:, k] = torch.special.ndtri(place.clamp(1e-15, 1 - 1e-15))
        x[:, k] = (mean + factor[k, k] * noise[:, k]).clamp(-half_widths[k], half_widths[k])
    return x


def truncated_normal_log_density(
    factor: torch.Tensor, half_widths: torch.Tensor, x: torch.Tensor
) -> torch.Tensor:
    """Return the log density, (B,), of what `truncated_normal` draws, at x (B, D) within bounds.

    Examples
    --------
    >>> width = torch.tensor([0.1], dtype=torch.float64)
    >>> flat = 100 * torch.eye(1, dtype=torch.float64)
    >>> truncated_normal_log_density(flat, width, torch.zeros(1, 1)).exp().round(decimals=3)
    tensor([5.], dtype=torch.float64)
    """
    noise = torch.linalg.solve_triangular(factor, x.to(factor).mT, upper=False).mT
    total = standard_normal_log_density(noise) - factor.diagonal().log().sum()
    for k in range(len(factor)):
        _, (lower, upper) = _bounds(factor, half_widths, noise, k)
        total = total - torch.log(upper - lower)
    return total


def _bounds(
    factor: torch.Tensor, half_widths: torch.Tensor, noise: torch.Tensor, k: int
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Return coordinate k's mean given the noise before it, and its bounds as probabilities."""
    mean = noise[:, :k] @ factor[k, :k]
    width = half_widths[k]
    lower, upper = ((bound - mean) / factor[k, k] for bound in (-width, width))
    return mean, (torch.special.ndtr(lower), torch.special.ndtr(upper))
