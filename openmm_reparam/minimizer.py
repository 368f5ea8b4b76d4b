"""ReparamMinimizer: runs the stages, holds the budget, keeps the best structure, writes it back."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator

import numpy as np
import openmm as mm
from openmm import unit

from .clashes import relieve_clashes
from .constraints import constraint_manifold
from .errors import (
    BudgetExhausted,
    ConvergenceWarning,
    NotConvergedError,
    UnsupportedSystemError,
)
from .latent import torchforce_gradients
from .latent_stage import (
    LatentSettings,
    StageEnd,
    descend_latents,
    eager_gradients,
    torch_threads_for,
)
from .optimizers.lbfgs import LineSearchError, Point, dot, lbfgs
from .potential import Potential
from .progress import Progress
from .reparametrizations import Start, build
from .result import HISTORY_DTYPE, MinimizationResult, Stage
from .structure import Stereochemistry
from .units import in_unit
from .whitening import Whitening

__all__ = ["ReparamMinimizer", "rms"]

ENGINES = ("python", "openmm-torch")
# The latent stage may use this share of a budget, so that the last stage gets its turn.
LATENT_SHARE = 1 / 3
# Iterations without a lower energy or a smaller force before the last stage gives up.
STALL = 200


def rms(forces: np.ndarray, count: int) -> float:
    r"""RMS force in OpenMM's convention: sqrt(sum \\|F\\|^2 / count), (N, 3) in kJ/mol/nm."""
    return float(np.sqrt(dot(forces, forces) / count))


class ReparamMinimizer:
    """Minimizes the positions of an OpenMM Context by neural reparametrization.

    A latent stage descends in the latents and weights of X = rho(Z; theta); a fine-grained stage
    (L-BFGS on X, whitened by the shifted Hessian of the stiff terms, on the constraint manifold)
    then goes to the tolerance.

    Parameters
    ----------
    simulation : openmm.app.Simulation or openmm.Context
        Only its positions will change, and only if the run succeeds.
    reparametrization : str, torch.nn.Module or callable
        "gcn" (the paper's network), "linear", "cartesian", "spectral", another registered name, a
        module of your own whose ``forward()`` returns (N, 3) positions in nm, or a callable that
        makes one; see `openmm_reparam.reparametrizations.build`.
    optimizer : {"adam", "lbfgs"}, optional
        Of the latent stage. "spectral" with "lbfgs" (its default) is the fine-grained stage: the
        same path, with P refreshed on the way.
    learning_rate, schedule, latent_iterations, patience, relative_energy, max_gradient_norm
        Of the latent stage, see `LatentSettings`. ``latent_iterations=0`` leaves it out.
    fine_stage : bool
        Run the fine-grained stage.
    engine : {"python", "openmm-torch"}
        Of the latent stage: OpenMM called from Python, or a latent System's Context (see
        `latent_system`), to the same energies; the latter needs the C++ plugin, openmmtorch and a
        System without constraints, and evaluates the start twice.
    seed : int, optional
        Of all randomness; None is 0, so that the same call gives the same result.
    progress : bool, optional
        True, False, or None: a bar on a terminal, for runs of more than a few seconds.
    **settings
        Of the reparametrization: ``hidden``, ``count`` (of slow modes), ``propagation``, ...

    References
    ----------
    Dehmamy, Both, Mohapatra, Das, Jaakkola, "Neural network reparametrization for accelerated
    optimization in molecular simulations", NeurIPS 2024.

    Examples
    --------
    >>> from openmm_reparam import ReparamMinimizer
    >>> from openmm_reparam.testsystems import peptide
    >>> simulation = peptide("AAA").simulation("CPU")
    >>> minimizer = ReparamMinimizer(simulation, hidden=(32, 32), latent_iterations=50)
    >>> result = minimizer.minimize(tolerance=10)
    >>> result.converged, [stage.name for stage in result.stages]
    (True, ['gcn', 'whitened L-BFGS'])
    """

    def __init__(
        self,
        simulation,
        reparametrization="gcn",
        *,
        optimizer: str | None = None,
        learning_rate: float | None = None,
        schedule: str = "cosine",
        latent_iterations: int = 200,
        patience: int = 50,
        relative_energy: float = 1e-4,
        max_gradient_norm: float = 1e4,
        fine_stage: bool = True,
        engine: str = "python",
        seed: int | None = None,
        progress: bool | None = None,
        **settings,
    ) -> None:
        context = getattr(simulation, "context", simulation)
        if not isinstance(context, mm.Context):
            raise TypeError(
                f"pass an openmm.app.Simulation or an openmm.Context, not "
                f"{type(simulation).__name__}"
            )
        self.context = context
        self.topology = getattr(simulation, "topology", None)
        self.reparametrization = reparametrization
        self.settings = settings
        self.seed = 0 if seed is None else int(seed)
        self.progress = progress
        self.fine_stage = fine_stage
        if engine not in ENGINES:
            raise ValueError(f"engine is {engine!r}; it must be one of {ENGINES}")
        self.engine = engine
        # L-BFGS on the latents of `spectral` is whitened L-BFGS on X, which is the last stage.
        self._latents_are_fine = reparametrization == "spectral" and optimizer in (None, "lbfgs")
        self.latent = LatentSettings(
            optimizer or "adam",
            learning_rate,
            schedule,
            0 if self._latents_are_fine else latent_iterations,
            patience,
            relative_energy,
            max_gradient_norm,
        )
        if not self.latent.iterations and not fine_stage:
            raise ValueError(
                "no stage is left to run: latent_iterations is 0 (or the reparametrization's "
                "latent stage is the fine-grained one) and fine_stage is False"
            )
        if engine != "python" and not self.latent.iterations:
            raise ValueError(f"engine={engine!r} is of the latent stage, and there is none here")
        refuse_unsupported(context)

    def minimize(
        self,
        tolerance=10 * unit.kilojoules_per_mole / unit.nanometer,
        maxIterations: int = 0,
        reporter: mm.MinimizationReporter | None = None,
        *,
        max_force_evaluations: int | None = None,
        strict: bool = False,
    ) -> MinimizationResult:
        r"""Minimize, and write the best structure to the Context.

        Parameters
        ----------
        tolerance : Quantity or float
            RMS force (kJ/mol/nm) at which to stop: sqrt(sum \\|F\\|^2 / N).
        maxIterations : int
            Of all stages together; 0 for no limit.
        reporter : openmm.MinimizationReporter, optional
            Called after every iteration; returning True stops the run with the best structure.
        max_force_evaluations : int, optional
            Hessians included.
        strict : bool
            Raise `NotConvergedError`, the Context unchanged, where a run does not converge.

        Returns
        -------
        MinimizationResult

        Raises
        ------
        TypeError, ValueError
            A wrong dimension; a negative or non-finite number.
        NonFiniteError
            The start holds NaN or coincident atoms, or infinite forces that pushing overlapping
            atoms apart does not make finite.
        NotConvergedError
            With ``strict=True``.
        Exception
            Whatever the reporter or OpenMM raises, Ctrl-C too, with the Context as it was before.

        Warns
        -----
        ConvergenceWarning
            The run ended above the tolerance.
        """
        tolerance = in_unit(tolerance, unit.kilojoules_per_mole / unit.nanometer, "tolerance")
        if tolerance == 0:
            raise ValueError("tolerance is 0; no force is ever exactly that")
        whole_number(maxIterations, "maxIterations", 0)
        if max_force_evaluations is not None:
            whole_number(max_force_evaluations, "max_force_evaluations", 1)
        run = _Run(self, tolerance, maxIterations, reporter, max_force_evaluations)
        original = run.potential.positions()
        try:
            with torch_threads_for(len(original)):
                result, best = run.minimize(original)
            if not result.converged and not run.stopped_by_reporter:
                if strict:
                    raise NotConvergedError(result)
                # Before anything is written: a user's filter may turn it into an error.
                warnings.warn(result.message, ConvergenceWarning, stacklevel=_callers_level())
            # Fixed atoms get back the very bits they had.
            final = np.where(run.potential.masses[:, None] > 0, best.positions, original)
            run.potential.set_positions(final)
        except BaseException:
            self.context.setPositions(original)
            raise
        finally:
            run.progress.close()
        return result


class _Run:
    """One minimization: what has been reached, and when to stop."""

    def __init__(self, minimizer, tolerance, max_iterations, reporter, budget) -> None:
        self.minimizer = minimizer
        self.tolerance = tolerance
        self.max_iterations = max_iterations
        self.reporter = reporter
        self.potential = Potential(minimizer.context, minimizer.topology)
        self.potential.counter.limit = budget
        self.budget = budget
        self.num_moving = int(self.potential.moves.sum())
        if not self.num_moving:
            raise ValueError("every particle is massless or a virtual site: nothing can move")
        self.manifold = constraint_manifold(self.potential)
        self.progress = Progress(minimizer.progress, max_iterations or None)
        self.began = time.perf_counter()
        self.iterations = 0
        self.history: list[tuple] = []
        self.stages: list[Stage] = []
        self.converged_at: Point | None = None
        self.stopped_by_reporter = False

    def evaluate(self, positions: np.ndarray) -> Point:
        """Energy and tangent forces of a configuration, retracted onto the constraints."""
        if self.manifold is None:
            energy, forces = self.potential.evaluate(positions)
            sites = self.potential.virtual_sites
            if sites.any():
                positions = np.where(sites[:, None], self.potential.positions(), positions)
            return Point(positions, energy, forces)
        positions = self.manifold.retract(positions)
        energy, forces = self.potential.evaluate(positions)
        return Point(positions, energy, self.manifold.project(positions, forces))

    def rms(self, point: Point) -> float:
        return rms(point.forces, self.num_moving)

    def minimize(self, original: np.ndarray) -> tuple[MinimizationResult, Point]:
        self.potential.refuse_bad_start(original)
        start = self.best = relieve_clashes(self.potential, self.evaluate, original)
        message = ""
        if self.rms(start) <= self.tolerance:
            self.converged_at = start
            message = "the start is a minimum to within the tolerance"
        else:
            latent = self.minimizer.latent
            if latent.iterations:
                if self.budget and self.minimizer.fine_stage:
                    self.potential.counter.limit = max(1, int(LATENT_SHARE * self.budget))
                message = self.run_stage(self.name(), self.latent_points(start, latent))
                self.potential.counter.limit = self.budget
            if self.minimizer.fine_stage and not self.over():
                message = self.run_stage("whitened L-BFGS", self.fine_points())
        final = self.converged_at or self.best
        if final.energy > start.energy:
            final = self.best
        return self.result(start, final, message), final

    def name(self) -> str:
        spec = self.minimizer.reparametrization
        return spec if isinstance(spec, str) else getattr(spec, "__name__", type(spec).__name__)

    def over(self) -> bool:
        return (
            self.converged_at is not None
            or self.stopped_by_reporter
            or bool(self.max_iterations and self.iterations >= self.max_iterations)
            or bool(self.budget and self.potential.counter.total >= self.budget)
        )

    def latent_points(self, start: Point, latent: LatentSettings) -> Iterator[Point]:
        iterations = latent.iterations
        if self.max_iterations and self.minimizer.fine_stage:
            iterations = min(iterations, max(1, int(LATENT_SHARE * self.max_iterations)))
        begin = Start(self.potential, start.positions, np.random.default_rng(self.minimizer.seed))
        module = build(self.minimizer.reparametrization, begin, **self.minimizer.settings)
        if self.minimizer.engine == "openmm-torch":
            gradients = torchforce_gradients(module, self.potential)
        else:
            gradients = eager_gradients(module, self.evaluate, start, self.potential.moves)
        points = descend_latents(module, gradients, start, latent)
        for done, point in enumerate(points, start=1):
            yield point
            if done >= iterations:
                raise StageEnd(f"{iterations} iterations done")

    def fine_points(self) -> Iterator[Point]:
        settings = self.minimizer.settings if self.minimizer._latents_are_fine else {}
        metric = Whitening(self.potential, **settings)
        metric.update(self.best.positions)
        project = self.manifold.project if self.manifold is not None else None
        lowest, smallest, since = self.best.energy, np.inf, 0
        for point in lbfgs(self.evaluate, self.best, metric=metric, project=project):
            yield point
            force = self.rms(point)
            if point.energy < lowest or force < smallest:
                lowest, smallest, since = min(point.energy, lowest), min(force, smallest), 0
            else:
                since += 1
            if since >= STALL:
                raise StageEnd(
                    f"neither energy nor force has fallen in {STALL} iterations: the platform's "
                    "precision is reached"
                )

    def run_stage(self, name: str, points: Iterator[Point]) -> str:
        """Consume a stage's points until one of the run's own conditions or its end."""
        began, first = time.perf_counter(), self.iterations
        evaluations = self.potential.counter.total
        try:
            with contextlib.closing(points):
                message = self.consume(name, points)
        except (StageEnd, LineSearchError, BudgetExhausted) as end:
            message = str(end)
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

    def consume(self, name: str, points: Iterator[Point]) -> str:
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
                    time.perf_counter() - self.began,
                )
            )
            self.progress.update(
                self.iterations, point.energy, force, self.potential.counter.total, name
            )
            if point.energy < self.best.energy:
                self.best = point
            if force <= self.tolerance and point.energy <= self.best.energy + 1e-6 * abs(
                self.best.energy
            ):
                self.converged_at = point
            if self.report(point):
                self.stopped_by_reporter = True
                return "stopped by the reporter"
            if self.converged_at is not None:
                return "the RMS force reached the tolerance"
            if self.max_iterations and self.iterations >= self.max_iterations:
                return f"maxIterations = {self.max_iterations} reached"
        return "ended"

    def report(self, point: Point) -> bool:
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

    def result(self, start: Point, final: Point, message: str) -> MinimizationResult:
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
        changes = None
        topology = self.minimizer.topology
        if topology is not None and topology.getNumAtoms() == len(final.positions):
            changes = tuple(Stereochemistry(topology).changes(start.positions, final.positions))
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
            seconds=time.perf_counter() - self.began,
            stages=tuple(self.stages),
            history=np.array(self.history, dtype=HISTORY_DTYPE),
            evaluations={
                "context": counter.context,
                "side": counter.side,
                "bonded": counter.bonded,
            },
            stereo_changes=changes,
            tolerance=self.tolerance,
            seed=self.minimizer.seed,
        )


def refuse_unsupported(context: mm.Context) -> None:
    """Raise `UnsupportedSystemError` for Systems whose minimum is not that of E(X) alone."""
    for force in context.getSystem().getForces():
        if isinstance(force, mm.DrudeForce):
            raise UnsupportedSystemError(
                "the System has Drude particles, which must follow their parents at every step; "
                "use simulation.minimizeEnergy() for it"
            )
    if isinstance(context.getIntegrator(), mm.RPMDIntegrator):
        raise UnsupportedSystemError(
            "the Context has an RPMDIntegrator, whose copies have positions of their own; "
            "minimize with another integrator, then set the copies' positions"
        )


def _callers_level() -> int:
    """Stack level of the first frame outside this package, for a warning that points there."""
    level, frame = 1, sys._getframe(1)
    package = __name__.partition(".")[0]
    while frame is not None and frame.f_globals.get("__name__", "").startswith(package + "."):
        level, frame = level + 1, frame.f_back
    return level


def whole_number(value, name: str, least: int) -> None:
    """Raise TypeError or ValueError where a value is not a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r}; it must be a whole number")
    if value < least:
        raise ValueError(f"{name} is {value}; it must be {least} or more")
