"""Rotations of side chains and ends to other rotamers."""

from __future__ import annotations

import numpy as np

from .torsion_kinematics import TorsionRotation
from .torsions import TorsionTopology

__all__ = ["RotamerProposals"]

# Rotamers lie this far apart (radians); proposals scatter about that by so much (radians).
ROTAMER_ANGLE, ROTAMER_SCATTER = 2 * np.pi / 3, 0.35
# Probability that a torsion further out in the same side chain is rotated too.
OUTER_PROBABILITY = 1 / 3


class RotamerProposals:
    """Draws rotations of rotors by about 120 degrees.

    Parameters
    ----------
    topology : TorsionTopology
    rng : numpy Generator
    """

    def __init__(self, topology: TorsionTopology, rng: np.random.Generator) -> None:
        self._rng = rng
        rotors, ranges = topology.rotors, topology.mover_ranges
        starts, ends = ranges[rotors].T
        self._rotors = rotors.tolist()
        # Of each rotor, those whose atoms it moves, too.
        self._outer = [
            rotors[(first <= starts) & (ends <= last) & (rotors != torsion)]
            for torsion, (first, last) in zip(self._rotors, ranges[rotors], strict=True)
        ]

    @property
    def available(self) -> bool:
        """Whether there is any rotor."""
        return bool(self._rotors)

    def draw(self) -> TorsionRotation:
        """Draw a rotation of a rotor, and of some rotors further out, to other rotamers."""
        rng = self._rng
        # Hundreds are drawn for each move: `rng.choice` takes ten times as long as `rng.integers`.
        which = rng.integers(len(self._rotors))
        outer = self._outer[which]
        chosen = np.array([self._rotors[which], *outer[rng.random(len(outer)) < OUTER_PROBABILITY]])
        chosen.sort()
        angles = ROTAMER_ANGLE * (2 * rng.integers(0, 2, len(chosen)) - 1)
        return TorsionRotation(chosen, angles + rng.normal(0.0, ROTAMER_SCATTER, len(chosen)))
