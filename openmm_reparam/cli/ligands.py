"""``openmm-reparam minimize`` of small molecules: one, or every one of a file, in parallel.

A molecule that cannot be read or described is a row with its error, and the others are done.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from openmm import app, unit

from ..distributed.files import text_digest
from ..distributed.summary import read_summary, row_state
from ..errors import ConvergenceWarning
from ..minimization.api import minimize_reparam
from ..minimization.result import MinimizationResult
from ..prepare import gaff
from ..prepare.ligand_files import LigandRecord, read_ligand, sdf_text
from ..prepare.ligands import (
    complete_ligand,
    ligand_changes,
    unsupported,
    with_positions,
)
from ..prepare.molecular_system import MolecularSystem
from ..surrogates import oracles
from ..surrogates.programs import required
from ..units import in_unit
from .ligand_tables import DIGESTS
from .molecule_work import MoleculeWork, prepare_files, tasks_of
from .reporting import write_json
from .settings import Console, Outputs, RunSettings, platform_name
from .workforce import Workforce

__all__ = [
    "COLUMNS",
    "POTENTIALS",
    "ligand_simulation",
    "minimize_ligands",
    "require_programs",
]

POTENTIALS = (*oracles.POTENTIALS, "gaff")
# Of the table, in this order. Energies in kJ/mol, the RMS force in kJ/mol/nm.
COLUMNS: dict[str, type] = {
    **{"number": int, "name": str, "atoms": int, "charge": int, "converged": bool},
    **{"initial_energy": float, "final_energy": float, "rms_force": float},
    **{"force_evaluations": int, "seconds": float, "preparation": str, "changes": str},
    **{"message": str, "error": str},
    **DIGESTS,
}
MODULES = {
    "mmff": "rdkit",
    "gfnff": "gfnff",
    "gfn1": "tblite.interface",
    "gfn2": "tblite.interface",
}
# An evaluation of these costs so much more than one of MMFF94 that steps are found on that first.
EXPENSIVE = ("gfn2", "gfn1", "ani1ccx", "ani1x")
NAMES_OF_FAILED = 10


@dataclass(frozen=True)
class LigandTask:
    """One molecule to minimize; what a worker process is sent.

    Attributes
    ----------
    record : LigandRecord
    settings : RunSettings
    potential : str
        One of `POTENTIALS`.
    charges : {"bcc", "gas"}
        Of GAFF2.
    surrogate : bool
        Find the steps of an expensive potential on MMFF94.
    """

    record: LigandRecord
    settings: RunSettings
    potential: str
    charges: str = "bcc"
    surrogate: bool = True


def minimize_ligands(
    records: Iterable[LigandRecord],
    settings: RunSettings,
    outputs: Outputs,
    *,
    source: str,
    potential: str = "mmff",
    charges: str = "bcc",
    surrogate: bool = True,
    workforce: Workforce | None = None,
    summary: Path | None = None,
) -> int:
    """Minimize molecules, report and write them in their order.

    Parameters
    ----------
    records : iterable of LigandRecord
        Taken as they are needed.
    settings : RunSettings
        No platform means the Reference platform.
    outputs : Outputs
        ``structure`` is an SDF file, or of one molecule a MOL file.
    source : str
        The file, or what else the records are of.
    potential : str
        One of `POTENTIALS`.
    charges : {"bcc", "gas"}
        Of GAFF2.
    surrogate : bool
        Find the steps of xTB and ANI on MMFF94 where it knows the molecule; the potential itself
        verifies every one.
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
    ValueError
        There is no molecule, the arguments cannot be right for any, or the only one cannot be
        minimized.
    """
    _refuse_bad_arguments(source, settings, outputs, potential, summary)
    settings = replace(settings, platform=settings.platform or "Reference")
    tasks, alone = tasks_of(
        records,
        lambda record: LigandTask(record, settings, potential, charges, surrogate),
        source,
        outputs,
    )
    console = Console(outputs.json)
    workforce = workforce or Workforce()
    if alone and not workforce.resume:
        return _one(next(tasks), outputs, console, source, summary)
    return _many(tasks, outputs, console, source, potential, workforce, summary)


def _one(task, outputs, console, source, summary) -> int:
    """Minimize one molecule in this process, with everything that is known of it."""
    title = task.record.name if task.record.title else source
    console.say(f"{title}, {task.potential}, {task.settings.platform} platform ...")
    with WORK.files(outputs, summary, iter([task])) as files:
        row, text, result = WORK.do(task)
        if row["preparation"]:
            console.say(f"Prepared: {row['preparation']}")
        console.say(f"\n{result}\n")
        console.say(f"Stereo and bonds by distance: {row['changes'] or 'unchanged'}")
        files.write(row, text)
    files.say(console, "minimized")
    described = {"source": source, "potential": task.potential, **asdict(task.settings)}
    write_json(
        "minimize", described, None, outputs, console, molecules=[row], result=result.to_dict()
    )
    return 0 if result.converged else 1


def _many(tasks, outputs, console, source, potential, workforce, summary) -> int:
    """Minimize many molecules in worker processes; the table is printed as it grows."""
    console.say(f"{source}, {potential}")
    failed: list[str] = []
    found: list[dict[str, Any]] = []
    with (
        WORK.files(outputs, summary, tasks, resume=workforce.resume) as files,
        closing(WORK.rows(files, workforce, console, outputs.json)) as rows,
    ):
        counts = Counter(files.kept.values())
        for row in rows:
            counts[row_state(row)] += 1
            if row["error"]:
                failed.append(row["name"])
            if outputs.json is not None:
                found.append(row)
    kinds = ("converged", "not converged", "failed")
    console.say("; ".join(f"{counts[kind]} {kind}" for kind in kinds))
    if failed:
        more = f" and {len(failed) - NAMES_OF_FAILED} more" * (len(failed) > NAMES_OF_FAILED)
        console.say(f"Failed: {', '.join(failed[:NAMES_OF_FAILED])}{more}")
    files.say(console, "minimized")
    described = {"source": source, "potential": potential}
    if workforce.resume and outputs.json is not None:
        found = list(read_summary(summary, COLUMNS))
    write_json("minimize", described, None, outputs, console, molecules=found)
    return 0 if counts["converged"] == counts.total() else 1


def minimized_molecule(task: LigandTask) -> tuple[dict[str, Any], str, MinimizationResult]:
    """Minimize one molecule, in whatever process this is.

    Parameters
    ----------
    task : LigandTask

    Returns
    -------
    dict
        What is known of its row of the table.
    str
        The minimized molecule as an SDF entry.
    MinimizationResult
    """
    settings = task.settings
    molecule, notes = complete_ligand(read_ligand(task.record), settings.seed)
    reason = unsupported(molecule, task.potential)
    if reason:
        raise ValueError(reason)
    simulation, more = ligand_simulation(molecule, task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the row says so
        result = minimize_reparam(
            simulation,
            settings.tolerance,
            settings.max_iterations,
            reparametrization=settings.reparametrization,
            max_force_evaluations=settings.max_force_evaluations,
            search=settings.search,
            surrogate=_surrogate(molecule, task),
            seed=settings.seed,
            progress=False,
        )
    state = simulation.context.getState(positions=True)
    end = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    row = {
        "atoms": molecule.GetNumAtoms(),
        "charge": sum(atom.GetFormalCharge() for atom in molecule.GetAtoms()),
        "converged": result.converged,
        "initial_energy": result.initial_energy,
        "final_energy": result.energy,
        "rms_force": result.rms_force,
        "force_evaluations": result.force_evaluations,
        "seconds": round(result.seconds, 3),
        "preparation": "; ".join([*notes, *more]),
        "changes": "; ".join(ligand_changes(molecule, end)),
        "message": result.message,
    }
    properties = {
        "Potential": task.potential,
        "Energy_kJ_per_mol": f"{result.energy:.4f}",
        "RMS_force_kJ_per_mol_nm": f"{result.rms_force:.4g}",
        "Converged": "yes" if result.converged else "no",
    }
    return row, sdf_text(with_positions(molecule, end), properties), result


def _digest(task: LigandTask) -> str:
    """Return what tells a molecule and how it is minimized from others, but for the platform."""
    settings = replace(task.settings, platform=None, threads=None)
    return text_digest(repr(replace(task, settings=settings)))


def _surrogate(molecule: Any, task: LigandTask) -> Any:
    """Return the molecule, for MMFF94, where a surrogate is wanted and knows it; else None."""
    settings = task.settings
    wanted = task.surrogate and task.potential in EXPENSIVE
    plain = settings.reparametrization in ("auto", "spectral") and settings.search is None
    return molecule if wanted and plain and unsupported(molecule, "mmff") is None else None


def ligand_simulation(molecule: Any, task: LigandTask) -> tuple[app.Simulation, Sequence[str]]:
    """Return a Simulation of a molecule, and what was out of the ordinary.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        With all hydrogens and a conformer.
    task : LigandTask

    Returns
    -------
    openmm.app.Simulation
        Not minimized.
    sequence of str
    """
    settings = task.settings
    platform = platform_name(settings.platform or "Reference", settings.threads)
    if task.potential != "gaff":
        name = str(platform)
        return oracles.molecule_simulation(molecule, task.potential, platform=name), ()
    ligand = gaff.gaff_ligand(molecule, charges=task.charges)
    system = MolecularSystem(
        task.record.name, ligand.topology, ligand.system, ligand.positions * unit.nanometer
    )
    return system.simulation(platform, threads=settings.threads), ligand.notes


def _refuse_bad_arguments(source, settings, outputs, potential, summary) -> None:
    """Raise what would make every molecule fail, before any is read; make folders."""
    if potential not in POTENTIALS:
        raise ValueError(f"--potential {potential}: choose one of {', '.join(POTENTIALS)}")
    if outputs.plot is not None or settings.compare:
        raise ValueError("--plot and --compare are for structures of proteins; take --csv")
    if settings.threads is not None and potential != "gaff":
        raise ValueError("--threads is for --potential gaff; for others take --jobs")
    in_unit(settings.tolerance, unit.kilojoules_per_mole / unit.nanometer, "--tolerance")
    prepare_files(source, outputs, summary)
    require_programs(potential)


def require_programs(potential: str) -> None:
    """Raise ValueError if what a potential needs is not installed; the message says how."""
    try:
        required("rdkit")
        if potential == "gaff":
            for program in gaff.PROGRAMS:
                gaff.amber_program(program)
        else:
            required(MODULES.get(potential, "torchani"))
    except ImportError as error:
        raise ValueError(f"--potential {potential}: {error}") from error


# --- Table ---


_LINE = "{:<20} {:>5} {:>15} {:>9} {:>11} {:>9}  {}"
_HEAD = ("molecule", "atoms", "kJ/mol", "RMS force", "evaluations", "converged", "what changed")


def _line(row: dict[str, Any]) -> str:
    """Return a row for the terminal."""
    if row["error"]:
        return f"{row['name']:<20} FAILED: {row['error']}"
    words = [row["preparation"], row["changes"] or "stereo and bonds unchanged"]
    if not row["converged"]:
        words.append(row["message"])
    return _LINE.format(
        row["name"],
        row["atoms"],
        f"{row['final_energy']:.2f}",
        f"{row['rms_force']:.3g}",
        row["force_evaluations"],
        "yes" if row["converged"] else "NO",
        "; ".join(word for word in words if word),
    )


WORK = MoleculeWork(minimized_molecule, _digest, COLUMNS, _LINE.format(*_HEAD), _line)
