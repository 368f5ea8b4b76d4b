"""From a displaced structure down to the next minimum."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace

from ..optimizers.coordinates import Cartesian
from ..optimizers.lbfgs import Descent, descend
from ..optimizers.line_search import LineSearchError
from ..potentials.point import Point
from ..precon.preconditioner import Preconditioner
from .context import SearchContext
from .torsion_coordinates import TorsionCoordinates
from .torsion_kinematics import TorsionKinematics
from .torsion_metric import TorsionMetric
from .torsions import MAX_TORSIONS

__all__ = ["Quench"]

# Where torsions are coordinates of their own, the displacements of atoms get this shift
# (kJ/mol/nm^2): they are for what is stiff.
DISPLACEMENT_SHIFT = 1e4
# In torsion coordinates few pairs tell of what lies ahead, and contacts change with every few
# steps. Not where an update of the preconditioner costs evaluations of bonded custom forces.
FEW_PAIRS, FREQUENT_UPDATES = 6, (5, 10)


class Quench:
    """Preconditioned L-BFGS, in curvilinear coordinates where bonds can rotate.

    Parameters
    ----------
    context : SearchContext
    curvilinear : bool
        Whether torsion angles may be coordinates.

    Attributes
    ----------
    preconditioner : Preconditioner
    """

    def __init__(self, context: SearchContext, curvilinear: bool = True) -> None:
        self._context = context
        self._kinematics = None
        if curvilinear and 0 < len(context.topology.axes) <= MAX_TORSIONS:
            self._kinematics = TorsionKinematics(context.topology)
        shift = DISPLACEMENT_SHIFT if self._kinematics else None
        self.preconditioner = Preconditioner(context.potential, shift=shift)

    def __call__(self, start: Point, force: float) -> Point:
        """Go down to an RMS force in kJ/mol/nm, or as far as the steps lead."""
        rms = self._context.evaluator.rms
        if rms(start) <= force:
            return start
        point = start
        with contextlib.suppress(LineSearchError):
            steps = self._context.settings.quench_evaluations
            for point in itertools.islice(self._points(start), steps):
                if rms(point) <= force:
                    break
        return point

    def _points(self, start: Point) -> Iterator[Point]:
        descent = self._descent()
        if descent.metric is not None:
            descent.metric.update(start.positions)
        return descend(descent, start)

    def _descent(self) -> Descent:
        context = self._context
        descent = Descent(
            context.evaluator.evaluate,
            Cartesian(),
            self.preconditioner,
            project=context.evaluator.project,
            noise=context.evaluator.noise,
            refuses=context.evaluator.collapse.refuses,
        )
        if self._kinematics is None:
            return descent
        if self.preconditioner.free:
            descent = replace(descent, memory=FEW_PAIRS, refresh=FREQUENT_UPDATES)
        return replace(
            descent,
            coordinates=TorsionCoordinates(self._kinematics),
            metric=TorsionMetric(self._kinematics, self.preconditioner),
        )
