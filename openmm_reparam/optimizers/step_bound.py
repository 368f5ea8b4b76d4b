"""How far the first trial of a line search may move an atom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["StepBound"]

# So many full steps in a row that ended as promised, and the bound begins to double.
PROVEN = 5
# Up to this share of what a step promised, its curvature counts as none.
NO_CURVATURE = 0.01


@dataclass(frozen=True)
class StepBound:
    """How far a step may move an atom, in nm: further where steps keep their promise.

    Only whole molecules go further: within one, no atom moves beyond the smallest bound relative to
    the others, so that none is torn.

    Attributes
    ----------
    smallest, largest : float
        The bound at the start, and what it never passes, in nm.
    current : float
        In nm.
    kept : int
        Steps in a row that were held back by the bound and kept their promise.
    flat : bool
        Whether the energy had no curvature along the last step.
    """

    smallest: float
    largest: float
    current: float
    kept: int = 0
    flat: bool = False

    @classmethod
    def between(cls, smallest: float, largest: float) -> StepBound:
        """Return the bound of a start, in nm."""
        return cls(smallest, largest, current=smallest)

    def reset(self) -> StepBound:
        """Return the bound of the start."""
        return replace(self, current=self.smallest, kept=0)

    def length(self, longest: float, within: Callable[[], float]) -> tuple[float, bool]:
        """Return the step to try, in units of a direction, and whether the bound holds it back.

        Parameters
        ----------
        longest : float
            How far the direction moves an atom, in nm.
        within : callable
            How far it moves an atom relative to its molecule.
        """
        full = self.current / max(longest, np.finfo(float).tiny)
        held = full < 1.0 or self.flat
        if self.current == self.smallest:
            return min(1.0, full), held
        # Where the slope does not change along a step, the length of P's step means nothing.
        full = full if self.flat else min(1.0, full)
        return min(full, self.smallest / max(within(), np.finfo(float).tiny)), held

    def after(
        self, length: float, *, at_once: bool, held: bool, fall: float, promised: float,
        curvature: float,
    ) -> StepBound:  # fmt: skip
        """Return the bound after a step.

        Parameters
        ----------
        length : float
            In units of its direction.
        at_once : bool
            Whether its first trial was taken.
        held : bool
            Whether the bound held that back.
        fall, promised : float
            Of the energy, and that to first order, in kJ/mol.
        curvature : float
            Step times change of forces, in kJ/mol.
        """
        flat = curvature <= NO_CURVATURE * promised
        if not (at_once and (held or flat)):
            return replace(self.reset(), flat=flat)
        # Between the fall of a parabola whose minimum is one step away and that of a straight line.
        least = max(0.5, 1.0 - length / 2)
        kept = self.kept + 1 if 0.9 * least * promised < fall < 1.1 * promised else 0
        grown = min(2 * self.current, self.largest)
        current = grown if kept >= PROVEN else self.smallest
        return replace(self, current=current, kept=kept, flat=flat)
