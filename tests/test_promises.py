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

# Relative errors of recomputed energies and forces, which are large where atoms overlap.
PRECISION = {"Reference": 1e-6, "CPU": 2e-3}
COLLAPSED = 0.05  # nm
USED_UP = ("force evaluations are used up", "maxIterations")
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


def evaluable(case, energy_and_forces, nanometers):
    """Return whether OpenMM finds the start finite, on its constraints if there are any."""
    context = case.context()
    if not np.isfinite(case.positions).all():
        return False
    finite = [np.isfinite(part).all() for part in energy_and_forces(context)]
    if case.system.getNumConstraints():
        context.applyConstraints(case.constraint_tolerance)
        context.computeVirtualSites()
        errors = constraint_errors(case.system, nanometers(context))
        finite.append(np.isfinite(errors).all() and errors.max() <= case.constraint_tolerance)
        if finite[-1]:
            finite += [np.isfinite(part).all() for part in energy_and_forces(context)]
    return all(finite)


def check_the_error(case, error, finite_start):
    if isinstance(error, NotConvergedError):
        assert case.call.get("strict")
        assert not error.result.converged
    elif isinstance(error, NonFiniteError):
        assert not finite_start, f"a finite start is refused: {error}"
    else:
        assert type(error) is ValueError, repr(error)
        assert not moving(case.system).any(), repr(error)


def check_the_numbers(case, result, energy, force):
    precision = PRECISION[case.platform]
    assert result.energy == pytest.approx(energy, rel=precision, abs=precision)
    assert result.energy <= result.initial_energy
    assert result.rms_force == pytest.approx(force, rel=precision, abs=precision)
    if result.converged:
        assert force <= case.call["tolerance"] * (1 + precision) + precision


def check_the_limits(case, result, moved):
    """Limits hold, and neither is reached before anything has moved."""
    budget, most = case.call["max_force_evaluations"], case.call.get("maxIterations", 0)
    assert 1 <= result.force_evaluations <= budget
    assert result.iterations <= (most or np.inf)
    if result.converged:
        return
    if "force evaluations are used up" in result.message:
        assert result.force_evaluations == budget
    if budget >= 5 and any(reason in result.message for reason in USED_UP):
        assert moved, f"nothing has moved: {result.message}"


def check_the_structure(case, context, before, after):
    assert np.isfinite(after).all()
    held = fixed(case.system)
    assert after[held].tobytes() == before[held].tobytes()
    assert constraint_errors(case.system, after).max() <= case.constraint_tolerance * (1 + 1e-6)
    pairs = bare_charges(case.system, case.groups)
    if pairs:
        near = pair_distances(context, after, pairs) < COLLAPSED
        assert not (near & (pair_distances(context, before, pairs) >= COLLAPSED)).any()


@settings(REPRODUCIBLE, max_examples=150)
@given(case=cases())
def test_every_promise_holds(case, snapshot, energy_and_forces, nanometers):
    context = case.context()
    before, start = snapshot(context), nanometers(context)
    outcome = run(case, context)
    after, end = snapshot(context), nanometers(context)
    assert not any(issubclass(category, RuntimeWarning) for category in outcome.warned)
    if outcome.error is not None:
        assert after == before
        check_the_error(case, outcome.error, evaluable(case, energy_and_forces, nanometers))
        return
    assert after | {"positions": None} == before | {"positions": None}
    assert (ConvergenceWarning in outcome.warned) == (not outcome.result.converged)
    energy, forces = energy_and_forces(context)
    check_the_numbers(case, outcome.result, energy, projected_rms(case.system, end, forces))
    check_the_limits(case, outcome.result, moved=not np.array_equal(start, end))
    check_the_structure(case, context, start, end)


@settings(REPRODUCIBLE, max_examples=15)
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
