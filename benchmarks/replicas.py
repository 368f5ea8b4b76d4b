"""Throughput of many replicas in the C++ plugin, and what one of its evaluations costs.

    python -m benchmarks.replicas

Energies and forces of 16 replicas of 2JOF in vacuum (284 atoms), as one batch of the plugin,
against one Context with a thread for every core that evaluates them one after the other; and a
single replica with the same threads against that Context, which shows what the plugin adds. Runs of
each alternate, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from time import perf_counter

import numpy as np
import openmm as mm
import torch

from openmm_reparam import Potential, torch_potential
from openmm_reparam.prepare.peptides import peptide

from .report import append, cell, grouped, markdown, origin, quartiles, read_runs, record, runs_of

SUMMARIES = {"replicas": ("threads", "quantity", "unit")}
RATIOS = {
    "throughput of 16 replicas": ("one Context, one after the other", "plugin, one batch"),
    "plugin / Context": ("plugin, one evaluation", "one Context, one evaluation"),
    "plugin / Context, forces left in the State": (
        "plugin, one evaluation",
        "the same, forces left in the State",
    ),
    "Potential / Context": ("Potential in Python, one evaluation", "one Context, one evaluation"),
}
REPLICAS = 16


def context_of(molecule, threads: int) -> mm.Context:
    """Context on the CPU platform."""
    platform = mm.Platform.getPlatformByName("CPU")
    context = mm.Context(
        molecule.system, mm.VerletIntegrator(0.001), platform, {"Threads": str(threads)}
    )
    context.setPositions(molecule.positions)
    return context


def seconds_of(call, repeats: int) -> float:
    """Seconds of one call."""
    began = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - began) / repeats


def measure(rounds: int) -> dict[str, list[float]]:
    """Return milliseconds of each call, one for each round."""
    threads = len(os.sched_getaffinity(0))
    molecule = peptide("2JOF", constraints=None)
    context = context_of(molecule, threads)
    potential = Potential(context)
    x = potential.positions()
    batch = torch.from_numpy(x + np.random.default_rng(0).normal(0, 0.002, (REPLICAS, *x.shape)))
    pool = torch_potential(context, replicas=REPLICAS)
    single = torch_potential(context)
    one = batch[:1]

    def state_of(configuration):
        context.setPositions(configuration)
        return context.getState(energy=True, forces=True)

    def arrays_of(configuration):
        state = state_of(configuration)
        return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value

    def one_after_the_other():
        for configuration in batch.numpy():
            arrays_of(configuration)

    calls = {
        "one Context, one after the other": (one_after_the_other, 10),
        "plugin, one batch": (lambda: pool.evaluate(batch), 10),
        "one Context, one evaluation": (lambda: arrays_of(one[0].numpy()), 200),
        "the same, forces left in the State": (lambda: state_of(one[0].numpy()), 200),
        "plugin, one evaluation": (lambda: single.evaluate(one), 200),
        "Potential in Python, one evaluation": (lambda: potential.evaluate(one[0].numpy()), 200),
    }
    measured: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, (call, repeats) in calls.items():
            measured[name].append(1e3 * seconds_of(call, repeats))
    # The first round starts threads and neighbour lists.
    return {name: times[1:] for name, times in measured.items()}


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Take quartiles over the rounds of a run, of times and of their ratios."""
    rows = []
    for told, members in grouped(runs, ("threads",)):
        told["starts"] = 1
        times = {name: np.array(values) for name, values in members[-1]["ms"].items()}
        ratios = {name: times[a] / times[b] for name, (a, b) in RATIOS.items()}
        for unit, values in (("ms", times), ("ratio", ratios)):
            rows += [
                told | {"quantity": name, "unit": unit, **quartiles("value", value)}
                for name, value in values.items()
            ]
    return {"replicas": rows}


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return times and ratios."""
    parts = []
    for unit in ("ms", "ratio"):
        lines = [
            [row["quantity"], row["threads"], cell(row, "value"), origin(row)]
            for row in found["replicas"]
            if row["unit"] == unit
        ]
        parts.append(markdown(["what", "threads", f"{unit}, median (quartiles)", "version"], lines))
    return {"replicas": "\n\n".join(parts)}


def main() -> None:
    """Measure, record, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=runs_of("replicas"), help="to append to")
    arguments = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    run = record("CPU", threads=threads, rounds=arguments.rounds, ms=measure(arguments.rounds))
    append(arguments.output, run)
    print(tables(summarize(read_runs(arguments.output)))["replicas"])


if __name__ == "__main__":
    main()
