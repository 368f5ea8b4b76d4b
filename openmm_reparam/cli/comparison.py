"""openmm-reparam beside its baseline, OpenMM's own minimizer: same System, start and tolerance."""

from __future__ import annotations

import numpy as np

from ..minimization.baseline import BASELINE, BaselineResult
from ..minimization.result import MinimizationResult

__all__ = ["comparison"]

REPARAM = "openmm-reparam"
# kJ/mol: energies nearer than this are called equal, as the tolerance leaves them that uncertain.
SAME_ENERGY = 0.1
# Of the table: two lines of headings, and widths that fit 80 characters.
HEADINGS = (
    ("force", "", "energy", "RMS force", ""),
    ("evaluations", "seconds", "kJ/mol", "kJ/mol/nm", "converged"),
)
LABEL_WIDTH, WIDTHS = 23, (13, 9, 13, 11, 11)


def comparison(result: MinimizationResult, baseline: BaselineResult) -> str:
    """Return a small table of both, and in words who did better at what.

    Parameters
    ----------
    result : MinimizationResult
    baseline : BaselineResult
        From the same start to the same tolerance.

    Returns
    -------
    str
    """
    ratios = (
        _ratio(baseline.iterations, result.force_evaluations, ">= "),
        _ratio(baseline.seconds, result.seconds),
    )
    lines = [
        *(_row("", headings) for headings in HEADINGS),
        _row(REPARAM, _cells(result, f"{result.force_evaluations}")),
        _row(BASELINE, _cells(baseline, f">= {baseline.iterations}")),
        _row(f"ratio to {REPARAM}", ratios),
        "",
        _who_is_lower(result.energy, baseline.energy),
        _who_used_fewer(result.force_evaluations, baseline.iterations),
        *_who_passed_whom(result, baseline),
        *_cheaper_evaluations(result.evaluations["bonded"], result.force_evaluations),
        f"{BASELINE} reports iterations. Each takes one force evaluation or more,",
        "so its number of evaluations is a lower bound.",
        *_what_was_compared(result, baseline),
    ]
    return "\n".join(lines)


def _row(label: str, cells: tuple[str, ...]) -> str:
    columns = (f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=False))
    return f"{label:<{LABEL_WIDTH}}{''.join(columns)}".rstrip()


def _cells(run: MinimizationResult | BaselineResult, evaluations: str) -> tuple[str, ...]:
    return (
        evaluations,
        f"{run.seconds:.2f}",
        f"{run.energy:.3f}",
        f"{run.rms_force:.3g}",
        "yes" if run.converged else "no",
    )


def _ratio(baseline: float, reparam: float, bound: str = "") -> str:
    return f"{bound}{baseline / reparam:.2f} x" if reparam > 0 else ""


def _cheaper_evaluations(bonded: int, total: int) -> list[str]:
    """Return how many evaluations were not of the whole force field."""
    if not bonded:
        return []
    return [f"Of the {total} force evaluations of {REPARAM}, {bonded} were of bonded terms alone."]


def _what_was_compared(result: MinimizationResult, baseline: BaselineResult) -> list[str]:
    """Return whether the two energies are of the same kind of run."""
    if result.minima is not None:
        searched = f"{REPARAM} went on to search for deeper minima"
        return [f"{searched}; {BASELINE} stops at the first one."]
    cut_short = [
        name for name, run in ((REPARAM, result), (BASELINE, baseline)) if not run.converged
    ]
    if cut_short:
        return [f"{' and '.join(cut_short)} stopped above the tolerance, before a minimum."]
    return [
        "Each run ends in the first minimum that it reaches, so which of two energies is lower",
        "differs from start to start.",
    ]


def _who_is_lower(reparam: float, baseline: float) -> str:
    if abs(reparam - baseline) < SAME_ENERGY:
        return f"Both reached the same energy to within {SAME_ENERGY} kJ/mol."
    winner = REPARAM if reparam < baseline else BASELINE
    return f"{winner} reached the lower energy, by {abs(reparam - baseline):.1f} kJ/mol."


def _who_used_fewer(reparam: int, baseline: int) -> str:
    if reparam <= baseline:
        return f"{REPARAM} used fewer force evaluations: {reparam} against {baseline} or more."
    return (
        f"{BASELINE} reported fewer iterations, {baseline}, than the {reparam} force evaluations "
        f"of {REPARAM}."
    )


def _who_passed_whom(result: MinimizationResult, baseline: BaselineResult) -> list[str]:
    """Return when the run that ended lower had come as low as the other's end."""
    if abs(result.energy - baseline.energy) < SAME_ENERGY:
        return []
    runs: list[tuple[str, MinimizationResult | BaselineResult, str]] = [
        (REPARAM, result, "force evaluations"),
        (BASELINE, baseline, "iterations"),
    ]
    (winner, lower, counted), (loser, higher, _) = sorted(runs, key=lambda run: run[1].energy)
    reached = np.flatnonzero(lower.history["energy"] <= higher.energy)
    if not len(reached):  # its end is the only structure so low
        return []
    first = lower.history[reached[0]]
    return [
        f"{winner} was down to the final energy of {loser} after {first['force_evaluations']} "
        f"{counted}, {first['seconds']:.2f} s."
    ]
