"""When a search restarts from another fold, and when it refines its lowest minima."""

from __future__ import annotations

import math

from ..potentials.potential import Potential
from .acceptance import Walker
from .settings import SearchSettings

__all__ = ["Schedule"]

# The temperature factor of a search that refines, until its lowest has no lower neighbour.
REFINING_TEMPERATURE_FACTOR = 0.3
# Up to so many torsions the unit of stagnation is as many hops; beyond, it grows with their square.
FEW_TORSIONS = 14
# Patience is longer by this factor when the search refines.
REFINING_PATIENCE_FACTOR = 3


class Schedule:
    """Explore, restart where nothing lower is found, and refine with the last share of the budget.

    A search that refines and has found nothing lower for long explores again. Of what is left of
    its budget the last share is for refining again.

    Parameters
    ----------
    potential : Potential
        Its counter holds the budget.
    settings : SearchSettings
    num_torsions : int
        Of the `Explorer`.

    Attributes
    ----------
    refining : bool
    """

    def __init__(self, potential: Potential, settings: SearchSettings, num_torsions: int) -> None:
        self._counter, self._settings, self._torsions = potential.counter, settings, num_torsions
        self._unit = num_torsions * max(1.0, num_torsions / FEW_TORSIONS)
        # Several walkers leave what holds them as the highest goes on from the lowest.
        alone = settings.walkers == 1 and num_torsions
        self._patience = settings.patience * self._unit if alone else math.inf
        self.refining = False
        self._refine_after = self._last_share()

    def stagnation(self, walker: Walker) -> float:
        """Hops of a walker without a lower minimum, in units of what its molecule needs."""
        return walker.stagnation / self._unit if self._torsions else 0.0

    def restarts(self, walker: Walker) -> bool:
        """Whether a walker has found nothing lower for too long."""
        factor = REFINING_PATIENCE_FACTOR if self.refining else 1
        return walker.stagnation > factor * self._patience

    def begins_to_refine(self) -> bool:
        """Whether the time to refine has come now; the search then refines."""
        begins = not self.refining and self._counter.total >= self._refine_after
        self.refining = self.refining or begins
        return begins

    def explore_again(self) -> None:
        """End refining; the last share of what is left is for refining again."""
        if self.refining:
            self.refining, self._refine_after = False, self._last_share()

    def refining_temperature_factor(self, walker: Walker) -> float:
        """Return the temperature factor of a walker in a search that refines."""
        factor = walker.stagnation / self._torsions if self._torsions else 0.0
        return min(max(factor, REFINING_TEMPERATURE_FACTOR), 1.0)

    def _last_share(self) -> float:
        """Return the force evaluations after which the search refines."""
        limit = self._counter.limit
        if limit is None:
            return math.inf
        return limit - self._settings.refinement * (limit - self._counter.total)
