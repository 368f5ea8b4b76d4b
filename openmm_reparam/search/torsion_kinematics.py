"""How torsions move atoms: finite rotations, their first derivatives, and torques."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

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
    """

    def __init__(self, topology: TorsionTopology) -> None:
        self.topology = topology

    def jacobian(self, positions: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return the derivatives of ``topology.atoms`` by some torsions, (n, 3, t) in nm/radian.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        chosen : (t,) int array
        """
        topology = self.topology
        axes, origins = self._lines(positions, chosen)
        place = topology.places(len(positions))
        jacobian = np.zeros((len(topology.atoms), 3, len(chosen)))
        moved = [topology.movers[torsion] for torsion in chosen]
        columns = np.repeat(np.arange(len(chosen)), [len(atoms) for atoms in moved])
        atoms = np.concatenate([*moved, np.empty(0, dtype=np.int64)])
        arms = positions[atoms] - origins[columns]
        jacobian[place[atoms], :, columns] = np.cross(axes[columns], arms)
        return jacobian

    def first_order(self, positions: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Return the displacements (N, 3) in nm of rotations of all torsions, to first order.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        angles : (T,) array
            In radians.
        """
        axes, origins = self._lines(positions)
        order, ranges = self.topology.atom_order, self.topology.mover_ranges
        rotations = angles[:, None] * axes
        both = np.zeros((len(order) + 1, 6))
        # What a torsion moves is consecutive: a running sum adds up all that moves an atom.
        ends = np.concatenate([rotations, np.cross(origins, rotations)], axis=1)
        np.add.at(both, ranges[:, 0], ends)
        np.subtract.at(both, ranges[:, 1], ends)
        both = both.cumsum(axis=0)[:-1]
        displacements = np.zeros_like(positions)
        displacements[order] = np.cross(both[:, :3], positions[order]) + both[:, 3:]
        return displacements

    def torques(self, positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """Return the torque on each torsion, (T,) in kJ/mol/radian.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        forces : (N, 3) array
            In kJ/mol/nm.
        """
        axes, origins = self._lines(positions)
        order, ranges = self.topology.atom_order, self.topology.mover_ranges
        forces = forces[order]
        both = np.concatenate([np.cross(positions[order], forces), forces], axis=1)
        sums = np.concatenate([np.zeros((1, 6)), both.cumsum(axis=0)])
        moments, forces = np.split(sums[ranges[:, 1]] - sums[ranges[:, 0]], 2, axis=1)
        return np.einsum("ti,ti->t", axes, moments - np.cross(origins, forces))

    def rotated(self, positions: np.ndarray, rotation: TorsionRotation) -> np.ndarray:
        """Return (N, 3) positions in nm after a rotation of some torsions."""
        return self._rotated(positions, rotation.torsions, rotation.angles)[0]

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
        return self._rotated(positions, np.arange(len(self.topology.axes)), angles)

    def _rotated(
        self, positions: np.ndarray, chosen: np.ndarray, angles: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        topology = self.topology
        axes, _ = self._lines(positions, chosen)
        # The last are of what no torsion moves.
        rotations = np.tile(np.eye(3), (len(topology.axes) + 1, 1, 1))
        rotations[chosen] = Rotation.from_rotvec(angles[:, None] * axes).as_matrix()
        ends = positions[topology.axes[:, 1]]
        shifts = np.zeros((len(rotations), 3))
        shifts[:-1] = ends - np.einsum("tij,tj->ti", rotations[:-1], ends)
        # Further in comes first: what rotates an axis rotates all that the axis moves.
        for torsion, parent in enumerate(topology.parents):
            if parent >= 0:
                shifts[torsion] = rotations[parent] @ shifts[torsion] + shifts[parent]
                rotations[torsion] = rotations[parent] @ rotations[torsion]
        frames = rotations[topology.innermost]
        rotated = np.einsum("nij,nj->ni", frames, positions) + shifts[topology.innermost]
        # An axis' far end does not move, but what is bonded to it there rotates.
        frames[topology.axes[:, 1]] = rotations[:-1]
        return rotated, frames

    def _lines(
        self, positions: np.ndarray, chosen: np.ndarray | slice = slice(None)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return unit vectors along axes, and where those end: (t, 3) each."""
        i, j = self.topology.axes[chosen].T
        axes = positions[j] - positions[i]
        return axes / np.linalg.norm(axes, axis=1, keepdims=True), positions[j]
