"""Densities of torsions: normalized on their circles, and what is drawn."""

import math

import pytest
import torch

from openmm_reparam.sampling.marginal import TorsionMarginal

FOLDS = torch.tensor([1, 1, 3])


@pytest.fixture(scope="module")
def marginal():
    """Weights at random, so that torsions depend on each other."""
    torch.manual_seed(0)
    model = TorsionMarginal(FOLDS)
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.2)
    return model


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_densities_integrate_to_one(marginal, exponent):
    z = marginal.uniform(40_000, torch.Generator().manual_seed(1))
    with torch.no_grad():
        ratios = (marginal.log_density(z, exponent) + marginal.log_volume).exp()
    assert ratios.std() > 0.3  # not uniform
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / math.sqrt(len(z))


def test_what_is_drawn_has_the_density(marginal):
    with torch.no_grad():
        z, log_p = marginal.sample(40_000, torch.Generator().manual_seed(2), 0.5)
        torch.testing.assert_close(marginal.log_density(z, 0.5), log_p)
    assert (z >= 0).all()
    assert (z < 2 * math.pi / FOLDS).all()
    inverse = (-log_p - marginal.log_volume).exp()
    error = 4 * inverse.std() / math.sqrt(len(z))
    assert abs(inverse.mean() - 1) < error
    for k in range(3):  # a third of the volume
        part = inverse * (z[:, k] < 2 * math.pi / FOLDS[k] / 3)
        assert abs(part.mean() - 1 / 3) < error


def test_densities_are_periodic(marginal):
    z = marginal.uniform(100, torch.Generator().manual_seed(3))
    with torch.no_grad():
        turned = marginal.log_density(z + 2 * math.pi / FOLDS)
        torch.testing.assert_close(turned, marginal.log_density(z), atol=1e-4, rtol=0)
