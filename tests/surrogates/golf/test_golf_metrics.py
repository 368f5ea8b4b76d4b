import numpy as np

from openmm_reparam.surrogates.golf.metrics import quality


def test_what_diverged_or_failed_counts():
    found = quality([10.0, 10.0, 10.0, 10.0], [0.0, 5.0, 12.0, np.inf], [0.0] * 4)
    assert found.divergence == 50
    assert found.pct == (100 + 50) / 4
    assert found.pct_converged == 75
    assert found.success == 25
    assert found.residual == 8.5


def test_below_the_minimum_is_a_success():
    found = quality([10.0], [-5.0], [0.0])
    assert found.pct == 150
    assert found.success == 100


def test_nan_is_a_failure():
    found = quality([10.0], [np.nan], [0.0])
    assert (found.divergence, found.pct) == (100, 0)
    assert found.residual == np.inf


def test_without_a_minimum_nothing_is_a_success():
    found = quality([np.inf, 0.0], [-1e5, -2.0], [np.inf, -2.0])
    assert (found.success, found.divergence, found.pct) == (50, 50, 50)
