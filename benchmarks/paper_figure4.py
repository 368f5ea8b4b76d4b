"""The paper's Figure 4: energy and speed of the GNN against Adam on X, with true amber14 energies.

    python benchmarks/paper_figure4.py                          # about a quarter of an hour
    python benchmarks/paper_figure4.py --codes 2JOF --seeds 1
    python benchmarks/paper_figure4.py --tables                 # of the JSON, without running

Both of the paper's stages are Adam with early stopping: the GNN, then X from where it ended. Added
to them: the same GNN followed by preconditioned L-BFGS, OpenMM's LocalEnergyMinimizer, and whitened
L-BFGS alone. Structures of the Protein Data Bank are read as in local.py. Starts that the output
has are not run again.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
from local import way_to
from matplotlib.figure import Figure
from paper import (
    ADAM,
    CAP,
    IMAGES,
    LBFGS,
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
from report import spread, write_json

CODES = ("1PLW", "5AWL", "2JOF", "2WXC")
REFERENCE = "Adam on X"
OTHERS = ("LocalEnergyMinimizer", "preconditioned L-BFGS")
# Of Adam's energy: the paper calls energies that near the same.
CLOSE = 0.002
FRACTIONS = ("3 x residues", "30 %", "50 %", "70 %")


def counts(code: str, kind: str, molecule) -> dict[str, int]:
    """Numbers of slow modes: the paper's four, or the first alone where runs are long."""
    atoms = molecule.topology.getNumAtoms()
    numbers = [3 * molecule.topology.getNumResidues(), 0.3 * atoms, 0.5 * atoms, 0.7 * atoms]
    found = {name: round(number) for name, number in zip(FRACTIONS, numbers, strict=True)}
    return found if kind == "coil" and code != "2WXC" else {FRACTIONS[0]: found[FRACTIONS[0]]}


def runs(code: str, kind: str, seed: int, molecule):
    """Yield (method, number of slow modes, descent) of every method from one start."""
    yield REFERENCE, None, descend(molecule, ADAM)
    for fraction, count in counts(code, kind, molecule).items():
        network = descend(molecule, gnn(count), seed=seed)
        yield f"GNN ({fraction}), alone", count, network
        yield f"GNN ({fraction}), Adam", count, descend(molecule, ADAM, network)
        yield f"GNN ({fraction}), L-BFGS", count, descend(molecule, LBFGS, network)
    yield OTHERS[0], None, openmm_minimizer(molecule)
    yield OTHERS[1], None, descend(molecule, LBFGS)


def row(descent: Descent, reference: Descent) -> dict:
    """One outcome beside Adam on X from the same start."""
    target = reference.energy + CLOSE * abs(reference.energy)
    theirs = way_to(reference.trace, target)
    way = way_to(descent.trace, target) or (None, None)
    return {
        "energy": descent.energy,
        "force_evaluations": descent.evaluations,
        "seconds": descent.seconds,
        "energy_ratio": descent.energy / reference.energy,
        "energy_difference": descent.energy - reference.energy,
        "speed_up": reference.seconds / descent.seconds,
        "fewer_evaluations": reference.evaluations / descent.evaluations,
        "evaluations_to_reference": way[0],
        "seconds_to_reference": way[1],
        "speed_up_to_reference": way[1] and theirs[1] / way[1],
        "fewer_evaluations_to_reference": way[0] and theirs[0] / way[0],
    }


def table(outcomes: list[dict]) -> str:
    lines = [
        "| case | method | E / E(Adam) | E - E(Adam), kJ/mol | speed-up | fewer evaluations "
        "| to Adam's energy: reached by | speed-up | fewer evaluations | RMSD, nm |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for code, kind, method in dict.fromkeys((o["code"], o["kind"], o["method"]) for o in outcomes):
        mine = select(outcomes, code, kind, method)
        there = [o for o in mine if o["seconds_to_reference"] is not None]
        ways = [
            spread([o[f"{name}_to_reference"] for o in there]) if there else "never"
            for name in ("speed_up", "fewer_evaluations")
        ]
        cells = [
            spread([o[name] for o in mine])
            for name in ("energy_ratio", "energy_difference", "speed_up", "fewer_evaluations")
        ]
        deviation = np.median([o["rmsd"] for o in mine])
        lines.append(
            f"| {code} {kind} | {method} | {' | '.join(cells)} | {len(there)}/{len(mine)} "
            f"| {' | '.join(ways)} | {deviation:.2f} |"
        )
    return "\n".join(lines)


def select(outcomes, code: str, kind: str, method: str) -> list[dict]:
    wanted = (code, kind, method)
    return [o for o in outcomes if (o["code"], o["kind"], o["method"]) == wanted]


def plot(outcomes: list[dict], path: Path) -> None:
    """Draw the paper's picture, and what else there is from the same starts, as medians."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = dict(zip(CODES, ("C0", "C1", "C2", "C3"), strict=True))
    markers = dict(zip(FRACTIONS, "osD^", strict=True))
    others = dict(zip(("L-BFGS", *OTHERS), "P*X", strict=True))
    for code, kind, method in dict.fromkeys((o["code"], o["kind"], o["method"]) for o in outcomes):
        mine = select(outcomes, code, kind, method)
        style = {"color": colours[code], "mfc": "none" if kind == "pdb" else None, "ms": 8}
        speed = [o["speed_up"] for o in mine]
        if method.endswith(", Adam"):
            fraction = method[method.index("(") + 1 : method.index(")")]
            cross(left, speed, [o["energy_ratio"] for o in mine], markers[fraction], style)
        name = "L-BFGS" if method == f"GNN ({FRACTIONS[0]}), L-BFGS" else method
        if name in others:
            difference = [o["energy_difference"] for o in mine]
            cross(right, speed, difference, others[name], style)
        elif method == f"GNN ({FRACTIONS[0]}), Adam":
            cross(right, speed, [o["energy_difference"] for o in mine], "o", style)
    left.axvspan(1.6, 3, color="0.9", zorder=0)
    for axis in (left, right):
        axis.set(xscale="log", xlabel="speed-up: seconds of Adam on X / seconds")
        axis.axvline(1, color="0.5", lw=0.8)
    left.axhline(1, color="0.5", lw=0.8)
    right.axhline(0, color="0.5", lw=0.8)
    left.set(
        ylabel="energy / energy of Adam on X (above 1: lower)",
        title="GNN then Adam (grey: speed-ups in the paper)",
    )
    right.set(ylabel="energy - energy of Adam on X, kJ/mol", title="... and the other methods")
    for code in colours:
        left.plot([], [], "o", color=colours[code], label=code)
    left.plot([], [], "o", color="k", mfc="none", label="hollow: from PDB")
    for fraction, marker in markers.items():
        left.plot([], [], marker, color="0.4", label=f"k = {fraction}")
    names = {"o": "GNN, then Adam", "P": "GNN, then preconditioned L-BFGS", "*": OTHERS[0]}
    for marker, name in {**names, "X": OTHERS[1]}.items():
        right.plot([], [], marker, color="0.4", ms=8, label=name)
    left.set_xticks([0.25, 0.5, 1, 2, 3], ["0.25", "0.5", "1", "2", "3"])
    left.minorticks_off()
    left.legend(fontsize=8, loc="upper right")
    right.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=100)
    print(f"wrote {path}")


def cross(axis, x, y, marker: str, style: dict) -> None:
    """Draw a median with its quartiles."""
    (left, mid_x, right), (low, mid_y, high) = (np.percentile(v, [25, 50, 75]) for v in (x, y))
    axis.plot([left, right], [mid_y, mid_y], color=style["color"], lw=0.8)
    axis.plot([mid_x, mid_x], [low, high], color=style["color"], lw=0.8)
    axis.plot(mid_x, mid_y, marker, **style)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codes", nargs="+", default=list(CODES), choices=CODES)
    parser.add_argument("--kinds", nargs="+", default=["coil", "pdb"], choices=["coil", "pdb"])
    parser.add_argument("--seeds", type=int, default=3, help="starts of each kind")
    parser.add_argument("--output", type=Path, default=RESULTS / "paper_figure4.json")
    parser.add_argument("--tables", action="store_true", help="table and picture of the JSON alone")
    arguments = parser.parse_args()
    if not arguments.tables:
        one_thread()
        outcomes = outcomes_in(arguments.output)
        done = {(o["code"], o["kind"], o["seed"]) for o in outcomes}
        for run in product(arguments.codes, arguments.kinds, range(arguments.seeds)):
            if run not in done:
                outcomes += outcomes_of(*run)
                outcomes.sort(key=lambda o: (CODES.index(o["code"]), o["kind"], o["seed"]))
                write_json(
                    arguments.output,
                    {"tolerance": TOLERANCE, "cap": CAP, "adam": ADAM, "outcomes": outcomes},
                )
    outcomes = outcomes_in(arguments.output)
    print(table(outcomes))
    plot(outcomes, IMAGES / "paper-figure4.png")


def outcomes_of(code: str, kind: str, seed: int) -> list[dict]:
    """Run every method from one start."""
    molecule = start(code, kind, seed)
    outcomes, reference = [], None
    for method, count, descent in runs(code, kind, seed, molecule):
        reference = reference or descent
        outcome = {
            "code": code,
            "kind": kind,
            "seed": seed,
            "method": method,
            "slow_modes": count,
            **row(descent, reference),
            "rmsd": from_native(code, molecule, descent.positions),
            "stereo_changes": stereo_changes(molecule, descent.positions),
        }
        outcomes.append(outcome)
        print(
            f"{code} {kind} {seed} {method:>30}: {descent.energy:9.1f} kJ/mol, "
            f"{descent.evaluations:6d} evaluations, {descent.seconds:6.2f} s",
            flush=True,
        )
    return outcomes


if __name__ == "__main__":
    main()
