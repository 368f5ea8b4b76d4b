"""What preconditioned L-BFGS costs beyond its evaluations, and its memory, against system size.

    python -m benchmarks.scaling

Each box of water is minimized in a process of its own. An iteration's time is split into the force
evaluation and everything else (preconditioner, L-BFGS, constraints).
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from openmm_reparam import ConvergenceWarning, minimize_reparam
from openmm_reparam.potentials.potential import Potential

from .cases import CASES
from .report import append, grouped, markdown, origin, read_runs, record, runs_of

SUMMARIES = {"scaling": ("case", "iterations")}
BOXES = ["2JOF tip3p rigid", "test.pdb", "2WXC tip3p 21 000", "2WXC tip3p 100 000"]


def measure(case: str, platform: str, iterations: int) -> dict:
    molecule = CASES[case](0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    simulation = molecule.simulation(platform)
    spent, evaluate = [], Potential.evaluate

    def timed(self, positions):
        began = time.perf_counter()
        try:
            return evaluate(self, positions)
        finally:
            spent.append(time.perf_counter() - began)

    Potential.evaluate = timed
    warnings.simplefilter("ignore", ConvergenceWarning)
    began = time.perf_counter()
    result = minimize_reparam(simulation, 0.1, iterations, progress=False)
    seconds = time.perf_counter() - began
    history = result.history
    setup = seconds - history["seconds"][-1] + history["seconds"][0] - spent[0] - spent[1]
    # From the first iteration to the last.
    running = history["seconds"][-1] - history["seconds"][0]
    forces = sum(spent[2:])
    per_iteration = (running - forces) / (result.iterations - 1)
    return {
        "case": case,
        "method": "preconditioned L-BFGS",
        "atoms": molecule.topology.getNumAtoms(),
        "iterations": result.iterations,
        "force_evaluations": result.force_evaluations,
        "evaluation_ms": 1e3 * float(np.mean(spent[2:])),
        "else_ms": 1e3 * per_iteration,
        "else_share": 1e3 * per_iteration / (1e3 * float(np.mean(spent[2:]))),
        "setup_seconds": setup,
        "memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "memory_before_gib": before / 2**20,
    }


COLUMNS = {
    "case": "case",
    "atoms": "atoms",
    "iterations": "iterations",
    "force_evaluations": "force evaluations",
    "evaluation_ms": "ms per force evaluation",
    "else_ms": "everything else, ms per iteration",
    "else_share": "everything else / force evaluation",
    "setup_seconds": "seconds before the first and after the last iteration",
    "memory_gib": "peak memory, GiB",
    "memory_before_gib": "peak memory before, GiB",
}


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Keep the last run of each case."""
    rows = [
        told | {"starts": 1} | {name: members[-1][name] for name in COLUMNS}
        for told, members in grouped(runs, SUMMARIES["scaling"])
    ]
    return {"scaling": rows}


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return one table of all cases."""
    rows = sorted(found["scaling"], key=lambda row: row["atoms"])
    lines = [[*(row[name] for name in COLUMNS), origin(row)] for row in rows]
    return {"scaling": markdown([*COLUMNS.values(), "version"], lines)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=BOXES, choices=list(CASES), metavar="CASE")
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--iterations", type=int, default=101)
    parser.add_argument("--output", type=Path, default=runs_of("scaling"), help="to append to")
    arguments = parser.parse_args()
    for case in arguments.cases:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            work = pool.submit(measure, case, arguments.platform, arguments.iterations)
            append(arguments.output, record(arguments.platform, **work.result()))
        print(f"{case}: done", flush=True)
    print(tables(summarize(read_runs(arguments.output)))["scaling"])


if __name__ == "__main__":
    main()
