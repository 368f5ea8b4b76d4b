"""Records of runs, their summaries, and the tables and pictures made from these.

    python -m benchmarks.report                    # every table from the committed summaries
    python -m benchmarks.report local search       # of these benchmarks alone
    python -m benchmarks.report local --print      # to the terminal, no file is written
    python -m benchmarks.report local --summarize  # first bring new runs into the summary

A program appends each run as one JSON line to ``results/runs/NAME.jsonl``, with its commit,
machine, platform, versions and settings. These files stay on the machine. ``--summarize`` groups
runs and writes medians, quartiles and counts to ``results/NAME.csv``, which is committed. The
Markdown tables of ``docs/benchmarks/generated/`` are made from the CSV files alone.

Runs of different versions of a method, or on different machines, are never in one group. A table
shows one of them (see versions.py), the CSV file has all. The version of a method of this package
is the last commit that changed ``openmm_reparam/``, with a "+" where the working tree differed from
it; that of another method is its library's.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform as python_platform
import subprocess
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np
import openmm as mm

from .versions import caption, current, origin

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
RUNS = RESULTS / "runs"
GENERATED = ROOT / "docs" / "benchmarks" / "generated"
IMAGES = ROOT / "docs" / "images"
PACKAGE = "openmm-reparam"
# What tells groups of runs apart, besides case, settings and method.
PROVENANCE = (
    *("version", "platform", "processor", "cores", "openmm", "torch", "numpy", "package"),
)
# Columns of a summary that are names, even where they look like numbers.
NAMES = (*PROVENANCE, "commit", "reference_version")
BENCHMARKS = {
    "local": "benchmarks.local",
    "search": "benchmarks.search",
    "scaling": "benchmarks.scaling",
    "replicas": "benchmarks.replicas",
    "costs": "benchmarks.costs",
    "figure4": "benchmarks.paper.figure4",
    "figure5": "benchmarks.paper.figure5",
    "figure6": "benchmarks.paper.figure6",
    "coils": "benchmarks.paper.coils",
    "expensive": "benchmarks.expensive",
    "mixed": "benchmarks.mixed",
    "golf": "benchmarks.golf",
    "sampling": "benchmarks.sampling",
    "throughput": "benchmarks.throughput",
}


# --- The record of a run ---


def git(*arguments: str) -> str:
    """Return what git prints in this repository, or nothing where there is no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


@cache
def package_version() -> str:
    """Return the last commit that changed the package; "+" says that the working tree differs."""
    changed = "+" if git("status", "--porcelain", "openmm_reparam") else ""
    return (git("log", "-1", "--format=%h", "--", "openmm_reparam") or "unknown") + changed


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return python_platform.processor() or python_platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, python_platform.machine())


@cache
def machine() -> dict:
    """Return commit, machine and versions of this process."""
    return {
        "commit": git("rev-parse", "--short", "HEAD") or "unknown",
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": python_platform.python_version(),
        "openmm": mm.version.full_version,
        **{name: installed(name) for name in ("torch", "numpy")},
        "package": installed(PACKAGE),
    }


def is_installed(library: str) -> bool:
    """Tell whether a distribution is here."""
    try:
        installed(library)
    except PackageNotFoundError:
        return False
    return True


def version_of(library: str) -> str:
    """Return the version that a run of a method carries.

    Parameters
    ----------
    library : str
        What the method belongs to: this package, or a distribution like "openmm" or "scipy".
    """
    return package_version() if library == PACKAGE else f"{library} {installed(library)}"


def record(platform: str, library: str = PACKAGE, **run) -> dict:
    """Return a run with where it comes from.

    Parameters
    ----------
    platform : str
        OpenMM's.
    library : str
        What the method belongs to: this package, or a distribution like "openmm" or "scipy".
    **run
        Case, method, start, settings and what came out.
    """
    return {
        **run,
        "version": version_of(library),
        "platform": platform,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "load": round(os.getloadavg()[0], 1),
        **machine(),
    }


def append(path: Path, run: dict) -> None:
    """Append a run to a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        file.write(json.dumps(run) + "\n")


def read_runs(path: Path) -> list[dict]:
    """Return the runs in a file of JSON lines, none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def runs_of(name: str) -> Path:
    """Return where a benchmark's runs are kept."""
    return RUNS / f"{name}.jsonl"


# --- Summaries ---


def grouped(runs: Iterable[dict], keys: Sequence[str]) -> list[tuple[dict, list[dict]]]:
    """Group runs that agree in keys and provenance, and describe each group by these.

    Where one start was run twice, its last run counts.
    """
    groups: dict[tuple, dict] = {}
    names = (*keys, *PROVENANCE)
    for number, run in enumerate(runs):
        group = groups.setdefault(tuple(run.get(name) for name in names), {})
        group[run.get("start", number)] = run
    found = []
    for values, group in groups.items():
        members = list(group.values())
        last = max(members, key=lambda run: run["date"])
        told = {"date": last["date"][:10], "commit": last["commit"], "starts": len(members)}
        told["load"] = max((run["load"] for run in members if "load" in run), default=None)
        found.append((dict(zip(names, values, strict=True)) | told, members))
    return found


def quartiles(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """Return first quartile, median and third quartile under the names that `cell` reads."""
    found = np.percentile(values, [25, 50, 75]).tolist() if len(values) else [None] * 3
    return dict(zip((f"{name}_q1", f"{name}", f"{name}_q3"), found, strict=True))


def write_csv(path: Path, rows: Sequence[dict]) -> None:
    """Write rows of the same columns; numbers with seven digits."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({n: f"{v:.7g}" if isinstance(v, float) else v for n, v in row.items()})


def read_csv(path: Path) -> list[dict]:
    """Read what `write_csv` wrote: numbers as numbers, empty cells as None."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return [
            {n: v if n in NAMES else _value(v) for n, v in row.items()}
            for row in csv.DictReader(file)
        ]


def _value(text: str) -> str | int | float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def merged(old: list[dict], new: list[dict], keys: Sequence[str]) -> list[dict]:
    """Return both; of lines with the same keys and provenance, the one of more starts, or newer."""

    def key(row: dict) -> tuple:
        values = (row.get(name) for name in (*keys, *PROVENANCE))
        return tuple(str(_value(str(value))) for value in values)

    lines = {key(row): row for row in old}
    for row in new:
        before = lines.get(key(row))
        if before is None or row["starts"] >= before["starts"]:
            lines[key(row)] = row
    return list(lines.values())


# --- Tables ---


def spread(values) -> str:
    """``median (first quartile .. third quartile)``."""
    return cell(quartiles("x", values), "x")


def cell(row: dict, name: str, digits: int | None = None) -> str:
    """Return ``median (first quartile .. third quartile)`` of a line of a summary.

    Digits after the point are two for medians below ten and none for others, unless given.
    """
    low, middle, high = (row[f"{name}_q1"], row[name], row[f"{name}_q3"])
    if middle is None:
        return ""
    if digits is None:
        digits = 2 if abs(middle) < 10 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def times(ratio: float | None) -> str:
    """Return a ratio as "3.1x"."""
    return "" if ratio is None else f"{ratio:.1f}x"


def markdown(header: Sequence[str], lines: Iterable[Sequence]) -> str:
    """Return a Markdown table; numbers with three digits, None as an empty cell."""

    def text(value) -> str:
        if isinstance(value, float):
            return f"{value:.3g}"
        return "" if value is None else str(value)

    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(text(value) for value in row)} |" for row in rows)


def summaries(name: str, *, summarize: bool = False) -> dict[str, list[dict]]:
    """Read a benchmark's summaries, and bring its new runs into them first if asked to."""
    module = import_module(BENCHMARKS[name])
    found = {table: read_csv(RESULTS / f"{table}.csv") for table in module.SUMMARIES}
    if not summarize:
        return found
    new = module.summarize(read_runs(runs_of(name)))
    for table, keys in module.SUMMARIES.items():
        found[table] = merged(found[table], new[table], keys)
        write_csv(RESULTS / f"{table}.csv", found[table])
    return {table: read_csv(RESULTS / f"{table}.csv") for table in module.SUMMARIES}


def captioned_tables(name: str, found: dict[str, list[dict]]) -> dict[str, str]:
    """Return a benchmark's tables of current lines, with their versions and machines below."""
    module = import_module(BENCHMARKS[name])
    shown = current_summaries(name, found)
    rows = [row for table in shown.values() for row in table]
    texts = {}
    for table, text in module.tables(shown).items():
        told = [row for row in rows if f" {origin(row)} |" in text]
        texts[table] = f"{text}\n\n{caption(told or rows)}"
    return texts


def current_summaries(name: str, found: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """Return one version of each method in each case, see `versions.current`."""
    keys = import_module(BENCHMARKS[name]).SUMMARIES
    return {table: current(rows, keys[table]) for table, rows in found.items()}


def write_tables(name: str, found: dict[str, list[dict]], folder: Path) -> None:
    """Write a benchmark's tables, each to a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    maker = f"<!-- Made from benchmarks/results/ by `python -m benchmarks.report {name}`. -->"
    for table, text in captioned_tables(name, found).items():
        path = folder / f"{table}.md"
        path.write_text(f"{maker}\n\n{text}\n")
        print(f"wrote {path}")


def print_tables(name: str, found: dict[str, list[dict]]) -> None:
    """Print a benchmark's tables."""
    for text in captioned_tables(name, found).values():
        print(f"\n{text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", default=[])
    parser.add_argument("--summarize", action="store_true", help="bring new runs in first")
    parser.add_argument("--print", action="store_true", help="print the tables, write no file")
    parser.add_argument("--plots", action="store_true", help="draw the pictures of the docs too")
    parser.add_argument("--folder", type=Path, default=GENERATED, help="of the Markdown files")
    parser.add_argument("--images", type=Path, default=IMAGES)
    arguments = parser.parse_args()
    for name in arguments.names or BENCHMARKS:
        found = summaries(name, summarize=arguments.summarize)
        if arguments.print:
            print_tables(name, found)
            continue
        write_tables(name, found, arguments.folder)
        module = import_module(BENCHMARKS[name])
        if arguments.plots and hasattr(module, "plot_summary"):
            arguments.images.mkdir(parents=True, exist_ok=True)
            module.plot_summary(current_summaries(name, found), arguments.images)


if __name__ == "__main__":
    main()
