"""The two-loop recursion against the BFGS update formed in full."""

import numpy as np
import pytest

from openmm_reparam.optimizers.curvature_pairs import (
    CurvaturePair,
    curvature_ratio,
    in_memory,
    inverse_hessian_times,
)


def _definite(rng, spread):
    basis = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    return (basis * np.geomspace(1, spread, 9)) @ basis.T


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_the_two_loop_recursion_is_the_bfgs_update_formed_in_full(preconditioned, count):
    """Nocedal and Wright, "Numerical Optimization", eq. 6.17, from a scaled P^-1."""
    rng = np.random.default_rng(0)
    matrix = _definite(rng, 50)
    base = np.linalg.inv(matrix + np.eye(9)) if preconditioned else np.eye(9)

    def solve(vector):
        return (base @ vector.ravel()).reshape(vector.shape)

    pairs = []
    for _ in range(count):
        step = rng.normal(size=(3, 3))
        change = (matrix @ step.ravel()).reshape(3, 3)
        pairs.append(CurvaturePair(step, change, float(np.vdot(step, change))))
    inverse = base
    if pairs:
        y = pairs[-1].change.ravel()
        inverse = base * pairs[-1].curvature / (y @ base @ y)
    for step, change, curvature in pairs:
        s, y = step.ravel(), change.ravel()
        left = np.eye(9) - np.outer(s, y) / curvature
        inverse = left @ inverse @ left.T + np.outer(s, s) / curvature
    gradient = rng.normal(size=(3, 3))
    before = np.array(gradient)
    ratio = curvature_ratio(pairs[-1], solve) if pairs else 1.0
    got = inverse_hessian_times(gradient, pairs, solve, ratio)
    assert np.allclose(got.ravel(), inverse @ gradient.ravel(), rtol=1e-9)
    assert np.array_equal(gradient, before)


def test_the_ratio_is_one_for_the_true_hessian_and_scales_with_a_wrong_one():
    rng = np.random.default_rng(1)
    matrix, step = _definite(rng, 10), rng.normal(size=9)
    pair = CurvaturePair(step, matrix @ step, float(step @ matrix @ step))
    assert curvature_ratio(pair, lambda v: np.linalg.solve(matrix, v)) == pytest.approx(1.0)
    assert curvature_ratio(pair, lambda v: np.linalg.solve(4 * matrix, v)) == pytest.approx(4.0)


def test_large_pairs_in_single_precision_give_the_same_direction():
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(5):
        step = rng.standard_normal((20_000, 3))
        change = step * rng.uniform(1, 3, step.shape)
        pairs.append(CurvaturePair(step, change, float((step * change).sum())))
    kept = [in_memory(pair) for pair in pairs]
    assert {array.dtype for pair in kept for array in pair[:2]} == {np.dtype(np.float32)}
    vector = rng.standard_normal((20_000, 3))
    ratio = curvature_ratio(kept[-1], np.copy)
    exact = inverse_hessian_times(vector, pairs, np.copy, ratio)
    np.testing.assert_allclose(
        inverse_hessian_times(vector, kept, np.copy, ratio), exact, atol=1e-6 * np.abs(exact).max()
    )
