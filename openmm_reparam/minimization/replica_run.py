"""Many replicas of one molecule, minimized together."""

from __future__ import annotations

import copy
import dataclasses
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
import openmm as mm
import torch
from openmm import unit
from openmm.app import Topology

from ..constants import BOLTZMANN
from ..errors import BudgetExhausted, NonFiniteError
from ..geometry.superposition import rmsd_clusters, rmsd_matrix
from ..potentials.contexts import platform_properties
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..potentials.potential import EvaluationCounter, Potential
from ..reparametrizations import Start, build
from .clashes import evaluated_start
from .progress import Listener
from .replica_latents import LatentReplica, ReplicaDescent
from .replicas import Replicas, compared_atoms
from .result import MinimizationResult
from .run import Run
from .settings import MinimizationSettings

__all__ = ["minimize_replicas", "replica_starts"]

# More Contexts than this at once do not pay on one GPU.
MOST_ON_GPU = 4


def replica_starts(
    potential: Potential, original: np.ndarray, replicas, temperature: float, seed: int
) -> np.ndarray:
    """Return (R, N, 3) starts in nm.

    Parameters
    ----------
    potential : Potential
    original : (N, 3) array
    replicas : int or (R, N, 3) array or Quantity
        How many, or the starts themselves.
    temperature : float
        In K: all starts but the first, which is ``original``, are drawn from the thermal
        distribution of the preconditioner's harmonic energy 1/2 dx P dx around it.
    seed : int

    Raises
    ------
    TypeError, ValueError
        A wrong shape, number or unit; the message says which.
    NonFiniteError
        ``original`` is not finite, and starts are to be drawn around it.
    """
    if isinstance(replicas, int | np.integer) and not isinstance(replicas, bool):
        return _thermal_starts(potential, original, int(replicas), temperature, seed)
    if unit.is_quantity(replicas):
        replicas = replicas.value_in_unit(unit.nanometer)
    try:
        starts = np.array(replicas, dtype=np.float64)
        if starts.ndim == 0:
            raise TypeError("neither a whole number nor an array")
    except (TypeError, ValueError):
        raise TypeError(
            "replicas must be a whole number or an (R, N, 3) array of positions in nm, not "
            f"{type(replicas).__name__}"
        ) from None
    if starts.ndim != 3 or starts.shape[1:] != original.shape or not len(starts):
        raise ValueError(
            f"replicas has shape {starts.shape}; starts must have shape (R, {len(original)}, 3)"
        )
    return starts


def _thermal_starts(
    potential: Potential, original: np.ndarray, count: int, temperature: float, seed: int
) -> np.ndarray:
    if count < 1:
        raise ValueError(f"replicas is {count}; at least 1 is needed")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"replica_temperature is {temperature!r}; give kelvin, 0 or more")
    potential.refuse_non_finite(original)
    starts = np.repeat(original[None], count, axis=0)
    if count > 1 and temperature > 0:
        module = build("spectral", Start(potential, original))
        latents = module.get_parameter("latents")
        generator = torch.Generator().manual_seed(seed)
        for k in range(1, count):
            normal = torch.randn(latents.shape, generator=generator, dtype=latents.dtype)
            with torch.no_grad():
                latents.copy_((BOLTZMANN * temperature) ** 0.5 * normal)
                starts[k] = module().numpy()
    starts[:, ~potential.moves] = original[~potential.moves]
    return starts


def minimize_replicas(
    evaluator: Evaluator,
    settings: MinimizationSettings,
    original: np.ndarray,
    replicas,
    temperature: float,
    progress: Listener,
) -> tuple[MinimizationResult, Point]:
    """Minimize all replicas.

    The latent stage goes through the network and the C++ plugin's Contexts as one batch. The
    fine-grained stage has as many replicas under way as there are cores, each in a Context of one
    thread.

    Parameters
    ----------
    evaluator : Evaluator
        On the user's Context.
    settings : MinimizationSettings
        Their force evaluations are those of all replicas together.
    original : (N, 3) array
        The Context's positions, in nm.
    replicas, temperature
        See `replica_starts`.
    progress : Listener

    Returns
    -------
    MinimizationResult
        Of the lowest energy, its counts those of all; the others in ``replicas``.
    Point
        Its structure.
    """
    began, potential = time.perf_counter(), evaluator.potential
    potential.counter.limit = settings.max_force_evaluations
    starts = replica_starts(potential, original, replicas, temperature, settings.seed)
    for k, start in enumerate(starts):
        try:
            potential.refuse_non_finite(start)
        except NonFiniteError as error:
            raise NonFiniteError(f"replica {k}: {error}", error.atoms) from error
    each = _each_replicas_settings(settings, len(starts))
    latents = None
    if settings.latent.iterations:
        latents = _latent_stage(evaluator, each, starts, progress, began)
    ends = _fine_stage(potential, each, starts, latents, progress)
    results = tuple(result for result, _ in ends)
    positions = np.stack([point.positions for _, point in ends])
    result = _combined(results, positions, potential.topology)
    result = dataclasses.replace(result, seconds=time.perf_counter() - began)
    best = int(np.argmin([one.energy for one in results]))
    return result, ends[best][1]


def _each_replicas_settings(
    settings: MinimizationSettings, count: int
) -> list[MinimizationSettings]:
    """Return the settings of each replica: its share of the budget, its own seed."""
    budget = settings.max_force_evaluations
    if budget and budget < count:
        raise ValueError(
            f"max_force_evaluations is {budget}: less than one for each of {count} replicas"
        )
    return [
        dataclasses.replace(
            settings,
            max_force_evaluations=budget and (budget + k) // count,
            seed=settings.seed + k,
        )
        for k in range(count)
    ]


def _combined(
    results: tuple[MinimizationResult, ...], positions: np.ndarray, topology: Topology | None
) -> MinimizationResult:
    """Return the result of the lowest energy, with all replicas and the counts of all."""
    energies = np.array([result.energy for result in results])
    rmsd = rmsd_matrix(positions[:, compared_atoms(topology, positions.shape[1])])
    found = Replicas(results, positions, rmsd, rmsd_clusters(rmsd, energies))
    evaluations = {
        kind: sum(result.evaluations[kind] for result in results) for kind in results[0].evaluations
    }
    return dataclasses.replace(
        results[found.best],
        force_evaluations=sum(evaluations.values()),
        evaluations=evaluations,
        surrogate_evaluations=sum(result.surrogate_evaluations for result in results),
        replicas=found,
    )


def _latent_stage(
    evaluator: Evaluator,
    each: list[MinimizationSettings],
    starts: np.ndarray,
    progress: Listener,
    began: float,
) -> list[LatentReplica]:
    """Descend in the latents of all replicas together."""
    _refuse_latent_settings(each[0])
    modules, replicas = [], []
    for settings, x in zip(each, starts, strict=True):
        # Whatever the start and its Hessian cost is this replica's.
        counter = EvaluationCounter(limit=settings.latent_force_evaluations)
        evaluator.potential.counter = counter
        replica = LatentReplica(evaluated_start(evaluator, x), counter)
        replicas.append(replica)
        try:
            modules.append(_module(evaluator.potential, replica.start.positions, settings))
        except BudgetExhausted as end:
            replica.message = str(end)
    if len(modules) == len(replicas):
        latent = dataclasses.replace(each[0].latent, iterations=each[0].latent_iterations)
        ReplicaDescent(evaluator, latent, each[0].tolerance, progress, began).run(modules, replicas)
    return replicas


def _refuse_latent_settings(settings: MinimizationSettings) -> None:
    if settings.latent.optimizer != "adam":
        raise ValueError(
            f"optimizer={settings.latent.optimizer!r} does not go over replicas; the latent stage "
            'of replicas takes "adam"'
        )
    if settings.engine != "python":
        raise ValueError(f"engine={settings.engine!r} does not go over replicas")


def _module(
    potential: Potential, positions: np.ndarray, settings: MinimizationSettings
) -> torch.nn.Module:
    """Return a reparametrization of a replica's own."""
    spec = settings.reparametrization
    if isinstance(spec, torch.nn.Module):
        spec = copy.deepcopy(spec)
    begin = Start(potential, positions, np.random.default_rng(settings.seed))
    return build(spec, begin, **settings.reparametrization_settings)


def _fine_stage(
    potential: Potential,
    each: list[MinimizationSettings],
    starts: np.ndarray,
    latents: list[LatentReplica] | None,
    progress: Listener,
) -> list[tuple[MinimizationResult, Point]]:
    """Take every replica to the tolerance, as many at once as there are cores."""
    workers = min(len(starts), len(os.sched_getaffinity(0)))
    if "Threads" not in potential.context.getPlatform().getPropertyNames():
        workers = min(workers, MOST_ON_GPU)
    if each[0].surrogate is not None or _calls_python(potential.system):
        # Functions of somebody's own, which all Contexts share, may not bear threads.
        workers = 1
    stop, local = threading.Event(), threading.local()
    shared = _SharedProgress(progress, stop)

    def minimize(k: int) -> tuple[MinimizationResult, Point]:
        if not hasattr(local, "context"):
            local.context = _context_like(potential, workers)
        own = Evaluator(Potential(local.context, potential.topology))
        run = Run(own, each[k], shared)
        if latents:
            run.resume(latents[k])
        return run.minimize(starts[k])

    with ThreadPoolExecutor(workers) as executor:
        futures = [executor.submit(minimize, k) for k in range(len(starts))]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            # Ctrl-C too: every worker ends at its next iteration.
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _calls_python(system: mm.System) -> bool:
    """Whether a force of a System is a Python function."""
    return any(isinstance(force, mm.PythonForce) for force in system.getForces())


def _context_like(potential: Potential, workers: int) -> mm.Context:
    """Return a Context as the user's, of one thread where there are several."""
    theirs = potential.context
    integrator = mm.VerletIntegrator(0.001)
    integrator.setConstraintTolerance(theirs.getIntegrator().getConstraintTolerance())
    integrator.setIntegrationForceGroups(theirs.getIntegrator().getIntegrationForceGroups())
    properties = platform_properties(theirs, single_threaded=workers > 1)
    own = mm.Context(theirs.getSystem(), integrator, theirs.getPlatform(), properties)
    Potential(own).follow(Potential(theirs))
    return own


class _StoppedError(Exception):
    """Ends a worker whose work nobody waits for any more."""


class _SharedProgress:
    """One progress for many runs under way, which can stop them."""

    def __init__(self, progress: Listener, stop: threading.Event) -> None:
        self._progress, self._stop, self._lock = progress, stop, threading.Lock()
        self._iterations = 0
        self._lowest = np.inf
        self._evaluations: dict[int, int] = {}
        self._finished = 0

    def update(
        self, iteration: int, energy: float, rms_force: float, evaluations: int, stage: str
    ) -> None:
        """Show where all runs are together; end the one that calls if all are to end."""
        if self._stop.is_set():
            raise _StoppedError
        with self._lock:
            self._iterations += 1
            self._lowest = min(self._lowest, energy)
            worker = threading.get_ident()
            before = self._evaluations.get(worker, 0)
            if evaluations < before:
                self._finished += before
            self._evaluations[worker] = evaluations
            spent = self._finished + sum(self._evaluations.values())
            self._progress.update(self._iterations, self._lowest, rms_force, spent, stage)
