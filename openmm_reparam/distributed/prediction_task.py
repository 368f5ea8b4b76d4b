"""One predicted structure of many: relaxed, measured and written, wherever that is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..predicted.api import relax_prediction
from ..predicted.protocol import RelaxationSettings
from ..predicted.report import RelaxationReport
from .files import file_digest, read_text, text_digest, write_text
from .structure_task import VIOLATION_KINDS

__all__ = [
    "RELAXATION_COLUMNS",
    "PredictionTask",
    "failed_prediction",
    "relax_file",
    "relaxation_digest",
]

Row = dict[str, Any]

_WHEN = ("before", "after")
_COUNTS = ("violating_residues", "ramachandran_outliers", "rotamer_outliers")
_SCORES = ("ramachandran_favoured", "clashscore", "molprobity_like")
# Of the summary, in this order. Energies in kJ/mol, restraints left out. The digests tell a later
# run whether a structure is done.
RELAXATION_COLUMNS: Mapping[str, type] = {
    **{"file": str, "atoms": int, "residues": int, "chains": int, "converged": bool},
    **{"rounds": int, "released": int, "turned": int, "force_evaluations": int, "seconds": float},
    **{f"energy_{when}": float for when in _WHEN},
    **{f"{kind}_{when}": int for kind in VIOLATION_KINDS for when in _WHEN},
    **{f"{kind}_{when}": int for kind in _COUNTS for when in _WHEN},
    **{f"{kind}_{when}": float for kind in _SCORES for when in _WHEN},
    **{"rmsd_angstrom": float, "stereo_changes": str, "notes": str, "stopped": str, "error": str},
    **{"input_digest": str, "settings_digest": str, "output_digest": str},
}


@dataclass(frozen=True)
class PredictionTask:
    """One file to relax; what a worker process is sent.

    Attributes
    ----------
    name : str
        Of its row.
    file : Path
    output : Path or None
        Where to write the relaxed structure.
    settings : RelaxationSettings
    digest : str
        Of the settings.
    """

    name: str
    file: Path
    output: Path | None
    settings: RelaxationSettings
    digest: str


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


def relax_file(task: PredictionTask) -> Row:
    """Relax one file, in whatever process this is.

    Parameters
    ----------
    task : PredictionTask

    Returns
    -------
    dict
        A row of the summary, with None where a failure left nothing to say.
    """
    try:
        return _relax(task)
    except Exception as error:  # any failure of one file is that file's alone
        return failed_prediction(task, f"{error}" or type(error).__name__)


def failed_prediction(task: PredictionTask, error: str) -> Row:
    """Return the row of a structure that could not be relaxed, for a reason.

    Parameters
    ----------
    task : PredictionTask
    error : str

    Returns
    -------
    dict
    """
    return {
        **dict.fromkeys(RELAXATION_COLUMNS),
        "file": task.name,
        "converged": False,
        "error": " ".join(error.split()),
    }


def _relax(task: PredictionTask) -> Row:
    if task.output is not None and task.output.resolve() == task.file.resolve():
        raise ValueError(f"{task.output} would overwrite the input: name another folder")
    read = file_digest(task.file)
    text, report = relax_prediction(read_text(task.file), name=task.name, **asdict(task.settings))
    if task.output is not None:
        write_text(task.output, text)
    return {
        **_measures(report),
        "file": task.name,
        "error": None,
        "input_digest": read,
        "settings_digest": task.digest,
        "output_digest": None if task.output is None else text_digest(text),
    }


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
