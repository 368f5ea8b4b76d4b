"""One minimization: runs the stages, holds the budget, keeps the best structure."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator

import numpy as np

from ..errors import BudgetExhausted, NonFiniteError
from ..openmm_torch.latent_gradients import torchforce_gradients
from ..optimizers.latents import LatentSettings, StageEnd, descend_latents, eager_gradients
from ..optimizers.line_search import LineSearchError
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..potentials.potential import Potential
from ..reparametrizations import Start, build
from ..search import (
    LOOSE_FORCE,
    BasinHopping,
    MinimaDatabase,
    SearchContext,
    SearchRecord,
    isomer_points,
)
from ..structure.stereochemistry import Stereochemistry
from .bond_continuation import spring_points
from .clashes import evaluated_start
from .fine_stage import FineStage
from .progress import Progress
from .replicas import compared_atoms
from .result import HISTORY_DTYPE, MinimizationResult, Stage

__all__ = [
    "LATENT_SHARE",
    "Run",
]

# The latent stage may use this share of a budget, so that the last stage gets its turn.
LATENT_SHARE = 1 / 3
# A search leaves this share of its budget to the last stage, and no more than so many evaluations.
LAST_SHARE, LAST_EVALUATIONS = 0.1, 600
# How sound a structure is in which nothing has collapsed; in others less.
SOUND = 2
FELL = "that are not bonded have fallen onto each other"
# A run that falls without bound is left with the last structure whose atoms have moved less, in nm.
NOT_FAR = 10.0


class Run:
    """One minimization: what has been reached, and when to stop.

    Parameters
    ----------
    minimizer : ReparamMinimizer
        Its settings, and the Context to evaluate on.
    tolerance : float
    max_iterations : int
    reporter : openmm.MinimizationReporter or None
    budget : int or None
        Force evaluations.
    progress : optional
        Told of every iteration, as `Progress` is.
    """

    def __init__(
        self, minimizer, tolerance, max_iterations, reporter, budget, progress=None
    ) -> None:
        self.minimizer = minimizer
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.reporter = reporter
        self.potential = Potential(minimizer.context, minimizer.topology)
        self.potential.counter.limit = budget
        self.budget = budget
        self.evaluator = Evaluator(self.potential)
        self.evaluate, self.rms = self.evaluator.evaluate, self.evaluator.rms
        self.manifold, self.collapse = self.evaluator.manifold, self.evaluator.collapse
        self.progress = progress or Progress(minimizer.progress, max_iterations or None)
        self.began = time.perf_counter()
        self.iterations = 0
        self.history: list[tuple] = []
        self.stages: list[Stage] = []
        self.converged_at: Point | None = None
        self.stopped = self.bottomless = False
        self.start: Point | None = None
        self.database: MinimaDatabase | None = None
        self.search_record: SearchRecord | None = None

    def resume(self, latent, name: str) -> None:
        """Go on where the latent stage of a `LatentReplica` has ended."""
        self._begin(latent.start, latent.best)
        self.iterations, self.history = latent.iterations, list(latent.history)
        self.potential.counter = latent.counter
        self.potential.counter.limit = self.budget
        seconds = latent.history[-1][5] if latent.history else 0.0
        self.began -= seconds
        total = latent.counter.total
        self.stages.append(
            Stage(name, self.iterations, total, self.best.energy, seconds, latent.message)
        )

    def _begin(self, start: Point, best: Point) -> None:
        self.start, self.best = start, best
        self.soundness = SOUND - bool(self.collapse.pairs(best.positions))

    def minimize(self, original: np.ndarray) -> tuple[MinimizationResult, Point]:
        """Run all stages from (N, 3) positions in nm; the Context's positions are left anywhere."""
        if self.start is None:
            self.potential.refuse_non_finite(original)
            start = evaluated_start(self.potential, self.collapse, self.evaluate, original)
            self._begin(start, start)
        start = self.start
        if self.rms(self.best) <= self.tolerance:
            self.converged_at = self.best
            message = "the RMS force reached the tolerance"
            if self.best is start:
                message = "the start is a minimum to within the tolerance"
        else:
            message = f"the budget of {self.budget} force evaluations is used up"
            if self.budget and self.minimizer.fine_stage:
                self.potential.counter.limit = max(1, int(LATENT_SHARE * self.budget))
            if self.minimizer.bond_springs:
                message = self._run_stage("bond springs", self._spring_points())
            latent = self.minimizer.latent
            if latent.iterations and not self._over():
                message = self._run_stage(self.stage_name(), self._latent_points(self.best, latent))
            self.potential.counter.limit = self.budget
            # A latent stage that could not begin leaves its share to the last one.
            if (self.minimizer.fine_stage or not self.iterations) and not self._over():
                message = self._fine_stage()
        if self.minimizer.search and not (self.stopped or self.bottomless):
            message = self._search()
        final = self.converged_at or self.best
        if final.energy > start.energy:
            final = self.best
        final, collapse = self._refuse_collapse(final)
        message = collapse or message
        return self._result(start, final, message), final

    def _search(self) -> str:
        """Hop on from the minimum reached, then take the best structure to the tolerance."""
        quenched = self.converged_at
        self.converged_at = None
        if self.budget:
            self.potential.counter.limit = self.budget - min(
                int(LAST_SHARE * self.budget), LAST_EVALUATIONS
            )
        context = self._search_context()
        compared = compared_atoms(self.minimizer.topology, self.potential.num_particles)
        self.database = MinimaDatabase(compared, context.topology.symmetry_classes)
        self.search_record = record = SearchRecord(context.settings.name)
        name = context.settings.name
        message = self._run_stage(name, self._hop_points(context), searching=True)
        self.stages[-1] = dataclasses.replace(self.stages[-1], message=f"{record}; {message}")
        self.potential.counter.limit = self.budget
        if quenched is not None and quenched.energy <= self.best.energy:
            self.converged_at = quenched
            return "the RMS force reached the tolerance; no lower minimum was found"
        if not self.stopped:
            isomers = isomer_points(context.topology, self.evaluate, self.best)
            message = self._run_stage("permutational isomers", isomers, searching=True)
        if self.stopped:
            if self.rms(self.best) <= self.tolerance:
                self.converged_at = self.best
            return message
        return self._fine_stage()

    def _search_context(self) -> SearchContext:
        settings = self.minimizer.search
        if settings.quench_tolerance is None:
            loose = min(LOOSE_FORCE, 10 * self.tolerance)
            settings = dataclasses.replace(settings, quench_tolerance=loose)
        return SearchContext.of(
            self.evaluator,
            settings,
            np.random.default_rng(self.minimizer.seed),
            self.tolerance,
        )

    def _hop_points(self, context: SearchContext) -> Iterator[Point]:
        """Hop; what the first evaluations of the search raise ends its stage too."""
        search = BasinHopping(
            context, self.best, self.database, self.search_record, self.start.positions
        )
        yield from search.points()

    def seconds(self) -> float:
        """Since the run began."""
        return time.perf_counter() - self.began

    def stage_name(self) -> str:
        """Name of the latent stage: that of its reparametrization."""
        spec = self.minimizer.reparametrization
        return spec if isinstance(spec, str) else getattr(spec, "__name__", type(spec).__name__)

    def _over(self) -> bool:
        return (
            self.converged_at is not None
            or self.stopped
            or bool(self.max_iterations and self.iterations >= self.max_iterations)
            or bool(self.budget and self.potential.counter.total >= self.budget)
        )

    def _spring_points(self) -> Iterator[Point]:
        try:
            yield from spring_points(self.potential, self.evaluate, self.best)
        except NonFiniteError as error:
            raise StageEnd(f"left as it was: {error}") from None

    def _latent_points(self, start: Point, latent: LatentSettings) -> Iterator[Point]:
        iterations = latent.iterations
        if self.max_iterations and self.minimizer.fine_stage:
            iterations = min(iterations, max(1, int(LATENT_SHARE * self.max_iterations)))
        begin = Start(self.potential, start.positions, np.random.default_rng(self.minimizer.seed))
        try:
            module = build(self.minimizer.reparametrization, begin, **self.minimizer.settings)
        except NonFiniteError as error:
            where = "near the start, where its Hessian is taken"
            raise StageEnd(f"left out: {where}, {error}") from None
        if self.minimizer.engine == "openmm-torch":
            gradients = torchforce_gradients(module, self.potential)
        else:
            gradients = eager_gradients(module, self.evaluate, start, self.potential.moves)
        points = descend_latents(module, gradients, start, latent)
        for done, point in enumerate(points, start=1):
            yield point
            if done >= iterations:
                raise StageEnd(f"{iterations} iterations done")

    def _fine_stage(self) -> str:
        """Descend to the tolerance; where there is no bottom, to before the flight."""
        stage = FineStage(
            self.potential,
            self.evaluate,
            self.collapse,
            self._project(),
            self.minimizer.settings if self.minimizer.latents_are_fine else None,
        )
        message = self._run_stage("preconditioned L-BFGS", stage.points(self.best))
        if stage.kept is not None:
            self.best, self.bottomless = stage.kept, True
        return message

    def _project(self):
        return self.evaluator.project

    def _run_stage(self, name: str, points: Iterator[Point], searching: bool = False) -> str:
        """Consume a stage's points until one of the run's own conditions or its end."""
        began, first = time.perf_counter(), self.iterations
        evaluations = self.potential.counter.total
        try:
            with contextlib.closing(points):
                message = self._consume(name, points, searching)
        except KeyboardInterrupt:
            # A search, and the last stage after it, have something to keep.
            if self.search_record is None:
                raise
            self.stopped, message = True, "stopped by Ctrl-C"
        except (StageEnd, LineSearchError, BudgetExhausted) as end:
            message = str(end)
            limit = self.potential.counter.limit
            if isinstance(end, BudgetExhausted) and limit != self.budget:
                message = f"the first {limit} of {self.budget} force evaluations are used up"
        self.stages.append(
            Stage(
                name,
                self.iterations - first,
                self.potential.counter.total - evaluations,
                self.best.energy,
                time.perf_counter() - began,
                message,
            )
        )
        return message

    def _consume(self, name: str, points: Iterator[Point], searching: bool) -> str:
        for point in points:
            self.iterations += 1
            force = self.rms(point)
            self.history.append(
                (
                    len(self.stages),
                    self.iterations,
                    self.potential.counter.total,
                    point.energy,
                    force,
                    self.seconds(),
                )
            )
            self._keep(point)
            stage, shown = name, point.energy
            if searching:
                hopping = name == self.minimizer.search.name
                record = self.search_record
                tried = f", {record.accepted}/{record.tried} hops accepted"
                stage, shown = f"{name}{tried if hopping else ''}, best", self.best.energy
            self.progress.update(self.iterations, shown, force, self.potential.counter.total, stage)
            close = self.best.energy + 10 * self.potential.noise(self.best.energy)
            if not searching and force <= self.tolerance and point.energy <= close:
                self.converged_at = point if self.collapse.sound(point) else None
            if self._report(point):
                self.stopped = True
                return "stopped by the reporter"
            if self.converged_at is not None:
                return "the RMS force reached the tolerance"
            if self.max_iterations and self.iterations >= self.max_iterations:
                return f"maxIterations = {self.max_iterations} reached"
        return "ended"

    def _keep(self, point: Point) -> None:
        """Keep the best structure: the soundest, and of those the lowest."""
        if self.soundness == SOUND and point.energy >= self.best.energy:
            return
        soundness = self._soundness(point)
        if (soundness, -point.energy) > (self.soundness, -self.best.energy):
            self.best, self.soundness = point, soundness

    def _soundness(self, point: Point) -> int:
        """SOUND where nothing has collapsed, less where something has in the start already."""
        if self.collapse.sound(point):
            return SOUND
        return SOUND - 1 - bool(self.collapse.pairs(point.positions, self.start.positions))

    def _refuse_collapse(self, final: Point) -> tuple[Point, str]:
        """Return the final structure, or the start where atoms have fallen in it; and what is said.

        What has collapsed in the start already may stay.
        """
        pairs = self.collapse.pairs(final.positions)
        if not pairs:
            return final, ""
        self.converged_at = None
        fallen = self.collapse.pairs(final.positions, self.start.positions)
        what = f"the start is kept, since atoms {FELL}" if fallen else f"in the start atoms {FELL}"
        advice = "Rebuild or remove one of each pair, or restrain them"
        named = self.collapse.named(fallen or pairs)
        return self.start if fallen else final, f"{what}: {named}. {advice}"

    def _report(self, point: Point) -> bool:
        if self.reporter is None:
            return False
        error = 0.0 if self.manifold is None else float(self.manifold.errors(point.positions).max())
        arguments = {
            "system energy": point.energy,
            "restraint energy": 0.0,
            "restraint strength": 0.0,
            "max constraint error": error,
        }
        return bool(
            self.reporter.report(
                self.iterations - 1,
                tuple(point.positions.ravel().tolist()),
                tuple((-point.forces).ravel().tolist()),
                arguments,
            )
        )

    def _result(self, start: Point, final: Point, message: str) -> MinimizationResult:
        counter = self.potential.counter
        sizes = np.sqrt((final.forces**2).sum(axis=1))
        worst = int(np.argmax(sizes))
        force = self.rms(final)
        # The converged point may have been left for a lower one with larger forces.
        converged = self.converged_at is not None and force <= self.tolerance
        if not converged:
            message = (
                f"stopped at RMS force {force:.4g} kJ/mol/nm, above the tolerance "
                f"{self.tolerance:g}: {message}"
            )
        stereo = Stereochemistry.of_potential(self.potential)
        compared = stereo.compare(start.positions, final.positions)
        return MinimizationResult(
            converged=converged,
            message=message,
            initial_energy=start.energy,
            energy=final.energy,
            rms_force=force,
            max_force=float(sizes[worst]),
            max_force_atom=self.potential.label(worst),
            iterations=self.iterations,
            force_evaluations=counter.total,
            seconds=self.seconds(),
            stages=tuple(self.stages),
            history=np.array(self.history, dtype=HISTORY_DTYPE),
            evaluations={
                "context": counter.context,
                "side": counter.side,
                "bonded": counter.bonded,
            },
            stereo_changes=compared.changes,
            stereo_checked=compared.checked,
            tolerance=self.tolerance,
            seed=self.minimizer.seed,
            minima=None if self.database is None else self.database.sorted_minima(),
            search_record=self.search_record,
        )
