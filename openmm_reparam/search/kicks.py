"""Kicks: random combinations of the softest modes, and side chains turned."""

from __future__ import annotations

import math
import warnings

import networkx as nx
import numpy as np
import scipy.linalg

from ..nonrigid_modes import lowest_modes, rigid_motions
from ..potential import Potential
from ..whitening import Whitening
from .settings import LARGEST, SearchSettings
from .torsions import Torsions

__all__ = ["Kicks"]

# Up to so many coordinates modes come from a dense matrix.
DENSE = 3000
# Share of the kicks that combine but a few of the modes.
FEW = 0.5
# Share of the kicks that turn branches, when the search refines what it has found.
TURNS_REFINING = 0.9
# RMS displacement of a kick that begins anew (nm), to first order: most torsions turn.
AFRESH = 1.0
# Of LOBPCG: residuals relative to the whitening's shift, and iterations at most.
ROUGH = 1e-2, 20


class Kicks:
    """Draws displaced configurations along the softest modes of a whitening's stiffness.

    The modes cost no force evaluation. Where the System has rotatable bonds they are motions along
    torsions and of whole molecules, applied as finite rotations; else displacements of all atoms.
    Some of the kicks, and most that refine, turn a side chain or an end to another rotamer.

    Parameters
    ----------
    potential : Potential
    whitening : Whitening
    graph : networkx.Graph
        Of its bonds, see `bond_graph`.
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
        whitening: Whitening,
        graph: nx.Graph,
        settings: SearchSettings,
        rng: np.random.Generator,
    ) -> None:
        self._potential, self._whitening = potential, whitening
        self._settings, self._rng = settings, rng
        self._torsions = Torsions(potential, graph)
        self._positions = None
        self.torsions = len(self._torsions.axes) - len(self._torsions.symmetric) or math.inf

    def displaced(
        self, positions: np.ndarray, amplitude: float, refining: bool = False
    ) -> tuple[np.ndarray, bool]:
        """Return (N, 3) positions kicked away, and whether ``amplitude`` had a say.

        If so, they moved by an RMS of ``amplitude`` (nm), to first order.
        """
        share = TURNS_REFINING if refining else self._settings.turns
        if len(self._torsions.branches) and self._rng.random() < share:
            return self.turned(positions), False
        return self._kicked(positions, amplitude), True

    def turned(self, positions: np.ndarray) -> np.ndarray:
        """Return (N, 3) positions with a side chain or an end turned."""
        return self._torsions.turned_branch(positions, self._rng)

    def afresh(self, positions: np.ndarray) -> np.ndarray:
        """Return (N, 3) positions folded anew."""
        return self._kicked(positions, AFRESH)

    def _kicked(self, positions: np.ndarray, amplitude: float) -> np.ndarray:
        if self._positions is None or not np.array_equal(positions, self._positions):
            self._refresh(positions)
        # Small kicks along the softest of all, large ones along more.
        count = max(1, round(self._settings.modes * amplitude / self._settings.amplitude))
        amounts = self._amounts(count)
        if len(self._torsions.axes):
            amounts *= amplitude / np.linalg.norm(amounts)
            return self._torsions.displaced(positions, self._modes, amounts)
        kick = (self._modes @ amounts).reshape(-1, 3)
        moves = self._potential.moves
        size = np.sqrt((kick[moves] ** 2).sum(axis=1).mean())
        return positions + kick * amplitude / size

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
        stiffness = self._whitening.stiffness(positions)
        most = math.ceil(LARGEST * self._settings.modes)
        if len(self._torsions.axes):
            self._modes = self._torsions.modes(positions, stiffness, most, self._rng)
        else:
            self._modes = self._cartesian(positions, stiffness, most)

    def _cartesian(self, positions: np.ndarray, stiffness, most: int) -> np.ndarray:
        """Softest non-rigid modes of all coordinates, (3N, count)."""
        potential, whitening = self._potential, self._whitening
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
        whitening.update(positions)
        with warnings.catch_warnings():  # that LOBPCG stopped early: rough modes do
            warnings.simplefilter("ignore", UserWarning)
            values, modes = lowest_modes(
                potential, whitening, rigid, count, self._rng, stiffness.__matmul__, *ROUGH
            )
        return modes[:, np.argsort(values)]
