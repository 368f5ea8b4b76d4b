"""The page of a minimized molecule, from its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from openmm import app

from ..minimization.result import MinimizationResult
from ..sampling.superposition import HarmonicSuperposition
from ..structure.violations import Violations
from .curves import history_curve, search_curves
from .data import BeforeAfter, Curve, MinimumRow, ReportData, ShownStructure
from .next_steps import next_step

__all__ = ["minimized_report"]

# Minima in the table, and those of them that the viewer can show.
LISTED_MINIMA = 200
SHOWN_MINIMA = 10
TURNED = "Compare with the input; restrain these atoms, or mend the clashes there first."


def minimized_report(
    title: str,
    result: MinimizationResult,
    topology: app.Topology,
    start: Any,
    end: Any,
    *,
    violations: tuple[Violations, Violations] | None = None,
    quantities: tuple[BeforeAfter, ...] = (),
    facts: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
    baseline: np.ndarray | None = None,
    superposition: HarmonicSuperposition | None = None,
) -> ReportData:
    """Return what the page of a minimized molecule shows.

    Parameters
    ----------
    title : str
    result : MinimizationResult
    topology : openmm.app.Topology
    start, end : (N, 3) array in nm, or Quantity
    violations : (Violations, Violations), optional
    quantities : tuple of BeforeAfter
        Beside the energy and the RMS force.
    facts, notes
        See `ReportData`; evaluations and seconds are added.
    baseline : structured array, optional
        History of OpenMM's own minimizer, from the same start.
    superposition : HarmonicSuperposition, optional
        Free energies of the lowest minima.

    Returns
    -------
    ReportData
    """
    minima = _minima(result, superposition)
    shown = {
        row.conformation: minimum.positions
        for row, minimum in zip(minima, result.minima or (), strict=False)
        if row.conformation not in (None, "after")
    }
    changes = "; ".join(result.stereo_changes or ())
    return ReportData(
        title=title,
        converged=result.converged,
        message=result.message,
        next_step="" if result.converged else next_step(result.message),
        warnings=(f"Stereochemistry changed: {changes}. {TURNED}",) if changes else (),
        facts={
            **(facts or {}),
            "Stereochemistry": _stereochemistry(result),
            "Force evaluations": result.force_evaluations,
            "Time": f"{result.seconds:.2f} s",
        },
        quantities=(
            BeforeAfter("Energy", result.initial_energy, result.energy, "kJ/mol"),
            BeforeAfter("RMS force", result.initial_rms_force, result.rms_force, "kJ/mol/nm"),
            *quantities,
        ),
        curves=_curves(result, baseline),
        tolerance=result.tolerance,
        structure=ShownStructure(topology, {"before": start, "after": end, **shown}),
        violations=violations,
        minima=minima,
        search="" if result.search_record is None else str(result.search_record),
        notes=notes,
    )


def _stereochemistry(result: MinimizationResult) -> str:
    if result.stereo_changes is None:
        return "not checked"
    return f"{len(result.stereo_changes)} changed" if result.stereo_changes else "unchanged"


def _curves(result: MinimizationResult, baseline: np.ndarray | None) -> tuple[Curve, ...]:
    if result.minima is not None:
        return search_curves(result)
    curves = [history_curve("openmm-reparam", result.history)]
    if baseline is not None:
        curves.append(history_curve("LocalEnergyMinimizer, by iterations", baseline))
    return tuple(curves)


def _minima(
    result: MinimizationResult, superposition: HarmonicSuperposition | None
) -> tuple[MinimumRow, ...]:
    """Return the lowest minima, with free energies where they are known."""
    thermal: dict[int, tuple[float, float]] = {}
    if superposition is not None:
        free = superposition.free_energies()
        rows = zip(
            superposition.minima, free - free.min(), superposition.populations(), strict=True
        )
        for minimum, free_energy, population in rows:
            thermal[minimum.indices[0]] = float(free_energy), float(population)
    listed = []
    for index, minimum in enumerate((result.minima or ())[:LISTED_MINIMA]):
        free_energy, population = thermal.get(index, (None, None))
        row = MinimumRow(
            energy=minimum.energy,
            force_evaluations=minimum.force_evaluations,
            visits=minimum.visits,
            cluster=minimum.cluster,
            free_energy=free_energy,
            population=population,
            conformation=_conformation(index),
        )
        listed.append(row)
    return tuple(listed)


def _conformation(index: int) -> str | None:
    """Return the label of a minimum in the viewer; the lowest is the end of the run."""
    if index == 0:
        return "after"
    return f"minimum {index + 1}" if index < SHOWN_MINIMA else None
