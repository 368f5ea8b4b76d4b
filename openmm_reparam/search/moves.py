"""Kicks: random combinations of the softest modes, and side chains turned.

Of many that are drawn, the one that what has been learnt of the minima promises most of.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import scipy.linalg

from ..modes.nonrigid_modes import lowest_modes, rigid_motions
from ..potentials.potential import Potential
from ..precon.preconditioner import Preconditioner
from .settings import LARGEST, SearchSettings
from .torsion_gp import EnergyModel
from .torsions import Torsions

__all__ = ["Kicks"]

# Up to so many coordinates modes come from a dense matrix.
DENSE = 3000
# Share of the kicks that combine but a few of the modes.
FEW = 0.5
# Share of the kicks that turn branches, when the search refines what it has found.
TURNS_REFINING = 0.9
# Kicks that are drawn for one that is tried, and turns for each of several minima.
DRAWN, DRAWN_EACH = 64, 16
# RMS displacement of a kick that begins anew (nm), to first order: most torsions turn.
AFRESH = 1.0
# Of LOBPCG: residuals relative to the preconditioner's shift, and iterations at most.
ROUGH = 1e-2, 20


class Kicks:
    """Draws displaced configurations along the softest modes of a preconditioner's stiffness.

    The modes cost no force evaluation. Where the System has rotatable bonds they are motions along
    torsions and of whole molecules, applied as finite rotations; else displacements of all atoms.
    Some of the kicks, and most that refine, turn a side chain or an end to another rotamer.

    Parameters
    ----------
    potential : Potential
    preconditioner : Preconditioner
    torsions : Torsions
    settings : SearchSettings
    rng : numpy Generator

    Attributes
    ----------
    torsions : float
        How many there are whose turns lead to other structures; infinity where there are none.
    """

    def __init__(
        self,
        potential: Potential,
        preconditioner: Preconditioner,
        torsions: Torsions,
        settings: SearchSettings,
        rng: np.random.Generator,
    ) -> None:
        self._potential, self._preconditioner = potential, preconditioner
        self._settings, self._rng = settings, rng
        self._torsions = torsions
        self._energies = EnergyModel(rng)
        self._positions = None
        self.torsions = len(self._torsions.axes) - len(self._torsions.symmetric) or math.inf

    def learn(self, positions: np.ndarray, energy: float) -> None:
        """Take in a minimum: (N, 3) positions in nm, kJ/mol."""
        angles = self._torsions.angles(positions)
        if len(angles):
            self._energies.add(angles, energy)

    @property
    def learnt(self) -> bool:
        """Whether what has been learnt tells good kicks from others."""
        return self._energies.ready

    def turns_next(self, refining: bool = False) -> bool:
        """Draw whether the next kick turns a side chain or an end, not along modes."""
        share = TURNS_REFINING if refining else self._settings.turns
        return bool(len(self._torsions.branches)) and self._rng.random() < share

    def displaced(self, positions: np.ndarray, amplitude: float, trust: float = 1.0) -> np.ndarray:
        """Return (N, 3) positions moved along modes.

        By an RMS of ``amplitude`` (nm), to first order. The kick is chosen among the more, the more
        ``trust``, 0 to 1, is put in what was learnt.
        """
        if not self.learnt:
            return self._kicked(positions, self._drawn(positions, amplitude))
        drawn = [self._drawn(positions, amplitude) for _ in range(max(1, int(trust * DRAWN)))]
        here = self._torsions.angles(positions)
        turns = [self._torsions.mode_turn(self._modes, amounts) for amounts in drawn]
        angles = self._torsions.angles_after(here, turns)
        return self._kicked(positions, drawn[int(np.argmin(self._energies.draw(angles)))])

    def turned(
        self, minima: Sequence[np.ndarray], count: int, trust: float = 1.0
    ) -> list[tuple[int, np.ndarray]]:
        """Return (N, 3) positions with a side chain or an end of one of some minima turned.

        And before each of the ``count`` of them, which of the minima it is a turn of. They are
        chosen among the more, the more ``trust``, 0 to 1, is put in what was learnt.
        """
        most = max(DRAWN // len(minima), DRAWN_EACH)
        each = max(count, int(trust * most)) if self.learnt else count
        drawn = [
            (place, self._torsions.branch_turn(self._rng))
            for place in range(len(minima))
            for _ in range(each)
        ]
        if self.learnt:
            here = np.array([self._torsions.angles(positions) for positions in minima])
            places, turns = zip(*drawn, strict=True)
            after = self._torsions.angles_after(here[list(places)], turns)
            order = np.argsort(self._energies.draw(after))
            drawn = [drawn[k] for k in order[:count]]
        return [(place, self._torsions.turned(minima[place], turn)) for place, turn in drawn]

    def afresh(self, positions: np.ndarray) -> np.ndarray:
        """Return (N, 3) positions folded anew."""
        return self._kicked(positions, self._drawn(positions, AFRESH))

    def _drawn(self, positions: np.ndarray, amplitude: float) -> np.ndarray:
        """Draw a combination of the modes at (N, 3) positions, (k,) in nm."""
        if self._positions is None or not np.array_equal(positions, self._positions):
            self._refresh(positions)
        # Small kicks along the softest of all, large ones along more.
        count = max(1, round(self._settings.modes * amplitude / self._settings.amplitude))
        amounts = self._amounts(count)
        if len(self._torsions.axes):
            return amounts * amplitude / np.linalg.norm(amounts)
        kick = (self._modes @ amounts).reshape(-1, 3)[self._potential.moves]
        return amounts * amplitude / np.sqrt((kick**2).sum(axis=1).mean())

    def _kicked(self, positions: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        if len(self._torsions.axes):
            return self._torsions.displaced(positions, self._modes, amounts)
        return positions + (self._modes @ amounts).reshape(-1, 3)

    def _amounts(self, count: int) -> np.ndarray:
        """Of each mode, (k,): of the softest ``count`` of them all or a random few, at random."""
        modes = self._modes.coefficients if len(self._torsions.axes) else self._modes
        amounts = self._rng.standard_normal(modes.shape[1])
        count = min(count, len(amounts))
        if self._rng.random() < FEW:
            few = max(1, round(count ** self._rng.random()))
            chosen = self._rng.choice(count, few, replace=False)
        else:
            chosen = np.arange(count)
        kept = np.zeros(len(amounts), dtype=bool)
        kept[chosen] = True
        return np.where(kept, amounts, 0.0)

    def _refresh(self, positions: np.ndarray) -> None:
        self._positions = positions
        stiffness = self._preconditioner.stiffness(positions)
        most = math.ceil(LARGEST * self._settings.modes)
        if len(self._torsions.axes):
            self._modes = self._torsions.modes(positions, stiffness, most, self._rng)
        else:
            self._modes = self._cartesian(positions, stiffness, most)

    def _cartesian(self, positions: np.ndarray, stiffness, most: int) -> np.ndarray:
        """Softest non-rigid modes of all coordinates, (3N, count)."""
        potential, preconditioner = self._potential, self._preconditioner
        rigid = rigid_motions(potential, positions)
        moving = np.repeat(potential.moves, 3)
        count = min(most, int(moving.sum()) - rigid.shape[1])
        if positions.size <= DENSE:
            dense = stiffness.toarray()[np.ix_(moving, moving)]
            basis = rigid[moving]
            dense += 2 * np.abs(dense).sum(axis=1).max() * basis @ basis.T
            modes = np.zeros((positions.size, count))
            modes[moving] = scipy.linalg.eigh(dense, subset_by_index=(0, count - 1))[1]
            return modes
        preconditioner.update(positions)
        with warnings.catch_warnings():  # that LOBPCG stopped early: rough modes do
            warnings.simplefilter("ignore", UserWarning)
            values, modes = lowest_modes(
                potential, preconditioner, rigid, count, self._rng, stiffness.__matmul__, *ROUGH
            )
        return modes[:, np.argsort(values)]
