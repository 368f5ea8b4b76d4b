"""The terms of a CustomBondForce as curves over their lengths: slopes, curvatures and wells."""

from __future__ import annotations

import contextlib
import copy

import numpy as np
import openmm as mm
from scipy.integrate import cumulative_trapezoid

from .bonded import bonded_terms
from .errors import NonFiniteError
from .potential import Potential

__all__ = ["BondCurves"]

# Wells are looked for at these lengths (nm), and then narrowed down by so many bisections.
SCANNED = np.geomspace(0.02, 5.0, 100)
BISECTIONS = 20
# Step of finite differences, relative to the length.
STEP = 1e-4


class BondCurves:
    """Slope and curvature of every term of a CustomBondForce, each at a length of its own.

    Each term acts on two particles of its own in a side Context, so that one evaluation of this
    force alone (counted as "bonded") gives the slopes of all.

    Parameters
    ----------
    potential : Potential
        Whose global parameters are followed.
    force : openmm.CustomBondForce

    Attributes
    ----------
    atoms : (T, 2) int array

    Examples
    --------
    >>> import openmm
    >>> from openmm_reparam.potential import Potential
    >>> from openmm_reparam.testsystems import coil
    >>> system = coil(50, "lj")
    >>> potential = Potential(system.simulation("Reference").context)
    >>> length, curvature = BondCurves(potential, system.system.getForce(0)).wells()
    >>> round(float(length[0]), 5), bool(curvature[0] > 0)
    (0.11322, True)
    """

    def __init__(self, potential: Potential, force: mm.CustomBondForce) -> None:
        self.atoms = bonded_terms(force)
        system, alone = mm.System(), copy.deepcopy(force)
        alone.setUsesPeriodicBoundaryConditions(False)
        for term in range(len(self.atoms)):
            system.addParticle(1.0)
            system.addParticle(1.0)
            parameters = force.getBondParameters(term)[2]
            alone.setBondParameters(term, 2 * term, 2 * term + 1, parameters)
        system.addForce(alone)
        self._potential = potential
        self._side = potential.side_potential("bonded", system)

    def slopes(self, lengths: np.ndarray) -> np.ndarray:
        """dE/dr of every term (T,) in kJ/mol/nm at lengths (T,) in nm; one evaluation."""
        positions = np.zeros((2 * len(self.atoms), 3))
        positions[1::2, 0] = lengths
        self._side.follow(self._potential)
        return -self._side.evaluate(positions)[1][1::2, 0]

    def curvatures(self, lengths: np.ndarray) -> np.ndarray:
        """d2E/dr2 of every term (T,) in kJ/mol/nm^2 by central differences; two evaluations."""
        step = STEP * lengths
        return (self.slopes(lengths + step) - self.slopes(lengths - step)) / (2 * step)

    def wells(self) -> tuple[np.ndarray, np.ndarray]:
        """Deepest minimum of every term between 0.02 and 5 nm; about 120 evaluations.

        Returns
        -------
        lengths : (T,) array
            In nm; NaN for a term without a minimum in between.
        curvatures : (T,) array
            In kJ/mol/nm^2; NaN where the length is, or where the bottom is flat.
        """
        grid, slopes = [], []
        for length in SCANNED:
            with contextlib.suppress(NonFiniteError):
                slopes.append(self.slopes(np.full(len(self.atoms), length)))
                grid.append(length)
        grid, slopes = np.array(grid), np.array(slopes)
        deepest = cumulative_trapezoid(slopes, grid, axis=0, initial=0).argmin(axis=0)
        inside = (deepest > 0) & (deepest < len(grid) - 1)
        here = np.take_along_axis(slopes, deepest[None], axis=0)[0]
        below = np.clip(np.where(here > 0, deepest - 1, deepest), 0, len(grid) - 2)
        low, high = grid[below], grid[below + 1]
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            uphill = self.slopes(middle) > 0
            low, high = np.where(uphill, low, middle), np.where(uphill, middle, high)
        lengths = np.where(inside, (low + high) / 2, np.nan)
        curvatures = self.curvatures((low + high) / 2)
        return lengths, np.where(inside & (curvatures > 0), curvatures, np.nan)
