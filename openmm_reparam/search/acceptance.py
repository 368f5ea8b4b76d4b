"""Who hops: walkers, and Metropolis' rule that says where they go on from."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from ..potentials.point import Point
from .settings import LARGEST, SMALLEST, SearchSettings

__all__ = ["Metropolis", "Walker"]

BOLTZMANN = 0.00831446261815324  # kJ/mol/K
# Hops that the temperature is taken from.
REMEMBERED = 20
# Minima that a walker may come back to so many times.
TABU = 3
# How fast amplitude and temperature follow the acceptance.
RATE = 0.1
# Bounds of what the temperature is multiplied with.
COLDEST, HOTTEST = 0.01, 100.0
# A lower minimum is lower by this, kJ/mol: the same one, quenched again, is not.
LOWER = 0.01


@dataclass
class Walker:
    """A structure that hops.

    Attributes
    ----------
    current : Point
        The minimum that it kicks from.
    minimum : int
        Its index.
    amplitude : float
        Of its kicks, in nm.
    heat : float
        What the temperature is multiplied with.
    scaled : bool
        Whether the amplitude had a say in its last kick.
    lowest : float
        Energy of its lowest minimum.
    fruitless : int
        Hops since that.
    """

    current: Point
    minimum: int
    amplitude: float
    heat: float = 1.0
    scaled: bool = True
    lowest: float = math.inf
    fruitless: int = 0

    def __post_init__(self) -> None:
        self.lowest = min(self.lowest, self.current.energy)

    def meets(self, energy: float) -> None:
        """Note the energy of a minimum found, whether it goes on from there or not."""
        lower = energy < self.lowest - LOWER
        self.fruitless = 0 if lower else self.fruitless + 1
        self.lowest = min(self.lowest, energy)


class Metropolis:
    """Metropolis' rule, which walkers' amplitudes and heats follow to the acceptance wanted."""

    def __init__(self, settings: SearchSettings, rng: np.random.Generator) -> None:
        self._settings, self._rng = settings, rng
        self._rises: deque[float] = deque(maxlen=REMEMBERED)

    def takes(self, walker: Walker, energy: float, visits: int) -> bool:
        """Whether a walker goes on from a minimum that has been met so many times."""
        rise = energy - walker.current.energy
        self._rises.append(abs(rise))
        kt = float(np.median(self._rises)) / 4
        if self._settings.temperature is not None:
            kt = BOLTZMANN * self._settings.temperature
        taken = rise <= 0 or (kt > 0 and self._rng.random() < math.exp(-rise / (walker.heat * kt)))
        return taken and (rise < 0 or visits <= TABU)

    def adapt(self, walker: Walker, taken: bool, refining: bool) -> None:
        """Robbins and Monro: at the wanted rate, steps up and down balance."""
        step = math.exp(RATE * (taken - self._settings.acceptance))
        self.scale(walker, step)
        # A walker that is stuck is heated until it leaves.
        if not refining:
            walker.heat = min(max(walker.heat / step, COLDEST), HOTTEST)

    def scale(self, walker: Walker, factor: float) -> None:
        """Make kicks larger or smaller, within bounds, where the last tells of their size."""
        first = self._settings.amplitude
        if walker.scaled:
            factor *= walker.amplitude
            walker.amplitude = min(max(factor, SMALLEST * first), LARGEST * first)

    def forget(self) -> None:
        """Take the temperature from the hops that follow."""
        self._rises.clear()
