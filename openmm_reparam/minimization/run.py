"""One minimization: runs the stages, holds the budget, keeps the best structure."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import openmm as mm

from ..errors import BudgetExhausted
from ..optimizers.line_search import LineSearchError
from ..optimizers.stage_end import StageEnd
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..potentials.potential import Potential
from ..search import MinimaDatabase, SearchRecord
from ..search.torsions import TorsionTopology
from ..structure.stereochemistry import Stereochemistry
from .best import BestStructure
from .bond_continuation import HarmonicContinuation
from .clashes import evaluated_start
from .fine_stage import FineStage
from .progress import Listener
from .result import HISTORY_DTYPE, MinimizationResult, Stage
from .settings import MinimizationSettings
from .stages import IsomerStage, SearchStage
from .surrogate_descent import SurrogateDescent, surrogate_descent

if TYPE_CHECKING:
    from .replica_latents import LatentReplica

__all__ = ["INTERRUPTED", "Run", "RunStage", "SearchingStage"]

AT_TOLERANCE = "the RMS force reached the tolerance"
INTERRUPTED = "stopped by Ctrl-C"


class RunStage(Protocol):
    """A stage of a run.

    Attributes
    ----------
    name : str
        What the result calls it.
    label : str
        What the progress calls it.
    searches : bool
        Its points are minima on the way to a lower one, and none of them ends the run.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def searches(self) -> bool: ...  # noqa: D102

    def points(self, begin: Point) -> Generator[Point, None, None]:
        """Yield a point after each iteration; `StageEnd` says why there are no more."""


class SearchingStage(RunStage, Protocol):
    """A stage that searches; its points are the valid minima on the way.

    Attributes
    ----------
    topology : TorsionTopology
    database : MinimaDatabase
        The minima found.
    record : SearchRecord
    """

    @property
    def topology(self) -> TorsionTopology: ...  # noqa: D102
    @property
    def database(self) -> MinimaDatabase: ...  # noqa: D102
    @property
    def record(self) -> SearchRecord: ...  # noqa: D102


class Run:
    """One minimization: what has been reached, and when to stop.

    Parameters
    ----------
    evaluator : Evaluator
        The counter of its potential gets the budget as its limit.
    settings : MinimizationSettings
    progress : Listener
        Told of every iteration.
    reporter : openmm.MinimizationReporter, optional

    Attributes
    ----------
    stopped : bool
        By the reporter or by Ctrl-C.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        settings: MinimizationSettings,
        progress: Listener,
        reporter: mm.MinimizationReporter | None = None,
    ) -> None:
        self._evaluator, self._settings = evaluator, settings
        self._progress, self._reporter = progress, reporter
        self._potential = evaluator.potential
        self._potential.counter.limit = settings.max_force_evaluations
        self._began = time.perf_counter()
        self._iterations = 0
        self._history: list[tuple] = []
        self._stages: list[Stage] = []
        self._converged_at: Point | None = None
        self._bottomless = False
        self._resumed: LatentReplica | None = None
        self._search: SearchingStage | None = None
        self._surrogate: SurrogateDescent | None = None
        self._terms_of_surrogate: Potential | None = None
        self.stopped = False

    def resume(self, latent: LatentReplica) -> None:
        """Go on where the latent stage of a replica has ended."""
        self._resumed = latent
        self._iterations, self._history = latent.iterations, list(latent.history)
        self._potential.counter = latent.counter
        self._potential.counter.limit = self._settings.max_force_evaluations
        seconds = latent.history[-1][5] if latent.history else 0.0
        self._began -= seconds
        name, total = self._settings.reparametrization_name, latent.counter.total
        self._stages.append(
            Stage(name, self._iterations, total, latent.best.energy, seconds, latent.message)
        )

    def minimize(self, original: np.ndarray) -> tuple[MinimizationResult, Point]:
        """Run all stages.

        Parameters
        ----------
        original : (N, 3) array
            In nm.

        Returns
        -------
        MinimizationResult
        Point
            The final structure; the Context's positions are left anywhere.
        """
        self._begin(original)
        if self._evaluator.rms(self._best.point) <= self._settings.tolerance:
            self._converged_at = self._best.point
            message = AT_TOLERANCE
            if self._best.point is self._start:
                message = "the start is a minimum to within the tolerance"
        else:
            message = self._descend()
        if self._settings.search and not (self.stopped or self._bottomless):
            message = self._go_on_searching()
        final, collapsed = self._best.refused(self._final())
        if collapsed:
            self._converged_at, message = None, collapsed
        return self._result(final, message), final

    def _begin(self, original: np.ndarray) -> None:
        if self._resumed is None:
            self._potential.refuse_non_finite(original)
            self._start = best = evaluated_start(self._evaluator, original)
        else:
            self._start, best = self._resumed.start, self._resumed.best
        self._best = BestStructure(self._evaluator.collapse, self._start, best)

    def _descend(self) -> str:
        """Go down from the start to the tolerance, in up to three stages."""
        settings, counter = self._settings, self._potential.counter
        message = f"the budget of {settings.max_force_evaluations} force evaluations is used up"
        counter.limit = settings.latent_force_evaluations
        if settings.harmonic_continuation:
            message = self._run_stage(HarmonicContinuation(self._evaluator))
        if settings.latent.iterations and self._resumed is None and not self._over():
            # Here, because it imports torch, which takes seconds and half a GiB.
            from .latent_stage import LatentStage

            message = self._run_stage(LatentStage(self._evaluator, settings))
        counter.limit = settings.max_force_evaluations
        if settings.fine_stage and settings.latents_are_fine and not self._over():
            message = self._descend_on_surrogate() or message
        # A latent stage that could not begin leaves its share to the last one.
        if (settings.fine_stage or not self._iterations) and not self._over():
            message = self._descend_finely()
        return message

    def _descend_on_surrogate(self) -> str:
        """Descend on a surrogate of the energy where there is one, or an energy that is learnt."""
        chosen = surrogate_descent(self._evaluator, self._settings, self._best.point)
        self._surrogate = chosen.stage
        if chosen.surrogate is not None:
            self._terms_of_surrogate = chosen.surrogate.potential
        if self._surrogate is not None:
            return self._run_stage(self._surrogate)
        if self._settings.surrogate is not None and chosen.why_not:
            energy, why = self._best.point.energy, f"not descended on: {chosen.why_not}"
            self._stages.append(Stage("surrogate", 0, 0, energy, 0.0, why))
        return ""

    def _descend_finely(self) -> str:
        """Descend to the tolerance; where there is no bottom, to before the flight."""
        stage = FineStage(
            self._evaluator,
            self._settings.preconditioner_settings,
            self._terms_of_surrogate,
            self._settings.internal_steps,
        )
        message = self._run_stage(stage)
        if stage.kept is not None:
            self._best.point, self._bottomless = stage.kept, True
        return message

    def _go_on_searching(self) -> str:
        """Hop on from the minimum reached, then take the best structure to the tolerance."""
        settings, counter = self._settings, self._potential.counter
        quenched, self._converged_at = self._converged_at, None
        counter.limit = settings.search_force_evaluations
        make = settings.search_stage or SearchStage
        search: SearchingStage = make(self._evaluator, settings, self._start.positions)
        self._search = search
        message = self._run_stage(search)
        found = f"{search.record}; {message}"
        self._stages[-1] = dataclasses.replace(self._stages[-1], message=found)
        counter.limit = settings.max_force_evaluations
        if quenched is not None and quenched.energy <= self._best.point.energy:
            self._converged_at = quenched
            return f"{AT_TOLERANCE}; no lower minimum was found"
        if not self.stopped:
            message = self._run_stage(IsomerStage(self._evaluator, search.topology))
        if self.stopped:
            if self._evaluator.rms(self._best.point) <= settings.tolerance:
                self._converged_at = self._best.point
            return message
        return self._descend_finely()

    def _over(self) -> bool:
        limit, budget = self._settings.max_iterations, self._settings.max_force_evaluations
        return (
            self._converged_at is not None
            or self.stopped
            or bool(limit and self._iterations >= limit)
            or bool(budget and self._potential.counter.total >= budget)
        )

    def _run_stage(self, stage: RunStage) -> str:
        """Consume a stage's points until one of the run's own conditions or its end."""
        counter = self._potential.counter
        began, first, before = time.perf_counter(), self._iterations, counter.total
        points = stage.points(self._best.point)
        try:
            with contextlib.closing(points):
                message = self._consume(stage, points)
        except KeyboardInterrupt:
            # A search, and the last stage after it, have something to keep.
            if self._search is None:
                raise
            self.stopped, message = True, INTERRUPTED
        except (StageEnd, LineSearchError, BudgetExhausted) as end:
            message = str(end)
            budget = self._settings.max_force_evaluations
            if isinstance(end, BudgetExhausted) and counter.limit != budget:
                message = (
                    f"{counter.limit} of {budget} force evaluations are spent; the others are kept "
                    "for the last stage"
                )
        spent, seconds = counter.total - before, time.perf_counter() - began
        energy, iterations = self._best.point.energy, self._iterations - first
        self._stages.append(Stage(stage.name, iterations, spent, energy, seconds, message))
        return message

    def _consume(self, stage: RunStage, points: Iterator[Point]) -> str:
        limit = self._settings.max_iterations
        for point in points:
            self._iterations += 1
            force = self._evaluator.rms(point)
            self._note(stage, point, force)
            if not stage.searches and self._is_low(point) and force <= self._settings.tolerance:
                sound = self._evaluator.collapse.sound(point)
                self._converged_at = point if sound else None
            if self._report(point):
                self.stopped = True
                return "stopped by the reporter"
            if self._converged_at is not None:
                return AT_TOLERANCE
            if limit and self._iterations >= limit:
                return f"maxIterations = {limit} reached"
        return "no steps are left"

    def _note(self, stage: RunStage, point: Point, force: float) -> None:
        """Write an iteration down, keep its structure if it is better, and show it."""
        spent = self._potential.counter.total
        row = (len(self._stages), self._iterations, spent, point.energy, force, self._seconds())
        self._history.append(row)
        self._best.keep(point)
        shown = self._best.point.energy if stage.searches else point.energy
        self._progress.update(self._iterations, shown, force, spent, stage.label)

    def _is_low(self, point: Point) -> bool:
        """Whether a point is as low as the best, to within rounding errors."""
        best = self._best.point.energy
        return point.energy <= best + 10 * self._evaluator.noise(best)

    def _report(self, point: Point) -> bool:
        """Call the reporter as OpenMM does; return whether the run is to stop."""
        if self._reporter is None:
            return False
        arguments = {
            "system energy": point.energy,
            "restraint energy": 0.0,
            "restraint strength": 0.0,
            "max constraint error": self._evaluator.constraint_error(point.positions),
        }
        positions = tuple(point.positions.ravel().tolist())
        gradient = tuple((-point.forces).ravel().tolist())
        return bool(self._reporter.report(self._iterations - 1, positions, gradient, arguments))

    def _final(self) -> Point:
        """Return the structure to end with: the converged one, unless it is above the start."""
        final = self._converged_at or self._best.point
        return self._best.point if final.energy > self._start.energy else final

    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def _result(self, final: Point, message: str) -> MinimizationResult:
        counter, tolerance = self._potential.counter, self._settings.tolerance
        sizes = np.sqrt((final.forces**2).sum(axis=1))
        worst = int(np.argmax(sizes))
        force = self._evaluator.rms(final)
        # The converged point may have been left for a lower one with larger forces.
        converged = self._converged_at is not None and force <= tolerance
        if not converged:
            message = (
                f"stopped at RMS force {force:.4g} kJ/mol/nm, above the tolerance "
                f"{tolerance:g}: {message}"
            )
        stereo = Stereochemistry.of_potential(self._potential)
        compared = stereo.compare(self._start.positions, final.positions)
        search = self._search
        return MinimizationResult(
            converged=converged,
            message=message,
            initial_energy=self._start.energy,
            initial_rms_force=self._evaluator.rms(self._start),
            energy=final.energy,
            rms_force=force,
            max_force=float(sizes[worst]),
            max_force_atom=self._potential.label(worst),
            iterations=self._iterations,
            force_evaluations=counter.total,
            seconds=self._seconds(),
            stages=tuple(self._stages),
            history=np.array(self._history, dtype=HISTORY_DTYPE),
            evaluations={
                "context": counter.context,
                "side": counter.side,
                "bonded": counter.bonded,
            },
            surrogate_evaluations=counter.surrogate,
            surrogate_record=None if self._surrogate is None else self._surrogate.record,
            stereo_changes=compared.changes,
            stereo_checked=compared.checked,
            tolerance=tolerance,
            seed=self._settings.seed,
            minima=None if search is None else search.database.sorted_minima(),
            search_record=None if search is None else search.record,
        )
