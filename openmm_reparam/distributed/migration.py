"""Which islands lag, and where they go on.

Islands that exchange what they have found: Whitley, Rana, Heckendorn, J. Comput. Inf. Technol.
1999, 7, 33.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from ..search import SearchState, ShapeComparison, WalkerState
from .island_round import IslandRound
from .minima_database import StoredMinimum

__all__ = ["MIGRATION_CANDIDATES", "counted_stagnation", "migrated"]

# Rounds without a lower minimum after which an island lags, and the share of all islands that may
# be sent elsewhere after a round (one at least).
STAGNANT_ROUNDS, SENT_SHARE = 2, 0.25
# Lowest minima that islands are sent to.
MIGRATION_CANDIDATES = 20
# kJ/mol by which a lower minimum is lower.
LOWER_ENERGY = 0.01


def counted_stagnation(
    rounds: Sequence[IslandRound], before: Sequence[IslandRound]
) -> list[IslandRound]:
    """Return what islands have come to, with the rounds counted that have led to nothing lower.

    Parameters
    ----------
    rounds : sequence of IslandRound
        One for each island.
    before : sequence of IslandRound
        The same of the round before; empty after the first.
    """
    if not before:
        return list(rounds)
    counted = []
    for now, then in zip(rounds, before, strict=True):
        lower = now.state.lowest < then.state.lowest - LOWER_ENERGY
        stagnant = 0 if lower or now.record.restarts else then.stagnant_rounds + 1
        counted.append(replace(now, stagnant_rounds=stagnant))
    return counted


def migrated(
    rounds: Sequence[IslandRound],
    candidates: Sequence[StoredMinimum],
    taken: Collection[int],
    comparison: ShapeComparison,
    amplitude: float,
) -> list[IslandRound]:
    """Send islands that lag to low minima far from where islands are.

    An island lags if for two rounds it has found nothing lower and has not restarted. The one with
    the lowest minimum never does. Of those that lag, those with the highest lowest minima are sent
    elsewhere: a quarter of all islands, one at least. Each goes to the candidate that is farthest
    from the nearest island. No minimum is gone to twice.

    Parameters
    ----------
    rounds : sequence of IslandRound
        One for each island.
    candidates : sequence of StoredMinimum
        The lowest of all, lowest first.
    taken : collection of int
        Numbers of those that islands were sent to before.
    comparison : ShapeComparison
    amplitude : float
        Of an island's moves to begin with, in nm.

    Returns
    -------
    list of IslandRound
    """
    rounds, free = list(rounds), [one for one in candidates if one.id not in taken]
    for island in _lagging(rounds)[: max(1, int(SENT_SHARE * len(rounds)))]:
        if not free:
            break
        others = [one.state.current.positions for k, one in enumerate(rounds) if k != island]
        target = free.pop(_farthest(free, others, comparison))
        start = WalkerState(target.positions, target.energy, amplitude, 1.0, target.energy, 0)
        walkers = (start,) * len(rounds[island].state.walkers)
        rounds[island] = replace(
            rounds[island], state=SearchState(walkers), stagnant_rounds=0, sent_to=target.id
        )
    return rounds


def _lagging(rounds: Sequence[IslandRound]) -> list[int]:
    """Return the islands that lag, those with the highest lowest minima first."""
    lowest = [one.state.lowest for one in rounds]
    leader = int(np.argmin(lowest))
    lag = [
        k for k, one in enumerate(rounds) if k != leader and one.stagnant_rounds >= STAGNANT_ROUNDS
    ]
    return sorted(lag, key=lambda k: -lowest[k])


def _farthest(
    candidates: Sequence[StoredMinimum], others: Sequence[np.ndarray], comparison: ShapeComparison
) -> int:
    """Return which candidate is farthest from the nearest of other structures."""
    rmsd = comparison.rmsd([one.positions for one in candidates] + list(others))
    distances = rmsd[: len(candidates), len(candidates) :].min(axis=1, initial=math.inf)
    return int(np.argmax(distances))
