"""The manifold on which a System's distance constraints hold: tangent projection, retraction."""

from __future__ import annotations

import numpy as np

from .. import compiled
from ..errors import NonFiniteError
from .potential import Potential

__all__ = ["ConstraintManifold", "constraint_manifold"]


def constraint_manifold(potential: Potential) -> ConstraintManifold | None:
    """Return the manifold of the constraints on atoms that move, or None if there are none."""
    pairs, _ = potential.constraints
    return ConstraintManifold(potential) if potential.moves[pairs].any() else None


class ConstraintManifold:
    """Positions that satisfy every constraint |x_i - x_j| = d between atoms that move.

    Projection solves (J J^T) lambda = J v with J the gradients of the constraints; blocks of
    coupled constraints (one water, one methyl group) are independent. The compiled core does it.

    Parameters
    ----------
    potential : Potential
        Of a System with at least one such constraint.

    Attributes
    ----------
    pairs : (M, 2) int array
    lengths : (M,) array
        In nm.
    tolerance : float
        Relative, the integrator's.
    constraints : compiled.Constraints
        The same for the compiled core. A manifold is called to project.
    """

    def __init__(self, potential: Potential) -> None:
        self._potential = potential
        self.tolerance = potential.context.getIntegrator().getConstraintTolerance()
        pairs, lengths = potential.constraints
        # OpenMM lets massless atoms share constraints, and leaves those alone.
        acting = potential.moves[pairs].any(axis=1)
        self.pairs, self.lengths = pairs[acting], lengths[acting]
        self.constraints = compiled.Constraints(self.pairs, self.lengths, potential.num_particles)

    def errors(self, positions: np.ndarray) -> np.ndarray:
        """Relative errors of the constraints, (M,), at (N, 3) positions in nm."""
        return self.constraints.errors(positions)

    def project(self, positions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Part of (N, 3) vectors that leaves every constraint unchanged to first order."""
        return self.constraints.project(positions, vectors)

    __call__ = project

    def retract(self, positions: np.ndarray) -> np.ndarray:
        """Nearby positions, (N, 3) in nm, that satisfy the constraints.

        Raises
        ------
        NonFiniteError
            OpenMM could not satisfy them: the positions are too far away.
        """
        self._potential.refuse_non_finite(positions)
        retracted, error, worst = self._potential.retract(
            self.constraints, positions, self.tolerance
        )
        if not error <= self.tolerance:
            i, j = (int(a) for a in self.pairs[worst])
            raise NonFiniteError(
                "OpenMM could not satisfy the constraint between "
                f"{self._potential.label(i)} and {self._potential.label(j)}: the atoms are too "
                "far from where the constraint wants them.",
                (i, j),
            )
        return retracted
