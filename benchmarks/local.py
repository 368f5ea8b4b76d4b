"""Local minimization: openmm-reparam beside OpenMM's, scipy's and ASE's minimizers, counted.

    python -m benchmarks.local --cases "2JOF vacuum extended" "2JOF tip3p rigid" --starts 3
    python -m benchmarks.local --coils            # small proteins, every reparametrization
    python -m benchmarks.local --list

Each case is minimized to each tolerance from the same starts. Two counts are given: the way to the
tolerance, and the way to LocalEnergyMinimizer's final energy. Where a run meets its tolerance above
that energy, the way there is that of the same method from the same start to the tightest tolerance,
marked "*". Where that does not get there either, the table says "not reached".
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.prepare.peptides import peptide

from .baselines import BASELINES, DEFAULT, REPARAMETRIZED, Outcome, unconstrained
from .cases import CASES, COILS
from .report import (
    PACKAGE,
    RESULTS,
    append,
    cell,
    grouped,
    is_installed,
    markdown,
    origin,
    quartiles,
    read_runs,
    record,
    runs_of,
    times,
)

BASELINE = "LocalEnergyMinimizer"
OWN = "openmm-reparam"
SUMMARIES = {"local": ("case", "tolerance", "method")}
METHODS: dict[str, tuple[Callable, str]] = BASELINES | {
    name: (run, PACKAGE) for name, run in (DEFAULT | REPARAMETRIZED).items()
}


def methods_for(molecule: MolecularSystem, names: list[str], start: int, *, every: bool) -> dict:
    """Return the methods that a System can be run with.

    Baselines but OpenMM's need a System without constraints; they run on the first start alone,
    unless ``every`` start is asked for.
    """
    general = [BASELINE, *DEFAULT, *REPARAMETRIZED]
    if unconstrained(molecule) and (every or start == 0):
        general += list(METHODS)
    return {name: METHODS[name] for name in names if name in general}


def way_to(trace, energy: float) -> tuple[int, float] | None:
    """Return the evaluations and seconds after which a run first was at an energy, or None."""
    return next(((int(n), s) for n, s, e in trace if e <= energy), None)


def to_baseline(outcome: Outcome, tightest: Outcome, target: float | None) -> dict:
    """Count the way to the baseline's energy, on the run to the tightest tolerance if need be."""
    ways = [target is not None and way_to(o.trace, target) for o in (outcome, tightest)]
    way = ways[0] or ways[1] or (None, None)
    return {
        "evaluations_to_baseline": way[0],
        "seconds_to_baseline": way[1],
        "to_baseline_continued": not ways[0] and bool(ways[1]),
    }


# --- Summary and tables ---


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Group runs; ratios are medians over starts against the baseline's run from the same start."""
    rows = []
    for told, members in grouped(runs, SUMMARIES["local"]):
        pairs = [(b, run) for run in members for b in _baseline_of(run, runs)[-1:]]
        there = [(b, run) for b, run in pairs if run["evaluations_to_baseline"] is not None]
        row = {**told, "atoms": members[0]["atoms"]}
        for name in ("energy", "force_evaluations", "seconds"):
            row |= quartiles(name, [run[name] for run in members])
        row |= {
            "bonded_evaluations": max(run["bonded_evaluations"] for run in members),
            "rms_force": _median([run["rms_force"] for run in members]),
            "converged": sum(run["converged"] for run in members),
            "stereo_changes": sum(len(run["stereo_changes"]) for run in members),
            "pairs": len(pairs),
            "fewer": _ratio(pairs, "force_evaluations", "force_evaluations"),
            "faster": _ratio(pairs, "seconds", "seconds"),
            "reached_baseline": len(there),
            "continued": sum(run["to_baseline_continued"] for run in members),
            "fewer_to_baseline": _ratio(there, "force_evaluations", "evaluations_to_baseline"),
            "faster_to_baseline": _ratio(there, "seconds", "seconds_to_baseline"),
            "baseline_rms_force": _median([b["rms_force"] for b, _ in pairs]),
        }
        rows.append(row)
    return {"local": rows}


def _baseline_of(run: dict, runs: list[dict]) -> list[dict]:
    """Return the baseline's runs from the same start on the same machine and OpenMM."""
    same = ("case", "tolerance", "start", "platform", "processor", "cores", "openmm")
    return [r for r in runs if r["method"] == BASELINE and all(r[k] == run[k] for k in same)]


def _median(values) -> float | None:
    return float(np.median(values)) if len(values) else None


def _ratio(pairs, theirs: str, own: str) -> float | None:
    """Return the median of what the baseline used over what this run used."""
    return _median([baseline[theirs] / run[own] for baseline, run in pairs])


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return openmm-reparam against OpenMM in short, every line, and those of random coils."""
    rows = found["local"]
    compared = [row for row in rows if row["method"] == OWN and row["pairs"]]
    return {
        "local": short_table(compared),
        "local-all": long_table([row for row in rows if row["case"] not in COILS]),
        "minimize": long_table([row for row in rows if row["case"] in COILS]),
    }


def short_table(rows: list[dict]) -> str:
    header = [
        *("case", "starts", "tolerance", "fewer evaluations", "faster"),
        *("to the baseline's energy: fewer evaluations", "faster"),
        *("the baseline's RMS force at its end", "version"),
    ]
    return markdown(header, [_short_line(row) for row in rows])


def _short_line(row: dict) -> list:
    way = times(row["fewer_to_baseline"]) or "not reached"
    if row["reached_baseline"] < row["pairs"]:
        way += f" ({row['reached_baseline']}/{row['pairs']} reach it)"
    return [
        *(row["case"], row["starts"], f"{row['tolerance']:g}"),
        *(times(row["fewer"]), times(row["faster"]), way),
        *(times(row["faster_to_baseline"]), f"{row['baseline_rms_force']:.1f}", origin(row)),
    ]


def long_table(rows: list[dict]) -> str:
    header = [
        *("case", "tolerance", "method", "energy, kJ/mol", "RMS force", "force evaluations"),
        *("of bonded forces alone", "fewer by", "seconds", "faster by"),
        *("to the baseline's energy: fewer by", "faster by", "at tolerance", "stereo changes"),
        "version",
    ]
    return markdown(header, [_long_line(row) for row in rows])


def _long_line(row: dict) -> list:
    reached = f"{row['reached_baseline']}/{row['starts']}{'*' if row['continued'] else ''}"
    way = f"{times(row['fewer_to_baseline']) or 'not reached'} ({reached})"
    return [
        *(row["case"], f"{row['tolerance']:g}", row["method"], cell(row, "energy")),
        *(f"{row['rms_force']:.2f}", cell(row, "force_evaluations")),
        *(row["bonded_evaluations"] or None, times(row["fewer"]), cell(row, "seconds")),
        *(times(row["faster"]), "" if row["method"] == BASELINE else way),
        *(times(row["faster_to_baseline"]), f"{row['converged']}/{row['starts']}"),
        *(row["stereo_changes"], origin(row)),
    ]


def plot(case: str, traces: dict[str, list], path: Path) -> None:
    """Energy above the lowest, against force evaluations and against seconds."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    lowest = min(energy for trace in traces.values() for _, _, energy in trace)
    for method, trace in traces.items():
        rows = np.array(trace, dtype=float)
        best = np.minimum.accumulate(rows[:, 2]) - lowest + 0.1
        for axis, column in zip(axes, (0, 1), strict=True):
            # A dot at the end: of OpenMM's minimizer under constraints no other point is known.
            axis.loglog(np.maximum(rows[:, column], 1e-3), best, "-o", markevery=[-1], label=method)
    axes[0].set(xlabel="force evaluations", ylabel="energy above the lowest + 0.1, kJ/mol")
    axes[1].set(xlabel="seconds")
    figure.suptitle(case)
    axes[0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


# --- Running ---


def run_start(case: str, start: int, arguments: argparse.Namespace) -> None:
    """Run every method from one start to every tolerance, and append the runs."""
    molecule = CASES[case](start)
    chosen = methods_for(molecule, arguments.methods, start, every=arguments.coils)
    outcomes: dict[float, dict[str, Outcome]] = {}
    for tolerance in sorted(arguments.tolerances, reverse=True):
        outcomes[tolerance] = {}
        for name, (run, _) in chosen.items():
            outcome = run(molecule, tolerance, arguments.platform, start)
            outcomes[tolerance][name] = outcome
            print(
                f"{case} start {start} tolerance {tolerance:g} {name:>22}: "
                f"{outcome.energy:12.1f} kJ/mol, RMS {outcome.rms_force:8.3g}, "
                f"{outcome.force_evaluations:6d} evaluations, {outcome.seconds:7.2f} s",
                flush=True,
            )
        if start == 0:
            traces = {name: outcome.trace for name, outcome in outcomes[tolerance].items()}
            image = f"local-{case}-{tolerance:g}.png".replace(" ", "-")
            plot(f"{case}, tolerance {tolerance:g}", traces, RESULTS / image)
    for tolerance, by_name in outcomes.items():
        target = by_name[BASELINE].energy if BASELINE in by_name else None
        for name, outcome in by_name.items():
            run = outcome.to_dict() | {
                "case": case,
                "atoms": molecule.topology.getNumAtoms(),
                "tolerance": tolerance,
                "start": start,
                "trace": outcome.trace,
            }
            tightest = outcomes[min(outcomes)][name]
            run |= to_baseline(outcome, tightest, None if name == BASELINE else target)
            append(arguments.output, record(arguments.platform, chosen[name][1], **run))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), metavar="CASE")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--tolerances", nargs="+", type=float)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--starts", type=int, default=3, help="of each case")
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--output", type=Path, default=runs_of("local"), help="to append to")
    parser.add_argument(
        "--coils",
        action="store_true",
        help="small proteins from random coils to tolerance 1, with every reparametrization",
    )
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
        return
    everything = [BASELINE, "scipy L-BFGS-B", *REPARAMETRIZED]
    usual = everything if arguments.coils else [*BASELINES, *DEFAULT]
    proteins = [name for name in CASES if name not in COILS]
    arguments.cases = arguments.cases or (COILS if arguments.coils else proteins)
    arguments.methods = arguments.methods or usual
    arguments.tolerances = arguments.tolerances or ([1.0] if arguments.coils else [10.0, 1.0])
    missing = [name for name in arguments.methods if not is_installed(METHODS[name][1])]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
        arguments.methods = [name for name in arguments.methods if name not in missing]
    # What torch and OpenMM load on first use belongs to no method's seconds.
    for name in arguments.methods:
        METHODS[name][0](peptide("AA"), 10.0, arguments.platform, 0)
    for case in arguments.cases:
        for start in range(arguments.starts):
            run_start(case, start, arguments)
    done = [run for run in read_runs(arguments.output) if run["case"] in arguments.cases]
    print(long_table(summarize(done)["local"]))


if __name__ == "__main__":
    main()
