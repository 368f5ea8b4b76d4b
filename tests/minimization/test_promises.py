"""What README promises an OpenMM user, on random small Systems, starts and calls."""

import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from promises.cases import cases
from promises.measures import (
    bare_charges,
    constraint_errors,
    fixed,
    moving,
    pair_distances,
    projected_rms,
)

from openmm_reparam import (
    ConvergenceWarning,
    MinimizationResult,
    NonFiniteError,
    NotConvergedError,
    minimize_reparam,
)

# Relative errors of energies and forces that are computed again.
PRECISION = {"Reference": 1e-6, "CPU": 1e-4}
# Nearer (nm) than the first, a pair of charges has collapsed; nearer than the second, a start is
# mended and its energy is no longer the one OpenMM gives.
COLLAPSED, MENDED = 0.05, 0.08
ENOUGH_TO_MOVE = 5  # force evaluations
REPRODUCIBLE = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@dataclass
class Outcome:
    """What a call has led to: a result or an error, and the categories of its warnings."""

    result: MinimizationResult | None = None
    error: Exception | None = None
    warned: set = field(default_factory=set)


def run(case, context):
    outcome = Outcome()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome.result = minimize_reparam(context, progress=False, **case.call)
        except Exception as error:
            outcome.error = error
    outcome.warned = {warning.category for warning in caught}
    return outcome


def energy_at_the_start(case, energy_and_forces, nanometers):
    """Return OpenMM's own energy where the constraints hold; NaN where something is not finite."""
    if not np.isfinite(case.positions).all():
        return np.nan
    context = case.context()
    energy, forces = energy_and_forces(context)
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        return np.nan
    if not case.system.getNumConstraints():
        return energy
    context.applyConstraints(case.constraint_tolerance)
    context.computeVirtualSites()
    if not constraint_errors(case.system, nanometers(context)).max() <= case.constraint_tolerance:
        return np.nan
    energy, forces = energy_and_forces(context)
    return energy if np.isfinite(forces).all() else np.nan


def bare_charges_nearer(distance, case, context, positions):
    """Return the pairs of opposite charges without a core that are nearer, as a set."""
    pairs = bare_charges(case.system, case.groups)
    if not pairs:
        return set()
    near = pair_distances(context, positions, pairs) < distance
    return {pair for pair, is_near in zip(pairs, near, strict=True) if is_near}


def check_the_error(case, error, finite_start):
    if isinstance(error, NotConvergedError):
        assert case.call.get("strict")
        assert not error.result.converged
    elif isinstance(error, NonFiniteError):
        assert not finite_start, f"a finite start is refused: {error}"
    else:
        assert type(error) is ValueError, repr(error)
        assert not moving(case.system).any(), repr(error)


def check_the_numbers(case, result, start_energy, context, measured):
    """The result says what OpenMM says, and nothing is worse than the start."""
    precision = PRECISION[case.platform]
    energy, forces, positions = measured
    assert result.energy == pytest.approx(energy, rel=precision, abs=precision)
    assert result.energy <= result.initial_energy
    near = bare_charges_nearer(MENDED, case, context, case.positions)
    if np.isfinite(start_energy) and not near:
        assert result.initial_energy == pytest.approx(start_energy, rel=precision, abs=precision)
    force = projected_rms(case.system, positions, forces)
    # Constraints, and the forces of one atom on another, may cancel much larger ones.
    noise = precision * max(100.0, np.abs(forces).max())
    assert result.rms_force == pytest.approx(force, rel=precision, abs=noise)
    if result.converged:
        assert force <= case.call["tolerance"] + noise


def check_the_limits(case, result, moved):
    """Limits hold, and neither is reached before anything has moved."""
    budget, most = case.call["max_force_evaluations"], case.call.get("maxIterations", 0)
    assert 1 <= result.force_evaluations <= budget
    assert result.iterations <= (most or np.inf)
    if result.converged:
        return
    if "budget" in result.message:
        assert result.force_evaluations == budget
        assert moved or budget < ENOUGH_TO_MOVE, result.message
    if "maxIterations" in result.message and case.descends_at_once:
        assert moved, result.message


def check_the_structure(case, context, before, after):
    assert np.isfinite(after).all()
    held = fixed(case.system)
    assert after[held].tobytes() == before[held].tobytes()
    assert constraint_errors(case.system, after).max() <= case.constraint_tolerance * (1 + 1e-6)
    fallen = bare_charges_nearer(COLLAPSED, case, context, after)
    assert fallen <= bare_charges_nearer(COLLAPSED, case, context, before)


@settings(REPRODUCIBLE, max_examples=100)
@given(case=cases())
def test_every_promise_holds(case, snapshot, energy_and_forces, nanometers):
    check_every_promise(case, snapshot, energy_and_forces, nanometers)


@pytest.mark.slow
@settings(REPRODUCIBLE, max_examples=300)
@given(case=cases())
def test_every_promise_holds_often(case, snapshot, energy_and_forces, nanometers):
    check_every_promise(case, snapshot, energy_and_forces, nanometers)


def check_every_promise(case, snapshot, energy_and_forces, nanometers):
    context = case.context()
    before, start = snapshot(context), nanometers(context)
    start_energy = energy_at_the_start(case, energy_and_forces, nanometers)
    outcome = run(case, context)
    after, end = snapshot(context), nanometers(context)
    assert not any(issubclass(category, RuntimeWarning) for category in outcome.warned)
    if outcome.error is not None:
        assert after == before
        check_the_error(case, outcome.error, np.isfinite(start_energy))
        return
    assert after | {"positions": None} == before | {"positions": None}
    assert outcome.result.converged != (ConvergenceWarning in outcome.warned)
    assert outcome.result.converged or not case.call.get("strict")
    measured = *energy_and_forces(context), end
    check_the_numbers(case, outcome.result, start_energy, context, measured)
    check_the_limits(case, outcome.result, moved=not np.array_equal(start, end))
    check_the_structure(case, context, start, end)


@settings(REPRODUCIBLE, max_examples=50)
@given(case=cases(platforms=("Reference",)))
def test_the_same_call_gives_the_same_result(case, nanometers):
    ends = []
    for _ in range(2):
        context = case.context()
        outcome = run(case, context)
        result = outcome.result
        said = str(outcome.error) if result is None else (result.energy, result.force_evaluations)
        ends.append((said, nanometers(context).tobytes()))
    assert ends[0] == ends[1]
