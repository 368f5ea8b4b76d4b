"""How torsions move atoms: finite rotations, their first derivatives, and torques."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import compiled
from .torsions import TorsionTopology

__all__ = ["TorsionKinematics", "TorsionRotation"]


@dataclass(frozen=True)
class TorsionRotation:
    """Rotations of some torsions.

    Attributes
    ----------
    torsions : (t,) int array
        In ascending order.
    angles : (t,) array
        In radians.
    """

    torsions: np.ndarray
    angles: np.ndarray


class TorsionKinematics:
    """Positions and velocities of atoms as functions of torsion angles.

    Rotations strain no bond and no angle.

    Parameters
    ----------
    topology : TorsionTopology

    Attributes
    ----------
    topology : TorsionTopology
    motions : compiled.TorsionMotions
    """

    def __init__(self, topology: TorsionTopology) -> None:
        self.topology = topology
        self.motions = compiled.TorsionMotions(
            topology.axes,
            np.array(topology.parents, dtype=np.int64),
            topology.atom_order,
            topology.mover_ranges,
            topology.innermost,
        )

    def jacobian(self, positions: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return the derivatives of ``topology.atoms`` by some torsions, (n, 3, t) in nm/radian.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        chosen : (t,) int array
        """
        return self.motions.jacobian(positions, chosen, self.topology.atoms)

    def first_order(self, positions: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Return the displacements (N, 3) in nm of rotations of all torsions, to first order.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        angles : (T,) array
            In radians.
        """
        return self.motions.first_order(positions, angles)

    def torques(self, positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """Return the torque on each torsion, (T,) in kJ/mol/radian.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        forces : (N, 3) array
            In kJ/mol/nm.
        """
        return self.motions.torques(positions, forces)

    def rotated(self, positions: np.ndarray, rotation: TorsionRotation) -> np.ndarray:
        """Return (N, 3) positions in nm after a rotation of some torsions."""
        angles = np.zeros(len(self.topology.axes))
        angles[rotation.torsions] = rotation.angles
        return self.rotated_frames(positions, angles)[0]

    def rotated_frames(
        self, positions: np.ndarray, angles: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rotate all torsions.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        angles : (T,) array
            In radians.

        Returns
        -------
        positions : (N, 3) array
            In nm.
        frames : (N, 3, 3) array
            Rotation matrices of the surroundings of each atom.
        """
        return self.motions.rotated(positions, angles)
