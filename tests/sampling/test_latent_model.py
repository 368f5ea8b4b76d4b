"""The published latent model: wrapped angles, tempering, and what is lost without it."""

import math

import pytest
import torch
import torsion_wells as wells

from openmm_reparam.sampling.double_well import DoubleWell
from openmm_reparam.sampling.latent import LatentSampler
from openmm_reparam.sampling.latent_densities import PinnedDensity
from openmm_reparam.sampling.latent_model import LatentModel
from openmm_reparam.sampling.rungs import Rungs
from openmm_reparam.sampling.tempered_training import TemperedTraining

EXACT = 4.777  # kT, Schöberl et al., arXiv:2002.10148
EVALUATIONS = 100_000


def trained_on_double_well(first_exponent, seed):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    density = DoubleWell()
    rungs = Rungs(LatentModel(density.periodic, 1))
    list(TemperedTraining(rungs, density, generator, first_exponent).steps(EVALUATIONS))
    with torch.no_grad():
        x, _, log_q = rungs.sample(8_000, generator)
        weights = torch.softmax(density(x)[1] - log_q, 0)
    return float(weights[x[:, 0] > 0].sum()), float(1 / weights.square().sum() / len(x))


def test_untempered_training_loses_a_well_and_cannot_tell():
    right, size = trained_on_double_well(1.0, seed=0)
    assert right in (0.0, 1.0)
    assert size > 0.5


def test_tempered_training_keeps_the_well_that_the_last_model_loses():
    right, size = trained_on_double_well(1e-10, seed=0)
    assert math.log((1 - right) / right) == pytest.approx(EXACT, abs=0.3)
    assert size > 0.05


def test_weights_of_rungs_average_to_the_volume():
    """However different the models are, and however badly their shares are estimated."""
    torch.manual_seed(0)
    rungs = Rungs(LatentModel(torch.tensor([True, True]), num_latents=1))
    for exponent in (0.01, 0.1):
        rungs.keep_before(exponent, 1.0)
        for parameter in rungs.model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    assert rungs.exponents == [0.01, 0.1]
    with torch.no_grad():
        _, _, log_q = rungs.sample(10_000, torch.Generator().manual_seed(1))
    ratios = (-log_q).exp()
    assert abs(ratios.mean() - (2 * math.pi) ** 2) < 4 * ratios.std() / math.sqrt(len(ratios))


def test_joint_density_of_model_and_encoder_averages_to_the_volume():
    """E_q[r(z | x) / q(x, z)] is the volume of x where all of it is reached."""
    torch.manual_seed(0)
    model = LatentModel(torch.tensor([True, True]), num_latents=1)
    with torch.no_grad():
        x, _, log_q = model.sample(100_000, torch.Generator().manual_seed(1))
    ratios = (-log_q).exp()
    assert (x.abs() <= math.pi).all()
    assert abs(ratios.mean() - (2 * math.pi) ** 2) < 4 * ratios.std() / math.sqrt(len(x))


def test_cartesian_and_internal_volumes_agree():
    """The determinant between both kinds of coordinates, by automatic differentiation."""
    target = wells.target_of(8.0)
    order = torch.as_tensor(target.internal.zmatrix.order[:3])
    pinned = PinnedDensity(order, 4, lambda x: torch.zeros(len(x)).double(), 0.0)
    x, log_volume = pinned.encode(torch.as_tensor(target.reference)[None])
    positions, same = pinned.decode(x)
    torch.testing.assert_close(same, log_volume)
    torch.testing.assert_close(
        torch.pdist(positions[0]), torch.pdist(torch.as_tensor(target.reference))
    )

    def internal(vector):
        return target.internal.coordinates(pinned.decode(vector[None])[0])[0][0]

    matrix = torch.autograd.functional.jacobian(internal, x[0])
    _, internal_log_volume = target.internal.coordinates(positions)
    determinant = torch.linalg.slogdet(matrix)[1]
    torch.testing.assert_close(determinant, (log_volume - internal_log_volume)[0])


def test_density_is_about_that_of_what_is_drawn():
    """Exactly so in the mean; the encoder of a model that is hardly trained knows little."""
    sampler = sampler_of("internal")
    list(sampler.training_steps(2560))
    x, log_q = sampler.sample(500, torch.Generator().manual_seed(1))
    assert (sampler.log_density(x) - log_q).mean().abs() < 0.5


@pytest.mark.parametrize("coordinates", ["internal", "cartesian"])
def test_state_is_taken_over(coordinates):
    sampler, other = sampler_of(coordinates), sampler_of(coordinates, seed=1)
    list(sampler.training_steps(300))
    other.load_state_dict(sampler.state_dict())
    drawn = [s.sample(50, torch.Generator().manual_seed(1))[0] for s in (sampler, other)]
    torch.testing.assert_close(*drawn)


def sampler_of(coordinates, seed=0):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    return LatentSampler(wells.target_of(8.0), generator, coordinates, num_latents=1)
