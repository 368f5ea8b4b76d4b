"""The mixture about minima: closed forms, and a mode that is lost on purpose."""

import numpy as np
import pytest
import torch
import torsion_wells as wells

from openmm_reparam.sampling.importance import (
    effective_sample_size,
    forward_check,
    log_partition_function,
    log_weights,
)
from openmm_reparam.sampling.minima_mixture import MinimaMixture

# Half of the barrier in kJ/mol: no structure drawn about one well falls into the other.
STEEP = 300.0


@pytest.fixture(scope="module")
def target():
    return wells.target_of(STEEP)


def weights_of(target, sampler, count=2000):
    x, log_q = sampler.sample(count, torch.Generator().manual_seed(1))
    energies, _ = target.energy(x)
    return x, log_weights(energies.numpy(), log_q.numpy(), target.beta)


def check(target, sampler, logs):
    x = wells.exact_configurations(target, STEEP, 2000)
    energies, _ = target.energy(x)
    log_q = sampler.log_density(torch.as_tensor(x)).numpy()
    return forward_check(logs, -target.beta * energies - log_q)


def test_lost_mode_is_flagged_and_found_by_the_search(target):
    sampler = MinimaMixture(target, torch.Generator().manual_seed(0))
    assert sampler.num_minima == 1
    _, logs = weights_of(target, sampler)
    # Blind to what it misses.
    assert effective_sample_size(logs) > 0.5
    lost = check(target, sampler, logs)
    assert lost.lost_mode
    assert "A MODE IS LOST" in str(lost)

    list(sampler.training_steps(6000))
    assert sampler.num_minima == 2
    x, logs = weights_of(target, sampler)
    found = check(target, sampler, logs)
    assert not found.lost_mode
    log_z = log_partition_function(logs)
    assert abs(log_z.value - wells.exact_log_z(STEEP)) < 4 * log_z.error < 0.1
    near = np.abs(wells.torsions_of(target, x)) < np.pi / 2
    weights = np.exp(logs - logs.max())
    difference = -wells.KT * np.log(weights[near].sum() / weights[~near].sum())
    assert abs(difference - wells.exact_difference(STEEP)) < 0.4

    other = MinimaMixture(target, torch.Generator().manual_seed(3))
    other.load_state_dict(sampler.state_dict())
    torch.testing.assert_close(other.log_density(x), sampler.log_density(x))
