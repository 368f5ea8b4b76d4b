"""The terms of a CustomBondForce as curves over their lengths: where their wells are."""

from __future__ import annotations

import contextlib

import numpy as np
from scipy.integrate import cumulative_trapezoid

from ..errors import NonFiniteError
from .term_curves import SHORTEST, TermCurves

__all__ = ["BondCurves"]

# Wells are looked for at these lengths (nm), and then narrowed down by so many bisections.
SCANNED = np.geomspace(0.02, 5.0, 100)
BISECTIONS = 20
# A bond that holds two atoms on one spot pulls at all these lengths (nm). A soft core pulls near
# zero, but has a barrier further out. The first length tells most other bonds.
PULLED_AT = (0.1, 0.3, 0.03, SHORTEST)


class BondCurves(TermCurves):
    """Slope, curvature and well of every term of a CustomBondForce.

    Examples
    --------
    >>> import openmm
    >>> from openmm_reparam.potentials.potential import Potential
    >>> from openmm_reparam.testsystems import coil
    >>> system = coil(50, "lj")
    >>> potential = Potential(system.simulation("Reference").context)
    >>> length, curvature = BondCurves(potential, system.system.getForce(0)).wells()
    >>> round(float(length[0]), 5), bool(curvature[0] > 0)
    (0.11322, True)
    """

    def hold_on_one_spot(self) -> np.ndarray:
        """Whether each term, (T,) bool, pulls its atoms together wherever they are.

        Terms of no force count as such, too: a flat-bottomed restraint has none near its bottom.
        It takes up to four evaluations, one where no term does.

        Raises
        ------
        BudgetExhausted
            Fewer than four evaluations are left; none was made.
        """
        self._potential.counter.require(len(PULLED_AT))
        pulled = np.ones(len(self.atoms), dtype=bool)
        for length in PULLED_AT:
            # A FENE bond has no energy beyond its end.
            with contextlib.suppress(NonFiniteError):
                pulled &= self.slopes(np.full(len(pulled), length)) >= 0
            if not pulled.any():
                break
        return pulled

    def wells(self) -> tuple[np.ndarray, np.ndarray]:
        """Deepest minimum of every term between 0.02 and 5 nm; about 120 evaluations.

        Returns
        -------
        lengths : (T,) array
            In nm; NaN for a term without a minimum in between.
        curvatures : (T,) array
            In kJ/mol/nm^2; NaN where the length is, or where the bottom is flat.
        """
        finite, found = [], []
        for length in SCANNED:
            with contextlib.suppress(NonFiniteError):
                found.append(self.slopes(np.full(len(self.atoms), length)))
                finite.append(length)
        grid, slopes = np.array(finite), np.array(found)
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
