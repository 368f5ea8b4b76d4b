"""From a displaced structure down to the next minimum."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import numpy as np

from ..optimizers.lbfgs import LineSearchError, lbfgs
from ..potentials.point import Point
from ..potentials.potential import Potential
from ..precon.preconditioner import Preconditioner
from .torsion_coordinates import TorsionSteps
from .torsions import MOST_TORSIONS, Torsions

__all__ = ["Quench"]

# Where torsions are coordinates of their own, the atoms' displacements are kept small by this
# (kJ/mol/nm^2): they are for what is stiff.
STIFFER = 1e4
# There, few pairs tell of what lies ahead, and contacts change with every few steps. (Not where an
# update of the preconditioner costs evaluations of bonded Custom forces.)
OFTEN = {"memory": 6, "refresh": (5, 10)}


class Quench:
    """Preconditioned L-BFGS, in torsion angles and displacements where bonds can turn.

    Parameters
    ----------
    potential : Potential
    evaluate : callable
        (N, 3) positions -> Point.
    torsions : Torsions
    rms : callable
        Point -> RMS force.
    evaluations : int
        Steps of one quench at most.
    project, refuses : callable, optional
        As `lbfgs` takes them.

    Attributes
    ----------
    preconditioner : Preconditioner
    """

    def __init__(
        self,
        potential: Potential,
        evaluate: Callable[[np.ndarray], Point],
        torsions: Torsions,
        rms: Callable[[Point], float],
        evaluations: int,
        project: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        refuses: Callable[[Point, Point, float], bool] | None = None,
    ) -> None:
        self._torsions = torsions if 0 < len(torsions.axes) <= MOST_TORSIONS else None
        self.preconditioner = Preconditioner(potential, shift=STIFFER if self._torsions else None)
        self._evaluate, self._project = evaluate, project
        self._rms, self._evaluations = rms, evaluations
        self._settings = {"noise": potential.noise, "refuses": refuses}

    def __call__(self, start: Point, force: float) -> Point:
        """Go down to an RMS force, or as far as the steps lead."""
        if self._rms(start) <= force:
            return start
        point = start
        with contextlib.suppress(LineSearchError):
            for point in itertools.islice(self._points(start), self._evaluations):
                if self._rms(point) <= force:
                    break
        return point

    def _points(self, start: Point):
        if self._torsions is None:
            metric, settings = self.preconditioner, {"project": self._project}
        else:
            metric = TorsionSteps(self._torsions, self.preconditioner)
            project = self._project and metric.projection(self._project)
            settings = {"coordinates": metric, "project": project}
            settings |= OFTEN if self.preconditioner.free else {}
        metric.update(start.positions)
        return lbfgs(self._evaluate, start, metric=metric, **self._settings, **settings)
