"""How far a first trial may go."""

import pytest

from openmm_reparam.optimizers.step_bound import StepBound

# A full step of a parabola far from its minimum.
KEPT = {"at_once": True, "held": True, "fall": 0.99, "promised": 1.0, "curvature": 0.02}


def _after(bound, steps, **changes):
    for _ in range(steps):
        bound = bound.after(0.01, **KEPT | changes)
    return bound


def test_it_doubles_from_the_fifth_step_that_keeps_its_promise_up_to_the_largest():
    bound = StepBound.between(0.05, 0.5)
    assert [_after(bound, n).current for n in (4, 5, 6, 20)] == [0.05, 0.1, 0.2, 0.5]


@pytest.mark.parametrize(
    "broken", [{"fall": 0.5}, {"fall": 1.2}, {"at_once": False}, {"held": False}]
)
def test_a_step_that_breaks_its_promise_sets_it_back(broken):
    grown = _after(StepBound.between(0.05, 0.5), 8)
    back = _after(grown, 1, **broken)
    assert (back.current, back.kept) == (0.05, 0)
    assert grown.current == 0.5  # the one before is not changed


def test_the_length_keeps_within_the_bound_and_does_not_tear_a_molecule():
    bound = StepBound.between(0.05, 0.5)
    assert bound.length(0.01, lambda: 0.0) == (1.0, False)
    assert bound.length(0.1, lambda: 0.0) == (pytest.approx(0.5), True)
    grown = _after(bound, 6)
    assert grown.length(2.0, lambda: 0.0) == (pytest.approx(0.1), True)
    assert grown.length(2.0, lambda: 1.0) == (pytest.approx(0.05), True)


def test_without_curvature_the_length_of_a_step_means_nothing():
    flat = _after(StepBound.between(0.05, 0.5), 6, curvature=0.0, fall=1.0)
    assert flat.flat
    length, held = flat.length(0.01, lambda: 0.0)
    assert held
    assert length == pytest.approx(flat.current / 0.01)
