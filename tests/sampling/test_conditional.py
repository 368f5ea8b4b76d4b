"""The conditional Gaussian: density, path gradients, training on what is known in closed form."""

import copy

import numpy as np
import pytest
import torch
import torsion_wells as wells

from openmm_reparam.sampling.conditional import ConditionalGaussian
from openmm_reparam.sampling.conditional_sampler import ConditionalSampler
from openmm_reparam.sampling.importance import (
    effective_sample_size,
    log_partition_function,
    log_weights,
)
from openmm_reparam.sampling.target import boltzmann_target
from openmm_reparam.sampling.training import guard, tempered_weights
from openmm_reparam.structure.stereochemistry import Stereochemistry

BARRIER = 8.0  # kJ/mol, half of the whole


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    gaussian = ConditionalGaussian(torch.tensor([1, 3]), dimension=6, hidden=16)
    for parameter in gaussian.parameters():
        parameter.data.normal_(0.0, 0.3)
    return gaussian


def drawn(count, *sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, size, generator=generator, dtype=torch.float64) for size in sizes]


def test_gradient_in_u_is_that_of_the_log_density(model):
    z, noise = drawn(50, 2, 6)
    u, log_q, gradient = model.path_samples(z, noise)
    u = u.detach().requires_grad_()
    again = model.log_density(z, u)
    # The network is of single precision.
    torch.testing.assert_close(again.detach(), log_q, atol=1e-3, rtol=1e-4)
    exact = torch.autograd.grad(again.sum(), u)[0]
    torch.testing.assert_close(gradient, exact, atol=1e-3, rtol=1e-3)


def test_path_gradients_vanish_where_the_model_is_exact(model):
    """Reparametrized gradients, which have the score in them, have noise there."""
    z, noise = drawn(20, 2, 6)
    frozen = copy.deepcopy(model).requires_grad_(False)
    u, _, gradient = model.path_samples(z, noise)
    path = (gradient * u).sum(1) - frozen.log_density(z, u)
    again, log_q = model(z, noise)
    with_score = log_q - frozen.log_density(z, again)
    sizes = [
        max(float(g.abs().max()) for g in torch.autograd.grad(loss.mean(), model.parameters()))
        for loss in (path, with_score)
    ]
    assert sizes[0] < 1e-2 * sizes[1]


def test_guards_and_tempering_leave_no_weight_to_clashes():
    energies = torch.tensor([1.0, 150.0, 1e6, torch.inf], dtype=torch.float64)
    assert guard(energies, torch.zeros(4)).tolist()[:2] == [1.0, 1.0]
    weights, exponent = tempered_weights(-energies, torch.zeros(4).double(), 0.25)
    assert exponent == 1.0
    # As the energies are: compressed ones would leave exp(-200) and more.
    assert weights[2:].tolist() == [0.0, 0.0]


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    target = wells.target_of(BARRIER)
    sampler = ConditionalSampler(target, torch.Generator().manual_seed(0))
    steps = list(sampler.training_steps(12_000))
    return target, sampler, steps


def weighted(target, sampler, count=4000, seed=1):
    x, log_q = sampler.sample(count, torch.Generator().manual_seed(seed))
    energies, _ = target.energy(x)
    return x, log_weights(energies.numpy(), log_q.numpy(), target.beta)


def test_closed_forms_are_met(trained):
    target, sampler, _ = trained
    x, logs = weighted(target, sampler)
    assert effective_sample_size(logs) > 0.8
    log_z = log_partition_function(logs)
    assert abs(log_z.value - wells.exact_log_z(BARRIER)) < 4 * log_z.error < 0.1
    near = np.abs(wells.torsions_of(target, x)) < np.pi / 2
    weights = np.exp(logs - logs.max())
    difference = -wells.KT * np.log(weights[near].sum() / weights[~near].sum())
    assert abs(difference - wells.exact_difference(BARRIER)) < 0.4


def test_density_is_that_of_what_is_drawn(trained):
    target, sampler, _ = trained
    x, log_q = sampler.sample(200, torch.Generator().manual_seed(2))
    torch.testing.assert_close(sampler.log_density(x), log_q, atol=1e-3, rtol=0)


def test_budget_is_met_exactly(trained):
    target, sampler, steps = trained
    before = target.energy.evaluations
    for _ in sampler.training_steps(300):
        break  # the caller may stop at any step
    assert target.energy.evaluations - before == 256
    assert len(steps) == -(-12_000 // 256)


def test_state_is_taken_over(trained):
    target, sampler, _ = trained
    other = ConditionalSampler(target, torch.Generator().manual_seed(5))
    x, _ = sampler.sample(50, torch.Generator().manual_seed(3))
    assert not torch.allclose(other.log_density(x), sampler.log_density(x), atol=0.1)
    other.load_state_dict(sampler.state_dict())
    torch.testing.assert_close(other.log_density(x), sampler.log_density(x))


def test_chirality_never_changes(dipeptide):
    torch.manual_seed(0)
    target = boltzmann_target(dipeptide.simulation("Reference"), 600)
    sampler = ConditionalSampler(target, torch.Generator().manual_seed(0))
    list(sampler.training_steps(1024))
    x, _ = sampler.sample(200, torch.Generator().manual_seed(1))
    states = Stereochemistry(dipeptide.topology)
    assert not any(states.changes(target.reference, structure) for structure in x.numpy())
