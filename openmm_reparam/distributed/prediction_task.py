"""One predicted structure of many: relaxed and measured, wherever that is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..predicted.api import relax_prediction
from ..predicted.protocol import RelaxationSettings
from ..predicted.report import RelaxationReport
from .file_work import DIGESTS
from .files import file_digest, read_text, text_digest
from .structure_task import VIOLATION_KINDS

__all__ = ["RELAXATION_COLUMNS", "relaxation_digest", "relaxed_file"]

Row = dict[str, Any]

_WHEN = ("before", "after")
_COUNTS = ("violating_residues", "ramachandran_outliers", "rotamer_outliers")
_SCORES = ("ramachandran_favoured", "clashscore", "molprobity_like")
# Of the summary, in this order. Energies in kJ/mol, restraints left out.
RELAXATION_COLUMNS: Mapping[str, type] = {
    **{"file": str, "atoms": int, "residues": int, "chains": int, "converged": bool},
    **{"rounds": int, "released": int, "turned": int, "force_evaluations": int, "seconds": float},
    **{f"energy_{when}": float for when in _WHEN},
    **{f"{kind}_{when}": int for kind in VIOLATION_KINDS for when in _WHEN},
    **{f"{kind}_{when}": int for kind in _COUNTS for when in _WHEN},
    **{f"{kind}_{when}": float for kind in _SCORES for when in _WHEN},
    **{"rmsd_angstrom": float, "stereo_changes": str, "notes": str, "stopped": str, "error": str},
    **DIGESTS,
}


def relaxation_digest(settings: RelaxationSettings) -> str:
    """Return a digest of what decides the result but for rounding: not the platform.

    Parameters
    ----------
    settings : RelaxationSettings

    Returns
    -------
    str

    Examples
    --------
    >>> same = RelaxationSettings(platform="CPU"), RelaxationSettings(platform="Reference")
    >>> relaxation_digest(same[0]) == relaxation_digest(same[1])
    True
    >>> relaxation_digest(RelaxationSettings(tolerance=100.0)) == relaxation_digest(same[0])
    False
    """
    told = asdict(settings)
    del told["platform"], told["threads"]
    own = Path(settings.forcefield)
    return text_digest(json.dumps([told, file_digest(own) if own.is_file() else ""]))


def relaxed_file(
    name: str, file: Path, settings: RelaxationSettings, ending: str | None
) -> tuple[Row, str | None]:
    """Relax a predicted structure, see `FileWork.process`.

    Parameters
    ----------
    name : str
    file : Path
    settings : RelaxationSettings
    ending : str or None
        Of the output; its format is that of the file.

    Returns
    -------
    dict
        Columns of its row.
    str
        The relaxed structure.

    Raises
    ------
    ValueError
        The file cannot be relaxed, see `relax_prediction`.
    """
    text, report = relax_prediction(read_text(file), name=name, **asdict(settings))
    return _measures(report), text


def _measures(report: RelaxationReport) -> Row:
    states = {"before": report.before, "after": report.after}
    row: Row = {
        "atoms": report.atoms,
        "residues": report.residues,
        "chains": report.chains,
        "converged": report.converged,
        "rounds": len(report.rounds),
        "released": len(report.released),
        "turned": len(report.turned),
        "force_evaluations": report.force_evaluations,
        "seconds": round(sum(report.seconds.values()), 3),
        "rmsd_angstrom": round(report.rmsd, 4),
        "stereo_changes": "; ".join(report.stereo_changes) or None,
        "notes": "; ".join(report.notes) or None,
        "stopped": report.stopped,
    }
    for when, state in states.items():
        scores = state.scores.to_dict()
        row[f"energy_{when}"] = round(state.energy, 3)
        row[f"violating_residues_{when}"] = len(state.violating_residues)
        row |= {f"{kind}_{when}": count for kind, count in state.violations.counts.items()}
        row |= {f"{kind}_{when}": len(scores[kind]) for kind in _COUNTS[1:]}
        row |= {
            f"{kind}_{when}": None if scores[kind] is None else round(scores[kind], 3)
            for kind in _SCORES
        }
    return row
