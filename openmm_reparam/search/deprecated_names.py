"""Functions and classes of the first version's searches, made of today's.

Removed in the version after the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..potentials.bond_graph import bond_graph
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..potentials.potential import Potential
from .basin_hopping import BasinHopping
from .context import SearchContext
from .minima import MinimaDatabase
from .permutations import isomer_points
from .record import SearchRecord
from .settings import LOOSE_FORCE, SearchSettings
from .torsions import TorsionTopology

__all__ = ["Hops", "exchanged_points", "hop"]


@dataclass
class Hops(MinimaDatabase):
    """A `MinimaDatabase` with its `SearchRecord`."""

    record: SearchRecord = field(default_factory=SearchRecord)

    tried = property(lambda self: self.record.tried)
    accepted = property(lambda self: self.record.accepted)
    rounds = property(lambda self: self.record.restarts)
    rejected = property(lambda self: self.record.refusals)

    def __str__(self) -> str:
        return str(self.record)


class _GivenEvaluator(Evaluator):
    """An `Evaluator` of functions that were given one by one."""

    def __init__(
        self,
        potential: Potential,
        evaluate: Callable[[np.ndarray], Point],
        rms: Callable[[Point], float],
        project: Callable[[np.ndarray, np.ndarray], np.ndarray] | None,
    ) -> None:
        super().__init__(potential)
        self._evaluate, self._rms, self.project = evaluate, rms, project

    def evaluate(self, positions: np.ndarray) -> Point:
        return self._evaluate(positions)

    def rms(self, point: Point) -> float:
        return self._rms(point)


def hop(
    potential: Potential,
    evaluate: Callable[[np.ndarray], Point],
    start: Point,
    settings: SearchSettings,
    rng: np.random.Generator,
    hops: Hops,
    *,
    rms: Callable[[Point], float],
    tolerance: float = LOOSE_FORCE,
    project: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    reference: np.ndarray | None = None,
) -> Iterator[Point]:
    """Run `BasinHopping`; see there."""
    context = SearchContext.of(
        _GivenEvaluator(potential, evaluate, rms, project), settings, rng, tolerance
    )
    return BasinHopping(context, start, hops, hops.record, reference).points()


def exchanged_points(
    potential: Potential, evaluate: Callable[[np.ndarray], Point], best: Point
) -> Iterator[Point]:
    """Return `isomer_points`; see there."""
    return isomer_points(TorsionTopology(potential, bond_graph(potential)), evaluate, best)
