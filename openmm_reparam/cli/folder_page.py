"""``--report`` of ``minimize FOLDER``: one HTML page with a row for each structure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from ..distributed.structure_task import VIOLATION_KINDS, StructureSettings
from ..distributed.summary import row_state
from ..report.data import FolderRow
from ..report.pages import write_folder_report

__all__ = ["write_folder_page"]

# Headings, and the columns of the summary that they show.
_COLUMNS = {
    "atoms": "atoms",
    "initial energy (kJ/mol)": "initial_energy",
    "energy (kJ/mol)": "final_energy",
    "RMS force (kJ/mol/nm)": "rms_force",
    "force evaluations": "force_evaluations",
    "RMSD (Å)": "rmsd_angstrom",
    "seconds": "seconds",
}
# One in twenty is cis in nature: no violation.
_COUNTED = [kind for kind in VIOLATION_KINDS if kind != "cis_prolines"]


def write_folder_page(
    rows: Iterable[dict[str, Any]], path: Path, title: str, settings: StructureSettings
) -> None:
    """Write the page of many minimized structures.

    Parameters
    ----------
    rows : iterable of dict
        Of the summary.
    path : Path
        A page of a structure of its own beside it, ``model.html`` for ``model.pdb``, is linked to.
    title : str
    settings : StructureSettings
    """
    own = {page.name for page in path.parent.glob("*.html")} - {path.name}
    write_folder_report(path, (_row(row, own) for row in rows), title=title, facts=_facts(settings))


def _row(row: dict[str, Any], own: set[str]) -> FolderRow:
    page = f"{Path(row['file']).stem}.html"
    return FolderRow(
        row["file"],
        cast(Any, row_state(row)),  # one of the three that a page knows
        {} if row["error"] else _values(row),
        row["error"] or row["message"] or "",
        page if page in own else None,
    )


def _values(row: dict[str, Any]) -> dict[str, Any]:
    violations = {
        f"violations {when}": sum(row[f"{kind}_{when}"] or 0 for kind in _COUNTED)
        for when in ("before", "after")
    }
    return {**{heading: row[column] for heading, column in _COLUMNS.items()}, **violations}


def _facts(settings: StructureSettings) -> dict[str, Any]:
    restraint, preparation = settings.restraint, settings.preparation
    return {
        "Force field": ", ".join(preparation.get("forcefield", ())),
        "Solvent": preparation.get("solvent"),
        "Restraints of heavy atoms": restraint and f"{restraint:g} kcal/mol/Å²",
        "Tolerance of the RMS force": f"{settings.tolerance:g} kJ/mol/nm",
        "Force evaluations at most": settings.max_force_evaluations,
        "Search": settings.search,
        "Platform": settings.platform,
        "Seed": settings.seed,
    }
