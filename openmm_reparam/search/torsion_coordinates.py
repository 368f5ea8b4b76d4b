"""Descent along curves: steps that turn bonds by finite angles, and move atoms beside.

What takes a long way down, parts of a molecule that swing towards each other, is bent for the atoms
but straight for torsion angles, the coordinates of Gō and Scheraga (J. Chem. Phys. 1969, 51,
4751). Here they are added to the displacements of all atoms, not put in their place, so nothing
is held stiff: a reparametrization with more latents than coordinates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import scipy.linalg

from ..errors import NonFiniteError
from ..potentials.point import Point
from ..precon.preconditioner import MAX_SHIFT, Preconditioner
from .torsions import Torsions

__all__ = ["TorsionSteps"]

# Stiffness that all motions by torsions have at least, kJ/mol/nm^2 of each atom's.
SHIFT = 1e3
# Of the largest stiffness, added to every torsion's: what moves nothing must not turn without end.
RIDGE = 1e-6


class TorsionSteps:
    """Coordinates and metric of an L-BFGS in angles of all torsions and displacements of all atoms.

    Vectors are flat, (T + 3N,): T angles in radians, then displacements in nm, each along axes that
    turn with the atom's surroundings. What was learnt of stiff bonds and angles thus stays true
    however far they swing.

    Parameters
    ----------
    torsions : Torsions
    preconditioner : Preconditioner
        Of the displacements, and the stiffness that torsions meet; `update` first.

    Examples
    --------
    >>> import numpy as np
    >>> from openmm_reparam.potentials.bond_graph import bond_graph
    >>> from openmm_reparam.potentials.potential import Potential
    >>> from openmm_reparam.testsystems import peptide
    >>> from openmm_reparam.precon.preconditioner import Preconditioner
    >>> potential = Potential(peptide("AAA").simulation("CPU").context)
    >>> torsions = Torsions(potential, bond_graph(potential))
    >>> steps = TorsionSteps(torsions, Preconditioner(potential))
    >>> x = potential.positions()
    >>> steps.update(x)
    >>> full_turn = np.zeros(len(torsions.axes) + x.size)
    >>> full_turn[0] = 2 * np.pi
    >>> bool(np.allclose(steps.moved(x, full_turn), x))
    True
    """

    def __init__(self, torsions: Torsions, preconditioner: Preconditioner) -> None:
        self._torsions, self._preconditioner = torsions, preconditioner
        self.complete = preconditioner.complete
        self._count = len(torsions.axes)
        self._frames = self._tried = self._updated = None  # until the first update

    def update(self, positions: np.ndarray) -> None:
        """Rebuild the metric at (N, 3) positions in nm; `NonFiniteError` where that cannot be."""
        if self._frames is None:
            self._frames = self._tried = np.tile(np.eye(3), (len(positions), 1, 1))
        self._preconditioner.update(positions)
        self._updated = self._frames
        atoms = self._torsions.atoms
        motions = self._torsions.motions(positions, np.arange(self._count))
        motions = motions.reshape(3 * len(atoms), self._count)
        stiffness = self._preconditioner.stiffness()
        if len(atoms) < len(positions):
            rows = (3 * atoms[:, None] + np.arange(3)).ravel()
            stiffness = stiffness[rows][:, rows]
        self._stiffness = motions.T @ (stiffness @ motions)
        self._inertia, self._shift = motions.T @ motions, SHIFT
        self._factorize()

    def raise_shift(self) -> None:
        """Shorter steps along soft directions, until the next update."""
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
        torques = self._torsions.torques(point.positions, point.forces)
        return self._joined(torques, np.einsum("nji,nj->ni", self._tried, point.forces))

    def longest(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom, to first order, in nm."""
        angles, moves = self._split(step)
        moves = np.einsum("nij,nj->ni", self._frames, moves)
        moves += self._torsions.motion(positions, angles)
        return float(np.sqrt(np.einsum("ni,ni->n", moves, moves).max()))

    def longest_within(self, positions: np.ndarray, step: np.ndarray) -> float:
        """Return how far a step moves any atom, in nm: a search's molecules go nowhere."""
        return self.longest(positions, step)

    def moved(self, positions: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Try a step: return (N, 3) positions in nm after it."""
        self._step = step
        angles, moves = self._split(step)
        moved = positions + np.einsum("nij,nj->ni", self._frames, moves)
        moved, turned = self._torsions.turned_frames(moved, angles)
        self._tried = turned @ self._frames
        return moved

    def accepted(self, before: Point, after: Point) -> np.ndarray:
        """Note that the last step tried is taken, and return it."""
        self._frames = self._tried
        return self._step

    def projection(self, project: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable:
        """Return what projects steps as ``project`` does displacements of the atoms, (N, 3).

        Only the displacements need it: turned bonds keep their lengths.
        """

        def projected(positions: np.ndarray, step: np.ndarray) -> np.ndarray:
            angles, moves = self._split(step)
            moves = project(positions, np.einsum("nij,nj->ni", self._frames, moves))
            return self._joined(angles, np.einsum("nji,nj->ni", self._frames, moves))

        return projected

    def _factorize(self) -> None:
        ridge = RIDGE * max(1.0, np.diag(self._stiffness).max()) * np.eye(self._count)
        while self._shift <= MAX_SHIFT:
            matrix = self._stiffness + self._shift * self._inertia + ridge
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
