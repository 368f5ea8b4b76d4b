"""From minimum to minimum: an explorer leads away, a whitened quench goes down, Metropolis decides.

Basin hopping (Wales, Doye, J. Phys. Chem. A 1997, 101, 5111), with the low-mode search of
Kolossvary and Guida (J. Am. Chem. Soc. 1996, 118, 5011) as its first explorer.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import BudgetExhausted, NonFiniteError
from ..optimizers.lbfgs import LineSearchError, Point, lbfgs
from ..potential import Potential
from ..whitening import Whitening
from .guards import Guards
from .kicks import Kicks
from .latent_explorer import LatentExplorer
from .minima import Hops
from .settings import LARGEST, SLOW_MODES, SMALLEST, SearchSettings

__all__ = ["LOOSE", "hop"]

BOLTZMANN = 0.00831446261815324  # kJ/mol/K
# Quenches end at this RMS force (kJ/mol/nm) at the latest.
LOOSE = 10.0
# Quenched structures no higher than this above the lowest (kJ/mol) may be lower once at rest.
NEAR = 1.0
# Hops that the temperature is taken from.
REMEMBERED = 20
# Minima that a walker may come back to so many times.
TABU = 3
# How fast amplitude and temperature follow the acceptance.
RATE = 0.1
# Of the temperature when the search refines what it has found.
COLD = 0.3
# Bounds of what it is multiplied with before.
COLDEST, HOTTEST = 0.01, 100.0


@dataclass
class _Walker:
    current: Point
    minimum: int
    amplitude: float
    heat: float = 1.0
    # Whether the amplitude had a say in its last kick.
    scaled: bool = True


class _Metropolis:
    """Metropolis' rule, which walkers' amplitudes and heats follow to the acceptance wanted."""

    def __init__(self, settings: SearchSettings, rng: np.random.Generator) -> None:
        self._settings, self._rng = settings, rng
        self._rises: deque[float] = deque(maxlen=REMEMBERED)

    def takes(self, walker: _Walker, energy: float, visits: int) -> bool:
        """Whether a walker goes on from a minimum that has been met so many times."""
        rise = energy - walker.current.energy
        self._rises.append(abs(rise))
        kt = float(np.median(self._rises)) / 4
        if self._settings.temperature is not None:
            kt = BOLTZMANN * self._settings.temperature
        taken = rise <= 0 or self._rng.random() < math.exp(-rise / (walker.heat * kt))
        return taken and (rise < 0 or visits <= TABU)

    def adapt(self, walker: _Walker, taken: bool, refining: bool) -> None:
        """Robbins and Monro: at the wanted rate, steps up and down balance."""
        step = math.exp(RATE * (taken - self._settings.acceptance))
        self.scale(walker, step)
        # A walker that is stuck is heated until it leaves.
        if not refining:
            walker.heat = min(max(walker.heat / step, COLDEST), HOTTEST)

    def scale(self, walker: _Walker, factor: float) -> None:
        """Make kicks larger or smaller, within bounds, where the last tells of their size."""
        first = self._settings.amplitude
        if walker.scaled:
            factor *= walker.amplitude
            walker.amplitude = min(max(factor, SMALLEST * first), LARGEST * first)


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

    Of what ``potential.counter.limit`` leaves, ``settings.refinement`` is spent near the lowest.

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
    whitening = Whitening(potential)
    guards = Guards(potential, start.positions if reference is None else reference)
    if settings.explorer == SLOW_MODES:
        explorer = Kicks(potential, whitening, guards.graph, settings, rng)
    else:
        explorer = LatentExplorer(potential, evaluate, settings, rng)
    counter = potential.counter
    first = hops.add(start.energy, start.positions, counter.total)
    walkers = [_Walker(start, first, settings.amplitude) for _ in range(settings.walkers)]
    refining, last = False, math.inf
    if counter.limit is not None:
        last = counter.limit - settings.refinement * (counter.limit - counter.total)
    best, lowest = start, first

    def quench(point: Point, force: float) -> Point:
        return _quench(evaluate, point, whitening, project, rms, force, settings.quench_evaluations)

    rule = _Metropolis(settings, rng)
    while True:
        if hops.tried % (settings.generation * len(walkers)) == 0:
            low, high = (f(walkers, key=lambda w: w.current.energy) for f in (min, max))
            high.current, high.minimum = low.current, low.minimum
        if not refining and counter.total >= last:
            refining = True
            walkers = [_Walker(best, lowest, settings.amplitude, COLD) for _ in walkers]
        walker = walkers[hops.tried % len(walkers)]
        hops.tried += 1
        try:
            found, walker.scaled = explorer.displaced(
                walker.current.positions, walker.amplitude, refining
            )
            loose = settings.quench_tolerance or LOOSE
            found = quench(evaluate(found), loose)
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
        yield found
        if minimum == walker.minimum:
            # Kicked too gently to get away; it tells nothing of the temperature.
            rule.scale(walker, 1.05)
            continue
        taken = rule.takes(walker, found.energy, hops.minima[minimum].visits)
        rule.adapt(walker, taken, refining)
        if taken:
            hops.accepted += 1
            walker.current, walker.minimum = found, minimum


def _quench(evaluate, best, whitening, project, rms, force, evaluations) -> Point:
    """Go down from a displaced point to an RMS force, or as far as some evaluations lead."""
    if rms(best) <= force:
        return best
    whitening.update(best.positions)
    points = lbfgs(evaluate, best, metric=whitening, project=project)
    with contextlib.suppress(LineSearchError):
        for best in itertools.islice(points, evaluations):
            if rms(best) <= force:
                break
    return best
