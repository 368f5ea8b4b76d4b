"""``--report`` of ``relax``: the HTML page of a relaxed prediction, and of many."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from ..distributed.summary import row_state
from ..predicted.api import RelaxedPrediction
from ..predicted.report import RelaxationReport
from ..report.curves import history_curve
from ..report.data import BeforeAfter, FolderRow, ReportData, ShownStructure
from ..report.pages import write_folder_report, write_report

__all__ = ["write_relaxation_page", "write_relaxations_page"]

# Headings of the page of many, and the columns of the summary that they show.
_COLUMNS = {
    "residues": "residues",
    "chains": "chains",
    "clashes before": "clashes_before",
    "clashes after": "clashes_after",
    "residues with violations before": "violating_residues_before",
    "residues with violations after": "violating_residues_after",
    "MolProbity-like score before": "molprobity_like_before",
    "MolProbity-like score after": "molprobity_like_after",
    "RMSD (A)": "rmsd_angstrom",
    "rounds": "rounds",
    "force evaluations": "force_evaluations",
    "seconds": "seconds",
}
_HISTOGRAMS = ("seconds", "clashes after", "MolProbity-like score after")


def write_relaxation_page(relaxed: RelaxedPrediction, path: Path) -> None:
    """Write the page of one prediction.

    Parameters
    ----------
    relaxed : RelaxedPrediction
    path : Path
    """
    report = relaxed.report
    rounds = zip(relaxed.histories, range(1, len(relaxed.histories) + 1), strict=True)
    data = ReportData(
        title=report.name,
        converged=report.converged,
        message=f"{len(report.rounds)} rounds: {report.stopped}",
        warnings=report.stereo_changes,
        facts=_facts(report),
        quantities=_quantities(report),
        curves=tuple(history_curve(f"round {number}", history) for history, number in rounds),
        tolerance=report.settings.tolerance,
        structure=ShownStructure(relaxed.topology, {"before": relaxed.start, "after": relaxed.end}),
        violations=(report.before.violations, report.after.violations),
        notes=report.notes,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(path, data)


def write_relaxations_page(rows: Iterable[dict[str, Any]], path: Path, title: str) -> None:
    """Write the page of many predictions.

    Parameters
    ----------
    rows : iterable of dict
        Of the summary.
    path : Path
    title : str
    """
    shown = (
        FolderRow(
            row["file"],
            cast(Any, row_state(row)),  # one of the three that a page knows
            {} if row["error"] else {name: row[column] for name, column in _COLUMNS.items()},
            row["error"] or row["stopped"],
        )
        for row in rows
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_folder_report(path, shown, title=title, histograms=_HISTOGRAMS)


def _facts(report: RelaxationReport) -> dict[str, Any]:
    settings = report.settings
    return {
        "Atoms": report.atoms,
        "Residues": report.residues,
        "Chains": report.chains,
        "Force field": settings.forcefield,
        "Restraints": f"{settings.restraint:g} kcal/mol/A^2 on heavy atoms",
        "Tolerance of the RMS force": f"{settings.tolerance:g} kJ/mol/nm",
        "Rounds": len(report.rounds),
        "Released residues": ", ".join(report.released),
        "Side chains turned": ", ".join(report.turned),
        "Disulfides": ", ".join(report.disulfides),
        "RMSD of heavy atoms": f"{report.rmsd:.3f} A",
        "Force evaluations": report.force_evaluations,
        "Seconds": round(sum(report.seconds.values()), 2),
        "Platform": settings.platform,
    }


def _quantities(report: RelaxationReport) -> tuple[BeforeAfter, ...]:
    before, after = report.before, report.after
    scores = before.scores.to_dict(), after.scores.to_dict()
    return (
        BeforeAfter("Energy without restraints", before.energy, after.energy, "kJ/mol"),
        BeforeAfter(
            "Residues with violations",
            len(before.violating_residues),
            len(after.violating_residues),
        ),
        BeforeAfter(
            "Ramachandran outliers",
            len(before.scores.ramachandran_outliers),
            len(after.scores.ramachandran_outliers),
        ),
        BeforeAfter(
            "Rotamer outliers",
            len(before.scores.rotamer_outliers),
            len(after.scores.rotamer_outliers),
        ),
        *(
            BeforeAfter(title, scores[0][name], scores[1][name], unit)
            for title, name, unit in (
                ("Ramachandran favoured", "ramachandran_favoured", "%"),
                ("Clashscore", "clashscore", ""),
                ("MolProbity-like score", "molprobity_like", ""),
            )
        ),
    )
