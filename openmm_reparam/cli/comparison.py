"""OpenMM's own minimizer beside openmm-reparam in words: same System, start and tolerance."""

from __future__ import annotations

import numpy as np

from ..minimization.baseline import BASELINE, BaselineResult
from ..minimization.result import MinimizationResult

__all__ = ["comparison"]

REPARAM = "openmm-reparam"
# kJ/mol: energies nearer than this are called equal, as the tolerance leaves them that uncertain.
SAME_ENERGY = 0.1


def comparison(result: MinimizationResult, baseline: BaselineResult) -> str:
    """Return a small table of both, and in words who did better at what."""
    whole = result.evaluations["context"] + result.evaluations["side"]
    rows = [
        ("energy, kJ/mol", f"{result.energy:.3f}", f"{baseline.energy:.3f}"),
        ("RMS force, kJ/mol/nm", f"{result.rms_force:.3g}", f"{baseline.rms_force:.3g}"),
        ("converged", _yes(result.converged), _yes(baseline.converged)),
        ("force evaluations", f"{result.force_evaluations}", f">= {baseline.iterations}"),
        ("  of the whole force field", f"{whole}", f">= {baseline.iterations}"),
        ("seconds", f"{result.seconds:.2f}", f"{baseline.seconds:.2f}"),
    ]
    ratios = {
        "energy, kJ/mol": f"{result.energy - baseline.energy:+.3f}",
        "force evaluations": _ratio(result.force_evaluations, baseline.iterations, "<= "),
        "  of the whole force field": _ratio(whole, baseline.iterations, "<= "),
        "seconds": _ratio(result.seconds, baseline.seconds),
    }
    lines = [f"{'':<28}{REPARAM:>16}{BASELINE:>24}{'difference, ratio':>20}"]
    for name, *values in rows:
        ratio = ratios.get(name, "")
        lines.append(f"{name:<28}{values[0]:>16}{values[1]:>24}{ratio:>20}".rstrip())
    lines += [
        "",
        _who_is_lower(result.energy, baseline.energy),
        _who_used_fewer(result.force_evaluations, baseline.iterations),
        *_who_passed_whom(result, baseline),
        "OpenMM counts iterations, and each takes at least one force evaluation: its number of",
        "evaluations is a lower bound.",
        *_what_was_compared(result, baseline),
    ]
    return "\n".join(lines)


def _what_was_compared(result: MinimizationResult, baseline: BaselineResult) -> list[str]:
    """Return whether the two energies are of alike runs."""
    if result.minima is not None:
        searched = f"{REPARAM} went on to search for deeper minima"
        return [f"{searched}; {BASELINE} stops at the first it meets."]
    cut_short = [
        name for name, run in ((REPARAM, result), (BASELINE, baseline)) if not run.converged
    ]
    if cut_short:
        return [f"{' and '.join(cut_short)} stopped above the tolerance, before a minimum."]
    return [
        "Each run ends in the minimum it meets first, so which of two energies is lower differs",
        "from start to start.",
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _ratio(reparam: float, baseline: float, bound: str = "") -> str:
    return f"{bound}{reparam / baseline:.2f} x" if baseline > 0 else ""


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
    if result.energy < baseline.energy:
        winner, loser, history, level, unit = (
            REPARAM,
            BASELINE,
            result.history,
            baseline.energy,
            "evaluations",
        )
    else:
        winner, loser, history, level, unit = (
            BASELINE,
            REPARAM,
            baseline.history,
            result.energy,
            "iterations",
        )
    reached = np.flatnonzero(history["energy"] <= level)
    if not len(reached):  # its end is the only structure so low
        return []
    first = history[reached[0]]
    return [
        f"{winner} was down to the final energy of {loser} after {first['force_evaluations']} "
        f"{unit}, {first['seconds']:.2f} s."
    ]
