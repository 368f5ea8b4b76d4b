"""Torsion angles that describe a shape, the same for all permutational isomers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from ..geometry.internal_coordinates import dihedrals
from .torsion_kinematics import TorsionRotation
from .torsions import TorsionTopology

__all__ = ["ShapeAngles"]


class ShapeAngles:
    """Combinations of torsion angles that tell one shape from another.

    They are the torsion angles, with these changes. Where two atoms of one symmetry class follow,
    as in a phenyl ring, it is twice the angle. An angle measured from such an atom, as that of
    tyrosine's hydroxyl group is, has the ring's angle added: which of the two atoms it is measured
    from is chance. Methyl groups and others that look alike after a third of a turn are left out.

    Parameters
    ----------
    topology : TorsionTopology
    """

    def __init__(self, topology: TorsionTopology) -> None:
        self._topology = topology
        self._combinations = _combinations(topology)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Return the angles of (N, 3) positions in nm: (n,) in radians, with a period of 2 pi."""
        i, j, k, m = positions[self._topology.quadruples].transpose(1, 0, 2)
        return self._combinations @ dihedrals(i - j, k - j, k - m)[0]

    def after(self, angles: np.ndarray, rotations: Sequence[TorsionRotation]) -> np.ndarray:
        """Return the angles after each of m rotations.

        Parameters
        ----------
        angles : (n,) or (m, n) array
            Before, in radians.
        rotations : sequence of TorsionRotation

        Returns
        -------
        (m, n) array
            In radians.
        """
        rotated = np.zeros((len(self._topology.axes), len(rotations)))
        for column, rotation in enumerate(rotations):
            rotated[rotation.torsions, column] = rotation.angles
        return angles + (self._combinations @ rotated).T


def _combinations(topology: TorsionTopology) -> sp.csr_array:
    """Return combinations of torsion angles that are the same for all isomers, (n, T)."""
    rows = sp.lil_array((len(topology.axes), len(topology.axes)))
    rows.setdiag(topology.folds)
    classes, folds = topology.symmetry_classes, topology.folds
    for torsion, (near, far) in enumerate(topology.axes):
        first = topology.quadruples[torsion, 0]
        others = [i for i in topology.graph[near] if i != far]
        if (classes[others] == classes[first]).sum() > 1:
            twofold = np.flatnonzero(folds == 2)
            inner = [k for k in twofold if near in topology.movers[k]]
            if inner:
                rows[torsion, inner[-1]] = folds[torsion]
    return rows.tocsr()[np.flatnonzero(folds <= 2)]
