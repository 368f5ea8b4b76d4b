"""Baselines of a search for deeper minima, each with a budget of force evaluations.

LocalEnergyMinimizer once; the best of its runs from perturbed starts until the budget is used;
Langevin dynamics with a temperature falling to nothing, then a quench; and scipy's basin hopping
with Cartesian moves. Each run ends with a minimization to RMS force 1, within its budget.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import openmm as mm
from scipy.optimize import basinhopping

from openmm_reparam import NonFiniteError
from openmm_reparam.potentials.collapse import CollapseCheck
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.molecular_system import MolecularSystem

from .baselines import counted

TOLERANCE = 1.0
# Share of a budget kept for the last quench of annealing and of basin hopping.
LAST_SHARE = 0.1
# Langevin dynamics: time step in ps (no bond is constrained), friction in 1/ps, temperatures.
STEP, FRICTION, COOLINGS = 0.001, 1.0, 200
# Perturbation of restarts, largest move of basin hopping to begin with (scipy adapts it), in nm.
PERTURBATION, MOVE = 0.05, 0.05
# Of basin hopping's Metropolis rule, kJ/mol (600 K), and the largest force at which its quenches
# end, kJ/mol/nm.
METROPOLIS, QUENCHED = 5.0, 30.0


class _Used(Exception):  # noqa: N818
    """Ends a run that has used up its force evaluations."""


@dataclass
class Evaluator:
    """A Context whose force evaluations are counted and whose best structure is kept."""

    molecule: MolecularSystem
    limit: int
    platform: str
    count: int = 0
    best: float = np.inf
    positions: np.ndarray | None = None
    trace: list = field(default_factory=list)

    def __post_init__(self) -> None:
        self.potential = Potential(self.molecule.simulation(self.platform).context)
        self.collapse = CollapseCheck(self.potential)
        self.start = self.potential.positions()

    def keep(self, positions: np.ndarray, energy: float) -> None:
        """Keep a structure if it is the lowest so far, and no atom has fallen onto another."""
        if energy < self.best and self.sound(positions):
            self.best, self.positions = energy, np.array(positions)
            self.trace.append((self.count, energy))

    def sound(self, positions: np.ndarray) -> bool:
        """Hydrogens without a Lennard-Jones core can fall onto charges: that is no minimum."""
        return not self.collapse.pairs(np.asarray(positions))

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy and gradient of flat positions."""
        if self.count >= self.limit:
            raise _Used
        self.count += 1
        positions = x.reshape(-1, 3)
        try:
            energy, forces = self.potential.evaluate(positions)
        except NonFiniteError:
            # A move has brought atoms onto each other: scipy's Metropolis rule refuses it.
            return np.inf, np.zeros_like(x)
        self.keep(positions, energy)
        return energy, -forces.ravel()

    def quench(self, positions: np.ndarray) -> None:
        """Run LocalEnergyMinimizer, stopped where the budget ends."""

        def tick() -> None:
            self.count += 1

        evaluator = self

        class Stop(mm.MinimizationReporter):
            def report(self, iteration, x, gradient, arguments):
                evaluator.keep(np.reshape(x, (-1, 3)), arguments["system energy"])
                return evaluator.count >= evaluator.limit

        system = counted(self.molecule.system, tick)
        platform = mm.Platform.getPlatform(self.platform)
        context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
        context.setPositions(positions)
        mm.LocalEnergyMinimizer.minimize(context, TOLERANCE, 0, Stop())
        state = context.getState(energy=True, positions=True)
        self.keep(state.getPositions(asNumpy=True)._value, state.getPotentialEnergy()._value)


def once(molecule: MolecularSystem, budget: int, seed: int, platform: str) -> Evaluator:
    evaluator = Evaluator(molecule, budget, platform)
    evaluator.quench(evaluator.start)
    return evaluator


def restarts(molecule: MolecularSystem, budget: int, seed: int, platform: str) -> Evaluator:
    evaluator = once(molecule, budget, seed, platform)
    rng = np.random.default_rng(seed)
    while evaluator.count < budget:
        noise = rng.normal(0.0, PERTURBATION, evaluator.start.shape)
        evaluator.quench(evaluator.start + noise)
    return evaluator


def annealing(temperature: float) -> Callable:
    def run(molecule: MolecularSystem, budget: int, seed: int, platform: str) -> Evaluator:
        evaluator = Evaluator(molecule, budget, platform)
        # A coil's own clashes would blow the dynamics up.
        evaluator.limit = int(0.5 * LAST_SHARE * budget)
        evaluator.quench(evaluator.start)
        evaluator.limit = budget
        steps = max(COOLINGS, int((1 - LAST_SHARE) * budget) - evaluator.count)
        integrator = mm.LangevinMiddleIntegrator(temperature, FRICTION, STEP)
        integrator.setRandomNumberSeed(seed)
        context = mm.Context(molecule.system, integrator, mm.Platform.getPlatform(platform))
        context.setPositions(evaluator.positions)
        context.setVelocitiesToTemperature(temperature, seed)
        for stage in range(COOLINGS):
            integrator.setTemperature(temperature * (1 - stage / COOLINGS))
            integrator.step(steps // COOLINGS)
            evaluator.count += steps // COOLINGS
        evaluator.quench(context.getState(positions=True).getPositions(asNumpy=True)._value)
        return evaluator

    return run


def basin_hopping(molecule: MolecularSystem, budget: int, seed: int, platform: str) -> Evaluator:
    evaluator = Evaluator(molecule, int((1 - LAST_SHARE) * budget), platform)
    quench = {"method": "L-BFGS-B", "jac": True, "options": {"maxcor": 20, "gtol": QUENCHED}}
    with contextlib.suppress(_Used):
        basinhopping(
            evaluator,
            evaluator.start.ravel(),
            niter=budget,
            T=METROPOLIS,
            stepsize=MOVE,
            minimizer_kwargs=quench,
            accept_test=lambda x_new, **_: evaluator.sound(x_new.reshape(-1, 3)),
            rng=np.random.default_rng(seed),
        )
    evaluator.limit = budget
    evaluator.quench(evaluator.positions)
    return evaluator


SEARCH_BASELINES: dict[str, tuple[Callable, str]] = {
    "LocalEnergyMinimizer": (once, "openmm"),
    "restarts": (restarts, "openmm"),
    "annealing 600 K": (annealing(600.0), "openmm"),
    "annealing 1200 K": (annealing(1200.0), "openmm"),
    "Cartesian basin hopping": (basin_hopping, "scipy"),
}
