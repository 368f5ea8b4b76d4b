"""Deeper minima: searches with equal numbers of force evaluations, from the same unfolded starts.

    python -m benchmarks.search --cases "5AWL vacuum" --budgets 20000 --starts 10

Starts are random coils built from the sequence. What the searches are compared with is in
search_baselines.py. Each run ends with a minimization to RMS force 1, within its budget. As many
runs at a time as there are cores, on one thread each; on a GPU, ``--workers 1``, because several
processes would wait for each other.

A run that the output has already, of the same version of its method, is not repeated, unless
``--again`` is given. Native structures are read by the parent process alone, to score runs that
have ended.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from openmm import unit
from scipy.stats import binomtest
from tqdm import tqdm

from openmm_reparam import ConvergenceWarning, minimize_reparam
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.search import SearchSettings
from openmm_reparam.structure.measures import rmsd
from openmm_reparam.structure.stereochemistry import Stereochemistry

from .cases import PDB, entry, random_coil
from .report import (
    PACKAGE,
    append,
    cell,
    grouped,
    markdown,
    origin,
    quartiles,
    read_runs,
    record,
    runs_of,
)
from .search_baselines import SEARCH_BASELINES, TOLERANCE, Evaluator

CASES = ["1PLW vacuum", "5AWL vacuum", "2JOF vacuum", "2WXC vacuum", "5AWL gbn2"]
SUMMARIES = {
    "search": ("case", "budget", "method"),
    "search-curves": ("case", "budget", "method"),
}
# The search that the others are compared with, start by start.
REFERENCE = "slow-modes"
# Points of each run's best energy that its record keeps.
KEPT = 80
# Curves of runs with this budget are summarized, at so many points.
PICTURED_BUDGET, CURVE_POINTS = 20_000, 40


def search(**settings) -> Callable:
    """Make a method of a call of `minimize_reparam`."""

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
    """Make a search with latents of the paper's network."""
    return search(search=SearchSettings(explorer="gcn", explorer_settings=network))


SEARCHES: dict[str, Callable] = {
    "slow-modes": search(search="slow-modes"),
    "population": search(search="population"),
    "annealed": search(search="annealed"),
    "neural": search(search="neural"),
    # What of the network matters.
    "neural, cartesian": neural(coordinates="cartesian"),
    "neural, as published": neural(
        coordinates="cartesian", propagation="projector", hidden=(100, 100)
    ),
    "neural, hidden 16": neural(coordinates="whitened", hidden=(16,)),
    "neural, 10 modes": neural(coordinates="whitened", count=10),
    "neural, large rate": search(
        search=SearchSettings(
            explorer="gcn",
            explorer_settings={"coordinates": "whitened"},
            learning_rate=0.2,
            amplitude=0.4,
        )
    ),
    "neural, L-BFGS": search(
        search=SearchSettings(
            explorer="gcn",
            explorer_settings={"coordinates": "whitened"},
            explorer_optimizer="lbfgs",
        )
    ),
    "linear": search(search=SearchSettings(explorer="linear")),
}
METHODS: dict[str, tuple[Callable, str]] = SEARCH_BASELINES | {
    name: (run, PACKAGE) for name, run in SEARCHES.items()
}
USUAL = [*SEARCH_BASELINES, "slow-modes", "population"]


def start_of(case: str, start: int) -> MolecularSystem:
    """Build the random coil of this number."""
    code, solvent = case.split()
    return random_coil(code, solvent, start)


def thinned(trace: list) -> list:
    """Keep so few of the falls of the best energy that a file of all runs stays small."""
    evaluations = [count for count, _ in trace]
    grid = np.geomspace(max(1, evaluations[0]), evaluations[-1], KEPT)
    chosen = np.unique(np.maximum(np.searchsorted(evaluations, grid + 0.5) - 1, 0))
    return [(int(trace[k][0]), round(float(trace[k][1]), 1)) for k in chosen]


def work(case: str, budget: int, method: str, start: int, platform: str) -> dict:
    """Do one run; the structure goes along, for scoring."""
    molecule = start_of(case, start)
    run, library = METHODS[method]
    began = time.perf_counter()
    done = run(molecule, budget, start, platform)
    seconds = time.perf_counter() - began
    energy, forces = done.potential.evaluate(done.positions)
    states = Stereochemistry(molecule.topology)
    return record(
        platform,
        library,
        case=case,
        budget=budget,
        method=method,
        start=start,
        energy=energy,
        rms_force=float(np.sqrt((forces**2).sum() / len(forces))),
        force_evaluations=done.count,
        seconds=seconds,
        stereo_changes=list(states.changes(molecule.positions, done.positions)),
        message=getattr(done, "message", ""),
        positions=np.round(done.positions, 5).tolist(),
        trace=thinned(done.trace),
    )


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
    chain = start_of(row["case"], row["start"])
    positions = np.array(row.pop("positions"))
    row["rmsd"] = rmsd(chain.topology, positions, molecule.topology, x)
    row["above_native"] = None if energy is None else row["energy"] - energy


# --- Summary and tables ---


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Group runs: quartiles, the reference search against each by starts, and median curves."""
    groups = grouped(runs, SUMMARIES["search"])
    rows, curves = [], []
    for told, members in groups:
        row = dict(told)
        for name in ("energy", "force_evaluations", "seconds", "rmsd", "above_native"):
            row |= quartiles(name, [r[name] for r in members if r.get(name) is not None])
        row["lowest"] = min(run["energy"] for run in members)
        row["stereo_changed"] = sum(bool(run["stereo_changes"]) for run in members)
        rows.append(row | _reference_lower(told, members, groups))
        if told["budget"] == PICTURED_BUDGET:
            curves.append(told | _median_curve(members))
    return {"search": rows, "search-curves": curves}


def _reference_lower(told: dict, members: list[dict], groups) -> dict:
    """Say on how many common starts the reference search ended lower, and how likely by chance.

    Of several versions of the reference, the one with most starts counts, the newest of these.
    """
    same = ("case", "budget")
    others = [
        (other["starts"], other["date"], other["version"], group)
        for other, group in groups
        if other["method"] == REFERENCE and all(other[k] == told[k] for k in same)
    ]
    if not others or told["method"] == REFERENCE:
        return dict.fromkeys(("reference_lower", "pairs", "p_value", "reference_version"))
    _, _, version, group = max(others, key=lambda other: other[:3])
    reference = {run["start"]: run["energy"] for run in group}
    pairs = [(reference[r["start"]], r["energy"]) for r in members if r["start"] in reference]
    lower = sum(a < b for a, b in pairs)
    return {
        "reference_lower": lower,
        "pairs": len(pairs),
        "p_value": float(binomtest(lower, len(pairs)).pvalue) if pairs else None,
        "reference_version": version,
    }


def _grid(budget: int) -> np.ndarray:
    return np.unique(np.geomspace(budget / 200, budget, CURVE_POINTS).astype(int))


def _median_curve(members: list[dict]) -> dict[str, float]:
    """Return the median over starts of the best energy, in a column for each evaluation count."""
    grid = _grid(members[0]["budget"])
    steps = []
    for run in members:
        trace = np.array(run["trace"])
        place = np.maximum(np.searchsorted(trace[:, 0], grid, "right") - 1, 0)
        steps.append(trace[place, 1])
    medians = np.round(np.median(steps, axis=0), 1).tolist()
    return dict(zip(map(str, grid), medians, strict=True))


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return the tables of each case, one for each budget."""
    rows = found["search"]
    header = [
        *("method", "starts", "energy, kJ/mol", "lowest", "evaluations", "seconds"),
        *(f"{REFERENCE} lower than it (p)", "CA RMSD, nm", "above the native's minimum"),
        *("stereo changes", "version"),
    ]
    parts: dict[str, str] = {}
    for case, budget in sorted({(row["case"], row["budget"]) for row in rows}):
        mine = [row for row in rows if (row["case"], row["budget"]) == (case, budget)]
        mine.sort(key=lambda row: (_place(row["method"]), row["date"]))
        table = markdown(header, [_line(row) for row in mine])
        name = f"search-{case.lower().replace(' ', '-')}"
        before = f"{parts[name]}\n\n" if name in parts else ""
        parts[name] = f"{before}### {_thousands(budget)} force evaluations\n\n{table}"
    return parts


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _place(method: str) -> int:
    names = list(METHODS)
    return names.index(method) if method in names else len(names)


def _line(row: dict) -> list:
    lower = (
        f"{row['reference_lower']}/{row['pairs']} ({row['p_value']:.2g})" if row["pairs"] else ""
    )
    return [
        *(row["method"], row["starts"], cell(row, "energy"), f"{row['lowest']:.0f}"),
        *(cell(row, "force_evaluations"), cell(row, "seconds"), lower, cell(row, "rmsd")),
        cell(row, "above_native") or "other atoms",
        *(f"{row['stereo_changed']}/{row['starts']}", origin(row)),
    ]


def plot_summary(found: dict[str, list[dict]], folder: Path) -> None:
    """Draw best energy against force evaluations, the median over starts, for each case."""
    curves = found["search-curves"]
    for case in dict.fromkeys(row["case"] for row in curves):
        path = folder / f"search-{case.replace(' ', '-')}-{PICTURED_BUDGET}.png"
        plot(case, [row for row in curves if row["case"] == case], path)


def plot(case: str, curves: list[dict], path: Path) -> None:
    """Draw the curves of one case."""
    figure = Figure(figsize=(8.5, 4), layout="constrained")
    axis = figure.subplots()
    grid = _grid(PICTURED_BUDGET)
    energies = []
    for row in sorted(curves, key=lambda row: _place(row["method"])):
        energies.append([row[str(count)] for count in grid])
        axis.plot(grid, energies[-1], label=row["method"])
    # The first falls are steep and say nothing of a search.
    early = np.searchsorted(grid, PICTURED_BUDGET / 40)
    high = max(curve[early] for curve in energies)
    low = min(curve[-1] for curve in energies)
    axis.set(
        xscale="log",
        xlabel="force evaluations",
        ylabel="best energy, kJ/mol (median)",
        title=case,
        ylim=(low - 0.05 * (high - low), high + 0.05 * (high - low)),
    )
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=100)
    print(f"wrote {path}")


# --- Running ---


def wanted_runs(arguments: argparse.Namespace) -> list[tuple]:
    """Return the runs to do: all methods from one start, then from the next."""
    starts = range(1, arguments.starts + 1)
    every = product(arguments.cases, arguments.budgets, starts, arguments.methods)
    wanted = [(case, budget, method, start) for case, budget, start, method in every]
    if arguments.again:
        return wanted
    keys = ("case", "budget", "method", "start", "version", "platform")
    done = {tuple(run[key] for key in keys) for run in read_runs(arguments.output)}
    version = {name: record("", METHODS[name][1])["version"] for name in arguments.methods}
    return [run for run in wanted if (*run, version[run[2]], arguments.platform) not in done]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES, metavar="CASE")
    parser.add_argument("--budgets", nargs="+", type=int, default=[2000, 20_000])
    parser.add_argument(
        "--methods", nargs="+", default=USUAL, choices=list(METHODS), metavar="METHOD"
    )
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--platform", default="CPU", help="OpenMM's, of all Contexts of the runs")
    parser.add_argument("--output", type=Path, default=runs_of("search"), help="to append to")
    parser.add_argument("--again", action="store_true", help="rerun what the output has already")
    arguments = parser.parse_args()
    if not PDB.is_dir():
        parser.error(f"{PDB} is not a folder; OPENMM_REPARAM_DATA names that of the native entries")
    os.environ["OPENMM_CPU_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=spawn) as pool:
        runs = [pool.submit(work, *run, arguments.platform) for run in wanted_runs(arguments)]
        for run in tqdm(as_completed(runs), total=len(runs), desc="runs"):
            new = run.result()
            score(new)
            append(arguments.output, new)
    for text in tables(summarize(read_runs(arguments.output))).values():
        print(f"\n{text}")


if __name__ == "__main__":
    main()
