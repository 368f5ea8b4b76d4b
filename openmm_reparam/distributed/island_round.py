"""One round of one island: a search with its own budget, on a Context of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ..errors import BudgetExhausted
from ..minimization.replicas import compared_atoms
from ..optimizers.line_search import LineSearchError
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..potentials.potential import EvaluationCounter, Potential
from ..search import (
    BasinHopping,
    MinimaDatabase,
    Minimum,
    SearchContext,
    SearchRecord,
    SearchSettings,
    SearchState,
    WalkerState,
)
from .context_recipe import ContextRecipe

__all__ = ["IslandRound", "RoundMinimum", "RoundTask", "search_round"]


@dataclass(frozen=True)
class RoundTask:
    """What an island does in a round. Nothing else has a say in what it finds.

    Attributes
    ----------
    molecule : ContextRecipe
    settings : SearchSettings
    tolerance : float
        RMS force in kJ/mol/nm of minima that may be the lowest.
    seed, island, round : int
        Together they seed the random numbers.
    force_evaluations : int
        After the first hop that ends beyond these the round ends.
    limit : int
        Force evaluations at most.
    start : Point
        Minimum that the whole search began from. Restarts begin there.
    reference : (N, 3) array
        In nm; what the validity checks compare with.
    known : tuple of Minimum
        Found by all islands in earlier rounds; empty in the first.
    state : SearchState or None
        Where the island stands; None in the first round.
    """

    molecule: ContextRecipe
    settings: SearchSettings
    tolerance: float
    seed: int
    island: int
    round: int
    force_evaluations: int
    limit: int
    start: Point = field(repr=False)
    reference: np.ndarray = field(repr=False)
    known: tuple[Minimum, ...] = field(repr=False)
    state: SearchState | None = field(repr=False)


@dataclass(frozen=True)
class RoundMinimum:
    """A minimum that an island came to.

    Attributes
    ----------
    point : Point
    rms_force : float
        In kJ/mol/nm.
    force_evaluations : int
        Of the round when it was found.
    """

    point: Point
    rms_force: float
    force_evaluations: int


@dataclass(frozen=True)
class IslandRound:
    """What an island has come to in a round.

    Attributes
    ----------
    state : SearchState
        Where it goes on from.
    evaluations : dict of str to int
        Of the round, by kind.
    record : SearchRecord
        Of the round.
    stagnant_rounds : int
        Rounds in a row, this one the last, in which it neither went lower nor restarted.
    sent_to : int or None
        Number of the minimum that it was sent to when the round was over.
    found : tuple of RoundMinimum
        In the order in which it found them; empty when read from a file, which has them elsewhere.
    """

    state: SearchState
    evaluations: dict[str, int]
    record: SearchRecord
    stagnant_rounds: int = 0
    sent_to: int | None = None
    found: tuple[RoundMinimum, ...] = field(default=(), repr=False)

    @property
    def force_evaluations(self) -> int:
        """All of the round."""
        return sum(self.evaluations.values())

    def to_json(self) -> str:
        """Return everything but the minima as text; numbers keep every digit."""
        walkers = [
            asdict(walker) | {"positions": walker.positions.tolist()}
            for walker in self.state.walkers
        ]
        plain = {
            "walkers": walkers,
            "rises": self.state.rises,
            "evaluations": self.evaluations,
            "record": asdict(self.record),
            "stagnant_rounds": self.stagnant_rounds,
            "sent_to": self.sent_to,
        }
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> IslandRound:
        """Read what `to_json` has written."""
        plain: dict[str, Any] = json.loads(text)
        walkers = tuple(
            WalkerState(**walker | {"positions": np.array(walker["positions"])})
            for walker in plain["walkers"]
        )
        return cls(
            SearchState(walkers, tuple(plain["rises"])),
            plain["evaluations"],
            SearchRecord(**plain["record"]),
            plain["stagnant_rounds"],
            plain["sent_to"],
        )


def search_round(task: RoundTask) -> IslandRound:
    """Search for one round.

    Parameters
    ----------
    task : RoundTask

    Returns
    -------
    IslandRound

    Raises
    ------
    NonFiniteError
        The energy of the start is not finite.
    """
    # Sums that are split among threads end in other last digits.
    with threadpool_limits(1):
        return _search_round(task)


def _search_round(task: RoundTask) -> IslandRound:
    counter = EvaluationCounter(limit=task.limit)
    topology = task.molecule.make_topology()
    evaluator = Evaluator(Potential(task.molecule.make_context(), topology, counter))
    rng = np.random.default_rng([task.seed, task.island, task.round])
    context = SearchContext.of(evaluator, task.settings, rng, task.tolerance)
    compared = compared_atoms(topology, task.molecule.num_atoms)
    classes = context.topology.symmetry_classes
    record = SearchRecord(task.settings.name)
    search = BasinHopping(
        context,
        task.start,
        MinimaDatabase(compared, classes, list(task.known)),
        record,
        task.reference,
        task.state,
        restart_first=task.state is None and task.island > 0,
    )
    found = _found(search, evaluator, task.force_evaluations)
    spent = {"context": counter.context, "side": counter.side, "bonded": counter.bonded}
    return IslandRound(search.state, spent, record, found=tuple(found))


def _found(search: BasinHopping, evaluator: Evaluator, enough: int) -> Sequence[RoundMinimum]:
    """Return the minima found until enough evaluations are spent, or all there are."""
    counter = evaluator.potential.counter
    found: list[RoundMinimum] = []
    try:
        for point in search.points():
            found.append(RoundMinimum(point, evaluator.rms(point), counter.total))
            if counter.total >= enough:
                break
    except (BudgetExhausted, LineSearchError):
        pass
    return found
