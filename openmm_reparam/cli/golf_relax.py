"""``openmm-reparam golf relax``: small molecules on a trained network, in parallel.

A molecule that cannot be read or described is a row with its error, and the others are done.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from openmm import unit

from ..distributed.files import file_digest, text_digest
from ..distributed.summary import read_summary, row_state
from ..errors import ConvergenceWarning
from ..golf import Golf
from ..minimization.relaxation import Relaxation
from ..prepare.ligand_files import LigandRecord, read_ligand, sdf_text
from ..prepare.ligands import complete_ligand, ligand_changes, unsupported, with_positions
from ..surrogates.oracles import POTENTIALS
from ..units import in_unit
from .ligand_tables import DIGESTS
from .ligands import require_programs
from .molecule_work import MoleculeWork, prepare_files, tasks_of
from .reporting import write_json
from .settings import Console, Outputs
from .workforce import Workforce

__all__ = ["COLUMNS", "RelaxSettings", "relax_molecules"]

# Of the table, in this order. Energies in kJ/mol, RMS forces in kJ/mol/nm.
COLUMNS: dict[str, type] = {
    **{"number": int, "name": str, "atoms": int, "charge": int, "verified": bool},
    **{"converged": bool, "genuine_calls": int, "promised_fall": float, "found_fall": float},
    **{"first_rms_force": float, "further_fall": float, "final_energy": float},
    **{"rms_force": float, "network_evaluations": int, "seconds": float, "preparation": str},
    **{"changes": str, "warnings": str, "message": str, "error": str},
    **DIGESTS,
}


@dataclass(frozen=True)
class RelaxSettings:
    """How to relax.

    Attributes
    ----------
    model : str
        The model's file.
    genuine : str or None
        One of `POTENTIALS`; None is that of the training.
    verify : bool
    check_start : bool or None
        See `Golf.relax`.
    tolerance : float
        RMS force in kJ/mol/nm.
    max_force_evaluations : int or None
        Of the genuine potential.
    seed : int
        Of conformers.
    """

    model: str
    genuine: str | None = None
    verify: bool = True
    check_start: bool | None = None
    tolerance: float = 10.0
    max_force_evaluations: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class RelaxTask:
    """One molecule to relax; what a worker process is sent."""

    record: LigandRecord
    settings: RelaxSettings


def relax_molecules(
    records: Iterable[LigandRecord],
    settings: RelaxSettings,
    outputs: Outputs,
    *,
    source: str,
    workforce: Workforce | None = None,
    summary: Path | None = None,
) -> int:
    """Relax molecules, report and write them in their order.

    Parameters
    ----------
    records : iterable of LigandRecord
        Taken as they are needed.
    settings : RelaxSettings
    outputs : Outputs
        ``structure`` is an SDF file, or of one molecule a MOL file.
    source : str
        The file, or what else the records are of.
    workforce : Workforce or None
        None is half of the cores.
    summary : Path or None
        The table as a CSV or Parquet file.

    Returns
    -------
    int
        Exit code: 0 all converged, 1 some not converged or failed.

    Raises
    ------
    FileNotFoundError
        There is no such model.
    ValueError
        There is no molecule, the arguments cannot be right for any, or the only one cannot be
        relaxed.
    """
    golf = _refuse_bad_arguments(source, settings, outputs, summary)
    tasks, alone = tasks_of(records, lambda record: RelaxTask(record, settings), source, outputs)
    console = Console(outputs.json)
    _say_model(golf, settings, console)
    workforce = workforce or Workforce()
    if alone and not workforce.resume:
        return _one(next(tasks), outputs, console, source, summary)
    return _many(tasks, settings, outputs, console, source, workforce, summary)


def _one(task, outputs, console, source, summary) -> int:
    """Relax one molecule in this process, with everything that is known of it."""
    with WORK.files(outputs, summary, iter([task])) as files:
        row, text, relaxation = WORK.do(task)
        if row["preparation"]:
            console.say(f"Prepared: {row['preparation']}")
        console.say(f"\n{relaxation}\n")
        console.say(f"Stereo and bonds by distance: {row['changes'] or 'unchanged'}")
        files.write(row, text)
    files.say(console, "relaxed")
    described = {"source": source, **asdict(task.settings)}
    write_json("golf relax", described, None, outputs, console, molecules=[row])
    return 0 if relaxation.converged else 1


def _many(tasks, settings, outputs, console, source, workforce, summary) -> int:
    """Relax many molecules in worker processes; the table is printed as it grows."""
    console.say(source)
    with (
        WORK.files(outputs, summary, tasks, resume=workforce.resume) as files,
        closing(WORK.rows(files, workforce, console, outputs.json)) as finished,
    ):
        rows = list(finished)
    if workforce.resume:
        rows = list(read_summary(summary, COLUMNS))
    _say_totals(rows, settings, console)
    files.say(console, "relaxed")
    described = {"source": source, **asdict(settings)}
    write_json("golf relax", described, None, outputs, console, molecules=rows)
    return 0 if all(row_state(row) == "converged" for row in rows) else 1


def _digest(task: RelaxTask) -> str:
    """Return what tells a molecule and how it is relaxed from others."""
    return text_digest(repr((task.record, task.settings, _model_digest(task.settings.model))))


@lru_cache(maxsize=1)
def _model_digest(path: str) -> str:
    return file_digest(Path(path))


@lru_cache(maxsize=1)
def _model(path: str) -> Golf:
    return Golf.load(path)


def relaxed_molecule(task: RelaxTask) -> tuple[dict[str, Any], str, Relaxation]:
    """Relax one molecule, in whatever process this is.

    Parameters
    ----------
    task : RelaxTask

    Returns
    -------
    dict
        What is known of its row of the table.
    str
        The relaxed molecule as an SDF entry.
    Relaxation
    """
    settings, golf = task.settings, _model(task.settings.model)
    molecule, notes = complete_ligand(read_ligand(task.record), settings.seed)
    for needed in _potentials(golf, settings):
        reason = unsupported(molecule, needed)
        if reason:
            raise ValueError(reason.partition(": take --potential")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the row says so
        relaxation = golf.relax(
            molecule,
            verify=settings.verify,
            genuine=settings.genuine,
            tolerance=settings.tolerance,
            check_start=settings.check_start,
            max_force_evaluations=settings.max_force_evaluations,
            progress=False,
        )
    result = relaxation.result
    row = {
        "atoms": molecule.GetNumAtoms(),
        "charge": sum(atom.GetFormalCharge() for atom in molecule.GetAtoms()),
        "verified": relaxation.verified,
        "converged": relaxation.converged,
        "genuine_calls": relaxation.genuine_calls,
        "promised_fall": relaxation.promised_fall,
        "found_fall": relaxation.found_fall,
        "first_rms_force": relaxation.first_rms_force,
        "further_fall": relaxation.further_fall,
        "final_energy": None if result is None else result.energy,
        "rms_force": None if result is None else result.rms_force,
        "network_evaluations": relaxation.network_evaluations,
        "seconds": round(relaxation.seconds, 3),
        "preparation": "; ".join(notes),
        "changes": "; ".join(ligand_changes(molecule, relaxation.positions)),
        "warnings": "; ".join(relaxation.warnings),
        "message": relaxation.message,
    }
    text = sdf_text(with_positions(molecule, relaxation.positions), _properties(golf, row))
    return row, text, relaxation


def _properties(golf: Golf, row: dict[str, Any]) -> dict[str, str]:
    """Return what the SDF entry says of a molecule."""
    told = {"Verified": "yes" if row["verified"] else "no", "Warnings": row["warnings"] or "none"}
    if row["verified"]:
        told |= {
            "Energy_kJ_per_mol": f"{row['final_energy']:.4f}",
            "RMS_force_kJ_per_mol_nm": f"{row['rms_force']:.4g}",
            "Genuine_evaluations": str(row["genuine_calls"]),
        }
    return {
        **told,
        "Converged": "yes" if row["converged"] else "no",
        "Trained_on": golf.trained_on.genuine,
    }


def _potentials(golf: Golf, settings: RelaxSettings) -> list[str]:
    """Return the potentials that are asked, by name."""
    genuine = settings.genuine or golf.trained_on.genuine
    names = [golf.trained_on.surrogate, *([genuine] if settings.verify else [])]
    return [name for name in names if name]


def _refuse_bad_arguments(source, settings, outputs, summary) -> Golf:
    """Raise what would make every molecule fail, before any is read; make folders."""
    golf = _model(settings.model)
    in_unit(settings.tolerance, unit.kilojoules_per_mole / unit.nanometer, "--tolerance")
    prepare_files(source, outputs, summary)
    for name in _potentials(golf, settings):
        if name not in POTENTIALS:
            raise ValueError(f"--genuine {name}: choose one of {', '.join(POTENTIALS)}")
        require_programs(name)
    return golf


def _say_model(golf: Golf, settings: RelaxSettings, console: Console) -> None:
    trained = golf.trained_on
    above = f" on top of {trained.surrogate}" if trained.surrogate else ""
    console.say(
        f"{settings.model}: a network for {trained.genuine}{above}, {trained.labels} labels of "
        f"{trained.molecules} molecules"
    )
    if not settings.verify:
        console.say("NOTHING IS VERIFIED: structures are minima of the network")


def _say_totals(rows: list[dict[str, Any]], settings: RelaxSettings, console: Console) -> None:
    done = [row for row in rows if not row["error"]]
    converged = sum(row["converged"] for row in done)
    doubtful = sum(bool(row["warnings"]) for row in done)
    console.say(
        f"{converged} converged; {len(done) - converged} not converged; {len(rows) - len(done)} "
        f"failed; {doubtful} with warnings"
    )
    if done and settings.verify:
        calls = [row["genuine_calls"] for row in done]
        console.say(
            f"Genuine evaluations: {sum(calls)}, {statistics.median(calls):g} in the median"
        )


_LINE = "{:<20} {:>5} {:>9} {:>10} {:>9} {:>11} {:>9}  {}"
_HEAD = ("molecule", "atoms", "promised", "then RMS", "further", "evaluations", "converged", "")


def _line(row: dict[str, Any]) -> str:
    """Return a row for the terminal."""
    if row["error"]:
        return f"{row['name']:<20} FAILED: {row['error']}"
    words = [row["preparation"], row["changes"] or "stereo and bonds unchanged", row["warnings"]]
    if not row["converged"]:
        words.append(row["message"])
    return _LINE.format(
        row["name"],
        row["atoms"],
        f"{row['promised_fall']:.1f}",
        _number(row["first_rms_force"]),
        _number(row["further_fall"]),
        row["genuine_calls"],
        "yes" if row["converged"] else "NO",
        "; ".join(word for word in words if word),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


WORK = MoleculeWork(relaxed_molecule, _digest, COLUMNS, _LINE.format(*_HEAD), _line)
