"""Weights against closed forms: a harmonic molecule, a double well, a lost mode."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from openmm_reparam.sampling.importance import (
    block_bootstrap,
    effective_sample_size,
    forward_check,
    log_partition_function,
    log_weights,
    pareto_k,
    resample,
)

BETA = 0.5


def double_well(x):
    """The two-dimensional potential of Schoeberl et al., 2020."""
    return x[:, 0] ** 4 / 4 - 3 * x[:, 0] ** 2 + x[:, 0] + x[:, 1] ** 2 / 2


def density_of_wells(centres, width=0.6):
    """A mixture of normal densities about centres on the first axis."""
    components = [stats.multivariate_normal([c, 0.0], np.diag([width**2, 1.1])) for c in centres]

    def sample(count, seed):
        rng = np.random.default_rng(seed)
        return np.concatenate([c.rvs(count // len(components), rng) for c in components])

    def log_density(x):
        return np.logaddexp.reduce([c.logpdf(x) for c in components]) - math.log(len(components))

    return sample, log_density


def equilibrium(count, seed):
    """Exact samples of the double well, by rejection from a grid of its first coordinate."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(-5, 5, 20001)
    weights = np.exp(-double_well(np.column_stack([grid, np.zeros_like(grid)])))
    first = rng.choice(grid, count, p=weights / weights.sum())
    return np.column_stack([first, rng.normal(size=count)])


def exact_log_z():
    inner, _ = integrate.quad(lambda x: math.exp(-(x**4 / 4 - 3 * x**2 + x) - 20), -6, 6)
    return math.log(inner) + 20 + 0.5 * math.log(2 * math.pi)


def test_partition_function_of_harmonic_oscillators_is_the_closed_form():
    stiffness = np.array([10.0, 100.0, 1000.0])
    rng = np.random.default_rng(0)
    widths = 1.3 / np.sqrt(BETA * stiffness)
    x = rng.normal(size=(20000, 3)) * widths
    log_q = stats.norm.logpdf(x, scale=widths).sum(axis=1)
    logs = log_weights((0.5 * stiffness * x**2).sum(axis=1), log_q, BETA)
    exact = 0.5 * np.log(2 * np.pi / (BETA * stiffness)).sum()
    found = log_partition_function(logs)
    assert abs(found.value - exact) < 4 * found.error < 0.05
    # The closed form of Kish's sample size for normal densities of another width.
    ratio = 1.3**2
    assert effective_sample_size(logs) == pytest.approx((2 / ratio - 1 / ratio**2) ** 1.5, rel=0.05)


def test_free_energy_difference_of_a_double_well_is_exact():
    sample, log_density = density_of_wells([-2.5, 2.3])
    x = sample(40000, 0)
    logs = log_weights(double_well(x), log_density(x), 1.0)
    weights = np.exp(logs - logs.max())
    # The separator is the potential's maximum; 4.777 kT is the published difference.
    left = x[:, 0] < 0.17
    difference = math.log(weights[left].sum() / weights[~left].sum())
    assert difference == pytest.approx(4.777, abs=0.05)
    assert pareto_k(logs) < 0.7


def test_a_lost_mode_is_flagged_though_the_sample_size_looks_perfect():
    sample, log_density = density_of_wells([2.4, 2.4, 2.3, 1.9], width=0.35)
    # The well on the right has 1 % of the probability of the one on the left, which is lost.
    x = sample(20000, 0)
    logs = log_weights(double_well(x), log_density(x), 1.0)
    dynamics = equilibrium(4000, 1)
    configuration_logs = log_weights(double_well(dynamics), log_density(dynamics), 1.0)
    check = forward_check(logs, configuration_logs)
    assert effective_sample_size(logs) > 0.85
    assert check.lost_mode
    assert check.effective_sample_size < 0.01
    assert check.missing.value == pytest.approx(1 - 1 / (1 + math.exp(4.777)), abs=0.01)
    assert "A MODE IS LOST" in str(check)


def test_a_complete_model_passes_the_forward_check():
    sample, log_density = density_of_wells([-2.5, -2.5, -2.5, 2.3], width=0.45)
    x, dynamics = sample(20000, 0), equilibrium(4000, 1)
    logs = log_weights(double_well(x), log_density(x), 1.0)
    check = forward_check(logs, log_weights(double_well(dynamics), log_density(dynamics), 1.0))
    assert not check.lost_mode
    for found in (check.log_z, check.model_log_z):
        assert abs(found.value - exact_log_z()) < 4 * found.error < 0.2


def test_structures_without_energy_or_density_weigh_nothing():
    energies = np.array([0.0, np.inf, np.nan, 0.0, 0.0])
    log_q = np.array([0.0, 0.0, 0.0, np.inf, np.nan])
    logs = log_weights(energies, log_q, 1.0)
    assert logs.tolist() == [0.0] + [-np.inf] * 4
    assert effective_sample_size(logs) == pytest.approx(0.2)
    assert set(resample(logs, 10, np.random.default_rng(0)).tolist()) == {0}
    with pytest.raises(ValueError, match="all weights are zero"):
        resample(logs[1:], 10, np.random.default_rng(0))


@pytest.mark.parametrize("shape", [0.2, 0.6, 1.2])
def test_shape_of_pareto_distributed_weights_is_found(shape):
    drawn = stats.genpareto.rvs(shape, size=20000, random_state=0)
    assert pareto_k(np.log(drawn)) == pytest.approx(shape, abs=0.12)


def test_few_or_equal_weights_have_the_shapes_that_they_deserve():
    assert pareto_k(np.full(1000, -np.inf)) == np.inf
    assert pareto_k(np.zeros(1000)) == -np.inf


def test_blocks_see_correlation_that_single_samples_hide():
    rng = np.random.default_rng(0)
    walk = np.repeat(rng.normal(size=200), 100)
    estimate = block_bootstrap(lambda chosen: walk[chosen].mean(), len(walk))
    assert 0.5 < estimate.error / (1 / math.sqrt(200)) < 2


def test_resampled_structures_have_the_weighted_average():
    rng = np.random.default_rng(0)
    x, logs = rng.normal(size=2000), rng.normal(size=2000)
    weights = np.exp(logs)
    assert x[resample(logs, 100000, rng)].mean() == pytest.approx(
        np.average(x, weights=weights), abs=1e-3
    )


def test_a_basin_that_only_correlated_dynamics_has_seen_is_flagged():
    """An eleventh of it in one stretch: log Z differs by less than its error can tell."""
    rng = np.random.default_rng(0)
    logs = rng.normal(0, 0.3, 2000)
    configuration_logs = rng.normal(0.09, 0.3, 220)
    configuration_logs[:25] = 50.0
    check = forward_check(logs, configuration_logs)
    assert check.undrawn == pytest.approx(25 / 220)
    assert check.lost_mode


def test_a_rare_region_drawn_too_rarely_is_said():
    rng = np.random.default_rng(0)
    configuration_logs = rng.normal(0, 0.3, 1000)
    configuration_logs[:10] = 12.0
    check = forward_check(rng.normal(0, 0.3, 2000), configuration_logs)
    assert not check.lost_mode
    assert "DRAWN TOO RARELY" in str(check)


def test_a_model_that_has_no_density_anywhere_has_lost_everything():
    check = forward_check(np.zeros(100), np.full(100, np.inf))
    assert check.lost_mode
    assert check.missing.value == 1
    assert check.effective_sample_size == 0


def test_one_sample_has_no_error():
    assert log_partition_function(np.zeros(1)).error == np.inf


def test_blocks_leave_no_configuration_out():
    assert block_bootstrap(lambda chosen: chosen.max(), 39).value == 38
