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
        self._topology, self._rng = topology, rng

    @property
    def available(self) -> bool:
        """Whether there is any rotor."""
        return bool(len(self._topology.rotors))

    def draw(self) -> TorsionRotation:
        """Draw a rotation of a rotor, and of some rotors further out, to other rotamers."""
        rng, rotors = self._rng, self._topology.rotors
        torsion = rng.choice(rotors)
        first, last = self._topology.mover_ranges[torsion]
        starts, ends = self._topology.mover_ranges[rotors].T
        outer = rotors[(first <= starts) & (ends <= last) & (rotors != torsion)]
        chosen = np.sort([torsion, *outer[rng.random(len(outer)) < OUTER_PROBABILITY]])
        angles = rng.choice([-ROTAMER_ANGLE, ROTAMER_ANGLE], len(chosen))
        angles = angles + rng.normal(0.0, ROTAMER_SCATTER, len(chosen))
        return TorsionRotation(chosen, angles)
