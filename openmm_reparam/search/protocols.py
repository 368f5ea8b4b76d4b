"""What the parts of a search promise each other: moves, acceptance rules, validity checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from .acceptance import Walker
    from .minima import MinimaDatabase

__all__ = [
    "AcceptanceRule",
    "Explorer",
    "Move",
    "Proposal",
    "Reseed",
    "Situation",
    "ValidityCheck",
]

# (N, 3) positions -> (N, 3) positions of another fold, in nm.
Reseed = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Situation:
    """What a move may know when it proposes.

    Attributes
    ----------
    positions : (N, 3) array
        The walker's current minimum, in nm.
    amplitude : float
        The walker's RMS displacement, in nm.
    stagnation : float
        Hops without a lower minimum, in units of the hops that such a molecule needs.
    refining : bool
        Whether the search looks near its lowest minima only.
    database : MinimaDatabase
        All minima found so far.
    """

    positions: np.ndarray
    amplitude: float
    stagnation: float
    refining: bool
    database: MinimaDatabase

    @property
    def exploitation(self) -> float:
        """From 0 to 1: how much a proposal should follow what is known of other minima."""
        return min(self.stagnation, 1.0)


@dataclass(frozen=True)
class Proposal:
    """Displaced configurations, of which the one with the lowest energy is relaxed.

    Attributes
    ----------
    candidates : tuple of (N, 3) arrays
        In nm; one at least.
    uses_amplitude : bool
        Whether the walker's amplitude had a say. Only then does it adapt.
    origins : tuple of int or None
        Index in the database of the minimum that each candidate was made from; None where that is
        the walker's own.
    """

    candidates: tuple[np.ndarray, ...]
    uses_amplitude: bool = True
    origins: tuple[int, ...] | None = None


class Move(Protocol):
    """Leads away from a minimum."""

    def propose(self, situation: Situation) -> Proposal:
        """Return displaced configurations.

        `NonFiniteError` where there are none: the proposal then counts as one of the amplitude.
        """

    def tell(self, positions: np.ndarray, energy: float) -> None:
        """Learn of a minimum: (N, 3) positions in nm, energy in kJ/mol."""


@dataclass(frozen=True)
class Explorer:
    """How a search moves.

    Attributes
    ----------
    move : Move
    num_torsions : int
        Torsions that lead to other structures. A search's patience is in units of them; without
        any it never restarts.
    reseed : callable or None
        (N, 3) positions -> (N, 3) positions of another fold, in nm; without it a search never
        restarts.
    """

    move: Move
    num_torsions: int = 0
    reseed: Reseed | None = None


class AcceptanceRule(Protocol):
    """Decides from which minimum a walker goes on."""

    def accepts(self, walker: Walker, energy: float, visits: int) -> bool:
        """Whether a walker goes on from a minimum of this energy and number of visits."""

    def adapt(self, walker: Walker, accepted: bool, refining: bool) -> None:
        """Follow the share of accepted hops."""

    def scale(self, walker: Walker, factor: float) -> None:
        """Change a walker's amplitude, if the last proposal used it."""

    def reset(self) -> None:
        """Forget the energies seen so far: the search restarts elsewhere."""


class ValidityCheck(Protocol):
    """Finds one kind of fault that no minimum may have.

    Attributes
    ----------
    name : str
        Under which refusals are counted.
    """

    name: str

    def violated(self, positions: np.ndarray) -> bool:
        """Whether (N, 3) positions in nm have a fault that the reference has not."""
