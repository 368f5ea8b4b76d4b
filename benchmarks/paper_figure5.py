"""The paper's Figure 5: how near unfolded Trp-cage (2JOF) comes to its native structure, with time.

    python benchmarks/paper_figure5.py                # a few minutes
    python benchmarks/paper_figure5.py --plot         # table and picture of the JSON alone

C-alpha RMSD from the PDB entry against force evaluations and seconds: Adam on X, the GNN of four
widths (then Adam on X), LocalEnergyMinimizer, preconditioned L-BFGS, and Langevin dynamics at
298 K, which the paper's "OpenMM" is. The native structure scores frames after the runs have ended.
Starts that the output has are not run again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import openmm as mm
from matplotlib.figure import Figure
from openmm import unit
from paper import (
    ADAM,
    CAP,
    IMAGES,
    LBFGS,
    PLATFORM,
    RESULTS,
    TOLERANCE,
    Descent,
    descend,
    from_native,
    gnn,
    one_thread,
    openmm_minimizer,
    outcomes_in,
    start,
    stereo_changes,
)
from report import write_json

from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.molecular_system import MolecularSystem

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
        "seed": seed,
        "method": method,
        "energy": descent.energy,
        "force_evaluations": descent.evaluations,
        "seconds": descent.seconds,
        "stereo_changes": stereo_changes(molecule, descent.positions),
        "start_rmsd": from_native(CODE, molecule, molecule.positions),
        "path": [[int(n), float(s), from_native(CODE, molecule, x)] for n, s, x in [*kept, last]],
    }


def table(outcomes: list[dict]) -> str:
    lines = [
        "| start | method | RMSD at the start, nm | least on the way | at the end | energy, kJ/mol "
        "| force evaluations | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for o in outcomes:
        deviations = [deviation for _, _, deviation in o["path"]]
        lines.append(
            f"| {start_name(o['seed'])} | {o['method']} | {o['start_rmsd']:.2f} "
            f"| {min(deviations):.2f} | {deviations[-1]:.2f} | {o['energy']:.0f} "
            f"| {o['force_evaluations']} | {o['seconds']:.1f} |"
        )
    return "\n".join(lines)


def start_name(seed: int) -> str:
    return "extended" if seed == 0 else f"coil {seed}"


def plot(outcomes: list[dict], path: Path) -> None:
    """Draw RMSD against seconds and evaluations, a row for each start."""
    seeds = sorted({o["seed"] for o in outcomes})
    figure = Figure(figsize=(11, 3.4 * len(seeds)), layout="constrained")
    axes = figure.subplots(len(seeds), 2, sharey="row", squeeze=False)
    methods = list(dict.fromkeys(o["method"] for o in outcomes))
    for outcome in outcomes:
        row = axes[seeds.index(outcome["seed"])]
        way = np.array(outcome["path"])
        for axis, column in zip(row, (1, 0), strict=True):
            x = np.maximum(way[:, column], 1e-2)
            colour = f"C{methods.index(outcome['method'])}"
            (line,) = axis.plot(x, way[:, 2], color=colour, lw=1.2, label=outcome["method"])
            # A bend at the end of a way tells stages that stop from those that go on.
            axis.plot(x[-1], way[-1, 2], "o", color=line.get_color(), ms=5)
            axis.axhline(0.2, color="0.6", lw=0.8, ls="--")
            axis.set(xscale="log")
        row[0].autoscale(axis="y")
        row[0].set_ylim(bottom=0)
        row[0].set(ylabel=f"{start_name(outcome['seed'])}: C-alpha RMSD, nm")
    axes[-1][0].set(xlabel="seconds (one thread)")
    axes[-1][1].set(xlabel="force evaluations")
    axes[0][0].set(title="2JOF; dashed: 0.2 nm, folded; dots: where a run ended")
    axes[0][1].legend(fontsize=8, loc="lower left")
    figure.savefig(path, dpi=100)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="0 is the extended chain, then coils")
    parser.add_argument("--output", type=Path, default=RESULTS / "paper_figure5.json")
    parser.add_argument("--plot", action="store_true", help="table and picture of the JSON alone")
    arguments = parser.parse_args()
    if not arguments.plot:
        one_thread()
        folded = start(CODE, "pdb", 0)
        native = descend(folded, LBFGS)
        outcomes = outcomes_in(arguments.output)
        for seed in sorted(set(range(arguments.seeds)) - {o["seed"] for o in outcomes}):
            molecule, finished = start(CODE, "coil", seed), []
            for method, descent in runs(molecule, seed):
                finished.append((seed, method, molecule, descent))
                print(
                    f"{start_name(seed)} {method:>22}: {descent.energy:9.1f} kJ/mol, "
                    f"{descent.evaluations:6d} evaluations, {descent.seconds:6.2f} s",
                    flush=True,
                )
            outcomes += [scored(*run) for run in finished]
            write_json(
                arguments.output,
                {
                    "tolerance": TOLERANCE,
                    "cap": CAP,
                    "native": {
                        "energy": native.energy,
                        "rmsd": from_native(CODE, folded, native.positions),
                    },
                    "outcomes": outcomes,
                },
            )
    outcomes = outcomes_in(arguments.output)
    print(table(outcomes))
    plot(outcomes, IMAGES / "paper-figure5.png")


if __name__ == "__main__":
    main()
