"""What the paper's protein figures share: starts, runs of one or more stages, OpenMM's minimizer.

All of it on one thread (the CPU platform and torch), and seconds are the process's CPU seconds, so
that other work on the machine does not count.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import openmm as mm
import torch
from openmm import unit

from openmm_reparam import ConvergenceWarning, minimize_reparam
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.structure.measures import rmsd
from openmm_reparam.structure.stereochemistry import Stereochemistry

from ..baselines import counted
from ..cases import coil, entry, nudged
from ..report import PACKAGE

PLATFORM = "CPU"
TOLERANCE = 1.0  # kJ/mol/nm, RMS force
CAP = 3000  # Adam steps of a stage
EVERY = 10  # iterations between two kept frames

# Adam as published: one learning rate, no clipping, early stopping.
STAGE = {
    "learning_rate": 1e-3,
    "schedule": "constant",
    "latent_iterations": CAP,
    "patience": 50,
    "relative_energy": 1e-5,
    "max_gradient_norm": 1e12,
    "fine_stage": False,
}
ADAM = {"reparametrization": "cartesian", **STAGE}
LBFGS = {"reparametrization": "spectral"}


def gnn(count: int, hidden: int = 100, layers: int = 2) -> dict:
    """Return the settings of the paper's network: A = Psi Psi^T, displacements in nm."""
    return {
        "reparametrization": "gcn",
        "count": count,
        "hidden": (hidden,) * layers,
        "propagation": "projector",
        "coordinates": "cartesian",
        **STAGE,
    }


@dataclass
class Descent:
    """One or more stages from one start.

    ``trace`` has rows of (force evaluations, seconds, energy); ``frames`` of (force evaluations,
    seconds, positions), every ``EVERY`` iterations, where asked for.
    """

    positions: np.ndarray
    energy: float
    evaluations: int = 0
    seconds: float = 0.0
    trace: list = field(default_factory=list)
    frames: list = field(default_factory=list)


class Frames(mm.MinimizationReporter):
    """Keeps positions, and what ``clock`` says at each of them."""

    def __init__(self, clock=lambda: None) -> None:
        super().__init__()
        self.clock = clock
        self.positions, self.clocks, self.energies = [], [], []

    def report(self, iteration, x, gradient, arguments):
        """Keep every ``EVERY``-th frame, and every energy."""
        self.clocks.append(self.clock())
        self.energies.append(arguments["system energy"])
        if len(self.clocks) % EVERY == 1:
            self.positions.append(np.reshape(x, (-1, 3)))
        return False


def one_thread() -> None:
    """Set one thread everywhere, and load what torch and OpenMM load on first use."""
    torch.set_num_threads(1)
    mm.Platform.getPlatformByName(PLATFORM).setPropertyDefaultValue("Threads", "1")
    small = start("1PLW", "coil", 1)
    descend(small, gnn(5) | {"latent_iterations": 5})
    descend(small, LBFGS)
    small.simulation(PLATFORM).minimizeEnergy(maxIterations=5)


def start(code: str, kind: str, seed: int) -> MolecularSystem:
    """Return a start in vacuum amber14: the PDB entry, or a chain built from the sequence.

    ``kind`` is "pdb" (nudged by 0.005 nm for every seed but 0) or "coil" (extended for seed 0,
    random coils for the others).
    """
    if kind == "pdb":
        return nudged(entry(code, "vacuum"), seed)
    return coil(code, "vacuum", seed)


@cache
def native(code: str) -> MolecularSystem:
    """Return the PDB entry, for scoring alone."""
    return entry(code, "vacuum")


def from_native(code: str, molecule: MolecularSystem, positions: np.ndarray) -> float:
    """C-alpha RMSD from the PDB entry in nm."""
    return rmsd(molecule.topology, positions, native(code).topology, native(code).positions)


def stereo_changes(molecule: MolecularSystem, positions: np.ndarray) -> int:
    """Return how many chiral centres and peptide bonds have changed."""
    return len(Stereochemistry(molecule.topology).changes(molecule.positions, positions))


def descend(
    molecule: MolecularSystem,
    settings: dict,
    before: Descent | None = None,
    *,
    seed: int = 0,
    frames: bool = False,
) -> Descent:
    """Run `minimize_reparam` from the molecule's positions, or go on where another run ended."""
    simulation = molecule.simulation(PLATFORM)
    if before is None:
        before = Descent(Potential(simulation.context).positions(), np.inf)
    simulation.context.setPositions(before.positions)
    reporter = Frames() if frames else None
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = minimize_reparam(
            simulation, TOLERANCE, reporter=reporter, seed=seed, progress=False, **settings
        )
    total = time.process_time() - began
    evaluations = before.evaluations + result.history["force_evaluations"]
    seconds = before.seconds + result.history["seconds"] * (total / result.seconds)
    after = Descent(
        Potential(simulation.context).positions(),
        result.energy,
        before.evaluations + result.force_evaluations,
        before.seconds + total,
        before.trace + rows(evaluations, seconds, result.history["energy"]),
        list(before.frames),
    )
    if frames:
        after.frames += rows(evaluations[::EVERY], seconds[::EVERY], reporter.positions)
    return after


def rows(*columns) -> list[tuple]:
    return list(zip(*columns, strict=True))


def openmm_minimizer(molecule: MolecularSystem, *, frames: bool = False) -> Descent:
    """Run LocalEnergyMinimizer: once counted, once for the clock.

    Seconds on the way are those of the counted run, scaled to the other one's total.
    """
    plain = molecule.simulation(PLATFORM)
    began = time.process_time()
    plain.minimizeEnergy(TOLERANCE, **({"reporter": Frames()} if frames else {}))
    seconds = time.process_time() - began

    count = [0]

    def tick() -> None:
        count[0] += 1

    simulation = replace(molecule, system=counted(molecule.system, tick)).simulation(PLATFORM)
    reporter = Frames(lambda: (count[0], time.process_time() - began))
    began = time.process_time()
    simulation.minimizeEnergy(TOLERANCE, reporter=reporter)
    pace = seconds / (time.process_time() - began)
    evaluations = [n for n, _ in reporter.clocks]
    at = [pace * s for _, s in reporter.clocks]
    final = plain.context.getState(energy=True, positions=True)
    return Descent(
        final.getPositions(asNumpy=True).value_in_unit(unit.nanometer),
        final.getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole),
        count[0],
        seconds,
        rows(evaluations, at, reporter.energies),
        rows(evaluations[::EVERY], at[::EVERY], reporter.positions) if frames else [],
    )


def library_of(method: str) -> str:
    """Return the distribution that a method of these figures belongs to."""
    openmm = method == "LocalEnergyMinimizer" or method.startswith("Langevin")
    return "openmm" if openmm else PACKAGE
