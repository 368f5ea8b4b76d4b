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
from typing import Protocol

import numpy as np

from ..errors import NonFiniteError
from ..potentials.point import Point, dot
from .coordinates import Cartesian, Coordinates
from .line_search import LineSearch, LineSearchError, StepBound

__all__ = [
    "Descent",
    "LbfgsState",
    "Metric",
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


class Metric(Protocol):
    """What an initial inverse Hessian must offer: `Preconditioner` does.

    Attributes
    ----------
    complete : bool
        Whether P holds all that is stiff: what it finds far too stiff then is a clash.
    """

    complete: bool

    def update(self, positions: np.ndarray) -> None:
        """Rebuild P at (N, 3) positions in nm."""

    def solve(self, vectors: np.ndarray) -> np.ndarray:
        """Return P^-1 v for an (N, 3) array."""

    def raise_shift(self) -> None:
        """Make P stiffer along soft directions, until the next update."""


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
    project: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
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
    forces : array
        At the point, along the coordinates.
    pairs : deque of (step, change of forces, curvature)
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
    forces: np.ndarray
    pairs: deque[tuple[np.ndarray, np.ndarray, float]]
    bound: StepBound
    ratio: float = 1.0
    age: int = 0
    failures: int = 0
    dropped: int = 0
    blocked: int = 0
    coarse: float = 1.0
    timid: float = FIRST_STEP


def lbfgs_init(descent: Descent, start: Point) -> LbfgsState:
    """Return the state before the first step."""
    return LbfgsState(
        start,
        descent.coordinates.forces(start),
        deque(maxlen=descent.memory),
        StepBound(descent.max_step, descent.largest_step),
    )


def lbfgs_step(descent: Descent, state: LbfgsState) -> Point:
    """Take one step: change the state, and return its new point.

    Raises
    ------
    LineSearchError
        No direction lowers the energy any more.
    """
    while True:
        direction, slope = _direction(descent, state)
        first = _first_length(descent, state, direction)
        noise = state.coarse * descent.noise(state.point.energy)
        search = LineSearch(descent.evaluate, descent.coordinates, descent.refuses, noise)
        following, length = search(state.point, direction, slope, first, content=state.failures > 0)
        if state.blocked > BLOCKED:
            raise LineSearchError(search.why())
        if following is not None:
            break
        _begin_anew(descent, state, search)
    state.blocked = state.blocked + 1 if search.refused else 0
    promised, at_once = -length * slope, length == first
    _accept(descent, state, following, length, at_once, promised)
    return state.point


def lbfgs(
    evaluate: Callable[[np.ndarray], Point],
    start: Point,
    *,
    coordinates: Coordinates | None = None,
    max_step: float = 0.05,
    largest_step: float | None = None,
    **settings,
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
        (positions, vectors) -> vectors on the constraint manifold's tangent space at positions.
    coordinates : Coordinates, optional
        What steps are, and with them what ``metric`` solves for and ``project`` projects;
        displacements of the atoms by default.
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
        max_step=max_step,
        largest_step=largest_step or max_step,
        **settings,
    )
    state = lbfgs_init(descent, start)
    while True:
        yield lbfgs_step(descent, state)


def _direction(descent: Descent, state: LbfgsState) -> tuple[np.ndarray, float]:
    """Return where to go, and the slope of the energy that way."""
    direction = _inverse_hessian_times(state.forces, state.pairs, descent.metric, state.ratio)
    if descent.project is not None:
        direction = descent.project(state.point.positions, direction)
    slope = -dot(state.forces, direction)
    if slope < 0 and state.failures <= 2:
        return direction, slope
    # Not a descent direction (indefinite pairs, stale metric), or a failed restart: the plain
    # forces always are one.
    state.pairs.clear()
    slope = -dot(state.forces, state.forces)
    if slope == 0:
        raise LineSearchError("the forces are exactly zero")
    return np.array(state.forces), slope


def _first_length(descent: Descent, state: LbfgsState, direction: np.ndarray) -> float:
    """Return the step to try first, in units of a direction."""
    positions, coordinates = state.point.positions, descent.coordinates
    longest = coordinates.longest(positions, direction)
    within = partial(coordinates.longest_within, positions, direction)
    first = state.bound.length(longest, within)
    if descent.metric is None and not state.pairs or state.failures > 2:
        # Of plain forces the length means nothing.
        first = min(first, state.timid / max(longest, np.finfo(float).tiny))
    return first


def _begin_anew(descent: Descent, state: LbfgsState, search: LineSearch) -> None:
    """Forget the pairs after a failed line search, and more the more have failed."""
    metric = descent.metric
    state.failures += 1
    state.coarse, state.timid = 10.0, FIRST_STEP
    state.bound.reset()
    state.pairs.clear()
    if state.failures > (3 if metric is not None else 1):
        raise LineSearchError(search.why())
    # Steepest descent in the metric; in a stiffer one; along the plain forces.
    if metric is not None and state.failures == 1:
        state.age = _update(metric, state.point)
    elif metric is not None and state.failures == 2:
        metric.raise_shift()


def _accept(
    descent: Descent,
    state: LbfgsState,
    following: Point,
    length: float,
    at_once: bool,
    promised: float,
) -> None:
    """Go on to the next point: learn from the step, and renew the metric where it is stale."""
    metric, (least, most) = descent.metric, descent.refresh
    state.failures, state.timid = 0, 2 * state.timid
    fall = state.point.energy - following.energy
    step = descent.coordinates.accepted(state.point, following)
    forces = descent.coordinates.forces(following)
    change = state.forces - forces
    curvature = dot(step, change)
    state.bound.learn(length, at_once, fall, promised, curvature)
    if curvature > 1e-10 * np.sqrt(dot(step, step) * dot(change, change)):
        newest = _ratio(change, curvature, metric)
        # A pair that P finds far too stiff tells of a clash that the step has left behind; kept, it
        # would hold everything still.
        known = metric is not None and metric.complete
        passing = known and newest <= CLASH and state.dropped < PASSING
        state.dropped = state.dropped + 1 if passing else 0
        if not passing:
            state.pairs.append((step, change, curvature))
            state.ratio = newest
    state.point, state.forces = following, forces
    state.age += 1
    stale = state.age >= least and not 1 / STALE < state.ratio < STALE
    if metric is not None and (stale or state.age >= most):
        state.age = _update(metric, following)
        if state.pairs:
            state.ratio = _ratio(*state.pairs[-1][1:], metric)


def _update(metric: Metric, point: Point) -> int:
    """Update a metric and return its age, 0."""
    # A displaced configuration may be non-finite where the point itself is not; the metric in use
    # stays a valid one.
    with contextlib.suppress(NonFiniteError):
        metric.update(point.positions)
    return 0


def _solve(metric: Metric | None, vector: np.ndarray) -> np.ndarray:
    return np.array(vector) if metric is None else metric.solve(vector)


def _ratio(change: np.ndarray, curvature: float, metric: Metric | None) -> float:
    """s.y / y.P^-1 y of a pair: what P makes of the curvature along a step, over what it is."""
    return curvature / dot(change, _solve(metric, change))


def _inverse_hessian_times(
    forces: np.ndarray, pairs: deque, metric: Metric | None, ratio: float
) -> np.ndarray:
    """Two-loop recursion, from P^-1 scaled by the ratio of the newest pair."""
    vector = np.array(forces)
    weights = []
    for step, change, curvature in reversed(pairs):
        weight = dot(step, vector) / curvature
        vector -= weight * change
        weights.append(weight)
    vector = _solve(metric, vector)
    if pairs:
        vector *= ratio
    for (step, change, curvature), weight in zip(pairs, reversed(weights), strict=True):
        vector += (weight - dot(change, vector) / curvature) * step
    return vector
