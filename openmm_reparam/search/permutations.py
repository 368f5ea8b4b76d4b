"""Like atoms exchanged: no other shape, but force fields need not take them for alike.

Amber's oxygens of a carboxylate, say, have one type, and yet 0.2 kJ/mol lie between the two ways to
number those of a folded peptide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..potentials.bond_graph import bond_graph
from ..potentials.point import Point
from ..potentials.potential import Potential
from .torsions import Torsions

__all__ = ["exchanged_points"]


def exchanged_points(
    potential: Potential, evaluate: Callable[[np.ndarray], Point], best: Point
) -> Iterator[Point]:
    """Yield structures in which like atoms have changed places, each lower than the one before.

    One force evaluation for each way to turn a methyl or ammonium group, a ring, a carboxylate.

    Parameters
    ----------
    potential : Potential
    evaluate : callable
        (N, 3) positions -> Point.
    best : Point
    """
    torsions = Torsions(potential, bond_graph(potential))
    for torsion in torsions.symmetric:
        for order in torsions.exchanges(best.positions, torsion):
            point = evaluate(best.positions[order])
            if point.energy < best.energy:
                best = point
                yield best
