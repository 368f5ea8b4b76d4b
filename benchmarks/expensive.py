"""Evaluations of an expensive potential to the minimum of a drug molecule, optimizer by optimizer.

    python -m benchmarks.expensive --molecules tuning --conformers 1
    python -m benchmarks.expensive --molecules report --oracle ani1ccx --jobs 4
    python -m benchmarks.expensive --methods openmm-reparam Sella --starts mmff etkdg

Every method starts from the same coordinates and asks the same oracle, which counts. A run ends at
the tolerance, or after 300 evaluations. Runs that are in the file already are not repeated, so an
interrupted benchmark goes on where it stopped.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from openmm_reparam.geometry.superposition import superposed_rmsd
from openmm_reparam.surrogates.programs import ANI, XTB, Oracle

from .molecules import CONFORMERS, MOLECULES, STARTS, SUBSETS, Start, start_of
from .optimizers_qm import BASELINES, MAX_EVALUATIONS, METHODS, OWN, run_method
from .report import (
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
    version_of,
)

ORACLES = {"gfn2": "tblite", "ani1ccx": "torchani"}
GROUP = ("oracle", "oracle_version", "subset", "start_kind", "tolerance", "method")
SUMMARIES = {"expensive": GROUP, "expensive-basins": (*GROUP, "molecule", "conformer")}
# What a run is known by.
IDENTITY = (
    *("oracle", "oracle_version", "molecule", "conformer", "start_kind", "method", "tolerance"),
    "version",
)
LEVELS = ("50", "10", "1")
# kJ/mol above the lowest energy from the same start: another basin, or an early end.
SAME_ENERGY = 0.2


# --- Running ---


def oracle_of(name: str, start: Start) -> Oracle:
    """Return an oracle of a start's molecule."""
    if name == "gfn2":
        charge = sum(atom.GetFormalCharge() for atom in start.molecule.GetAtoms())
        return XTB(start.numbers, charge)
    return _network(tuple(start.numbers))


@cache
def _network(numbers: tuple[int, ...]) -> ANI:
    """Keep the network of a molecule: reading it takes seconds."""
    return ANI(numbers)


def knows(oracle: str, start: Start) -> bool:
    """Tell whether an oracle knows the elements of a molecule."""
    return oracle != "ani1ccx" or set(start.numbers) <= set(ANI.KNOWN)


def cases(arguments: argparse.Namespace) -> Iterator[dict]:
    """Yield what identifies each run that was asked for: first conformers first."""
    names = [name for subset in arguments.molecules for name in SUBSETS.get(subset, (subset,))]
    places = itertools.product(arguments.starts, arguments.conformers, names)
    for kind, conformer, name in places:
        if not knows(arguments.oracle, start_of(name, conformer, kind)):
            continue
        for method in arguments.methods:
            yield {
                "oracle": arguments.oracle,
                "oracle_version": f"{ORACLES[arguments.oracle]} "
                f"{installed(ORACLES[arguments.oracle])}",
                "molecule": name,
                "conformer": conformer,
                "start_kind": kind,
                "method": method,
                "tolerance": arguments.tolerance,
                "version": version_of(METHODS[method][1]),
            }


def left_of(asked: Iterable[dict], runs: Iterable[dict]) -> list[dict]:
    """Return what was asked for and is not there yet."""
    there = {tuple(run[name] for name in IDENTITY) for run in runs}
    return [case for case in asked if tuple(case[name] for name in IDENTITY) not in there]


def one_thread() -> None:
    """Make this process use one thread; several would share the cores with other jobs."""
    threadpool_limits(limits=1)
    torch.set_num_threads(1)


@cache
def warm_up(method: str) -> None:
    """Import what a method needs: its loading belongs to no run's seconds."""
    start = start_of("paracetamol", 1, "mmff")
    run_method(method, start, XTB(start.numbers), 200.0)


def run_case(case: dict) -> dict:
    """Run one case and return its record."""
    warm_up(case["method"])
    start = start_of(case["molecule"], case["conformer"], case["start_kind"])
    oracle = oracle_of(case["oracle"], start)
    # Its setup belongs to no method's seconds.
    oracle(start.positions)
    found = run_method(case["method"], start, oracle, case["tolerance"])
    told = {name: value for name, value in case.items() if name != "version"}
    told |= {"subset": start.subset, "start": f"{start.name} {start.conformer}"}
    return record("Reference", METHODS[case["method"]][1], **(told | found))


def run_all(left: list[dict], jobs: int, output: Path) -> None:
    """Run cases and append each as soon as it is there."""
    if jobs == 1:
        one_thread()
        done: Iterable[dict] = map(run_case, left)
        _keep(done, len(left), output)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    # A forked process would share the state of OpenMP and of OpenMM's threads.
    with multiprocessing.get_context("spawn").Pool(jobs, one_thread) as pool:
        _keep(pool.imap_unordered(run_case, left), len(left), output)


def _keep(done: Iterable[dict], number: int, output: Path) -> None:
    for count, found in enumerate(done, 1):
        append(output, found)
        ways = " ".join(f"{found[f'evaluations_{level}'] or '-':>4}" for level in LEVELS)
        print(
            f"{count}/{number} {found['start']:>26} {found['start_kind']} {found['oracle']} "
            f"{found['method']:>22}: to RMS {'/'.join(LEVELS)} {ways}, "
            f"{found['energy']:.2f} kJ/mol, RMS {found['rms_force']:.2f}, "
            f"{found['seconds']:.1f} s, {found['oracle_seconds']:.1f} s in the oracle"
            f"{', ' + found['stopped'][:80] if found['stopped'] else ''}",
            flush=True,
        )


# --- Summary and tables ---


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Group runs. One that does not get to a force counts as ``MAX_EVALUATIONS`` there."""
    lowest = _lowest(runs)
    rows, basins = [], []
    for told, members in grouped(runs, GROUP):
        higher = [m for m in members if m["converged"] and _above(m, lowest) > SAME_ENERGY]
        row = {**told, "atoms": float(np.median([run["atoms"] for run in members]))}
        for level in LEVELS:
            row |= quartiles(f"evaluations_{level}", [_ways(run, level) for run in members])
        ratios = {name: _ratios(members, runs, name) for name in ("Sella", "geomeTRIC")}
        pairs = list(zip(*ratios.values(), strict=True))
        row |= {
            "converged": sum(run["converged"] for run in members),
            "failures": sum(run["failures"] for run in members),
            "higher": len(higher),
            **{f"against_{name}": _median(found) for name, found in ratios.items()},
            # The better of the two needs fewer, so against it the ratio is larger.
            "worst_against_better": max((max(p) for p in pairs if None not in p), default=None),
            "overhead": _median(
                [(run["seconds"] - run["oracle_seconds"]) / run["evaluations"] for run in members]
            ),
            "oracle_seconds": _median(
                [run["oracle_seconds"] / run["evaluations"] for run in members]
            ),
        }
        rows.append(row)
        basins += [_basin(run, told, lowest) for run in higher]
    return {"expensive": rows, "expensive-basins": basins}


def _from(run: dict) -> tuple:
    """Return what the runs from one start with one oracle have in common."""
    return tuple(run[k] for k in ("oracle", "oracle_version", "start", "start_kind", "tolerance"))


def _lowest(runs: list[dict]) -> dict[tuple, dict]:
    """Return the converged run of lowest energy from each start."""
    found: dict[tuple, dict] = {}
    for run in runs:
        before = found.get(_from(run))
        if run["converged"] and (before is None or run["energy"] < before["energy"]):
            found[_from(run)] = run
    return found


def _above(run: dict, lowest: dict[tuple, dict]) -> float:
    best = lowest.get(_from(run))
    return 0.0 if best is None else run["energy"] - best["energy"]


def _basin(run: dict, told: dict, lowest: dict[tuple, dict]) -> dict:
    """Describe a run that ended above another from the same start."""
    best = lowest[_from(run)]
    return told | {
        "starts": 1,
        "molecule": run["molecule"],
        "conformer": run["conformer"],
        "above": _above(run, lowest),
        "rmsd": superposed_rmsd(np.array(run["positions"]), np.array(best["positions"])),
        "lowest_method": best["method"],
    }


def _ways(run: dict, level: str) -> int:
    return run[f"evaluations_{level}"] or MAX_EVALUATIONS


def _ratios(members: list[dict], runs: list[dict], method: str) -> list[float | None]:
    """Return evaluations to the tightest level over those of another method from the same start."""
    level = "1" if members[0]["tolerance"] <= 1 else "10"
    other = {_from(run): _ways(run, level) for run in runs if run["method"] == method}
    ways = [other.get(_from(run)) for run in members]
    return [w and _ways(run, level) / w for w, run in zip(ways, members, strict=True)]


def _median(values) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else None


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return evaluations by method, and where methods ended in different basins."""
    order = {name: place for place, name in enumerate(METHODS)}
    rows = sorted(
        found["expensive"],
        key=lambda r: (
            *(r["oracle"], r["start_kind"], r["subset"], -r["tolerance"]),
            order.get(r["method"], len(order)),
        ),
    )
    return {
        "expensive": markdown(
            [
                *("oracle", "start", "molecules", "method", "starts"),
                *(f"evaluations to RMS {level}" for level in LEVELS),
                *("converged", "of Sella's", "of geomeTRIC's", "worst, of the better's"),
                *("ended higher", "seconds an evaluation: method", "oracle", "version"),
            ],
            [_line(row) for row in rows],
        ),
        "expensive-basins": _basins([r for r in found["expensive-basins"] if r["method"] in OWN]),
    }


def _basins(rows: list[dict]) -> str:
    if not rows:
        return "There was none."
    header = ["oracle", "start", "molecule", "method", "kJ/mol above", "of", "RMSD, nm", "version"]
    return markdown(header, [_basin_line(row) for row in rows])


def _line(row: dict) -> list:
    return [
        *(row["oracle"], row["start_kind"], row["subset"], row["method"], row["starts"]),
        *(_counts(row, f"evaluations_{level}") for level in LEVELS),
        f"{row['converged']}/{row['starts']}",
        *(row["against_Sella"], row["against_geomeTRIC"], row["worst_against_better"]),
        *(row["higher"], row["overhead"], row["oracle_seconds"], origin(row)),
    ]


def _counts(row: dict, name: str) -> str:
    """Return median and quartiles of evaluations; those of unfinished runs are a lower bound."""
    low, middle, high = (row[name + end] for end in ("_q1", "", "_q3"))
    return f"{middle:g} ({low:g}..{high:g})" if middle < MAX_EVALUATIONS else cell(row, name)


def _basin_line(row: dict) -> list:
    return [
        *(row["oracle"], row["start_kind"], f"{row['molecule']} {row['conformer']}"),
        *(row["method"], f"{row['above']:.2f}", row["lowest_method"], f"{row['rmsd']:.3f}"),
        origin(row),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*SUBSETS, *MOLECULES]
    parser.add_argument("--molecules", nargs="+", choices=names, default=["report"], metavar="NAME")
    every = range(1, CONFORMERS + 1)
    parser.add_argument("--conformers", nargs="+", type=int, choices=every, default=list(every))
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=["mmff"])
    parser.add_argument("--oracle", choices=list(ORACLES), default="gfn2")
    parser.add_argument("--methods", nargs="+", choices=["baselines", "own", *METHODS])
    parser.add_argument("--tolerance", type=float, default=1.0, help="RMS force, kJ/mol/nm")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--output", type=Path, default=runs_of("expensive"), help="to append to")
    parser.add_argument("--list", action="store_true", help="name molecules and methods, and stop")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join([*MOLECULES, "", *METHODS]))
        return
    sets = {"baselines": list(BASELINES), "own": list(OWN)}
    chosen = arguments.methods or list(METHODS)
    chosen = [method for name in chosen for method in sets.get(name, [name])]
    missing = [name for name in chosen if not is_installed(METHODS[name][1])]
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    arguments.methods = [name for name in chosen if name not in missing]
    left = left_of(cases(arguments), read_runs(arguments.output))
    print(f"{len(left)} runs to do")
    run_all(left, arguments.jobs, arguments.output)


if __name__ == "__main__":
    main()
