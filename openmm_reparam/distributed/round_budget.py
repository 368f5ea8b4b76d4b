"""How the force evaluations of a search are shared among islands and rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..search import SearchSettings

__all__ = ["RoundBudget", "next_round"]

# An island with less than this begins no round.
FEWEST_EVALUATIONS = 20
# Refinement takes so many rounds at least: each goes on from the lowest of all islands.
REFINING_ROUNDS = 4


@dataclass(frozen=True)
class RoundBudget:
    """What an island may spend in a round.

    Attributes
    ----------
    force_evaluations : int
        With the first hop that ends beyond these the round is over.
    limit : int
        At most.
    refines : bool
        Whether it is spent near the lowest minima.
    """

    force_evaluations: int
    limit: int
    refines: bool


def next_round(
    total: int, spent: int, islands: int, round_evaluations: int, search: SearchSettings
) -> RoundBudget | None:
    """Return what each island may spend in the next round; None if too little is left.

    A round is as long as was asked for, the last one as long as what is left. The last share of the
    whole search, not of each round, is spent near the lowest minima, in shorter rounds.

    Parameters
    ----------
    total : int
        Force evaluations of all islands in all rounds.
    spent : int
        Of those, up to now.
    islands : int
    round_evaluations : int
        Of one island.
    search : SearchSettings

    Examples
    --------
    >>> search = SearchSettings(refinement=0.25, quench_evaluations=200)
    >>> next_round(4000, 0, 2, 1000, search)
    RoundBudget(force_evaluations=1000, limit=1200, refines=False)
    >>> next_round(4000, 3000, 2, 1000, search)
    RoundBudget(force_evaluations=125, limit=325, refines=True)
    """
    share = (total - spent) // islands
    if share < FEWEST_EVALUATIONS:
        return None
    refining = math.ceil(search.refinement * total / islands)
    exploring = share - refining
    refines = exploring < FEWEST_EVALUATIONS
    if refines:
        exploring = max(math.ceil(refining / REFINING_ROUNDS), FEWEST_EVALUATIONS)
    wanted = min(round_evaluations, exploring, share)
    return RoundBudget(wanted, min(wanted + search.quench_evaluations, share), refines)
