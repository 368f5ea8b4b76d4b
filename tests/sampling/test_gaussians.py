"""Triangular maps and truncated normal distributions have the densities that they say."""

import math

import torch

from openmm_reparam.sampling.gaussians import (
    lower_triangular,
    triangular_size,
    truncated_normal,
    truncated_normal_log_density,
)

FACTOR = torch.tensor([[0.7, 0.0], [0.5, 0.4]], dtype=torch.float64)
HALF_WIDTHS = torch.tensor([1.0, 0.5], dtype=torch.float64)


def test_triangular_matrices_have_their_determinant():
    generator = torch.Generator().manual_seed(0)
    entries = torch.randn(3, triangular_size(5), generator=generator, dtype=torch.float64)
    matrices, log_determinants = lower_triangular(entries, 5)
    assert torch.equal(matrices, matrices.tril())
    torch.testing.assert_close(torch.linalg.slogdet(matrices)[1], log_determinants)
    assert len(matrices[0].unique()) == triangular_size(5) + 1  # and zero


def test_truncated_normal_density_integrates_to_one():
    steps = (torch.arange(400, dtype=torch.float64) + 0.5) / 200 - 1
    grid = torch.cartesian_prod(steps * HALF_WIDTHS[0], steps * HALF_WIDTHS[1])
    density = truncated_normal_log_density(FACTOR, HALF_WIDTHS, grid).exp()
    volume = 4 * HALF_WIDTHS.prod()
    assert abs(float(density.mean() * volume) - 1) < 1e-4


def test_truncated_normal_draws_from_its_density():
    x = truncated_normal(FACTOR, HALF_WIDTHS, 20_000, torch.Generator().manual_seed(0))
    assert (x.abs() <= HALF_WIDTHS).all()
    inverse = (-truncated_normal_log_density(FACTOR, HALF_WIDTHS, x)).exp()
    volume = float(4 * HALF_WIDTHS.prod())
    halves = inverse * (x[:, 0] > 0)
    error = float(inverse.std()) / math.sqrt(len(x))
    assert abs(float(inverse.mean()) - volume) < 4 * error
    assert abs(float(halves.mean()) - volume / 2) < 4 * error
    upper = inverse * (x[:, 1] > 0.2)
    assert abs(float(upper.mean()) - 0.3 * volume) < 4 * error
