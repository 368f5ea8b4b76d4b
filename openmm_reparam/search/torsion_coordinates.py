"""Curvilinear coordinates of a descent: torsion angles, and displacements of all atoms.

Parts of a molecule that swing towards each other move along curves. In torsion angles, the
coordinates of Gō and Scheraga (J. Chem. Phys. 1969, 51, 4751), such a path is straight. Here the
angles are added to the displacements of all atoms and do not replace them, so nothing is held
stiff: a reparametrization with more latents than coordinates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import scipy.linalg

from ..errors import NonFiniteError
from ..potentials.point import Point
from ..precon.preconditioner import MAX_SHIFT, Preconditioner
from .torsion_kinematics import TorsionKinematics

__all__ = ["TorsionCoordinates"]

# Stiffness that all motions by torsions have at least, kJ/mol/nm^2 of each atom's.
MIN_STIFFNESS = 1e3
# Share of the largest stiffness that is added to that of every torsion: one that moves no atom
# must not rotate without end.
RELATIVE_RIDGE = 1e-6


class TorsionCoordinates:
    """Coordinates and metric of an L-BFGS in angles of all torsions and displacements of all atoms.

    Vectors are flat, (T + 3N,): T angles in radians, then displacements in nm, each along axes that
    rotate with the atom's surroundings. Curvature pairs of stiff bonds and angles thus stay true
    however far those swing.

    Parameters
    ----------
    kinematics : TorsionKinematics
    preconditioner : Preconditioner
        Of the displacements; its stiffness is also that of the torsions. Call `update` first.

    Attributes
    ----------
    complete : bool
        Whether the preconditioner holds all that is stiff.
    torsion_stiffness : (T, T) array
        In kJ/mol/radian^2, since the last update.

    Examples
    --------
    >>> import numpy as np
    >>> from openmm_reparam.potentials.bond_graph import bond_graph
    >>> from openmm_reparam.potentials.potential import Potential
    >>> from openmm_reparam.precon.preconditioner import Preconditioner
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> from openmm_reparam.search.torsions import TorsionTopology
    >>> potential = Potential(peptide("AAA").simulation("CPU").context)
    >>> topology = TorsionTopology(potential, bond_graph(potential))
    >>> kinematics = TorsionKinematics(topology)
    >>> coordinates = TorsionCoordinates(kinematics, Preconditioner(potential))
    >>> x = potential.positions()
    >>> coordinates.update(x)
    >>> full_turn = np.zeros(len(topology.axes) + x.size)
    >>> full_turn[0] = 2 * np.pi
    >>> bool(np.allclose(coordinates.moved(x, full_turn), x))
    True
    """

    def __init__(self, kinematics: TorsionKinematics, preconditioner: Preconditioner) -> None:
        self._kinematics, self._preconditioner = kinematics, preconditioner
        self.complete = preconditioner.complete
        self._count = len(kinematics.topology.axes)
        self._frames = self._tried = self._updated = None  # until the first update

    def update(self, positions: np.ndarray) -> None:
        """Rebuild the metric at (N, 3) positions in nm; `NonFiniteError` where that cannot be."""
        if self._frames is None:
            self._frames = self._tried = np.tile(np.eye(3), (len(positions), 1, 1))
        self._preconditioner.update(positions)
        self._updated = self._frames
        atoms = self._kinematics.topology.atoms
        motions = self._kinematics.jacobian(positions, np.arange(self._count))
        motions = motions.reshape(3 * len(atoms), self._count)
        stiffness = self._preconditioner.stiffness()
        if len(atoms) < len(positions):
            rows = (3 * atoms[:, None] + np.arange(3)).ravel()
            stiffness = stiffness[rows][:, rows]
        self.torsion_stiffness = motions.T @ (stiffness @ motions)
        self._inertia, self._shift = motions.T @ motions, MIN_STIFFNESS
        self._factorize()

    def raise_shift(self) -> None:
        """Shorten steps along directions of low stiffness, until the next update."""
        self._preconditioner.raise_shift()
        self._shift *= 10
        self._factorize()

    def solve(self, vectors: np.ndarray) -> np.ndarray:
        """Return the inverse metric times a vector."""
        torques, forces = self._split(vectors)
        forces = np.einsum("nij,nj->ni", self._updated, forces)
        moves = np.einsum("nji,nj->ni", self._updated, self._preconditioner.solve(forces))
        return self._joined(scipy.linalg.cho_solve(self._factor, torques), moves)

    def forces(self, point: Point) -> np.ndarray:
        """Torques on torsions, and forces on atoms along the axes of their surroundings."""
        torques = self._kinematics.torques(point.positions, point.forces)
        return self._joined(torques, np.einsum("nji,nj->ni", self._tried, point.forces))

    def longest(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom, to first order, in nm."""
        angles, moves = self._split(step)
        moves = np.einsum("nij,nj->ni", self._frames, moves)
        moves += self._kinematics.first_order(positions, angles)
        return float(np.sqrt(np.einsum("ni,ni->n", moves, moves).max()))

    def longest_within(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom, in nm: the molecules of a search stay."""
        return self.longest(positions, step)

    def moved(self, positions: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Try a step: return (N, 3) positions in nm after it."""
        self._step = step
        angles, moves = self._split(step)
        moved = positions + np.einsum("nij,nj->ni", self._frames, moves)
        moved, rotated = self._kinematics.rotated_frames(moved, angles)
        self._tried = rotated @ self._frames
        return moved

    def accepted(self, before: Point, after: Point) -> np.ndarray:
        """Note that the last step tried is taken, and return it."""
        self._frames = self._tried
        return self._step

    def projection(self, project: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable:
        """Return what projects steps as ``project`` does displacements of the atoms, (N, 3).

        Only the displacements need it: rotations keep the lengths of bonds.
        """

        def projected(positions: np.ndarray, step: np.ndarray) -> np.ndarray:
            angles, moves = self._split(step)
            moves = project(positions, np.einsum("nij,nj->ni", self._frames, moves))
            return self._joined(angles, np.einsum("nji,nj->ni", self._frames, moves))

        return projected

    def _factorize(self) -> None:
        ridge = (
            RELATIVE_RIDGE * max(1.0, np.diag(self.torsion_stiffness).max()) * np.eye(self._count)
        )
        while self._shift <= MAX_SHIFT:
            matrix = self.torsion_stiffness + self._shift * self._inertia + ridge
            with contextlib.suppress(scipy.linalg.LinAlgError):
                self._factor = scipy.linalg.cho_factor(matrix)
                return
            # Custom forces have curvatures of any sign.
            self._shift *= 3
        raise NonFiniteError("the bonded forces have curvatures that are not finite")

    def _split(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return vectors[: self._count], vectors[self._count :].reshape(-1, 3)

    def _joined(self, angles: np.ndarray, moves: np.ndarray) -> np.ndarray:
        return np.concatenate([angles, moves.ravel()])
