"""Minimizers, each from given coordinates to a given RMS force, with every evaluation counted."""

from __future__ import annotations

import contextlib
import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import openmm as mm
from scipy.optimize import minimize as scipy_minimize

from openmm_reparam import ConvergenceWarning, minimize_reparam
from openmm_reparam.potentials.constraints import constraint_manifold
from openmm_reparam.potentials.point import rms
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.structure.stereochemistry import Stereochemistry

# Runs that do not converge are cut here, and reported as not converged.
MAX_EVALUATIONS = 5_000
# LocalEnergyMinimizer is run once only in Systems of more atoms than this, and what counting its
# evaluations costs is measured on so many iterations.
LARGE, PACE = 15_000, 20


@dataclass
class Outcome:
    """What one minimizer did from one start."""

    method: str
    energy: float
    rms_force: float
    force_evaluations: int
    seconds: float
    converged: bool
    bonded_evaluations: int = 0
    stereo_changes: list[str] = field(default_factory=list)
    # Rows of (force evaluations, seconds, energy) on the way; left out of JSON tables.
    trace: list = field(default_factory=list, repr=False)

    def to_dict(self) -> dict:
        """Return plain values for JSON."""
        plain = asdict(self)
        del plain["trace"]
        return plain


def counted(system: mm.System, tick: Callable[[], None]) -> mm.System:
    """Return a copy that calls ``tick`` at each force evaluation, from a PythonForce of nothing."""
    system = copy.deepcopy(system)
    nothing = np.zeros((system.getNumParticles(), 3))

    def compute(state):
        tick()
        return 0.0, nothing

    system.addForce(mm.PythonForce(compute, {}))
    return system


def judged(method: str, molecule: MolecularSystem, positions, tolerance, platform, **counts):
    """Energy, RMS force and stereochemistry of a final structure, all judged in the same way."""
    potential = Potential(molecule.simulation(platform).context)
    energy, forces = potential.evaluate(positions)
    manifold = constraint_manifold(potential)
    if manifold is not None:
        forces = manifold.project(positions, forces)
    force = rms(forces, int(potential.moves.sum()))
    start = molecule.positions
    changes = Stereochemistry(molecule.topology).changes(start, positions)
    # Single precision platforms do not repeat a force to the last digit.
    converged = force <= 1.01 * tolerance
    return Outcome(method, energy, force, converged=converged, stereo_changes=changes, **counts)


def local_energy_minimizer(molecule, tolerance, platform, seed):
    """OpenMM's own.

    Small Systems are run twice, and timed as users run them. In Systems of more than
    ``LARGE`` atoms the counted run is the only one; its clock is scaled by what counting costs on
    the first ``PACE`` iterations.
    """
    number = molecule.system.getNumParticles()
    count = [0]

    def tick() -> None:
        count[0] += 1

    class Trace(mm.MinimizationReporter):
        def report(self, iteration, x, gradient, arguments):
            elapsed = time.perf_counter() - began
            # Off the constraints the energy is that of no structure of the System.
            satisfied = arguments["max constraint error"] <= 1e-4
            energy = arguments["system energy"] if satisfied else np.inf
            trace.append((count[0], elapsed, energy))
            return False

    counting = replace(molecule, system=counted(molecule.system, tick))

    def timed(run, iterations, **reporter):
        simulation = run.simulation(platform)
        start = time.perf_counter()
        simulation.minimizeEnergy(tolerance, iterations, **reporter)
        return simulation, time.perf_counter() - start

    began, trace = time.perf_counter(), []
    if number > LARGE:
        pace = timed(molecule, PACE)[1] / timed(counting, PACE, reporter=Trace())[1]
        count[0], began, trace = 0, time.perf_counter(), []
        simulation, slow = timed(counting, 0, reporter=Trace())
        seconds = pace * slow
    else:
        simulation, seconds = timed(molecule, 0)
        began = time.perf_counter()
        pace = seconds / timed(counting, 0, reporter=Trace())[1]
    positions = Potential(simulation.context).positions()
    outcome = judged(
        "LocalEnergyMinimizer",
        molecule,
        positions,
        tolerance,
        platform,
        force_evaluations=count[0],
        seconds=seconds,
    )
    outcome.trace = [(evaluations, pace * at, energy) for evaluations, at, energy in trace]
    outcome.trace.append((count[0], seconds, outcome.energy))
    return outcome


class _Reached(Exception):  # noqa: N818
    """Ends scipy's run."""


def scipy_lbfgs(molecule, tolerance, platform, seed):
    """L-BFGS-B of scipy with memory 20 on the same Context; unconstrained Systems only."""
    simulation = molecule.simulation(platform)
    potential = Potential(simulation.context)
    moving = int(potential.moves.sum())
    last, trace = {}, []

    def energy_and_gradient(x):
        positions = x.reshape(-1, 3)
        energy, forces = potential.evaluate(positions)
        last["positions"] = np.array(positions)
        trace.append((potential.counter.total, time.perf_counter() - began, energy))
        if rms(forces, moving) <= tolerance or potential.counter.total >= MAX_EVALUATIONS:
            raise _Reached
        return energy, -forces.ravel()

    start = potential.positions()
    began = time.perf_counter()
    # Its own tests of convergence are off, its limits out of reach: the RMS force decides.
    options = {"maxcor": 20, "ftol": 0.0, "gtol": 0.0, "maxiter": 10**9, "maxfun": 10**9}
    with contextlib.suppress(_Reached):
        scipy_minimize(
            energy_and_gradient, start.ravel(), jac=True, method="L-BFGS-B", options=options
        )
    outcome = judged(
        "scipy L-BFGS-B",
        molecule,
        last["positions"],
        tolerance,
        platform,
        force_evaluations=potential.counter.total,
        seconds=time.perf_counter() - began,
    )
    outcome.trace = trace
    return outcome


def reparam(method: str, **settings) -> Callable:
    """Make a minimizer of a call of `minimize_reparam`."""

    def run(molecule, tolerance, platform, seed):
        simulation = molecule.simulation(platform)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = minimize_reparam(
                simulation,
                tolerance,
                seed=seed,
                max_force_evaluations=MAX_EVALUATIONS,
                progress=False,
                **settings,
            )
        positions = Potential(simulation.context).positions()
        outcome = judged(
            method,
            molecule,
            positions,
            tolerance,
            platform,
            force_evaluations=result.force_evaluations,
            bonded_evaluations=result.evaluations["bonded"],
            seconds=result.seconds,
        )
        rows = result.history[["force_evaluations", "seconds", "energy"]]
        outcome.trace = [tuple(row) for row in rows.tolist()]
        return outcome

    return run


def _with_ase(name: str) -> Callable:
    def run(molecule, tolerance, platform, seed):
        # ASE is an optional dependency.
        from . import ase_baselines

        return getattr(ase_baselines, name)(molecule, tolerance, platform, seed)

    return run


def unconstrained(molecule: MolecularSystem) -> bool:
    """Tell whether scipy and ASE can minimize this: no constraints, no virtual sites."""
    system = molecule.system
    sites = any(system.isVirtualSite(i) for i in range(system.getNumParticles()))
    return not sites and system.getNumConstraints() == 0


# The baselines, and the distribution that each comes from.
BASELINES: dict[str, tuple[Callable, str]] = {
    "LocalEnergyMinimizer": (local_energy_minimizer, "openmm"),
    "scipy L-BFGS-B": (scipy_lbfgs, "scipy"),
    "FIRE": (_with_ase("fire"), "ase"),
    "ASE PreconLBFGS": (_with_ase("precon_lbfgs"), "ase"),
}
# What this package does by default, and what else it can do.
DEFAULT: dict[str, Callable] = {"openmm-reparam": reparam("openmm-reparam")}
REPARAMETRIZED: dict[str, Callable] = {
    "Adam on X": reparam(
        "Adam on X",
        reparametrization="cartesian",
        latent_iterations=5000,
        patience=300,
        fine_stage=False,
    ),
    "linear": reparam("linear", reparametrization="linear"),
    "gcn": reparam("gcn", reparametrization="gcn"),
    "gcn as published": reparam(
        "gcn as published",
        reparametrization="gcn",
        coordinates="cartesian",
        propagation="projector",
    ),
    "spectral": reparam("spectral", reparametrization="spectral"),
}
