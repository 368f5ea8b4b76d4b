"""Curvilinear coordinates of a descent: torsion angles, and displacements of all atoms.

Parts of a molecule that swing towards each other move along curves. In torsion angles, the
coordinates of Gō and Scheraga (J. Chem. Phys. 1969, 51, 4751), such a path is straight. Here the
angles are added to the displacements of all atoms and do not replace them, so nothing is held
stiff: a reparametrization with more latents than coordinates.
"""

from __future__ import annotations

import numpy as np

from .. import compiled
from ..optimizers.coordinates import Chart, Projection
from ..optimizers.metric import Metric
from ..potentials.point import Point
from .torsion_kinematics import TorsionKinematics

__all__ = ["TorsionCoordinates", "joined", "split"]


class TorsionCoordinates:
    """Coordinates of an L-BFGS: angles of all torsions and displacements of all atoms.

    Vectors are flat, (T + 3N,): T angles in radians, then displacements in nm, each along axes that
    rotate with the atom's surroundings. Curvature pairs of stiff bonds and angles thus stay true
    however far those swing. The chart is one array (N, 3, 3): how the surroundings of each atom
    have rotated since the start.

    Parameters
    ----------
    kinematics : TorsionKinematics

    Attributes
    ----------
    core : compiled.TorsionCoordinates
        The same for the compiled core.

    Examples
    --------
    >>> import numpy as np
    >>> from openmm_reparam.potentials.bond_graph import bond_graph
    >>> from openmm_reparam.potentials.potential import Potential
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> from openmm_reparam.search.torsions import TorsionTopology
    >>> potential = Potential(peptide("AAA").simulation("CPU").context)
    >>> topology = TorsionTopology(potential, bond_graph(potential))
    >>> coordinates = TorsionCoordinates(TorsionKinematics(topology))
    >>> x = potential.positions()
    >>> full_turn = np.zeros(len(topology.axes) + x.size)
    >>> full_turn[0] = 2 * np.pi
    >>> positions, chart = coordinates.moved(coordinates.begin(x), x, full_turn)
    >>> bool(np.allclose(positions, x))
    True
    """

    def __init__(self, kinematics: TorsionKinematics) -> None:
        self.core = compiled.TorsionCoordinates(kinematics.motions)
        self._count = len(kinematics.topology.axes)

    def begin(self, positions: np.ndarray) -> Chart:
        """Return axes of space for each of the (N, 3) positions."""
        return (np.tile(np.eye(3), (len(positions), 1, 1)),)

    def moved(
        self, chart: Chart, positions: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, Chart]:
        """Return (N, 3) positions in nm after a step, and axes that have rotated along."""
        (frames,) = chart
        moved, frames = self.core.moved(frames, positions, step)
        return moved, (frames,)

    def step_taken(self, before: Point, after: Point, step: np.ndarray) -> np.ndarray:
        """Return the step asked for: what a retraction has done to it is small."""
        return step

    def forces(self, chart: Chart, point: Point) -> np.ndarray:
        """Torques on torsions, and forces on atoms along the axes of their surroundings."""
        (frames,) = chart
        return self.core.forces(frames, point.positions, point.forces)

    def solve(self, metric: Metric, chart: Chart, vectors: np.ndarray) -> np.ndarray:
        """Return the inverse metric times a vector; the metric's axes are those of space."""
        (frames,) = chart
        solved = metric.solve(self.core.into_space(frames, vectors))
        return self.core.out_of_space(frames, solved)

    def project(
        self, projection: Projection, chart: Chart, positions: np.ndarray, step: np.ndarray
    ) -> np.ndarray:
        """Return a step with its displacements projected: rotations keep the lengths of bonds."""
        (frames,) = chart
        angles, moves = split(self.core.into_space(frames, step), self._count)
        return self.core.out_of_space(frames, joined(angles, projection(positions, moves)))

    def longest(self, chart: Chart, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom, to first order, in nm."""
        (frames,) = chart
        return self.core.longest(frames, positions, step)

    def longest_within(self, chart: Chart, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom, in nm: the molecules of a search stay."""
        return self.longest(chart, positions, step)


def split(vector: np.ndarray, num_torsions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return angles (T,) and displacements (N, 3) of a vector (T + 3N,); views of it."""
    return vector[:num_torsions], vector[num_torsions:].reshape(-1, 3)


def joined(angles: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return one vector (T + 3N,) of angles (T,) and displacements (N, 3)."""
    return np.concatenate([angles, moves.ravel()])
