"""Walkers, and the Metropolis rule that decides from which minimum they go on."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..constants import BOLTZMANN
from ..potentials.point import Point
from .settings import MAX_AMPLITUDE_FACTOR, MIN_AMPLITUDE_FACTOR, SearchSettings

__all__ = ["Metropolis", "Walker"]

# Hops that the temperature is taken from.
TEMPERATURE_WINDOW_HOPS = 20
# A walker goes to no minimum that has been visited more often, unless it is lower.
MAX_VISITS = 3
# How fast amplitude and temperature follow the share of accepted hops.
ADAPTATION_RATE = 0.1
# Bounds of the temperature factor.
MIN_TEMPERATURE_FACTOR, MAX_TEMPERATURE_FACTOR = 0.01, 100.0
# A lower minimum is lower by this, kJ/mol: the same one relaxed again is not.
LOWER_ENERGY = 0.01


@dataclass
class Walker:
    """A structure that hops from minimum to minimum.

    Attributes
    ----------
    current : Point
        The minimum that it moves from.
    minimum : int
        Its index in the database.
    amplitude : float
        RMS displacement of its moves, in nm.
    temperature_factor : float
        By which the temperature is multiplied.
    amplitude_used : bool
        Whether the amplitude had a say in its last proposal.
    lowest : float
        Energy of its lowest minimum, in kJ/mol.
    stagnation : int
        Hops since that.
    """

    current: Point
    minimum: int
    amplitude: float
    temperature_factor: float = 1.0
    amplitude_used: bool = True
    lowest: float = math.inf
    stagnation: int = 0

    def __post_init__(self) -> None:
        self.lowest = min(self.lowest, self.current.energy)

    def note(self, energy: float) -> None:
        """Note the energy of a minimum found, whether accepted or not."""
        lower = energy < self.lowest - LOWER_ENERGY
        self.stagnation = 0 if lower else self.stagnation + 1
        self.lowest = min(self.lowest, energy)


class Metropolis:
    """The Metropolis rule; amplitude and temperature adapt to a wanted share of accepted hops.

    Parameters
    ----------
    settings : SearchSettings
    rng : numpy Generator
    rises : sequence of float
        Changes of energy in hops made before, in kJ/mol.
    """

    def __init__(
        self, settings: SearchSettings, rng: np.random.Generator, rises: Sequence[float] = ()
    ) -> None:
        self._settings, self._rng = settings, rng
        self._rises: deque[float] = deque(rises, maxlen=TEMPERATURE_WINDOW_HOPS)

    @property
    def rises(self) -> tuple[float, ...]:
        """Changes of energy in the last hops, in kJ/mol, that the temperature is taken from."""
        return tuple(self._rises)

    def accepts(self, walker: Walker, energy: float, visits: int) -> bool:
        """Whether a walker goes on from a minimum of this energy and number of visits."""
        rise = energy - walker.current.energy
        self._rises.append(abs(rise))
        kt = float(np.median(self._rises)) / 4
        if self._settings.temperature is not None:
            kt = BOLTZMANN * self._settings.temperature
        accepted = rise <= 0 or (
            kt > 0 and self._rng.random() < math.exp(-rise / (walker.temperature_factor * kt))
        )
        return accepted and (rise < 0 or visits <= MAX_VISITS)

    def adapt(self, walker: Walker, accepted: bool, refining: bool) -> None:
        """Change amplitude and temperature such that, at the wanted share, steps balance.

        Robbins, Monro, Ann. Math. Statist. 1951, 22, 400.
        """
        step = math.exp(ADAPTATION_RATE * (accepted - self._settings.acceptance))
        self.scale(walker, step)
        # A walker that is stuck is heated until it leaves.
        if not refining:
            factor = max(walker.temperature_factor / step, MIN_TEMPERATURE_FACTOR)
            walker.temperature_factor = min(factor, MAX_TEMPERATURE_FACTOR)

    def scale(self, walker: Walker, factor: float) -> None:
        """Change the amplitude, within bounds, where the last proposal used it."""
        first = self._settings.amplitude
        if walker.amplitude_used:
            amplitude = max(factor * walker.amplitude, MIN_AMPLITUDE_FACTOR * first)
            walker.amplitude = min(amplitude, MAX_AMPLITUDE_FACTOR * first)

    def reset(self) -> None:
        """Take the temperature from the hops that follow."""
        self._rises.clear()
