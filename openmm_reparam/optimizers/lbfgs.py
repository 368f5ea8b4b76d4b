"""Preconditioned L-BFGS on the constraint manifold.

Limited-memory BFGS (Nocedal, Math. Comp. 1980, 35, 773) whose initial inverse Hessian is a
preconditioner P^-1: the same path as L-BFGS on the latents of X = X0 + S Z with S S^T = P^-1, but
its memory survives a refresh of P. On constrained Systems gradient and direction are projected on
the tangent space and every trial is retracted (Absil, Mahony, Sepulchre, "Optimization Algorithms
on Matrix Manifolds", 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .. import compiled
from ..compiled import LbfgsState
from ..potentials.point import Point
from .coordinates import Cartesian, Coordinates, Projection
from .metric import Metric

__all__ = [
    "Descent",
    "LbfgsState",
    "descend",
    "lbfgs",
    "lbfgs_init",
    "lbfgs_step",
    "relative_noise",
]


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
    refresh : (int, int) or None
    turning : (N,) bool array or None
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
    refresh: tuple[int, int] | None = None
    turning: np.ndarray | None = None

    @cached_property
    def landscape(self) -> compiled.Landscape:
        """The same for the compiled core."""
        # Displacements of the atoms never leave it, nor do coordinates that are its own.
        straight = type(self.coordinates) is Cartesian
        return compiled.Landscape(
            self.evaluate,
            None if straight else getattr(self.coordinates, "core", self.coordinates),
            self.metric,
            self.project,
            self.refuses,
            self.noise,
            self.coordinates.molecules if isinstance(self.coordinates, Cartesian) else None,
            self.turning if straight else None,
        )


def lbfgs_init(descent: Descent, start: Point) -> LbfgsState:
    """Return the state before the first step; the metric has been updated at the start."""
    return LbfgsState(
        descent.landscape,
        start,
        descent.memory,
        descent.max_step,
        descent.largest_step,
        descent.refresh,
    )


def lbfgs_step(descent: Descent, state: LbfgsState) -> Point:
    """Take one step: change the state, and return its new point.

    Raises
    ------
    LineSearchError
        No direction lowers the energy any more.
    """
    return state.step(descent.landscape)


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
    refresh: tuple[int, int] | None = None,
    noise: Callable[[float], float] = relative_noise,
    refuses: Callable[[Point, Point, float], bool] | None = None,
    turning: np.ndarray | None = None,
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
    refresh : (int, int), optional
        Fewest and most accepted steps between updates of the metric: 20 and 50 by default, 10 and
        20 where most atoms turn with their molecules. In between it is updated once it is stale:
        once the curvature along a step is more than 3 times, or less than a third of what P says.
    noise : callable
        energy -> its rounding error in kJ/mol; below that the slope decides whether a step is good
        (Hager and Zhang's approximate Wolfe condition). Ten times as much once a line search fails.
    refuses : callable, optional
        (before, after, fall of energy promised to first order) -> whether a step that lowers the
        energy is still too long, because it leads where none should.
    turning : (N,) bool array, optional
        Atoms that turn with their molecule: where displacements are those of atoms, a molecule of
        two to six such atoms (``coordinates.molecules``) is taken along as a whole, and only what
        is left of a step deforms it. Its part of steps and forces is in a frame that turns along.

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
        turning=turning,
    )
    return descend(descent, start)


def descend(descent: Descent, start: Point) -> Iterator[Point]:
    """Yield the point after every step; as `lbfgs`, of a `Descent`."""
    state = lbfgs_init(descent, start)
    while True:
        yield lbfgs_step(descent, state)
