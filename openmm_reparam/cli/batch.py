"""``openmm-reparam minimize FOLDER`` and ``LIST.txt``: many structure files, by worker processes.

A file that fails is a row with its error, and the others are done all the same; so is one whose
worker process dies.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..distributed.cluster import workers_for
from ..distributed.file_work import default_summary, file_rows, file_summary
from ..distributed.minimize_many import minimization_work
from ..distributed.structure_inputs import STRUCTURE_ENDINGS, StructureFiles, structure_files
from ..distributed.structure_task import (
    COLUMNS,
    VIOLATION_KINDS,
    StructureSettings,
    check_settings,
)
from ..distributed.summary import read_summary, row_state
from .folder_page import write_folder_page
from .settings import Console, Outputs, RunSettings, platform_name
from .workforce import Workforce, say_workers

__all__ = ["minimize_files_of"]

# Names of failed files in the last line; the summary has them all.
NAMES_OF_FAILED = 10


def minimize_files_of(
    source: Path,
    settings: RunSettings,
    outputs: Outputs,
    *,
    workforce: Workforce | None = None,
    summary: Path | None = None,
    restraint: float | None = None,
    **preparation: Any,
) -> int:
    """Minimize every structure file of a folder or a list, and summarize them.

    Parameters
    ----------
    source : Path
        A folder: its .pdb, .ent, .cif and .mmcif files are taken by name; folders inside it are
        not. Or a file with a path a line.
    settings : RunSettings
        With more than one worker, no platform means the CPU platform on one thread.
    outputs : Outputs
        ``structure`` is a folder here: it gets files of the same names.
    workforce : Workforce or None
    summary : Path or None
        CSV or Parquet file; None is ``summary.csv`` in the folder of outputs, if there is one.
    restraint : float or None
        Force constant of heavy atoms in kcal/mol/A^2; None restrains nothing.
    **preparation
        Further arguments of `prepare.structure_files.prepare_file`.

    Returns
    -------
    int
        Exit code: 0 all converged, 1 some not converged or failed.

    Raises
    ------
    FileExistsError
        The summary is of an earlier run, and that is not to be resumed.
    ValueError
        There is no file to minimize, or the arguments cannot be right for any.
    KeyboardInterrupt
        Ctrl-C, once the workers have ended; the summary holds the files that were done.
    """
    workforce = workforce or Workforce()
    files = structure_files(source)
    _refuse_bad_arguments(source, settings, outputs)
    out = outputs.structure
    chosen = StructureSettings(
        **{name: getattr(settings, name) for name in _SHARED if name != "platform"},
        platform=platform_name(settings.platform, settings.threads),
        restraint=restraint,
        preparation=preparation,
    )
    check_settings(chosen)
    processes = workforce.cluster.processes(files.total)
    work = minimization_work(chosen, processes, workforce.resources)
    path = default_summary(summary, out)
    if outputs.report is not None and path is None:
        raise ValueError(
            f"--report {outputs.report} is made of the summary: name one by --csv, or -o FOLDER"
        )
    outputs.prepare_report()
    with ExitStack() as stack:
        table = stack.enter_context(file_summary(files, work, out, path, workforce.resume))
        kept = files.among(table.kept)
        if workforce.resume:
            print(f"{len(kept)} of {files.total} files are done and unchanged")
        print(f"{files.total - len(kept)} files of {source}", flush=True)
        client = stack.enter_context(workers_for(files.total - len(kept), workforce.cluster))
        say_workers(client, processes, Console(None))
        rows = stack.enter_context(
            closing(file_rows(client, files, work, out, table, resources=workforce.resources))
        )
        totals = _show(rows, files, kept)
    print(totals.line())
    if path is not None:
        print(f"Wrote the summary: {path}")
    if path is not None and outputs.report is not None:
        write_folder_page(read_summary(path, COLUMNS), outputs.report, str(source), chosen)
        print(f"Wrote the report: {outputs.report}")
    return 0 if totals.all_converged else 1


# Settings of a run that are one structure's, by the same names.
_SHARED = {field.name for field in fields(RunSettings)} & {
    field.name for field in fields(StructureSettings)
}


class _Totals:
    """How many files converged, did not, or failed, and which these are."""

    def __init__(self, kept: Mapping[str, str]) -> None:
        self._counts = Counter(kept.values())
        self._failed: list[str] = []

    def add(self, row: dict[str, Any]) -> None:
        self._counts[row_state(row)] += 1
        if row["error"] and len(self._failed) < NAMES_OF_FAILED:
            self._failed.append(row["file"])

    @property
    def all_converged(self) -> bool:
        return self._counts["converged"] == self._counts.total()

    def line(self) -> str:
        converged, other, failed = (
            self._counts[state] for state in ("converged", "not converged", "failed")
        )
        more = failed - len(self._failed)
        names = ", ".join(self._failed) + f" and {more} more" * (more > 0)
        return (
            f"{converged} of {self._counts.total()} converged, {other} did not, "
            f"{failed} failed{': ' if names else ''}{names}"
        )


def _show(rows, files: StructureFiles, kept: Mapping[str, str]) -> _Totals:
    """Print a row for each file when it is done, above a bar with the rate and the time left."""
    width = min(max(len(name) for name, _ in files.named()), LONGEST_NAME)
    print("\n".join(table_head(width)))
    totals = _Totals(kept)
    with tqdm(
        total=files.total,
        initial=len(kept),
        unit="file",
        smoothing=0,
        leave=False,
        disable=None,
    ) as bar:
        for row in rows:
            bar.write(table_line(row, width), file=sys.stdout)
            bar.update()
            totals.add(row)
    return totals


def _refuse_bad_arguments(source: Path, settings: RunSettings, outputs: Outputs) -> None:
    """Raise what would make every file fail, before any is read."""
    if outputs.plot is not None or outputs.json is not None or settings.compare:
        raise ValueError("--plot, --json and --compare are for one file; for a folder take --csv")
    out = outputs.structure
    if out is None:
        return
    if out.suffix.lower() in STRUCTURE_ENDINGS:
        raise ValueError(f"-o {out}: for a folder of files, name a folder")
    if out.resolve() == source.resolve():
        raise ValueError(f"-o {out} would overwrite the input: name another")


# Of the table on the terminal: two lines of headings, and widths.
LONGEST_NAME = 40
_HEADINGS = (
    ("", "", "energy", "heavy-atom", "hydrogen", "other", "RMSD", "time"),
    ("atoms", "converged", "kJ/mol", "clashes", "clashes", "violations", "angstrom", "seconds"),
)
_WIDTHS = (7, 11, 13, 12, 10, 12, 10, 9)
_OTHER_VIOLATIONS = [
    kind for kind in VIOLATION_KINDS if "clashes" not in kind and kind != "cis_prolines"
]


def table_head(width: int) -> list[str]:
    """Return the lines above the rows; ``width`` is that of file names."""
    return [
        "Clashes and other violations: before > after. RMSD: of heavy atoms from the file.",
        _cells("", width, _HEADINGS[0]),
        _cells("file", width, _HEADINGS[1]),
    ]


def table_line(row: dict[str, Any], width: int) -> str:
    """Return a row of the summary for the terminal; ``width`` is that of file names."""
    if row["error"]:
        return f"{row['file']:<{width}}  FAILED: {row['error']}"
    counts = [
        " > ".join(
            str(sum(row[f"{kind}_{when}"] for kind in kinds)) for when in ("before", "after")
        )
        for kinds in (["clashes"], ["hydrogen_clashes"], _OTHER_VIOLATIONS)
    ]
    cells = (
        f"{row['atoms']}",
        "yes" if row["converged"] else "NO",
        f"{row['final_energy']:.1f}",
        *counts,
        f"{row['rmsd_angstrom']:.3f}",
        f"{row['seconds']:.1f}",
    )
    return _cells(row["file"], width, cells)


def _cells(name: str, width: int, cells: tuple[str, ...]) -> str:
    columns = (f"{cell:>{size}}" for cell, size in zip(cells, _WIDTHS, strict=True))
    return f"{name:<{width}}{''.join(columns)}"
