"""The paper's Figure 4: energy and speed of the GNN against Adam on X, with true amber14 energies.

    python -m benchmarks.paper.figure4                      # about a quarter of an hour
    python -m benchmarks.paper.figure4 --codes 2JOF --starts 1

Both of the paper's stages are Adam with early stopping: the GNN, then X from where it ended. Added
to them: the same GNN followed by preconditioned L-BFGS, OpenMM's LocalEnergyMinimizer, and
preconditioned L-BFGS alone. Starts that the output has of this version are not run again.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from matplotlib.figure import Figure

from ..local import way_to
from ..report import (
    append,
    cell,
    grouped,
    markdown,
    origin,
    package_version,
    quartiles,
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

SUMMARIES = {"figure4": ("code", "kind", "method")}
RATIOS = ("energy_ratio", "energy_difference", "speed_up", "fewer_evaluations")
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


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Group runs: quartiles of what they reached beside Adam on X."""
    rows = []
    for told, members in grouped(runs, SUMMARIES["figure4"]):
        there = [run for run in members if run["seconds_to_reference"] is not None]
        row = told | {"slow_modes": members[0]["slow_modes"]}
        for name in ("energy", "force_evaluations", "seconds", "rmsd", *RATIOS):
            row |= quartiles(name, [run[name] for run in members])
        row["reached_reference"] = len(there)
        for name in ("speed_up_to_reference", "fewer_evaluations_to_reference"):
            row |= quartiles(name, [run[name] for run in there])
        row["stereo_changes"] = sum(run["stereo_changes"] for run in members)
        rows.append(row)
    return {"figure4": rows}


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return the coils with the paper's smallest number of modes, and every line."""
    header = [
        *("case", "method", "E / E(Adam)", "E - E(Adam), kJ/mol", "speed-up"),
        *("fewer evaluations", "to Adam's energy: reached by", "speed-up", "fewer evaluations"),
        *("RMSD, nm", "version"),
    ]
    rows = found["figure4"]
    others = [f"({fraction})" for fraction in FRACTIONS[1:]]
    short = [r for r in rows if r["kind"] == "coil" and not any(o in r["method"] for o in others)]
    return {
        "paper-figure4": markdown(header, [_line(row) for row in short]),
        "paper-figure4-all": markdown(header, [_line(row) for row in rows]),
    }


def _line(row: dict) -> list:
    ways = [cell(row, f"{name}_to_reference") for name in ("speed_up", "fewer_evaluations")]
    return [
        *(f"{row['code']} {row['kind']}", row["method"]),
        *(cell(row, name) for name in RATIOS),
        f"{row['reached_reference']}/{row['starts']}",
        *(way or "never" for way in ways),
        *(f"{row['rmsd']:.2f}", origin(row)),
    ]


def plot_summary(found: dict[str, list[dict]], folder: Path) -> None:
    """Draw the figure."""
    plot(found["figure4"], folder / "paper-figure4.png")


def plot(rows: list[dict], path: Path) -> None:
    """Draw the paper's picture, and what else there is from the same starts, as medians."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = dict(zip(CODES, ("C0", "C1", "C2", "C3"), strict=True))
    markers = dict(zip(FRACTIONS, "osD^", strict=True))
    others = dict(zip(("L-BFGS", *OTHERS), "P*X", strict=True))
    for row in rows:
        code, kind, method = row["code"], row["kind"], row["method"]
        style = {"color": colours[code], "mfc": "none" if kind == "pdb" else None, "ms": 8}
        if method.endswith(", Adam"):
            fraction = method[method.index("(") + 1 : method.index(")")]
            cross(left, row, "energy_ratio", markers[fraction], style)
        name = "L-BFGS" if method == f"GNN ({FRACTIONS[0]}), L-BFGS" else method
        if name in others:
            cross(right, row, "energy_difference", others[name], style)
        elif method == f"GNN ({FRACTIONS[0]}), Adam":
            cross(right, row, "energy_difference", "o", style)
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


def cross(axis, row: dict, name: str, marker: str, style: dict) -> None:
    """Draw a median over that of the speed-up, with the quartiles of both."""
    left, mid_x, right = (row[f"speed_up{quartile}"] for quartile in ("_q1", "", "_q3"))
    low, mid_y, high = (row[f"{name}{quartile}"] for quartile in ("_q1", "", "_q3"))
    axis.plot([left, right], [mid_y, mid_y], color=style["color"], lw=0.8)
    axis.plot([mid_x, mid_x], [low, high], color=style["color"], lw=0.8)
    axis.plot(mid_x, mid_y, marker, **style)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codes", nargs="+", default=list(CODES), choices=CODES)
    parser.add_argument("--kinds", nargs="+", default=["coil", "pdb"], choices=["coil", "pdb"])
    parser.add_argument("--starts", type=int, default=3, help="of each kind")
    parser.add_argument("--output", type=Path, default=runs_of("figure4"), help="to append to")
    arguments = parser.parse_args()
    one_thread()
    keys = ("code", "kind", "start", "version")
    done = {tuple(run[key] for key in keys) for run in read_runs(arguments.output)}
    for run in product(arguments.codes, arguments.kinds, range(arguments.starts)):
        if (*run, package_version()) not in done:
            for outcome in outcomes_of(*run):
                library = library_of(outcome["method"])
                append(arguments.output, record(PLATFORM, library, **outcome))
    print(tables(summarize(read_runs(arguments.output)))["paper-figure4"])


def outcomes_of(code: str, kind: str, seed: int) -> list[dict]:
    """Run every method from one start."""
    molecule = start(code, kind, seed)
    outcomes, reference = [], None
    for method, count, descent in runs(code, kind, seed, molecule):
        reference = reference or descent
        outcome = {
            "code": code,
            "kind": kind,
            "start": seed,
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
