"""What preconditioned L-BFGS costs beyond its evaluations, and its memory, against system size.

    python benchmarks/boxes.py

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
from local import CASES
from report import write_json

from openmm_reparam import ConvergenceWarning, minimize_reparam
from openmm_reparam.potentials.potential import Potential

RESULTS = Path(__file__).parent / "results"
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
    return {
        "case": case,
        "atoms": molecule.topology.getNumAtoms(),
        "iterations": result.iterations,
        "force evaluations": result.force_evaluations,
        "ms per force evaluation": 1e3 * float(np.mean(spent[2:])),
        "everything else, ms per iteration": 1e3 * (running - forces) / (result.iterations - 1),
        "everything else / force evaluation": (running - forces)
        / (result.iterations - 1)
        / float(np.mean(spent[2:])),
        "seconds before the first and after the last iteration": setup,
        "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "peak memory before, GiB": before / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=BOXES, choices=list(CASES), metavar="CASE")
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--iterations", type=int, default=101)
    parser.add_argument("--output", type=Path, default=RESULTS / "boxes.json")
    arguments = parser.parse_args()
    rows = []
    for case in arguments.cases:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            work = pool.submit(measure, case, arguments.platform, arguments.iterations)
            rows.append(work.result())
        print(rows[-1], flush=True)
    write_json(arguments.output, {"platform": arguments.platform, "rows": rows})
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        cells = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
