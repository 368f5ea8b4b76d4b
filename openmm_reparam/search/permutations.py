"""Permutational isomers: the same shape, but force fields need not give it the same energy.

Amber's oxygens of a carboxylate have one type, and yet 0.2 kJ/mol lie between the two ways to
number those of a folded peptide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from ..potentials.point import Point
from .torsion_kinematics import TorsionKinematics, TorsionRotation
from .torsions import TorsionTopology

__all__ = ["isomer_points", "permutations"]


def isomer_points(
    topology: TorsionTopology, evaluate: Callable[[np.ndarray], Point], best: Point
) -> Iterator[Point]:
    """Yield permutational isomers, each lower than the one before.

    One force evaluation for each permutation of a methyl or ammonium group, a ring, a carboxylate.

    Parameters
    ----------
    topology : TorsionTopology
    evaluate : callable
        (N, 3) positions -> Point.
    best : Point
    """
    kinematics = TorsionKinematics(topology)
    for torsion in topology.symmetric.tolist():
        for order in permutations(kinematics, best.positions, torsion):
            point = evaluate(best.positions[order])
            if point.energy < best.energy:
                best = point
                yield best


def permutations(
    kinematics: TorsionKinematics, positions: np.ndarray, torsion: int
) -> list[np.ndarray]:
    """Return how rotations of a symmetric torsion permute atoms of the same symmetry class.

    Parameters
    ----------
    kinematics : TorsionKinematics
    positions : (N, 3) array
        In nm.
    torsion : int
        One of ``topology.symmetric``.

    Returns
    -------
    list of (N,) int arrays
        With ``positions[order]`` every atom is where it was, or where one of its class was.
    """
    topology = kinematics.topology
    moved, classes = topology.movers[torsion], topology.symmetry_classes
    unlike = classes[moved][:, None] != classes[moved]
    fold = topology.folds[torsion]
    orders = []
    for angle in 2 * np.pi / fold * np.arange(1, fold):
        rotation = TorsionRotation(np.array([torsion]), np.array([angle]))
        rotated = kinematics.rotated(positions, rotation)
        distances = cdist(rotated[moved], positions[moved], "sqeuclidean")
        # No atom is as far as one of another class.
        distances += unlike * (1.0 + len(moved) * distances.max())
        atoms, places = linear_sum_assignment(distances)
        order = np.arange(len(positions))
        order[moved[atoms]] = moved[places]
        orders.append(order)
    return orders
