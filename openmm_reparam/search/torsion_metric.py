"""Initial inverse Hessian of a descent in torsion angles and displacements of atoms."""

from __future__ import annotations

import numpy as np

from .. import compiled
from ..errors import NonFiniteError
from ..precon.preconditioner import Preconditioner
from .torsion_coordinates import joined, split
from .torsion_kinematics import TorsionKinematics

__all__ = ["TorsionMetric"]


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
    torsions : compiled.TorsionMetric
        The block of the angles.

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
        self._preconditioner = preconditioner
        self.complete = preconditioner.complete
        self._count = len(kinematics.topology.axes)
        self.torsions = compiled.TorsionMetric(kinematics.motions)

    @property
    def factors(self) -> compiled.MoleculeFactors | None:
        """The block of the displacements, as factorized last."""
        return self._preconditioner.factors

    @property
    def torsion_stiffness(self) -> np.ndarray:
        """Stiffness of the torsions at the last update, (T, T) in kJ/mol/radian^2."""
        return self.torsions.stiffness

    def update(self, positions: np.ndarray) -> None:
        """Rebuild P at (N, 3) positions in nm; `NonFiniteError` where that cannot be."""
        self._preconditioner.update(positions)
        stiffness = self._preconditioner.assembled
        if stiffness is None or not self.torsions.update(positions, stiffness):
            raise NonFiniteError("the bonded forces have curvatures that are not finite")

    def raise_shift(self) -> None:
        """Shorten steps along directions of low stiffness, until the next update."""
        self._preconditioner.raise_shift()
        self.torsions.raise_shift()

    def solve(self, vectors: np.ndarray) -> np.ndarray:
        """Return P^-1 v for a (T + 3N,) array.

        Raises
        ------
        RuntimeError
            Before the first update.
        """
        torques, forces = split(vectors, self._count)
        return joined(self.torsions.solve(torques), self._preconditioner.solve(forces))
