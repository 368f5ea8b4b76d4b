"""Deeper minima: searches with equal numbers of force evaluations, from the same unfolded starts.

    python benchmarks/deep.py --cases "5AWL vacuum" --budgets 20000 --starts 10
    python benchmarks/deep.py --tables

Starts are random coils built from the sequence. The peers of a search are OpenMM's
LocalEnergyMinimizer once; the best of its runs from perturbed starts until the budget is used;
Langevin dynamics with a temperature falling from 600 K or 1200 K to nothing, then a quench; and
scipy's basin hopping with Cartesian kicks. Each run ends with a minimization to RMS force 1, within
its budget. Two runs at a time, on one thread each.

A run that the output has already, from whichever platform, is not repeated, unless ``--again`` is
given. On a GPU, ``--workers 1``: several processes wait for each other.

Native structures (2JOF, ... of ../shared/pdb, or of the folder named by OPENMM_REPARAM_DATA) are
read by the parent process alone, to score runs that have ended.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import openmm as mm
from local import PDB, entry
from matplotlib.figure import Figure
from openmm import unit
from peers import counted
from report import spread, write_json
from scipy.optimize import basinhopping
from scipy.stats import binomtest
from tqdm import tqdm

from openmm_reparam import ConvergenceWarning, NonFiniteError, minimize_reparam
from openmm_reparam.potentials.collapse import CollapseCheck
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import SearchSettings
from openmm_reparam.structure.measures import rmsd
from openmm_reparam.structure.stereochemistry import Stereochemistry

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
IMAGES = ROOT / "docs" / "images"
CASES = ["1PLW vacuum", "5AWL vacuum", "2JOF vacuum", "2WXC vacuum", "5AWL gbn2"]
TOLERANCE = 1.0
# Share of a budget kept for the last quench of annealing and of basin hopping.
LAST_SHARE = 0.1
# Langevin dynamics: time step in ps (no bond is constrained), friction in 1/ps, temperatures.
STEP, FRICTION, COOLINGS = 0.001, 1.0, 200
# Perturbation of restarts, largest kick of basin hopping to begin with (scipy adapts it), in nm.
PERTURBATION, KICK = 0.05, 0.05
# Of basin hopping's Metropolis rule, kJ/mol (600 K), and the largest force at which its quenches
# end, kJ/mol/nm.
METROPOLIS, QUENCHED = 5.0, 30.0


# Points of each run's best energy that the JSON keeps.
KEPT = 80


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
            # A kick has brought atoms onto each other: scipy's Metropolis rule refuses it.
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
            stepsize=KICK,
            minimizer_kwargs=quench,
            accept_test=lambda x_new, **_: evaluator.sound(x_new.reshape(-1, 3)),
            rng=np.random.default_rng(seed),
        )
    evaluator.limit = budget
    evaluator.quench(evaluator.positions)
    return evaluator


def ours(**settings) -> Callable:
    def run(molecule: MolecularSystem, budget: int, seed: int, platform: str) -> Evaluator:
        simulation = molecule.simulation(platform)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = minimize_reparam(
                simulation,
                TOLERANCE,
                max_force_evaluations=budget,
                seed=seed,
                progress=False,
                **settings,
            )
        evaluator = Evaluator(molecule, budget, platform, result.force_evaluations)
        evaluator.keep(Potential(simulation.context).positions(), result.energy)
        best = np.minimum.accumulate(result.history["energy"])
        falls = np.flatnonzero(np.diff(best, prepend=np.inf) < 0)
        evaluations = result.history["force_evaluations"][falls]
        evaluator.trace = list(zip(evaluations.tolist(), best[falls].tolist(), strict=True))
        evaluator.message = "; ".join(stage.message for stage in result.stages[1:-1])
        return evaluator

    return run


def neural(**network) -> Callable:
    return ours(search=SearchSettings(explorer="gcn", explorer_settings=network))


METHODS: dict[str, Callable] = {
    "LocalEnergyMinimizer": once,
    "restarts": restarts,
    "annealing 600 K": annealing(600.0),
    "annealing 1200 K": annealing(1200.0),
    "Cartesian basin hopping": basin_hopping,
    "slow-modes": ours(search="slow-modes"),
    "population": ours(search="population"),
    "annealed": ours(search="annealed"),
    "neural": ours(search="neural"),
    # What of the network matters.
    "neural, cartesian": neural(coordinates="cartesian"),
    "neural, as published": neural(
        coordinates="cartesian", propagation="projector", hidden=(100, 100)
    ),
    "neural, hidden 16": neural(coordinates="whitened", hidden=(16,)),
    "neural, 10 modes": neural(coordinates="whitened", count=10),
    "neural, large rate": ours(
        search=SearchSettings(
            explorer="gcn",
            explorer_settings={"coordinates": "whitened"},
            learning_rate=0.2,
            amplitude=0.4,
        )
    ),
    "neural, L-BFGS": ours(
        search=SearchSettings(
            explorer="gcn",
            explorer_settings={"coordinates": "whitened"},
            explorer_optimizer="lbfgs",
        )
    ),
    "linear": ours(search=SearchSettings(explorer="linear")),
}
PEERS, SEARCHES = list(METHODS)[:5], list(METHODS)[5:7]


def start_of(case: str, seed: int) -> MolecularSystem:
    code, solvent = case.split()
    return peptide(code, "random-coil", solvent=solvent, seed=seed)


def thinned(trace: list) -> list:
    """Keep so few of the falls of the best energy that a file of all runs stays small."""
    evaluations = [count for count, _ in trace]
    grid = np.geomspace(max(1, evaluations[0]), evaluations[-1], KEPT)
    chosen = np.unique(np.maximum(np.searchsorted(evaluations, grid + 0.5) - 1, 0))
    return [(int(trace[k][0]), round(float(trace[k][1]), 1)) for k in chosen]


def work(case: str, budget: int, method: str, seed: int, platform: str) -> dict:
    """One run; the structure goes along, for scoring."""
    molecule = start_of(case, seed)
    began = time.perf_counter()
    done = METHODS[method](molecule, budget, seed, platform)
    seconds = time.perf_counter() - began
    energy, forces = done.potential.evaluate(done.positions)
    states = Stereochemistry(molecule.topology)
    return {
        "case": case,
        "budget": budget,
        "method": method,
        "seed": seed,
        "platform": platform,
        "energy": energy,
        "rms_force": float(np.sqrt((forces**2).sum() / len(forces))),
        "force_evaluations": done.count,
        "seconds": seconds,
        "stereo_changes": list(states.changes(molecule.positions, done.positions)),
        "message": getattr(done, "message", ""),
        "positions": np.round(done.positions, 5).tolist(),
        "trace": thinned(done.trace),
    }


@cache
def native(case: str) -> tuple[MolecularSystem, np.ndarray, float | None]:
    """Return the deposited structure, its positions, and its minimum's energy in the same field."""
    code, solvent = case.split()
    molecule = entry(code, solvent)
    simulation = molecule.simulation("CPU")
    result = minimize_reparam(simulation, TOLERANCE, progress=False)
    same = molecule.system.getNumParticles() == start_of(case, 1).system.getNumParticles()
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))
    return molecule, x, result.energy if same else None


def score(row: dict) -> None:
    """Add RMSD from, and energy above, the native structure; drop the coordinates."""
    molecule, x, energy = native(row["case"])
    chain = start_of(row["case"], row["seed"])
    positions = np.array(row.pop("positions"))
    row["rmsd"] = rmsd(chain.topology, positions, molecule.topology, x)
    row["above_native"] = None if energy is None else row["energy"] - energy


def key(row: dict) -> tuple:
    """Return what tells one run from the others."""
    return row["case"], row["budget"], row["method"], row["seed"]


def tables(rows: list[dict]) -> str:
    lines = []
    for case, budget in dict.fromkeys((r["case"], r["budget"]) for r in rows):
        of = {
            method: {
                r["seed"]: r
                for r in rows
                if (r["case"], r["budget"], r["method"]) == (case, budget, method)
            }
            for method in METHODS
        }
        of = {method: found for method, found in of.items() if found}
        mine = [method for method in of if method in SEARCHES]
        lines += [
            f"\n### {case}, {budget} force evaluations\n",
            "| method | energy, kJ/mol | lowest | evaluations | seconds | lower than it: "
            f"{', '.join(mine)} (p) | CA RMSD, nm | above the native's minimum | stereo changes |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for method, found in of.items():
            every = list(found.values())
            energies = [r["energy"] for r in every]
            above = [r["above_native"] for r in every if r["above_native"] is not None]
            elsewhere = sorted({r["platform"] for r in every} - {"CPU"})
            lines.append(
                f"| {', '.join([method, *elsewhere])} | {spread(energies)} | {min(energies):.0f} "
                f"| {spread([r['force_evaluations'] for r in every])} "
                f"| {spread([r['seconds'] for r in every])} "
                f"| {', '.join(_sign_test(of[m], found) for m in mine if m != method)} "
                f"| {spread([r['rmsd'] for r in every])} "
                f"| {spread(above) if above else 'other atoms'} "
                f"| {sum(bool(r['stereo_changes']) for r in every)}/{len(every)} |"
            )
    return "\n".join(lines)


def _sign_test(ours: dict[int, dict], theirs: dict[int, dict]) -> str:
    """Paired over starts: how often ours is lower, and how likely that is by chance."""
    pairs = [(ours[s]["energy"], theirs[s]["energy"]) for s in ours if s in theirs]
    lower = sum(a < b for a, b in pairs)
    return f"{lower}/{len(pairs)} ({binomtest(lower, len(pairs)).pvalue:.2g})"


def plot(rows: list[dict], case: str, budget: int, folder: Path) -> None:
    """Best energy against force evaluations, median over starts."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    grid = np.unique(np.geomspace(budget / 200, budget, 100).astype(int))
    for method in METHODS:
        traces = [
            np.array(r["trace"])
            for r in rows
            if (r["case"], r["budget"], r["method"]) == (case, budget, method)
        ]
        if traces:
            steps = [
                t[np.maximum(np.searchsorted(t[:, 0], grid, "right") - 1, 0), 1] for t in traces
            ]
            axis.plot(grid, np.median(steps, axis=0), label=method)
    # The first falls are steep and say nothing of a search.
    early = np.searchsorted(grid, budget / 40)
    high = max(line.get_ydata()[early] for line in axis.lines)
    low = min(line.get_ydata()[-1] for line in axis.lines)
    axis.set(
        xscale="log",
        xlabel="force evaluations",
        ylabel="best energy, kJ/mol (median)",
        title=case,
        ylim=(low - 0.05 * (high - low), high + 0.05 * (high - low)),
    )
    axis.legend(fontsize="small")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"deep-{case.replace(' ', '-')}-{budget}.png", dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES, metavar="CASE")
    parser.add_argument("--budgets", nargs="+", type=int, default=[2000, 20_000])
    parser.add_argument(
        "--methods", nargs="+", default=PEERS + SEARCHES, choices=list(METHODS), metavar="METHOD"
    )
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--platform", default="CPU", help="OpenMM's, of all Contexts of the runs")
    parser.add_argument("--output", type=Path, default=RESULTS / "deep.json")
    parser.add_argument("--again", action="store_true", help="rerun what the output has already")
    parser.add_argument("--tables", action="store_true", help="print those of the output and stop")
    arguments = parser.parse_args()
    rows = json.loads(arguments.output.read_text())["rows"] if arguments.output.exists() else []
    if arguments.tables:
        print(tables(rows))
        return
    if not PDB.is_dir():
        parser.error(f"{PDB} is not a folder; OPENMM_REPARAM_DATA names that of the native entries")
    os.environ["OPENMM_CPU_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    seeds = range(1, arguments.starts + 1)
    # All methods from one start, then from the next: what is cut off still compares.
    starts = product(arguments.cases, arguments.budgets, seeds, arguments.methods)
    wanted = [(case, budget, method, seed) for case, budget, seed, method in starts]
    if not arguments.again:
        done = {key(row) for row in rows}
        wanted = [run for run in wanted if run not in done]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=spawn) as pool:
        runs = [pool.submit(work, *run, arguments.platform) for run in wanted]
        for run in tqdm(as_completed(runs), total=len(runs), desc="runs"):
            new = run.result()
            score(new)
            rows = [row for row in rows if key(row) != key(new)] + [new]
            write_json(arguments.output, {"rows": sorted(rows, key=key)}, announce=False)
    # Trials of one's own leave the pictures of the documentation alone.
    own = arguments.output.resolve() != (RESULTS / "deep.json").resolve()
    folder = arguments.output.parent if own else IMAGES
    for case, budget in product(arguments.cases, arguments.budgets):
        plot(rows, case, budget, folder)
    print(tables(rows))


if __name__ == "__main__":
    main()
