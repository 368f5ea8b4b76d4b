"""Moves along low-frequency modes, and moves of side chains to other rotamers.

Of many proposals drawn, the one with the lowest energy in a Thompson sample is tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic

import numpy as np
import scipy.sparse as sp

from .low_modes import LowModes, ModesType
from .protocols import Move, Proposal, Situation
from .rotamers import RotamerProposals
from .settings import MAX_AMPLITUDE_FACTOR, SearchSettings
from .torsion_gp import TorsionLandscape
from .torsion_kinematics import TorsionKinematics

__all__ = ["LowModeMove", "MixedMove", "RotamerMove"]

# Share of the moves that combine but a few of the modes.
FEW_MODES_SHARE = 0.5
# Share of the rotamer moves when the search refines what it has found.
REFINING_ROTAMER_SHARE = 0.9
# Proposals drawn for one that is tried, and rotamer moves drawn for each of several minima.
DRAWN_PROPOSALS, DRAWN_PROPOSALS_PER_MINIMUM = 64, 16
# RMS displacement by which the search is reseeded (nm), to first order: most torsions rotate.
RESEED_AMPLITUDE = 1.0
# Lowest minima whose side chains are moved when the search refines.
REFINED_MINIMA = 20


class LowModeMove(Generic[ModesType]):
    """Displaces along random combinations of the lowest modes of a stiffness.

    The modes cost no force evaluation.

    Parameters
    ----------
    modes : LowModes
        `TorsionLowModes` or `CartesianLowModes`.
    stiffness : callable
        (N, 3) positions in nm -> (3N, 3N) sparse array in kJ/mol/nm^2.
    landscape : TorsionLandscape
    settings : SearchSettings
    rng : numpy Generator
    """

    def __init__(
        self,
        modes: LowModes[ModesType],
        stiffness: Callable[[np.ndarray], sp.csr_array],
        landscape: TorsionLandscape,
        settings: SearchSettings,
        rng: np.random.Generator,
    ) -> None:
        self._low_modes, self._stiffness, self._landscape = modes, stiffness, landscape
        self._settings, self._rng = settings, rng
        self._known: tuple[np.ndarray, ModesType] | None = None

    def propose(self, situation: Situation) -> Proposal:
        """Propose one configuration moved by an RMS of the amplitude, to first order."""
        positions, amplitude = situation.positions, situation.amplitude
        if not self._landscape.ready:
            return Proposal((self._displaced(positions, amplitude),))
        count = max(1, int(situation.exploitation * DRAWN_PROPOSALS))
        modes = self._modes(positions)
        drawn = [self._drawn(modes, amplitude) for _ in range(count)]
        here = self._landscape.angles(positions)
        rotations = [modes.rotation(amounts) for amounts in drawn]
        chosen = drawn[int(np.argmin(self._landscape.thompson_sample(here, rotations)))]
        return Proposal((self._low_modes.displaced(positions, modes, chosen),))

    def tell(self, positions: np.ndarray, energy: float) -> None:
        """Add a minimum to the landscape."""
        self._landscape.tell(positions, energy)

    def reseed(self, positions: np.ndarray) -> np.ndarray:
        """Return (N, 3) positions of another fold, in nm."""
        return self._displaced(positions, RESEED_AMPLITUDE)

    def _displaced(self, positions: np.ndarray, amplitude: float) -> np.ndarray:
        modes = self._modes(positions)
        return self._low_modes.displaced(positions, modes, self._drawn(modes, amplitude))

    def _modes(self, positions: np.ndarray) -> ModesType:
        """Return the modes at (N, 3) positions in nm; those of the last positions are kept."""
        if self._known is None or not np.array_equal(positions, self._known[0]):
            most = math.ceil(MAX_AMPLITUDE_FACTOR * self._settings.modes)
            modes = self._low_modes.compute(positions, self._stiffness(positions), most)
            self._known = positions, modes
        return self._known[1]

    def _drawn(self, modes: ModesType, amplitude: float) -> np.ndarray:
        """Draw a combination of modes, (k,) in nm."""
        # Small displacements along the lowest modes of all, large ones along more.
        count = max(1, round(self._settings.modes * amplitude / self._settings.amplitude))
        amounts = self._amounts(modes.coefficients.shape[1], count)
        return self._low_modes.scaled(modes, amounts, amplitude)

    def _amounts(self, size: int, count: int) -> np.ndarray:
        """Draw the amount of each mode, (size,): of the lowest ``count``, or of a few of those."""
        amounts = self._rng.standard_normal(size)
        count = min(count, size)
        if self._rng.random() < FEW_MODES_SHARE:
            few = max(1, round(count ** self._rng.random()))
            chosen = self._rng.choice(count, few, replace=False)
        else:
            chosen = np.arange(count)
        kept = np.zeros(size, dtype=bool)
        kept[chosen] = True
        return np.where(kept, amounts, 0.0)


class RotamerMove:
    """Rotates a side chain or an end to another rotamer, and leaves the rest where it is.

    While a search explores, the rotamers are those of the walker's minimum. When it refines, they
    are those of the lowest minima: which of the lowest backbones is the best shows only with its
    best side chains.

    Parameters
    ----------
    kinematics : TorsionKinematics
    rotamers : RotamerProposals
    landscape : TorsionLandscape
    candidates : int
        Proposals beyond the first, at full stagnation and when refining.
    """

    def __init__(
        self,
        kinematics: TorsionKinematics,
        rotamers: RotamerProposals,
        landscape: TorsionLandscape,
        candidates: int,
    ) -> None:
        self._kinematics, self._rotamers = kinematics, rotamers
        self._landscape, self._candidates = landscape, candidates

    def propose(self, situation: Situation) -> Proposal:
        """Propose one or several configurations."""
        if situation.refining and self._landscape.ready:
            known = situation.database.lowest(REFINED_MINIMA)
            minima = [minimum.positions for _, minimum in known]
            places, moved = self._moved(minima, max(1, self._candidates), 1.0)
            return Proposal(moved, False, tuple(known[place][0] for place in places))
        # Proposals that clash open up what is poorly folded, those that fit settle the rest.
        count = 1 + int(self._candidates * situation.stagnation)
        _, moved = self._moved([situation.positions], count, situation.exploitation)
        return Proposal(moved, False)

    def tell(self, positions: np.ndarray, energy: float) -> None:
        """Add a minimum to the landscape."""
        self._landscape.tell(positions, energy)

    def _moved(
        self, minima: list[np.ndarray], count: int, exploitation: float
    ) -> tuple[tuple[int, ...], tuple[np.ndarray, ...]]:
        """Return which of some minima was moved, and its new (N, 3) positions, ``count`` each.

        They are chosen among the more, the more ``exploitation``, 0 to 1, is asked for.
        """
        most = max(DRAWN_PROPOSALS // len(minima), DRAWN_PROPOSALS_PER_MINIMUM)
        each = max(count, int(exploitation * most)) if self._landscape.ready else count
        drawn = [
            (place, self._rotamers.draw()) for place in range(len(minima)) for _ in range(each)
        ]
        if self._landscape.ready:
            here = np.array([self._landscape.angles(positions) for positions in minima])
            places, rotations = zip(*drawn, strict=True)
            order = np.argsort(self._landscape.thompson_sample(here[list(places)], rotations))
            drawn = [drawn[k] for k in order[:count]]
        places = tuple(place for place, _ in drawn)
        moved = tuple(
            self._kinematics.rotated(minima[place], rotation) for place, rotation in drawn
        )
        return places, moved


class MixedMove:
    """Draws at each hop which of two moves proposes.

    Parameters
    ----------
    mode_move : Move
        A `LowModeMove`.
    rotamer_move : Move or None
        A `RotamerMove`; None where there are no rotors.
    landscape : TorsionLandscape
        That of both moves.
    rotamer_share : float
        Share of the rotamer moves while the search explores.
    rng : numpy Generator
    """

    def __init__(
        self,
        mode_move: Move,
        rotamer_move: Move | None,
        landscape: TorsionLandscape,
        rotamer_share: float,
        rng: np.random.Generator,
    ) -> None:
        self._mode_move, self._rotamer_move = mode_move, rotamer_move
        self._landscape = landscape
        self._rotamer_share, self._rng = rotamer_share, rng

    def propose(self, situation: Situation) -> Proposal:
        """Propose by one of the moves."""
        share = REFINING_ROTAMER_SHARE if situation.refining else self._rotamer_share
        if self._rotamer_move is not None and self._rng.random() < share:
            return self._rotamer_move.propose(situation)
        return self._mode_move.propose(situation)

    def tell(self, positions: np.ndarray, energy: float) -> None:
        """Add a minimum to the landscape."""
        self._landscape.tell(positions, energy)
