"""From minimum to minimum: an explorer leads away, a quench goes down, Metropolis decides.

Basin hopping (Wales, Doye, J. Phys. Chem. A 1997, 101, 5111), with the low-mode search of
Kolossvary and Guida (J. Am. Chem. Soc. 1996, 118, 5011) as its first explorer.
"""

from __future__ import annotations

import contextlib
import heapq
import math
from collections.abc import Callable, Iterator

import numpy as np

from ..errors import BudgetExhausted, NonFiniteError
from ..potentials.point import Point
from ..potentials.potential import Potential
from .acceptance import Metropolis, Walker
from .latent_moves import LatentExplorer
from .minima import Hops
from .moves import Kicks
from .quench import Quench
from .settings import SLOW_MODES, SearchSettings
from .torsions import Torsions
from .validity import Guards

__all__ = ["LOOSE", "hop"]

# Quenches end at this RMS force (kJ/mol/nm) at the latest.
LOOSE = 10.0
# Quenched structures no higher than this above the lowest (kJ/mol) may be lower once at rest.
NEAR = 1.0
# Of the temperature when the search refines what it has found, until that has no lower neighbour.
COLD = 0.3
# Lowest minima whose side chains the search turns when it refines.
REFINED = 20
# Up to so many torsions, a walker's patience is as many hops; beyond, it grows with their square.
SMALL = 14
# Patience is longer by this when the search refines.
THOROUGH = 3


def hop(
    potential: Potential,
    evaluate: Callable[[np.ndarray], Point],
    start: Point,
    settings: SearchSettings,
    rng: np.random.Generator,
    hops: Hops,
    *,
    rms: Callable[[Point], float],
    tolerance: float = LOOSE,
    project: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    reference: np.ndarray | None = None,
) -> Iterator[Point]:
    """Hop from minimum to minimum until whoever consumes the points has had enough.

    A walker that has met nothing lower for long begins a new round. Of what
    ``potential.counter.limit`` leaves, ``settings.refinement`` is spent near the lowest, or if that
    has no lower neighbour either, on further rounds.

    Parameters
    ----------
    potential : Potential
    evaluate : callable
        (N, 3) positions -> Point.
    start : Point
        A minimum.
    settings : SearchSettings
    rng : numpy Generator
    hops : Hops
        Filled on the way.
    rms : callable
        Point -> RMS force.
    tolerance : float
        RMS force in kJ/mol/nm to which those go down that may be the lowest of all: loose quenches
        do not tell which of two rotamers is lower, where they differ by less than 1 kJ/mol.
    project : callable, optional
        As `lbfgs` takes it.
    reference : (N, 3) array, optional
        In nm; what the guards compare with, by default the start.

    Yields
    ------
    Point
        Every sound minimum, accepted or not.
    """
    guards = Guards(potential, start.positions if reference is None else reference)
    torsions = Torsions(potential, guards.graph)
    quench = Quench(
        potential,
        evaluate,
        torsions,
        rms,
        settings.quench_evaluations,
        project,
        guards.collapse.refuses,
    )
    if settings.explorer == SLOW_MODES:
        explorer = Kicks(potential, quench.preconditioner, torsions, settings, rng)
    else:
        explorer = LatentExplorer(potential, evaluate, settings, rng)
    counter = potential.counter
    first = hops.add(start.energy, start.positions, counter.total)
    explorer.learn(start.positions, start.energy)
    walkers = [Walker(start, first, settings.amplitude) for _ in range(settings.walkers)]
    # Several walkers leave what holds them as the highest goes on from the lowest.
    enough = explorer.torsions * max(1.0, explorer.torsions / SMALL)
    patience = settings.patience * enough if settings.walkers == 1 else math.inf
    best, lowest, turn = start, first, 0

    def last_share() -> float:
        """Force evaluations after which the search refines."""
        if counter.limit is None:
            return math.inf
        return counter.limit - settings.refinement * (counter.limit - counter.total)

    refining, last = False, last_share()

    def kicked(walker: Walker) -> Point:
        walker.scaled = not explorer.turns_next(refining)
        positions, stuck = walker.current.positions, walker.fruitless / enough
        # What is poorly folded is opened up by kicks that promise nothing.
        trust = min(stuck, 1.0)
        if walker.scaled:
            return evaluate(explorer.displaced(positions, walker.amplitude, trust))
        if refining and explorer.learnt:
            # Which of the lowest backbones is the best, its side chains must tell.
            known = heapq.nsmallest(REFINED, enumerate(hops.minima), key=lambda m: m[1].energy)
            turns = explorer.turned([m.positions for _, m in known], max(1, settings.candidates))
        else:
            known = []
            turns = explorer.turned([positions], 1 + int(settings.candidates * stuck), trust)
        points = [(place, evaluate(positions)) for place, positions in turns]
        place, found = min(points, key=lambda turn: turn[1].energy)
        if known:
            walker.minimum, minimum = known[place]
            walker.current = Point(minimum.positions, minimum.energy, np.zeros_like(found.forces))
        return found

    rule = Metropolis(settings, rng)
    while True:
        if not refining and counter.total >= last:
            refining, turn = True, 0
            walkers = [Walker(best, lowest, settings.amplitude) for _ in walkers]
        if turn == settings.generation * len(walkers):
            turn = 0
            low, high = (f(walkers, key=lambda w: w.current.energy) for f in (min, max))
            high.current, high.minimum = low.current, low.minimum
        walker = walkers[turn % len(walkers)]
        if refining:
            walker.heat = min(max(walker.fruitless / explorer.torsions, COLD), 1.0)
        turn += 1
        hops.tried += 1
        afresh = walker.fruitless > (THOROUGH * patience if refining else patience)
        if afresh and refining:
            refining, last = False, last_share()
        try:
            found = evaluate(explorer.afresh(start.positions)) if afresh else kicked(walker)
            loose = settings.quench_tolerance or LOOSE
            found = quench(found, loose)
            why = guards.refusal(found.positions)
            if not why and found.energy < best.energy + NEAR:
                with contextlib.suppress(BudgetExhausted):
                    found = quench(found, min(tolerance, loose))
                why = guards.refusal(found.positions)
        except NonFiniteError:
            hops.reject("overflow")
            rule.scale(walker, 0.9)
            continue
        if why:
            hops.reject(why)
            rule.scale(walker, 0.97)
            continue
        minimum = hops.add(found.energy, found.positions, counter.total)
        if found.energy < best.energy:
            best, lowest = found, minimum
        explorer.learn(found.positions, found.energy)
        walker.meets(found.energy)
        yield found
        if afresh:
            hops.rounds += 1
            walkers, turn = [Walker(found, minimum, settings.amplitude)], 0
            rule.forget()
            continue
        if minimum == walker.minimum:
            # Kicked too gently to get away; it tells nothing of the temperature.
            rule.scale(walker, 1.05)
            continue
        taken = rule.takes(walker, found.energy, hops.minima[minimum].visits)
        rule.adapt(walker, taken, refining)
        if taken:
            hops.accepted += 1
            walker.current, walker.minimum = found, minimum
