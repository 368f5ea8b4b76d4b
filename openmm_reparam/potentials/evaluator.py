"""What a descent evaluates: configurations on the constraint manifold, and their tangent forces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .collapse import CollapseCheck
from .constraints import ConstraintManifold, constraint_manifold
from .point import Point, rms
from .potential import Potential

__all__ = ["Evaluator"]


class Evaluator:
    """Energies and forces of a Potential on the manifold of its constraints.

    Parameters
    ----------
    potential : Potential

    Attributes
    ----------
    potential : Potential
    num_moving : int
        Atoms that can move.
    manifold : ConstraintManifold or None
        None where no constraint acts on an atom that moves.
    project : callable or None
        The manifold, as (positions, vectors) -> tangent vectors, all (N, 3).
    collapse : CollapseCheck

    Raises
    ------
    ValueError
        Nothing can move.

    Examples
    --------
    >>> from openmm_reparam.potentials.potential import Potential
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> potential = Potential(peptide("AG").simulation("Reference").context)
    >>> evaluator = Evaluator(potential)
    >>> point = evaluator.evaluate(potential.positions())
    >>> evaluator.rms(point) > 10, evaluator.project is None
    (True, True)
    """

    def __init__(self, potential: Potential) -> None:
        self.potential = potential
        self.num_moving = int(potential.moves.sum())
        if not self.num_moving:
            raise ValueError("every particle is massless or a virtual site: nothing can move")
        self.manifold: ConstraintManifold | None = constraint_manifold(potential)
        self.project: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = self.manifold
        self.collapse = CollapseCheck(potential)

    def evaluate(self, positions: np.ndarray) -> Point:
        """Evaluate a configuration, retracted onto the constraints.

        Parameters
        ----------
        positions : (N, 3) array
            In nm. Virtual sites are taken to where their parents want them.

        Returns
        -------
        Point
            Its forces are tangent to the constraints.

        Raises
        ------
        NonFiniteError, BudgetExhausted
            As `Potential.evaluate`; or the constraints cannot be satisfied from there.
        """
        positions = self.retract(positions)
        energy, forces = self.potential.evaluate(positions)
        sites = self.potential.virtual_sites
        if self.manifold is None and sites.any():
            positions = np.where(sites[:, None], self.potential.positions(), positions)
        return Point(positions, energy, self.tangent(positions, forces))

    def retract(self, positions: np.ndarray) -> np.ndarray:
        """Return nearby positions, (N, 3) in nm, that satisfy the constraints."""
        return positions if self.manifold is None else self.manifold.retract(positions)

    def tangent(self, positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """Return the part of (N, 3) forces that is tangent to the constraints."""
        return forces if self.project is None else self.project(positions, forces)

    def rms(self, point: Point) -> float:
        """Return the RMS force of a point over the atoms that move, in kJ/mol/nm."""
        return rms(point.forces, self.num_moving)

    def noise(self, energy: float) -> float:
        """Return the rounding error of an energy, to its order of magnitude, in kJ/mol."""
        return self.potential.noise(energy)

    def constraint_error(self, positions: np.ndarray) -> float:
        """Return the largest relative error of a constraint at (N, 3) positions in nm."""
        return 0.0 if self.manifold is None else float(self.manifold.errors(positions).max())
