"""Basin hopping: a move leads away from a minimum, a quench down to the next, a rule decides.

Wales, Doye, J. Phys. Chem. A 1997, 101, 5111, with the low-mode search of Kolossvary and Guida
(J. Am. Chem. Soc. 1996, 118, 5011) as its first explorer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from ..errors import BudgetExhausted, NonFiniteError
from ..potentials.point import Point
from .acceptance import Metropolis, Walker
from .context import SearchContext
from .explorers import make_explorer
from .minima import MinimaDatabase
from .protocols import Reseed, Situation
from .quench import Quench
from .record import SearchRecord
from .schedule import Schedule
from .settings import LOOSE_FORCE
from .state import SearchState, WalkerState
from .validity import first_violation, validity_checks

__all__ = ["BasinHopping"]

# Quenched structures no higher than this above the lowest (kJ/mol) may be lower once at rest.
NEAR_LOWEST_ENERGY = 1.0
# A quench that ends at more than so many times the RMS force it was to reach has found no minimum.
MOST_FORCE = 10.0
# Amplitude factors after an energy that was not finite, a failed validity check, and a move too
# small to leave its minimum.
AFTER_OVERFLOW, AFTER_VIOLATION, AFTER_RETURN = 0.9, 0.97, 1.05


class BasinHopping:
    """A search from minimum to minimum.

    Parameters
    ----------
    context : SearchContext
    start : Point
        A minimum.
    database : MinimaDatabase
        Filled on the way. Minima that are in it at the start guide the search as its own do.
    record : SearchRecord
        Filled on the way.
    reference : (N, 3) array, optional
        In nm; what the validity checks compare with, by default the start.
    state : SearchState, optional
        Of an earlier round, to go on from. Restarts still begin from the start.
    restart_first : bool
        Whether the first hop restarts from another fold, where the explorer can.

    Attributes
    ----------
    explorer : Explorer
    acceptance : AcceptanceRule
    checks : tuple of ValidityCheck
    """

    def __init__(
        self,
        context: SearchContext,
        start: Point,
        database: MinimaDatabase,
        record: SearchRecord,
        reference: np.ndarray | None = None,
        state: SearchState | None = None,
        restart_first: bool = False,
    ) -> None:
        self._context, self._settings = context, context.settings
        self._start, self._database, self._record = start, database, record
        self._quench = Quench(context)
        self.explorer = make_explorer(context, self._quench.preconditioner)
        self._begin_from, self._restart_first = state, restart_first
        rises = () if state is None else state.rises
        self.acceptance = Metropolis(context.settings, context.rng, rises)
        self.checks = validity_checks(
            context.potential,
            context.graph,
            context.evaluator.collapse,
            start.positions if reference is None else reference,
        )
        self._best = start

    def points(self) -> Iterator[Point]:
        """Hop until whoever consumes the points has had enough, or the budget is used up.

        Yields
        ------
        Point
            Every valid minimum, accepted or not.
        """
        counter = self._context.potential.counter
        began = counter.total
        self._begin()
        try:
            while True:
                walker = self._next_walker()
                restarts = self._restart_first or self._schedule.restarts(walker)
                reseed = self.explorer.reseed if restarts else None
                found = self._next_minimum(walker, reseed)
                if found is None:
                    continue
                minimum = self._keep(found)
                walker.note(found.energy)
                yield found
                if reseed is not None:
                    self._restart_first = False
                    self._record.restarts += 1
                    self._walkers, self._turn = [self._walker(found, minimum)], 0
                    self.acceptance.reset()
                else:
                    self._decide(walker, found, minimum)
        finally:
            self._record.force_evaluations += counter.total - began

    def _begin(self) -> None:
        self._schedule = Schedule(
            self._context.potential, self._settings, self.explorer.num_torsions
        )
        for known in self._database.minima:
            self.explorer.move.tell(known.positions, known.energy)
        if self._begin_from is None:
            start = self._keep(self._start)
            self._walkers = [
                self._walker(self._start, start) for _ in range(self._settings.walkers)
            ]
        else:
            self._walkers = [self._walker_of(state) for state in self._begin_from.walkers]
        self._lowest, lowest = self._database.lowest(1)[0]
        if lowest.energy < self._best.energy:
            self._best = _without_forces(lowest.positions, lowest.energy)
        self._turn = 0

    def _walker_of(self, state: WalkerState) -> Walker:
        """Return a walker where one stood in an earlier round."""
        minimum = self._database.find(state.energy, state.positions)
        if minimum is None:
            minimum = self._database.add(state.energy, state.positions, 0)
        return Walker(
            _without_forces(state.positions, state.energy),
            minimum,
            state.amplitude,
            state.temperature_factor,
            lowest=state.lowest,
            stagnation=state.stagnation,
        )

    @property
    def state(self) -> SearchState:
        """Where the search stands, once it has begun."""
        walkers = tuple(
            WalkerState(
                walker.current.positions,
                walker.current.energy,
                walker.amplitude,
                walker.temperature_factor,
                walker.lowest,
                walker.stagnation,
            )
            for walker in self._walkers
        )
        return SearchState(walkers, self.acceptance.rises)

    def _walker(self, point: Point, minimum: int) -> Walker:
        return Walker(point, minimum, self._settings.amplitude)

    def _next_walker(self) -> Walker:
        """Return the walker that hops next."""
        walkers = self._walkers
        if self._schedule.begins_to_refine():
            self._turn = 0
            walkers[:] = [self._walker(self._best, self._lowest) for _ in walkers]
        if self._turn == self._settings.generation * len(walkers):
            self._turn = 0
            low, high = (f(walkers, key=lambda w: w.current.energy) for f in (min, max))
            high.current, high.minimum = low.current, low.minimum
        walker = walkers[self._turn % len(walkers)]
        self._turn += 1
        if self._schedule.refining:
            walker.temperature_factor = self._schedule.refining_temperature_factor(walker)
        return walker

    def _next_minimum(self, walker: Walker, reseed: Reseed | None) -> Point | None:
        """Return the minimum that a move or a restart leads to; None where it is refused."""
        self._record.tried += 1
        if reseed is not None:
            self._schedule.explore_again()
        try:
            if reseed is not None:
                displaced = self._context.evaluator.evaluate(reseed(self._start.positions))
            else:
                displaced = self._displaced(walker)
            found, violation = self._relaxed(displaced)
        except NonFiniteError:
            self._record.refuse("overflow")
            self.acceptance.scale(walker, AFTER_OVERFLOW)
            return None
        if violation:
            self._record.refuse(violation)
            self.acceptance.scale(walker, AFTER_VIOLATION)
            return None
        return found

    def _displaced(self, walker: Walker) -> Point:
        """Return the lowest of a move's candidates; the walker goes to where that was made from."""
        situation = Situation(
            walker.current.positions,
            walker.amplitude,
            self._schedule.stagnation(walker),
            self._schedule.refining,
            self._database,
        )
        walker.amplitude_used = True
        proposal = self.explorer.move.propose(situation)
        walker.amplitude_used = proposal.uses_amplitude
        points = [self._context.evaluator.evaluate(positions) for positions in proposal.candidates]
        chosen = min(range(len(points)), key=lambda k: points[k].energy)
        if proposal.origins is not None:
            walker.minimum = proposal.origins[chosen]
            origin = self._database.minima[walker.minimum]
            walker.current = _without_forces(origin.positions, origin.energy)
        return points[chosen]

    def _relaxed(self, displaced: Point) -> tuple[Point, str]:
        """Return the minimum below a point, and the name of the check that it fails, if any."""
        loose = self._settings.quench_tolerance or LOOSE_FORCE
        found = self._quench(displaced, loose)
        violation = first_violation(self.checks, found.positions)
        if not violation and found.energy < self._best.energy + NEAR_LOWEST_ENERGY:
            with contextlib.suppress(BudgetExhausted):
                found = self._quench(found, min(self._context.tolerance, loose))
            violation = first_violation(self.checks, found.positions)
        if not violation and self._context.evaluator.rms(found) > MOST_FORCE * loose:
            violation = "not relaxed"
        return found, violation

    def _keep(self, found: Point) -> int:
        """Note a minimum everywhere; return its index in the database."""
        evaluations = self._context.potential.counter.total
        minimum = self._database.add(found.energy, found.positions, evaluations)
        self._record.minima = len(self._database.minima)
        if found.energy < self._best.energy:
            self._best, self._lowest = found, minimum
        self.explorer.move.tell(found.positions, found.energy)
        return minimum

    def _decide(self, walker: Walker, found: Point, minimum: int) -> None:
        """Let a walker go on from a minimum, or stay where it is."""
        if minimum == walker.minimum:
            # Too small a move to get away; it tells nothing of the temperature.
            self.acceptance.scale(walker, AFTER_RETURN)
            return
        visits = self._database.minima[minimum].visits
        accepted = self.acceptance.accepts(walker, found.energy, visits)
        self.acceptance.adapt(walker, accepted, self._schedule.refining)
        if accepted:
            self._record.accepted += 1
            walker.current, walker.minimum = found, minimum


def _without_forces(positions: np.ndarray, energy: float) -> Point:
    """Return a minimum as a point; nobody asks for its forces."""
    return Point(positions, energy, np.zeros_like(positions))
