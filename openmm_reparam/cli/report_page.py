"""``--report``: the HTML page of a minimized molecule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..report.data import BeforeAfter
from ..report.minimized import minimized_report
from ..report.pages import write_report
from ..structure.violations import Violations
from .reporting import Run
from .settings import Console

__all__ = ["write_report_page"]


def write_report_page(
    run: Run,
    path: Path,
    console: Console,
    *,
    title: str,
    violations: tuple[Violations, Violations],
    facts: Mapping[str, Any],
    quantities: tuple[BeforeAfter, ...] = (),
    notes: tuple[str, ...] = (),
) -> None:
    """Write the page of a run.

    Parameters
    ----------
    run : Run
    path : Path
    console : Console
    title : str
        The file's name, or the sequence.
    violations : (Violations, Violations)
        Before and after.
    facts : dict of str to object
        The input; what every run has is added.
    quantities : tuple of BeforeAfter
        Beside the energy and the RMS force.
    notes : tuple of str
        Beside the repairs.
    """
    molecule = run.molecule
    data = minimized_report(
        title,
        run.result,
        molecule.topology,
        molecule.positions,
        run.positions,
        violations=violations,
        quantities=quantities,
        facts={**facts, **_facts(run)},
        notes=(*molecule.repairs, *notes),
        baseline=None if run.baseline is None else run.baseline.history,
        superposition=run.superposition,
    )
    write_report(path, data)
    console.say(f"Wrote the report: {path}")


def _facts(run: Run) -> dict[str, Any]:
    """Return what every page says of how it was run."""
    settings, topology = run.settings, run.molecule.topology
    return {
        "Atoms": topology.getNumAtoms(),
        "Residues": topology.getNumResidues(),
        "Platform": run.simulation.context.getPlatform().getName(),
        "Threads": settings.threads,
        "Tolerance of the RMS force": f"{settings.tolerance:g} kJ/mol/nm",
        "Iterations at most": settings.max_iterations or None,
        "Force evaluations at most": settings.max_force_evaluations,
        "Reparametrization": settings.reparametrization,
        "Search": settings.search,
        "Temperature": settings.temperature and f"{settings.temperature:g} K",
        "Seed": settings.seed,
    }
