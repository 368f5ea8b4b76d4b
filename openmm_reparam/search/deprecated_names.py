"""Functions and classes of the first version's searches, made of today's.

Removed in the version after the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..potentials.bond_graph import bond_graph
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
        potential, evaluate, rms, settings, rng, project=project, tolerance=tolerance
    )
    return BasinHopping(context, start, hops, hops.record, reference).points()


def exchanged_points(
    potential: Potential, evaluate: Callable[[np.ndarray], Point], best: Point
) -> Iterator[Point]:
    """Return `isomer_points`; see there."""
    return isomer_points(TorsionTopology(potential, bond_graph(potential)), evaluate, best)
