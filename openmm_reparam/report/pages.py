"""Writes pages of results: one HTML file each that needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from ..structure.violations import Violations
from .curves import thinned
from .data import BeforeAfter, Curve, FolderRow, ReportData
from .rendering import VIEWER_SCRIPT, write_page
from .shown_molecule import atom_residue_labels, shown_molecule
from .violation_rows import VIOLATION_TITLES, violation_rows

__all__ = ["write_folder_report", "write_report"]

# Rows of the table of violations; a badly built structure has tens of thousands.
LISTED_VIOLATIONS = 1000
STATES = ("converged", "not converged", "failed")
# Rows of the numbers under the plots.
LISTED_POINTS = 25


def write_report(path: str | Path, data: ReportData) -> None:
    """Write the page of one structure.

    Parameters
    ----------
    path : str or Path
        Replaced in one step if it exists.
    data : ReportData

    Raises
    ------
    FileNotFoundError
        Its folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> data = ReportData("ala.pdb", True, "the RMS force reached the tolerance")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(f"{folder}/ala.html", data)
    ...     "ala.pdb" in Path(folder, "ala.html").read_text()
    True
    """
    molecule = None
    if data.structure is not None:
        molecule = shown_molecule(data.structure.topology, dict(data.structure.conformations))
    place = {index: k for k, index in enumerate(molecule.pop("indices"))} if molecule else {}
    rows, left_out = _violation_rows(data, place)
    marked = {atom for row in rows for atom in row["shown"]}
    curves = [thinned(curve) for curve in data.curves]
    page = {
        "molecule": molecule,
        "marked": sorted({molecule["residues"][atom] for atom in marked}) if molecule else [],
        "curves": [_curve(curve) for curve in curves],
        "tolerance": data.tolerance,
    }
    write_page(
        Path(path),
        "structure.html",
        (
            *([VIEWER_SCRIPT] if molecule else []),
            *("table.js", "plot.js", "viewer.js", "structure.js"),
        ),
        page,
        **{name: getattr(data, name) for name in ("title", "converged", "message", "next_step")},
        **{name: getattr(data, name) for name in ("warnings", "minima", "search", "notes")},
        quantities=(*data.quantities, *_counts(data.violations)),
        facts=data.facts,
        thermal=any(row.population is not None for row in data.minima),
        forces=any(curve.rms_force is not None for curve in curves),
        numbers=_numbers(curves[0]) if curves else [],
        violation_rows=rows,
        violations_left_out=left_out,
    )


def write_folder_report(
    path: str | Path,
    rows: Iterable[FolderRow],
    *,
    title: str,
    facts: Mapping[str, Any] | None = None,
    histograms: tuple[str, ...] = ("seconds", "violations after"),
    notes: tuple[str, ...] = (),
) -> None:
    """Write the page of many structures: a row each, summary numbers and histograms.

    Parameters
    ----------
    path : str or Path
        Replaced in one step if it exists.
    rows : iterable of FolderRow
    title : str
        The folder's name.
    facts : dict of str to object, optional
        The head of the page, see `ReportData.facts`.
    histograms : tuple of str
        Headings of the columns to draw; those that no row has are left out.
    notes : tuple of str

    Raises
    ------
    FileNotFoundError
        Its folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> rows = [FolderRow("a.pdb", "converged", {"seconds": 1.5}), FolderRow("b.pdb", "failed")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_folder_report(f"{folder}/all.html", rows, title="models")
    ...     "1 failed" in Path(folder, "all.html").read_text()
    True
    """
    rows = list(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row.values))
    cells = [
        [
            *(row.name, row.state, *(_cell(row.values.get(column)) for column in columns)),
            *(row.message, None if row.report is None else quote(row.report)),
        ]
        for row in rows
    ]
    tallies: Counter[str] = Counter(row.state for row in rows)
    summaries = {column: _summary(column, rows) for column in columns}
    write_page(
        Path(path),
        "folder.html",
        ("table.js", "plot.js", "folder.js"),
        {"columns": columns, "rows": cells},
        title=title,
        facts=facts or {},
        notes=notes,
        tallies={"total": len(rows), **{state: tallies[state] for state in STATES}},
        summaries={column: values for column, values in summaries.items() if values},
        histograms=[column for column in histograms if summaries.get(column)],
    )


def _cell(value: Any) -> float | int | str | None:
    """Return a value that JSON knows: nan and infinity are none."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _curve(curve: Curve) -> dict[str, Any]:
    def plain(values: np.ndarray) -> list[float | None]:
        rounded = [float(f"{value:.8g}") for value in values.tolist()]
        return [value if np.isfinite(value) else None for value in rounded]

    return {
        "label": curve.label,
        "dots": curve.dots,
        "evaluations": [int(count) for count in curve.force_evaluations],
        "energy": plain(curve.energy),
        "rms_force": None if curve.rms_force is None else plain(curve.rms_force),
    }


def _numbers(curve: Curve) -> list[tuple[int, float, float | None]]:
    """Return a few rows of a curve, its ends among them."""
    size = len(curve.energy)
    rows = np.unique(np.linspace(0, size - 1, min(size, LISTED_POINTS)).astype(int))
    forces = None if curve.rms_force is None else curve.rms_force
    return [
        (
            int(curve.force_evaluations[k]),
            float(curve.energy[k]),
            None if forces is None else float(forces[k]),
        )
        for k in rows
    ]


def _violation_rows(data: ReportData, place: dict[int, int]) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of the table, with the viewer's atoms of each, and how many are left out."""
    if data.violations is None or data.structure is None:
        return [], 0
    topology = data.structure.topology
    start, *rest = data.structure.conformations.values()
    found = violation_rows(topology, *data.violations, start, rest[0] if rest else start)
    labels = atom_residue_labels(topology)
    names = [atom.name for atom in topology.atoms()]
    rows = []
    for row in found[:LISTED_VIOLATIONS]:
        shown = [place[atom] for atom in row.atoms if atom in place]
        rows.append(
            {
                **asdict(row),
                "residues": ", ".join(dict.fromkeys(labels[atom] for atom in row.atoms))
                or row.where,
                "names": " – ".join(names[atom] for atom in row.atoms),
                "shown": shown,
            }
        )
    return rows, len(found) - len(rows)


def _counts(violations: tuple[Violations, Violations] | None) -> list[BeforeAfter]:
    """Return the number of each kind before and after, where it was looked for."""
    if violations is None:
        return []
    before, after = (found.counts for found in violations)
    return [
        BeforeAfter(title, before[kind], after[kind])
        for kind, title in VIOLATION_TITLES.items()
        if before[kind] is not None and after[kind] is not None
    ]


def _summary(column: str, rows: list[FolderRow]) -> tuple[float, ...] | None:
    """Return median, smallest and largest of a column of numbers."""
    cells = [_cell(row.values.get(column)) for row in rows]
    numbers = [cell for cell in cells if isinstance(cell, (int, float))]
    if not numbers:
        return None
    return float(np.median(numbers)), min(numbers), max(numbers)
