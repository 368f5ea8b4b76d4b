"""Throughput of many replicas in the C++ plugin, and what one of its evaluations costs.

    python benchmarks/replicas.py --output benchmarks/results/replicas.json

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
from report import write_json

from openmm_reparam import Potential, torch_potential
from openmm_reparam.prepare.peptides import peptide

RESULTS = Path(__file__).parent / "results"
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


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULTS / "replicas.json")
    arguments = parser.parse_args()
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
    for _ in range(arguments.rounds + 1):
        for name, (call, repeats) in calls.items():
            measured[name].append(1e3 * seconds_of(call, repeats))
    # The first round starts threads and neighbour lists.
    best = {name: np.array(times[1:]) for name, times in measured.items()}

    def ratio(above: str, below: str) -> list[float]:
        return np.quantile(best[above] / best[below], [0.25, 0.5, 0.75]).tolist()

    ratios = {
        "throughput of 16 replicas": ratio("one Context, one after the other", "plugin, one batch"),
        "plugin / Context": ratio("plugin, one evaluation", "one Context, one evaluation"),
        "plugin / Context, forces left in the State": ratio(
            "plugin, one evaluation", "the same, forces left in the State"
        ),
        "Potential / Context": ratio(
            "Potential in Python, one evaluation", "one Context, one evaluation"
        ),
    }
    print("| what | ms, median |\n|---|---|")
    for name, times in best.items():
        print(f"| {name} | {np.median(times):.3f} |")
    print("\n| ratio | median (quartiles) |\n|---|---|")
    for name, (low, middle, high) in ratios.items():
        print(f"| {name} | {middle:.2f} ({low:.2f}..{high:.2f}) |")
    milliseconds = {name: times.tolist() for name, times in best.items()}
    write_json(arguments.output, {"threads": threads, "ms": milliseconds, "ratios": ratios})


if __name__ == "__main__":
    main()
