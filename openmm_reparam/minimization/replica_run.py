"""Many replicas of one molecule, minimized together."""

from __future__ import annotations

import copy
import dataclasses
import os
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
import openmm as mm
import torch
from openmm import unit

from ..errors import BudgetExhausted, NonFiniteError
from ..geometry.superposition import rmsd_clusters, rmsd_matrix
from ..potentials.contexts import platform_properties
from ..potentials.point import Point
from ..potentials.potential import EvaluationCounter, Potential
from ..reparametrizations import Start, build
from .clashes import evaluated_start
from .replica_latents import LatentReplica, descend_replicas
from .replicas import Replicas, compared_atoms
from .result import MinimizationResult
from .run import LATENT_SHARE, Run

__all__ = ["minimize_replicas", "replica_starts"]

BOLTZMANN = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
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
    """
    if isinstance(replicas, int | np.integer) and not isinstance(replicas, bool):
        if replicas < 1:
            raise ValueError(f"replicas is {replicas}; at least 1 is needed")
        if not 0 <= temperature < np.inf:
            raise ValueError(f"replica_temperature is {temperature!r}; give kelvin, 0 or more")
        starts = np.repeat(original[None], replicas, axis=0)
        if replicas > 1 and temperature > 0:
            module = build("spectral", Start(potential, original))
            generator = torch.Generator().manual_seed(seed)
            for k in range(1, replicas):
                normal = torch.randn(
                    module.latents.shape, generator=generator, dtype=module.latents.dtype
                )
                with torch.no_grad():
                    module.latents.copy_((BOLTZMANN * temperature) ** 0.5 * normal)
                    starts[k] = module().numpy()
        starts[:, ~potential.moves] = original[~potential.moves]
        return starts
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


def minimize_replicas(
    run: Run, original: np.ndarray, replicas, temperature: float
) -> tuple[MinimizationResult, Point]:
    """Minimize all replicas.

    The latent stage goes through the network and the C++ plugin's Contexts as one batch. The
    fine-grained stage has as many replicas under way as there are cores, each in a Context of one
    thread.

    Parameters
    ----------
    run : Run
        On the user's Context; its budget is that of all replicas together.
    original : (N, 3) array
        The Context's positions.
    replicas, temperature
        See `replica_starts`.

    Returns
    -------
    MinimizationResult
        Of the lowest energy, its counts those of all; the others in ``replicas``.
    Point
        Its structure.
    """
    seed = run.minimizer.seed
    starts = replica_starts(run.potential, original, replicas, temperature, seed)
    for k, start in enumerate(starts):
        try:
            run.potential.refuse_non_finite(start)
        except NonFiniteError as error:
            raise NonFiniteError(f"replica {k}: {error}", error.atoms) from error
    shares = [run.budget and (run.budget + k) // len(starts) for k in range(len(starts))]
    if run.budget and shares[0] == 0:
        raise ValueError(
            f"max_force_evaluations is {run.budget}: less than one for each of "
            f"{len(starts)} replicas"
        )
    latents = None
    if run.minimizer.latent.iterations:
        latents = _latent_stage(run, starts, shares)
    ends = _fine_stage(run, starts, latents, shares)
    results = [result for result, _ in ends]
    energies = np.array([result.energy for result in results])
    best = int(np.argmin(energies))
    positions = np.stack([point.positions for _, point in ends])
    chosen = compared_atoms(run.minimizer.topology, positions.shape[1])
    rmsd = rmsd_matrix(positions[:, chosen])
    found = Replicas(tuple(results), positions, rmsd, rmsd_clusters(rmsd, energies))
    evaluations = {
        kind: sum(result.evaluations[kind] for result in results)
        for kind in results[best].evaluations
    }
    result = dataclasses.replace(
        results[best],
        force_evaluations=sum(evaluations.values()),
        evaluations=evaluations,
        seconds=run.seconds(),
        replicas=found,
    )
    return result, ends[best][1]


def _latent_stage(run: Run, starts: np.ndarray, shares: list) -> list[LatentReplica]:
    minimizer = run.minimizer
    settings = minimizer.latent
    if settings.optimizer != "adam":
        raise ValueError(
            f"optimizer={settings.optimizer!r} does not go over replicas; the latent stage of "
            'replicas takes "adam"'
        )
    if minimizer.engine != "python":
        raise ValueError(f"engine={minimizer.engine!r} does not go over replicas")
    if run.max_iterations and minimizer.fine_stage:
        most = min(settings.iterations, max(1, int(LATENT_SHARE * run.max_iterations)))
        settings = dataclasses.replace(settings, iterations=most)
    elif run.max_iterations:
        settings = dataclasses.replace(
            settings, iterations=min(settings.iterations, run.max_iterations)
        )
    modules, replicas = [], []
    for k, x in enumerate(starts):
        # Whatever the start and its Hessian cost is this replica's.
        limit = shares[k]
        if limit and minimizer.fine_stage:
            limit = max(1, int(LATENT_SHARE * limit))
        run.potential.counter = counter = EvaluationCounter(limit=limit)
        start = evaluated_start(run.potential, run.collapse, run.evaluate, x)
        spec = minimizer.reparametrization
        if isinstance(spec, torch.nn.Module):
            spec = copy.deepcopy(spec)
        rng = np.random.default_rng(minimizer.seed + k)
        replica = LatentReplica(start, counter)
        replicas.append(replica)
        try:
            begin = Start(run.potential, start.positions, rng)
            modules.append(build(spec, begin, **minimizer.settings))
        except BudgetExhausted as end:
            replica.message = str(end)
    if len(modules) == len(replicas):
        descend_replicas(modules, replicas, run, settings)
    return replicas


def _fine_stage(run: Run, starts: np.ndarray, latents, shares: list) -> list:
    """Take every replica to the tolerance: [(MinimizationResult, Point)]."""
    context = run.minimizer.context
    workers = min(len(starts), len(os.sched_getaffinity(0)))
    if "Threads" not in context.getPlatform().getPropertyNames():
        workers = min(workers, MOST_ON_GPU)
    stop, local = threading.Event(), threading.local()
    progress = _SharedProgress(run.progress, stop)

    def minimize(k: int):
        if not hasattr(local, "minimizer"):
            local.minimizer = _worker(run.minimizer, workers)
        minimizer = copy.copy(local.minimizer)
        minimizer.seed = run.minimizer.seed + k
        alone = Run(minimizer, run.tolerance, run.max_iterations, None, shares[k], progress)
        if latents:
            alone.resume(latents[k], run.stage_name())
        return alone.minimize(starts[k])

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


def _worker(minimizer, workers: int):
    """Return a copy of the minimizer without latent stage, on a Context of its own."""
    theirs = minimizer.context
    integrator = mm.VerletIntegrator(0.001)
    integrator.setConstraintTolerance(theirs.getIntegrator().getConstraintTolerance())
    integrator.setIntegrationForceGroups(theirs.getIntegrator().getIntegrationForceGroups())
    properties = platform_properties(theirs, single_threaded=workers > 1)
    own = mm.Context(theirs.getSystem(), integrator, theirs.getPlatform(), properties)
    Potential(own).follow(Potential(theirs))
    worker = copy.copy(minimizer)
    worker.context = own
    worker.latent = dataclasses.replace(minimizer.latent, iterations=0)
    return worker


class _StoppedError(Exception):
    """Ends a worker whose work nobody waits for any more."""


class _SharedProgress:
    """One progress for many runs under way, which can stop them."""

    def __init__(self, progress, stop: threading.Event) -> None:
        self._progress, self._stop, self._lock = progress, stop, threading.Lock()
        self._iterations = 0
        self._lowest = np.inf
        self._evaluations: dict[int, int] = {}
        self._finished = 0

    def update(self, iteration, energy, rms_force, evaluations, stage) -> None:
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
