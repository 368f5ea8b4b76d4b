"""Initial inverse Hessian of a descent in torsion angles and displacements of atoms."""

from __future__ import annotations

import contextlib

import numpy as np
import scipy.linalg

from ..errors import NonFiniteError
from ..precon.preconditioner import MAX_SHIFT, Preconditioner
from .torsion_coordinates import joined, split
from .torsion_kinematics import TorsionKinematics

__all__ = ["TorsionMetric"]

# Stiffness that all motions by torsions have at least, kJ/mol/nm^2 of each atom's.
MIN_STIFFNESS = 1e3
# Share of the largest stiffness that is added to that of every torsion: one that moves no atom
# must not rotate without end.
RELATIVE_RIDGE = 1e-6


class TorsionMetric:
    """Block-diagonal P of angles of all torsions and displacements of all atoms.

    Vectors are flat, (T + 3N,), as of `TorsionCoordinates`, but along the axes of space.

    Parameters
    ----------
    kinematics : TorsionKinematics
    preconditioner : Preconditioner
        Of the displacements; its stiffness is also that of the torsions.

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
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> from openmm_reparam.search.torsions import TorsionTopology
    >>> potential = Potential(peptide("AAA").simulation("CPU").context)
    >>> topology = TorsionTopology(potential, bond_graph(potential))
    >>> metric = TorsionMetric(TorsionKinematics(topology), Preconditioner(potential))
    >>> x = potential.positions()
    >>> metric.update(x)
    >>> metric.solve(np.ones(len(topology.axes) + x.size)).shape == (len(topology.axes) + x.size,)
    True
    """

    def __init__(self, kinematics: TorsionKinematics, preconditioner: Preconditioner) -> None:
        self._kinematics, self._preconditioner = kinematics, preconditioner
        self.complete = preconditioner.complete
        self._count = count = len(kinematics.topology.axes)
        self.torsion_stiffness = self._inertia = np.zeros((count, count))
        self._shift = MIN_STIFFNESS
        self._factor: tuple[np.ndarray, bool] | None = None

    def update(self, positions: np.ndarray) -> None:
        """Rebuild P at (N, 3) positions in nm; `NonFiniteError` where that cannot be."""
        self._preconditioner.update(positions)
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
        """Return P^-1 v for a (T + 3N,) array.

        Raises
        ------
        RuntimeError
            Before the first update.
        """
        if self._factor is None:
            raise RuntimeError("call update first")
        torques, forces = split(vectors, self._count)
        angles = scipy.linalg.cho_solve(self._factor, torques)
        return joined(angles, self._preconditioner.solve(forces))

    def _factorize(self) -> None:
        largest = max(1.0, np.diag(self.torsion_stiffness).max())
        ridge = RELATIVE_RIDGE * largest * np.eye(self._count)
        while self._shift <= MAX_SHIFT:
            matrix = self.torsion_stiffness + self._shift * self._inertia + ridge
            with contextlib.suppress(scipy.linalg.LinAlgError):
                self._factor = scipy.linalg.cho_factor(matrix)
                return
            # Custom forces have curvatures of any sign.
            self._shift *= 3
        raise NonFiniteError("the bonded forces have curvatures that are not finite")
