"""The paper's Figure 5: how near unfolded Trp-cage (2JOF) comes to its native structure, with time.

    python -m benchmarks.paper.figure5                # a few minutes

C-alpha RMSD from the PDB entry against force evaluations and seconds: Adam on X, the GNN of four
widths (then Adam on X), LocalEnergyMinimizer, preconditioned L-BFGS, and Langevin dynamics at
298 K, which the paper's "OpenMM" is. The native structure scores frames after the runs have ended.
Starts that the output has of this version are not run again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import openmm as mm
from matplotlib.figure import Figure
from openmm import unit

from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.molecular_system import MolecularSystem

from ..report import (
    append,
    grouped,
    markdown,
    origin,
    package_version,
    read_runs,
    record,
    runs_of,
)
from .descents import (
    ADAM,
    LBFGS,
    PLATFORM,
    Descent,
    descend,
    from_native,
    gnn,
    library_of,
    one_thread,
    openmm_minimizer,
    start,
    stereo_changes,
)

SUMMARIES = {
    "figure5": ("start_number", "method"),
    "figure5-paths": ("start_number", "method", "point"),
}
# Points of each run's way that the summary keeps.
PATH_POINTS = 20
CODE = "2JOF"
WIDTHS = (10, 100, 300, 500)
DYNAMICS = "Langevin, 298 K"
STEPS, STRIDE = 20_000, 100


def langevin(molecule: MolecularSystem, seed: int) -> Descent:
    """Run 20 ps at 298 K with steps of 1 fs, after 100 iterations of OpenMM's minimizer."""
    integrator = mm.LangevinMiddleIntegrator(
        298 * unit.kelvin, 1 / unit.picosecond, 1 * unit.femtosecond
    )
    integrator.setRandomNumberSeed(seed + 1)
    simulation = molecule.simulation(PLATFORM, integrator)
    potential = Potential(simulation.context)
    began = time.process_time()
    simulation.minimizeEnergy(maxIterations=100)
    simulation.context.setVelocitiesToTemperature(298 * unit.kelvin, seed + 1)
    frames = []
    for step in range(STRIDE, STEPS + 1, STRIDE):
        simulation.step(STRIDE)
        frames.append((100 + step, time.process_time() - began, potential.positions()))
    state = simulation.context.getState(energy=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole)
    evaluations, seconds, positions = frames[-1]
    return Descent(positions, energy, evaluations, seconds, frames=frames)


def runs(molecule: MolecularSystem, seed: int):
    """Yield (method, descent) of every method from one start, with frames on the way."""
    yield "Adam on X", descend(molecule, ADAM, frames=True)
    count = 3 * molecule.topology.getNumResidues()
    for width in WIDTHS:
        network = descend(molecule, gnn(count, hidden=width), seed=seed, frames=True)
        yield f"GNN {width}, then Adam", descend(molecule, ADAM, network, frames=True)
    yield "LocalEnergyMinimizer", openmm_minimizer(molecule, frames=True)
    yield "preconditioned L-BFGS", descend(molecule, LBFGS, frames=True)
    yield DYNAMICS, langevin(molecule, seed)


def scored(seed: int, method: str, molecule: MolecularSystem, descent: Descent) -> dict:
    """Score the frames of a run that has ended: at most 100 of them, and the final structure."""
    kept = descent.frames[:: max(1, len(descent.frames) // 100)]
    last = (descent.evaluations, descent.seconds, descent.positions)
    return {
        "start": seed,
        "start_number": seed,
        "method": method,
        "energy": descent.energy,
        "force_evaluations": descent.evaluations,
        "seconds": descent.seconds,
        "stereo_changes": stereo_changes(molecule, descent.positions),
        "start_rmsd": from_native(CODE, molecule, molecule.positions),
        "path": [[int(n), float(s), from_native(CODE, molecule, x)] for n, s, x in [*kept, last]],
    }


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Return a line for each run, and points on its way, evenly spaced in the logarithm."""
    rows, paths = [], []
    for told, members in grouped(runs, SUMMARIES["figure5"]):
        run = members[-1]
        deviations = [deviation for _, _, deviation in run["path"]]
        rows.append(
            told
            | {"start_rmsd": run["start_rmsd"], "least_rmsd": min(deviations)}
            | {"rmsd": deviations[-1], "stereo_changes": run["stereo_changes"]}
            | {name: run[name] for name in ("energy", "force_evaluations", "seconds")}
        )
        chosen = np.unique(np.geomspace(1, len(run["path"]), PATH_POINTS).astype(int)) - 1
        for point, place in enumerate(chosen):
            names = ("evaluations", "seconds", "rmsd")
            way = dict(zip(names, run["path"][place], strict=True))
            paths.append(told | {"point": point, **way})
    return {"figure5": rows, "figure5-paths": paths}


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return a line for each run."""
    header = [
        *("start", "method", "RMSD at the start, nm", "least on the way", "at the end"),
        *("energy, kJ/mol", "force evaluations", "seconds", "version"),
    ]
    lines = [
        [
            *(start_name(row["start_number"]), row["method"], f"{row['start_rmsd']:.2f}"),
            *(f"{row['least_rmsd']:.2f}", f"{row['rmsd']:.2f}", f"{row['energy']:.0f}"),
            *(row["force_evaluations"], f"{row['seconds']:.1f}", origin(row)),
        ]
        for row in found["figure5"]
    ]
    return {"paper-figure5": markdown(header, lines)}


def start_name(seed: int) -> str:
    return "extended" if seed == 0 else f"coil {seed}"


def plot_summary(found: dict[str, list[dict]], folder: Path) -> None:
    """Draw the figure."""
    plot(found["figure5-paths"], folder / "paper-figure5.png")


def plot(points: list[dict], path: Path) -> None:
    """Draw RMSD against seconds and evaluations, a row for each start."""
    seeds = sorted({point["start_number"] for point in points})
    figure = Figure(figsize=(11, 3.4 * len(seeds)), layout="constrained")
    axes = figure.subplots(len(seeds), 2, sharey="row", squeeze=False)
    methods = list(dict.fromkeys(point["method"] for point in points))
    for seed, method in dict.fromkeys((p["start_number"], p["method"]) for p in points):
        row = axes[seeds.index(seed)]
        mine = [p for p in points if (p["start_number"], p["method"]) == (seed, method)]
        for axis, column in zip(row, ("seconds", "evaluations"), strict=True):
            x = [max(point[column], 1e-2) for point in mine]
            y = [point["rmsd"] for point in mine]
            colour = f"C{methods.index(method)}"
            axis.plot(x, y, color=colour, lw=1.2, label=method)
            # A bend at the end of a way tells stages that stop from those that go on.
            axis.plot(x[-1], y[-1], "o", color=colour, ms=5)
            axis.axhline(0.2, color="0.6", lw=0.8, ls="--")
            axis.set(xscale="log")
        row[0].autoscale(axis="y")
        row[0].set_ylim(bottom=0)
        row[0].set(ylabel=f"{start_name(seed)}: C-alpha RMSD, nm")
    axes[-1][0].set(xlabel="seconds (one thread)")
    axes[-1][1].set(xlabel="force evaluations")
    axes[0][0].set(title="2JOF; dashed: 0.2 nm, folded; dots: where a run ended")
    axes[0][1].legend(fontsize=8, loc="lower left")
    figure.savefig(path, dpi=100)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=2, help="0 is the extended chain, then coils")
    parser.add_argument("--output", type=Path, default=runs_of("figure5"), help="to append to")
    arguments = parser.parse_args()
    one_thread()
    done = {(run["start"], run["version"]) for run in read_runs(arguments.output)}
    for seed in range(arguments.starts):
        if (seed, package_version()) in done:
            continue
        molecule, finished = start(CODE, "coil", seed), []
        for method, descent in runs(molecule, seed):
            finished.append((seed, method, molecule, descent))
            print(
                f"{start_name(seed)} {method:>22}: {descent.energy:9.1f} kJ/mol, "
                f"{descent.evaluations:6d} evaluations, {descent.seconds:6.2f} s",
                flush=True,
            )
        for run in finished:
            append(arguments.output, record(PLATFORM, library_of(run[1]), **scored(*run)))
    print(tables(summarize(read_runs(arguments.output)))["paper-figure5"])


if __name__ == "__main__":
    main()
