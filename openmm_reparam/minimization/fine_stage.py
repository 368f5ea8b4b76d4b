"""The fine-grained stage: preconditioned L-BFGS down to the nearest minimum."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

import numpy as np

from .. import compiled
from ..errors import NonFiniteError
from ..optimizers.coordinates import Cartesian
from ..optimizers.internal_steps import InternalSteps
from ..optimizers.lbfgs import lbfgs
from ..optimizers.line_search import LineSearchError
from ..optimizers.stage_end import StageEnd
from ..optimizers.translations import Translations
from ..potentials.bond_graph import are_bonded
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..potentials.potential import Potential
from ..precon.internal_model import internal_model
from ..precon.metric_terms import unknown_atoms
from ..precon.preconditioner import Preconditioner

__all__ = ["FineStage"]

# Iterations without a lower energy or a smaller force before the stage gives up. Lower is what
# exceeds the energy's rounding error, smaller what exceeds this share of the force.
STALL, SMALLER = 200, 1e-3
# No energy that has a bottom falls further below the start's, or below zero, kJ/mol an atom.
DEEPEST = 1e6
# Atoms that have moved so far (nm) while the RMS force is no smaller than this share of the first
# fly for ever.
FURTHEST, STILL = 1e4, 0.9
# A run that falls without bound is left with the last structure whose atoms have moved less, in nm.
NOT_FAR = 10.0
# Molecules are carried where so much of all forces has one direction and P sends one this far (nm),
# until this share of the pull is left, for so many steps at most.
COHERENT, FAR, ARRIVED, CARRIED = 0.5, 1.0, 1e-4, 200
# Atoms up to which steps along internal coordinates cost little: their algebra is dense.
MOST_INTERNAL = 300
# Where atoms that would fall onto each other leave no step, those of attracting pairs nearer than
# the first (nm) are moved to the second, so many times at most.
CLOSING, OPENED, PARTINGS = 0.1, 0.12, 10


class FineStage:
    """Preconditioned L-BFGS on the constraint manifold, with the ends that it needs.

    Parameters
    ----------
    evaluator : Evaluator
    settings : dict, optional
        Of the `Preconditioner`.
    terms : Potential, optional
        Whose terms the preconditioner has: those of a surrogate; the evaluator's by default.
    internal_steps : bool, optional
        Whether steps go along internal coordinates, see `InternalSteps`. None: where evaluations
        are likely to cost more than such a step, because forces of unknown terms act on all atoms,
        up to 300 of them, and the topology has bonds of each.

    Attributes
    ----------
    name, label : str
        What the result and the progress call it.
    searches : bool
        False.
    kept : Point or None
        Where the energy fell without bound, the structure from before the flight.
    """

    name = label = "preconditioned L-BFGS"
    searches = False

    def __init__(
        self,
        evaluator: Evaluator,
        settings: dict[str, Any] | None = None,
        terms: Potential | None = None,
        internal_steps: bool | None = None,
    ) -> None:
        self._evaluator, self._potential = evaluator, evaluator.potential
        self._terms = terms or evaluator.potential
        self._collapse = evaluator.collapse
        self._settings = settings or {}
        if internal_steps is None:
            internal_steps = terms is None and self._expensive()
        self._internal = internal_steps
        self.kept: Point | None = None

    def points(self, begin: Point) -> Generator[Point, None, None]:
        """Descend from a point, one accepted step at a time.

        Raises
        ------
        StageEnd, LineSearchError
            There is no going on; the message says why.
        """
        lowest, smallest, since = begin.energy, np.inf, 0
        bottom = min(begin.energy, 0.0) - DEEPEST * self._evaluator.num_moving
        point = sane = begin
        try:
            for point in self._descent(begin):
                yield point
                force = self._evaluator.rms(point)
                lower = point.energy < lowest - self._evaluator.noise(lowest)
                since = 0 if lower or force < (1 - SMALLER) * smallest else since + 1
                lowest, smallest = min(point.energy, lowest), min(force, smallest)
                if _moved(begin, point) < NOT_FAR:
                    sane = point
                if point.energy < bottom or self._flies(begin, sane, point, FURTHEST):
                    raise StageEnd(self._without_bottom(begin, sane, point))
                if since >= STALL:
                    raise StageEnd(self._no_progress(point))
        except (LineSearchError, StageEnd):
            # Far out, coordinates have lost the digits that a descent needs.
            if self.kept is None and self._flies(begin, sane, point, FURTHEST / 100):
                raise StageEnd(self._without_bottom(begin, sane, point)) from None
            raise

    def _descent(self, point: Point) -> Iterator[Point]:
        """L-BFGS, begun anew where atoms about to fall onto each other leave it no step."""
        metric, partings = self._metric(point), 0
        carried = () if metric is None else self._carried(point, metric)
        for point in carried:
            yield point
        while True:
            points = self._steps(point, metric)
            try:
                for point in points:
                    yield point
            except LineSearchError:
                if self._internal:
                    self._internal = False
                    continue
                closing = self._collapse.pairs(point.positions, cutoff=CLOSING)
                partings += 1
                if not closing or partings > PARTINGS:
                    raise
                point = self._parted(point, closing)
                yield point

    def _steps(self, point: Point, metric: Preconditioner | None) -> Iterator[Point]:
        """L-BFGS along internal coordinates, or along straight lines."""
        descend = partial(
            lbfgs,
            self._evaluator.evaluate,
            point,
            project=self._evaluator.project,
            noise=self._evaluator.noise,
            refuses=self._collapse.refuses,
        )
        model = internal_model(self._potential, point.positions) if self._internal else None
        if model is not None:
            internal = InternalSteps(
                model.internals,
                model.stiffness,
                self._potential.moves,
                shift=model.shift,
                molecules=model.molecules,
            )
            return descend(metric=internal.metric(), coordinates=internal)
        self._internal = False
        if metric is None:
            return descend(coordinates=Cartesian(), largest_step=np.inf)
        return descend(
            metric=metric,
            coordinates=Cartesian(metric.molecules),
            largest_step=np.inf,
            turning=self._potential.moves,
        )

    def _expensive(self) -> bool:
        """Whether a force of unknown terms acts on all atoms of molecules, not too large ones."""
        if self._settings.get("metric", "auto") != "auto":
            return False
        few = self._potential.num_particles <= MOST_INTERNAL
        everything = len(unknown_atoms(self._potential)) == self._evaluator.num_moving
        return few and everything and are_bonded(self._potential)

    def _carried(self, point: Point, metric: Preconditioner) -> Iterator[Point]:
        """Carry molecules that are far from where they are pulled, before they are torn.

        Forces within a System cancel. Where they add up, it is pulled from outside, by restraints;
        and P, whose shift holds molecules back, says how far at least.
        """
        rigid = Translations(
            metric.molecules, self._potential.moves | self._potential.virtual_sites
        )
        sizes = np.linalg.norm(point.forces, axis=1).sum()
        coherent = np.linalg.norm(point.forces.sum(axis=0)) > COHERENT * sizes
        way = rigid.means(metric.solve(point.forces))
        if not coherent or np.linalg.norm(way, axis=1).max() < FAR:
            return
        pull = np.linalg.norm(rigid.sums(point.forces))
        points = lbfgs(
            self._evaluator.evaluate,
            point,
            coordinates=rigid,
            largest_step=np.inf,
            noise=self._evaluator.noise,
            refuses=self._collapse.refuses,
        )
        with contextlib.suppress(LineSearchError):
            for point in itertools.islice(points, CARRIED):
                yield point
                if np.linalg.norm(rigid.sums(point.forces)) < ARRIVED * pull:
                    break
        with contextlib.suppress(NonFiniteError):
            metric.update(point.positions)

    def _parted(self, point: Point, closing: list[tuple]) -> Point:
        """Return the point with pairs that close in moved apart."""
        try:
            parted = self._collapse.pushed_apart(point.positions, closing, OPENED)
            return self._evaluator.evaluate(parted)
        except NonFiniteError:
            raise StageEnd(f"atoms fall onto each other: {self._collapse.named(closing)}") from None

    def _metric(self, begin: Point) -> Preconditioner | None:
        """Return P at a point; None where nothing is known of any stiffness."""
        metric = Preconditioner(self._terms, **self._settings)
        if metric.informed:
            with contextlib.suppress(NonFiniteError):
                metric.update(begin.positions)
                return metric
        return None

    def _flies(self, begin: Point, sane: Point, point: Point, distance: float) -> bool:
        """Whether atoms have come so far (nm) while the force has hardly become smaller."""
        if _moved(begin, point) < distance:
            return False
        return self._evaluator.rms(point) > STILL * min(
            self._evaluator.rms(begin), self._evaluator.rms(sane)
        )

    def _no_progress(self, point: Point) -> str:
        """Say why neither energy nor force falls any more."""
        closing = self._collapse.pairs(point.positions, cutoff=CLOSING)
        if closing:
            return f"atoms would fall onto each other: {self._collapse.named(closing)}"
        return (
            f"neither energy nor force has fallen in {STALL} iterations: the platform's precision "
            "is reached, or the energy has a cusp there"
        )

    def _without_bottom(self, begin: Point, sane: Point, point: Point) -> str:
        pairs = self._collapse.pairs(point.positions)
        if pairs:
            return f"atoms fall onto each other: {self._collapse.named(pairs)}"
        self.kept = sane
        moved = np.linalg.norm(point.positions - begin.positions, axis=1)
        atom = int(np.argmax(moved))
        return (
            f"the energy falls without bound: it has come to {point.energy:.3g} kJ/mol and "
            f"{self._potential.label(atom)} has moved {moved[atom]:.3g} nm; the structure from "
            f"before that is kept. Something pulls without end (a field on a charge, a force that "
            "nothing opposes): add a restraint, or minimize without that force"
        )


def _moved(begin: Point, point: Point) -> float:
    """How far any atom has moved along an axis, in nm."""
    return compiled.largest_difference(point.positions, begin.positions)
