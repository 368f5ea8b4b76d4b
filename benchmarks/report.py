"""Tables and JSON of a benchmark: medians, quartiles and ratios over starts."""

from __future__ import annotations

import json
import os
import platform as python_platform
from pathlib import Path

import numpy as np
import openmm as mm
import torch


def machine() -> dict:
    """Versions and what runs them; absolute seconds mean nothing without."""
    return {
        "openmm": mm.version.full_version,
        "torch": torch.__version__,
        "python": python_platform.python_version(),
        "processor": python_platform.machine(),
        "cores": os.cpu_count(),
    }


def write_json(path: Path, content: dict, *, announce: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **content}, indent=1) + "\n")
    if announce:
        print(f"wrote {path}")


def spread(values) -> str:
    """``median (first quartile .. third quartile)``."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    digits = 2 if abs(middle) < 10 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def table(outcomes: list[dict], reference: str) -> str:
    """Markdown table of one case: a row for each method, ratios to the reference from one start."""
    methods = list(dict.fromkeys(o["method"] for o in outcomes))
    of = {m: {o["seed"]: o for o in outcomes if o["method"] == m} for m in methods}
    lines = [
        "| method | energy, kJ/mol | RMS force | force evaluations | fewer by | seconds "
        "| faster by | at tolerance | stereo changes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method in methods:
        rows = list(of[method].values())
        both = [(of[reference][s], o) for s, o in of[method].items() if s in of[reference]]
        fewer = np.median([a["force_evaluations"] / b["force_evaluations"] for a, b in both])
        faster = np.median([a["seconds"] / b["seconds"] for a, b in both])
        bonded = max(r["bonded_evaluations"] for r in rows)
        lines.append(
            f"| {method} | {spread([r['energy'] for r in rows])} "
            f"| {np.median([r['rms_force'] for r in rows]):.2f} "
            f"| {spread([r['force_evaluations'] for r in rows])}"
            f"{f', {bonded} of them bonded forces alone' if bonded else ''} "
            f"| {fewer:.1f}x | {spread([r['seconds'] for r in rows])} | {faster:.1f}x "
            f"| {sum(r['converged'] for r in rows)}/{len(rows)} "
            f"| {sum(len(r['stereo_changes']) for r in rows)} |"
        )
    return "\n".join(lines)
