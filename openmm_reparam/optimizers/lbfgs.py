"""Preconditioned L-BFGS on the constraint manifold.

Limited-memory BFGS (Nocedal, Math. Comp. 1980, 35, 773) whose initial inverse Hessian is a
preconditioner P^-1: the same path as L-BFGS on the latents of X = X0 + S Z with S S^T = P^-1, but
its memory survives a refresh of P. On constrained Systems gradient and direction are projected on
the tangent space and every trial is retracted (Absil, Mahony, Sepulchre, "Optimization Algorithms
on Matrix Manifolds", 2008).
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..errors import NonFiniteError
from ..potentials.point import Point, dot
from .coordinates import Cartesian, Chart, Coordinates, Projection
from .curvature_pairs import (
    CurvaturePair,
    Solver,
    curvature_ratio,
    in_memory,
    inverse_hessian_times,
)
from .line_search import Direction, LineSearch, LineSearchError, Trial
from .metric import Metric
from .step_bound import StepBound

__all__ = [
    "Descent",
    "LbfgsState",
    "descend",
    "lbfgs",
    "lbfgs_init",
    "lbfgs_step",
    "relative_noise",
]

# A metric whose curvature along a step is wrong by more than this factor is stale.
STALE = 3.0
# Nor does a pair tell anything of what follows whose curvature P underrates by this factor, unless
# so many in a row do.
CLASH, PASSING = 1e-3, 2
# Steps in a row that were refused at first, until there is no going on.
BLOCKED = 20
# A step along plain forces moves no atom further than this (nm) the first time.
FIRST_STEP = 1e-3


def relative_noise(energy: float) -> float:
    """Return the rounding error of an energy in single precision, kJ/mol."""
    return 1e-7 * abs(energy)


@dataclass(frozen=True)
class Descent:
    """What an L-BFGS descends on, and how; see `lbfgs` for each.

    Attributes
    ----------
    evaluate : callable
    coordinates : Coordinates
    metric : Metric or None
    project : callable or None
    refuses : callable or None
    noise : callable
    memory : int
    max_step, largest_step : float
        In nm.
    refresh : (int, int)
    """

    evaluate: Callable[[np.ndarray], Point]
    coordinates: Coordinates
    metric: Metric | None = None
    project: Projection | None = None
    refuses: Callable[[Point, Point, float], bool] | None = None
    noise: Callable[[float], float] = relative_noise
    memory: int = 12
    max_step: float = 0.05
    largest_step: float = 0.05
    refresh: tuple[int, int] = (20, 50)


@dataclass
class LbfgsState:
    """Where an L-BFGS stands between two steps: all that it goes on from.

    Attributes
    ----------
    point : Point
    chart, metric_chart : Chart
        Of the coordinates: at the point, and where the metric was updated last.
    forces : array
        At the point, along the coordinates.
    pairs : deque of CurvaturePair
    bound : StepBound
    ratio : float
        What P makes of the newest pair's curvature, over what it is.
    age : int
        Steps since the metric was updated.
    failures : int
        Line searches in a row that have failed.
    dropped : int
        Pairs in a row that were taken for a clash left behind.
    blocked : int
        Steps in a row that were refused at first.
    coarse : float
        What the noise is multiplied with.
    timid : float
        How far a step along plain forces moves an atom, in nm.
    """

    point: Point
    chart: Chart
    metric_chart: Chart
    forces: np.ndarray
    pairs: deque[CurvaturePair]
    bound: StepBound
    ratio: float = 1.0
    age: int = 0
    failures: int = 0
    dropped: int = 0
    blocked: int = 0
    coarse: float = 1.0
    timid: float = FIRST_STEP


def lbfgs_init(descent: Descent, start: Point) -> LbfgsState:
    """Return the state before the first step; the metric has been updated at the start."""
    chart = descent.coordinates.begin(start.positions)
    return LbfgsState(
        start,
        chart,
        chart,
        descent.coordinates.forces(chart, start),
        deque(maxlen=descent.memory),
        StepBound.between(descent.max_step, descent.largest_step),
    )


def lbfgs_step(descent: Descent, state: LbfgsState) -> Point:
    """Take one step: change the state, and return its new point.

    Raises
    ------
    LineSearchError
        No direction lowers the energy any more.
    """
    while True:
        direction = _direction(descent, state)
        first, held = _first_length(descent, state, direction.vector)
        noise = state.coarse * descent.noise(state.point.energy)
        search = LineSearch(descent.evaluate, descent.coordinates, descent.refuses, noise)
        result = search(direction, first, content=state.failures > 0)
        if state.blocked > BLOCKED:
            raise LineSearchError(result.why())
        if result.trial is not None:
            break
        _begin_anew(descent, state, result.why())
    state.blocked = state.blocked + 1 if result.refused else 0
    promised, at_once = -result.trial.length * direction.slope, result.trial.length == first
    _accept(descent, state, result.trial, promised, at_once=at_once, held=held)
    return state.point


def lbfgs(
    evaluate: Callable[[np.ndarray], Point],
    start: Point,
    *,
    metric: Metric | None = None,
    project: Projection | None = None,
    coordinates: Coordinates | None = None,
    memory: int = 12,
    max_step: float = 0.05,
    largest_step: float | None = None,
    refresh: tuple[int, int] = (20, 50),
    noise: Callable[[float], float] = relative_noise,
    refuses: Callable[[Point, Point, float], bool] | None = None,
) -> Iterator[Point]:
    """Descend from a point, one accepted step at a time: `lbfgs_step` over and over.

    Parameters
    ----------
    evaluate : callable
        (N, 3) positions in nm -> Point, retracted onto the constraint manifold where there is
        one. A `NonFiniteError` it raises counts as a step too long; any other passes through.
    start : Point
    metric : Metric, optional
        The initial inverse Hessian, already updated at the start; the identity by default.
    project : callable, optional
        (positions, vectors) -> vectors on the constraint manifold's tangent space at positions,
        (N, 3) each.
    coordinates : Coordinates, optional
        What steps are, and with them what ``metric`` solves for; displacements of the atoms by
        default.
    memory : int
        Pairs kept.
    max_step : float
        No atom moves further in one step, in nm.
    largest_step : float, optional
        The bound doubles with every step up to this, once five in a row were held back by it and
        lowered the energy as their slope promised (an atom far from its restraint), until one does
        not. Stays ``max_step`` by default.
    refresh : (int, int)
        Fewest and most accepted steps between updates of the metric. In between it is updated once
        it is stale: once the curvature along a step is more than 3 times, or less than a third of
        what P says.
    noise : callable
        energy -> its rounding error in kJ/mol; below that the slope decides whether a step is good
        (Hager and Zhang's approximate Wolfe condition). Ten times as much once a line search fails.
    refuses : callable, optional
        (before, after, fall of energy promised to first order) -> whether a step that lowers the
        energy is still too long, because it leads where none should.

    Yields
    ------
    Point
        After every accepted step. The iterator ends never by itself.

    Raises
    ------
    LineSearchError
        No direction lowers the energy any more.
    """
    descent = Descent(
        evaluate,
        coordinates or Cartesian(),
        metric=metric,
        project=project,
        refuses=refuses,
        noise=noise,
        memory=memory,
        max_step=max_step,
        largest_step=largest_step or max_step,
        refresh=refresh,
    )
    return descend(descent, start)


def descend(descent: Descent, start: Point) -> Iterator[Point]:
    """Yield the point after every step; as `lbfgs`, of a `Descent`."""
    state = lbfgs_init(descent, start)
    while True:
        yield lbfgs_step(descent, state)


def _direction(descent: Descent, state: LbfgsState) -> Direction:
    """Return where to go, and the slope of the energy that way."""
    point, chart, forces = state.point, state.chart, state.forces
    vector = inverse_hessian_times(forces, state.pairs, _solver(descent, state), state.ratio)
    if descent.project is not None:
        vector = descent.coordinates.project(descent.project, chart, point.positions, vector)
    slope = -dot(forces, vector)
    if slope < 0 and state.failures <= 2:
        return Direction(point, chart, vector, slope)
    # Not a descent direction (indefinite pairs, stale metric), or a failed restart: the plain
    # forces always are one.
    state.pairs.clear()
    slope = -dot(forces, forces)
    if slope == 0:
        raise LineSearchError("the forces are exactly zero")
    return Direction(point, chart, np.array(forces), slope)


def _first_length(descent: Descent, state: LbfgsState, vector: np.ndarray) -> tuple[float, bool]:
    """Return the step to try first, in units of a direction, and whether its bound holds it."""
    coordinates, place = descent.coordinates, (state.chart, state.point.positions)
    longest = coordinates.longest(*place, vector)
    first, held = state.bound.length(longest, partial(coordinates.longest_within, *place, vector))
    if descent.metric is None and not state.pairs or state.failures > 2:
        # Of plain forces the length means nothing.
        first = min(first, state.timid / max(longest, np.finfo(float).tiny))
    return first, held


def _begin_anew(descent: Descent, state: LbfgsState, why: str) -> None:
    """Forget the pairs after a failed line search, and more the more have failed."""
    metric = descent.metric
    state.failures += 1
    state.coarse, state.timid = 10.0, FIRST_STEP
    state.bound = state.bound.reset()
    state.pairs.clear()
    if state.failures > (3 if metric is not None else 1):
        raise LineSearchError(why)
    # Steepest descent in the metric; in a stiffer one; along the plain forces.
    if metric is not None and state.failures == 1:
        _update(metric, state)
    elif metric is not None and state.failures == 2:
        metric.raise_shift()


def _accept(
    descent: Descent,
    state: LbfgsState,
    trial: Trial,
    promised: float,
    *,
    at_once: bool,
    held: bool,
) -> None:
    """Go on to the next point: learn from the step, and renew the metric where it is stale."""
    coordinates, before = descent.coordinates, state.point
    state.failures, state.timid = 0, 2 * state.timid
    step = coordinates.step_taken(before, trial.point, trial.step)
    forces = coordinates.forces(trial.chart, trial.point)
    change = state.forces - forces
    pair = CurvaturePair(step, change, dot(step, change))
    state.bound = state.bound.after(
        trial.length,
        at_once=at_once,
        held=held,
        fall=before.energy - trial.point.energy,
        promised=promised,
        curvature=pair.curvature,
    )
    if pair.curvature > 1e-10 * np.sqrt(dot(step, step) * dot(change, change)):
        _keep(descent, state, pair)
    state.point, state.chart, state.forces = trial.point, trial.chart, forces
    state.age += 1
    least, most = descent.refresh
    stale = state.age >= least and not 1 / STALE < state.ratio < STALE
    if descent.metric is not None and (stale or state.age >= most):
        _update(descent.metric, state)
        if state.pairs:
            state.ratio = curvature_ratio(state.pairs[-1], _solver(descent, state))


def _keep(descent: Descent, state: LbfgsState, pair: CurvaturePair) -> None:
    """Keep a pair, unless it tells of a clash that the step has left behind.

    P finds that far too stiff; kept, it would hold everything still.
    """
    ratio = curvature_ratio(pair, _solver(descent, state))
    known = descent.metric is not None and descent.metric.complete
    passing = known and ratio <= CLASH and state.dropped < PASSING
    state.dropped = state.dropped + 1 if passing else 0
    if not passing:
        state.pairs.append(in_memory(pair))
        state.ratio = ratio


def _update(metric: Metric, state: LbfgsState) -> None:
    """Update a metric at the state's point."""
    state.age = 0
    # A displaced configuration may be non-finite where the point itself is not; the metric in use
    # stays a valid one.
    with contextlib.suppress(NonFiniteError):
        metric.update(state.point.positions)
        state.metric_chart = state.chart


def _solver(descent: Descent, state: LbfgsState) -> Solver:
    """Return what multiplies with the initial inverse Hessian."""
    if descent.metric is None:
        return np.copy
    return partial(descent.coordinates.solve, descent.metric, state.metric_chart)
