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

__all__ = [
    "Cartesian",
    "Coordinates",
    "Descent",
    "LbfgsState",
    "LineSearchError",
    "Metric",
    "lbfgs",
    "lbfgs_init",
    "lbfgs_step",
    "relative_noise",
]

ARMIJO = 1e-4
# A metric whose curvature along a step is wrong by more than this factor is stale.
STALE = 3.0
# Nor does a pair tell anything of what follows whose curvature P underrates by this factor, unless
# so many in a row do.
CLASH, PASSING = 1e-3, 2
MAX_BACKTRACKS = 12
# Steps in a row that were refused at first, until there is no going on.
BLOCKED = 20
# A step along plain forces moves no atom further than this (nm) the first time.
FIRST_STEP = 1e-3
# So many full steps in a row that ended as promised, and the step bound begins to double.
PROVEN = 5


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


class Coordinates(Protocol):
    """What the vectors of a descent are, steps and forces: `Cartesian`, or ones along curves.

    Arrays of one shape, whatever that is.
    """

    def forces(self, point: Point) -> np.ndarray:
        """Return the forces along the coordinates at the start, or where the last step led."""

    def longest(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom, to first order, in nm."""

    def longest_within(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom relative to its molecule, in nm."""

    def moved(self, positions: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Try a step: return (N, 3) positions in nm after it."""

    def accepted(self, before: Point, after: Point) -> np.ndarray:
        """Note that the last step tried is taken, and return it."""


class Cartesian:
    """Displacements of the atoms, (N, 3) in nm, along straight lines.

    Parameters
    ----------
    molecules : (N,) int array, optional
        The molecule of each atom; all are of one by default.
    """

    def __init__(self, molecules: np.ndarray | None = None) -> None:
        self._molecules = molecules

    def forces(self, point: Point) -> np.ndarray:
        """Return the point's."""
        return point.forces

    def longest(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return the largest displacement in nm."""
        return float(np.sqrt(np.einsum("ij,ij->i", step, step).max()))

    def longest_within(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return the largest displacement relative to the mean of its molecule, in nm."""
        labels = self._molecules
        if labels is None:
            labels = np.zeros(len(step), dtype=int)
        counts = np.bincount(labels)
        means = np.stack([np.bincount(labels, column) for column in step.T], axis=1)
        return self.longest(positions, step - (means / counts[:, None])[labels])

    def moved(self, positions: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Return the sum."""
        return positions + step

    def accepted(self, before: Point, after: Point) -> np.ndarray:
        """Return the displacement, what a retraction has made of it included."""
        return after.positions - before.positions


class LineSearchError(RuntimeError):
    """No step along any direction tried lowers the energy: rounding has been reached."""


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


class LineSearch:
    """Backtracking along a direction until the energy has fallen enough.

    Parameters
    ----------
    evaluate, coordinates, refuses
        As `lbfgs` takes them.
    noise : float
        In kJ/mol: up to so much, the slope decides.

    Attributes
    ----------
    refused : bool
        Whether a step that lowers the energy was.
    """

    def __init__(self, evaluate, coordinates, refuses, noise: float) -> None:
        self._evaluate, self._coordinates = evaluate, coordinates
        self._refuses, self._noise = refuses, noise
        self.refused, self._failed = False, ""

    def __call__(
        self, point: Point, direction: np.ndarray, slope: float, length: float, *, content: bool
    ) -> tuple[Point | None, float]:
        """Return what a step led to and its length; None if none lowers the energy.

        Where ``content``, the lowest point will do that lies lower at all: at a singular geometry
        (a torsion of atoms in line) the slope promises what no step can keep.
        """
        lowest, there = point.energy - self._noise, 0.0
        for _ in range(MAX_BACKTRACKS):
            try:
                trial = self._evaluate(self._coordinates.moved(point.positions, length * direction))
            except NonFiniteError as error:
                self._failed = str(error)
                length *= 0.2
                continue
            if self._lower(point, trial, direction, slope, length):
                if self._refuses is None or not self._refuses(point, trial, -length * slope):
                    return trial, length
                self.refused = True
                length *= 0.2
                continue
            if trial.energy < lowest:
                lowest, there = trial.energy, length
            # The minimum of the parabola through both energies and the slope, kept in bounds.
            rise = trial.energy - point.energy
            parabola = -slope * length**2 / (2 * (rise - slope * length))
            length = min(max(parabola, 0.1 * length), 0.5 * length)
        if not (content and there):
            return None, length
        moved = self._coordinates.moved(point.positions, there * direction)
        found = self._evaluate(moved)
        refused = self._refuses is not None and self._refuses(point, found, -there * slope)
        return (None if refused else found), there

    def _lower(self, point: Point, trial: Point, direction, slope: float, length: float) -> bool:
        rise = trial.energy - point.energy
        if rise <= ARMIJO * length * slope:
            return True
        # Near the minimum the fall drowns in rounding; the slope there is still exact enough.
        if rise > self._noise:
            return False
        slope_there = -dot(self._coordinates.forces(trial), direction)
        return slope_there <= (2 * ARMIJO - 1) * slope

    def why(self) -> str:
        """Say why no step is left."""
        if self.refused:
            return (
                "no step lowers the energy any more without unbonded atoms falling onto each other"
            )
        if self._failed:
            return f"every step led to energies that could not be used: {self._failed}"
        return (
            "no step lowers the energy any more: the forces are as small as the "
            "platform's precision allows, or inconsistent with the energy"
        )


class StepBound:
    """How far a step may move an atom, in nm: further where steps keep their promise.

    Only whole molecules go further: within one, no atom moves beyond the smallest bound relative to
    the others, so that none is torn.
    """

    def __init__(self, smallest: float, largest: float) -> None:
        self._smallest = self._bound = smallest
        self._largest = largest
        self._kept, self._held, self._flat = 0, False, False

    def reset(self) -> None:
        """Go back to the bound of the start."""
        self._bound, self._kept = self._smallest, 0

    def length(self, longest: float, within: Callable[[], float]) -> float:
        """Return the step to try, in units of a direction.

        Parameters
        ----------
        longest : float
            How far the direction moves an atom, in nm.
        within : callable
            How far it moves an atom relative to its molecule.
        """
        full = self._bound / max(longest, np.finfo(float).tiny)
        self._held = full < 1.0 or self._flat
        if self._bound == self._smallest:
            return min(1.0, full)
        # Where the slope does not change along a step, the length of P's step means nothing.
        full = full if self._flat else min(1.0, full)
        return min(full, self._smallest / max(within(), np.finfo(float).tiny))

    def learn(
        self, length: float, at_once: bool, fall: float, promised: float, curvature: float
    ) -> None:
        """Note how a step of a length went: whether at its first trial, and as promised."""
        self._flat = curvature <= 0.01 * promised
        if not (at_once and (self._held or self._flat)):
            self.reset()
            return
        # Between the fall of a parabola whose minimum is one step away and that of a straight line.
        least = max(0.5, 1.0 - length / 2)
        self._kept = self._kept + 1 if 0.9 * least * promised < fall < 1.1 * promised else 0
        grown = min(2 * self._bound, self._largest)
        self._bound = grown if self._kept >= PROVEN else self._smallest
