"""How the force evaluations of a search are shared among islands and rounds."""

from __future__ import annotations

from dataclasses import dataclass

from ..search import SearchSettings

__all__ = ["RoundBudget", "next_round"]

# An island with less than this begins no round.
FEWEST_EVALUATIONS = 20


@dataclass(frozen=True)
class RoundBudget:
    """What an island may spend in a round.

    Attributes
    ----------
    force_evaluations : int
        With the first hop that ends beyond these the round is over.
    limit : int
        At most.
    refinement : float
        Share of the limit, the last, that is spent near the lowest minima.
    """

    force_evaluations: int
    limit: int
    refinement: float


def next_round(
    total: int, spent: int, islands: int, round_evaluations: int, search: SearchSettings
) -> RoundBudget | None:
    """Return what each island may spend in the next round; None if too little is left.

    A round is as long as was asked for, the last one as long as what is left. The last share of the
    whole search, not of each round, is spent near the lowest minima.

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
    >>> next_round(4000, 0, 2, 1000, SearchSettings(refinement=0.25, quench_evaluations=200))
    RoundBudget(force_evaluations=1000, limit=1200, refinement=0.0)
    >>> next_round(4000, 2000, 2, 1000, SearchSettings(refinement=0.25, quench_evaluations=200))
    RoundBudget(force_evaluations=1000, limit=1000, refinement=0.5)
    """
    share = (total - spent) // islands
    if share < FEWEST_EVALUATIONS:
        return None
    limit = min(round_evaluations + search.quench_evaluations, share)
    refines_after = ((1 - search.refinement) * total - spent) / islands
    refinement = 1 - min(max(refines_after / limit, 0.0), 1.0)
    return RoundBudget(min(round_evaluations, share), limit, refinement)
