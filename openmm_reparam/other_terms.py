"""Bonded terms that have no closed form: their Hessian by coloured finite differences."""

from __future__ import annotations

import contextlib
from functools import cached_property

import numpy as np
import openmm as mm
import scipy.sparse as sp

from .bonded import bonded_system, coupling_pattern
from .errors import NonFiniteError
from .hessian import ColouredHessian, colour_atoms
from .potential import Potential

__all__ = ["OtherTerms"]


class OtherTerms:
    """The Hessian of some bonded forces, evaluated on a side Context of them alone.

    The Context, which takes seconds to make for some forces, is made when first needed.

    Parameters
    ----------
    potential : Potential
        Its counter counts the evaluations as "bonded".
    forces : list of openmm.Force
        Bonded, of its System.

    Attributes
    ----------
    cost : int
        Force evaluations of one Hessian.
    """

    def __init__(self, potential: Potential, forces: list[mm.Force]) -> None:
        self._potential = potential
        self._system = bonded_system(potential, forces)
        self._pattern = coupling_pattern(self._system, potential.moves)
        self._colours = colour_atoms(self._pattern, potential.moves)
        self.cost = 6 * int(self._colours.max(initial=-1) + 1)
        self._last: sp.csr_array | None = None

    @cached_property
    def _coloured(self) -> ColouredHessian:
        side = self._potential.side_potential("bonded", self._system)
        return ColouredHessian(side, self._pattern, colours=self._colours)

    def hessian(self, positions: np.ndarray, *, spend: bool = True) -> sp.csr_array | None:
        """Hessian at (N, 3) positions in nm: sparse (3N, 3N), kJ/mol/nm^2.

        The last one if ``spend`` is False or a displaced configuration is not finite; None if there
        was none.
        """
        if spend:
            self._coloured.potential.follow(self._potential)
            with contextlib.suppress(NonFiniteError):
                self._last = self._coloured.evaluate(positions)
        return self._last
