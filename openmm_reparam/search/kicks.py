"""Kicks: random combinations of the softest modes, with as few clashes as a few draws allow."""

from __future__ import annotations

import math
import warnings

import numpy as np
import scipy.linalg

from ..contacts import unbonded_pairs
from ..nonrigid_modes import lowest_modes, rigid_motions
from ..potential import Potential
from ..whitening import Whitening
from .guards import Guards
from .settings import LARGEST, SearchSettings
from .torsions import Torsions

__all__ = ["Kicks"]

# Up to so many coordinates modes come from a dense matrix.
DENSE = 3000
# Atoms nearer than this (nm) that are not bonded count as a clash.
CLASH = 0.2
# Of LOBPCG: residuals relative to the whitening's shift, and iterations at most.
ROUGH = 1e-2, 20


class Kicks:
    """Draws displaced configurations along the softest modes of a whitening's stiffness.

    The modes cost no force evaluation. Where the System has rotatable bonds they are motions along
    torsions and of whole molecules, applied as finite rotations; else displacements of all atoms.

    Parameters
    ----------
    potential : Potential
    whitening : Whitening
    guards : Guards
        Draws with newly pierced rings are avoided.
    settings : SearchSettings
    rng : numpy Generator
    """

    def __init__(
        self,
        potential: Potential,
        whitening: Whitening,
        guards: Guards,
        settings: SearchSettings,
        rng: np.random.Generator,
    ) -> None:
        self._potential, self._whitening, self._guards = potential, whitening, guards
        self._settings, self._rng = settings, rng
        self._torsions = Torsions(potential, guards.graph)
        self._positions = None

    def displaced(self, positions: np.ndarray, amplitude: float) -> np.ndarray:
        """Return (N, 3) positions moved by an RMS of ``amplitude`` (nm), to first order."""
        if self._positions is None or not np.array_equal(positions, self._positions):
            self._refresh(positions)
        # Small kicks along the softest of all, large ones along more.
        count = max(1, round(self._settings.modes * amplitude / self._settings.amplitude))
        drawn = [self._draw(amplitude, count) for _ in range(self._settings.draws)]
        return min(drawn, key=lambda x: (self._guards.pierced(x), self._clashes(x)))

    def _refresh(self, positions: np.ndarray) -> None:
        self._positions = positions
        stiffness = self._whitening.stiffness(positions)
        most = math.ceil(LARGEST * self._settings.modes)
        if len(self._torsions.axes):
            self._modes = self._torsions.modes(positions, stiffness, most, self._rng)
        else:
            self._modes = self._cartesian(positions, stiffness, most)

    def _draw(self, amplitude: float, count: int) -> np.ndarray:
        if not len(self._torsions.axes):
            modes = self._modes[:, :count]
            kick = modes @ self._rng.standard_normal(modes.shape[1])
            moves = self._potential.moves
            kick *= amplitude / np.sqrt((kick.reshape(-1, 3)[moves] ** 2).sum(axis=1).mean())
            return self._positions + kick.reshape(-1, 3)
        amounts = self._rng.standard_normal(self._modes.coefficients.shape[1])
        amounts[count:] = 0.0
        amounts *= amplitude / np.linalg.norm(amounts)
        return self._torsions.displaced(self._positions, self._modes, amounts)

    def _clashes(self, positions: np.ndarray) -> float:
        vectors = unbonded_pairs(self._potential, positions, CLASH)[2]
        return float(((1 - np.linalg.norm(vectors, axis=1) / CLASH) ** 2).sum())

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
