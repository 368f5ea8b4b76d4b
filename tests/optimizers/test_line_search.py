"""Backtracking along lines whose energies are known."""

import numpy as np
import pytest

from openmm_reparam import NonFiniteError
from openmm_reparam.optimizers.coordinates import Cartesian
from openmm_reparam.optimizers.line_search import Direction, LineSearch
from openmm_reparam.potentials.point import Point


def _along(energy, slope, *, content=False, refuses=None, noise=0.0, length=1.0):
    """Search along x from 0, where ``energy`` is a function of x."""

    def evaluate(x):
        value, force = energy(x[0, 0])
        return Point(x, value, np.array([[force, 0.0, 0.0]]))

    start = evaluate(np.zeros((1, 3)))
    search = LineSearch(evaluate, Cartesian(), refuses, noise)
    vector = np.array([[1.0, 0.0, 0.0]])
    return search(Direction(start, (), vector, slope), length, content=content)


def test_a_step_too_long_ends_at_the_minimum_of_a_parabola():
    found = _along(lambda x: (x**2 - x, 1 - 2 * x), -1.0, length=1.5).trial
    assert found.length == pytest.approx(0.5)
    assert np.array_equal(found.step, found.point.positions)
    assert found.point.energy == pytest.approx(-0.25)


def test_a_slope_that_no_step_keeps_is_left_only_where_any_lower_point_will_do():
    def shallow(x):
        return -1e-5 * min(x, 0.3), -1.0 if x else 1.0

    assert _along(shallow, -1.0).trial is None
    found = _along(shallow, -1.0, content=True).trial
    assert found.point.energy < 0
    assert _along(shallow, -1.0, content=True, refuses=lambda *_: True).trial is None


def test_below_the_noise_the_slope_decides():
    """Energies that rise by rounding: forces still tell before the minimum from far behind it."""

    def rounded(x):
        return 1e-9 * x, 1.0 - x

    assert _along(rounded, -1.0, noise=1e-6, length=1.5).trial.length == 1.5
    assert _along(rounded, -1.0, noise=1e-6, length=3.0).trial.length < 2.0
    assert _along(rounded, -1.0, noise=0.0, length=1.5).trial is None


def test_it_says_why_no_step_is_left():
    def wall(x):
        if x:
            raise NonFiniteError("a wall")
        return 0.0, 1.0

    blocked = _along(wall, -1.0)
    assert blocked.trial is None
    assert "a wall" in blocked.why()
    refused = _along(lambda x: (-x, 1.0), -1.0, refuses=lambda *_: True)
    assert refused.trial is None
    assert refused.refused
    assert "falling onto each other" in refused.why()
    assert "precision" in _along(lambda x: (x, 1.0), -1.0).why()
