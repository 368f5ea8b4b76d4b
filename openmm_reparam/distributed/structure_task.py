"""One structure file of many: prepared, minimized, measured and written, wherever that is done."""

from __future__ import annotations

import inspect
import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from openmm import app, unit

from ..errors import ConvergenceWarning
from ..minimization.api import minimize_reparam
from ..prepare.molecular_system import MolecularSystem, platform_by_name
from ..prepare.restraints import restrained_molecule
from ..prepare.structure_files import prepare_file
from ..prepare.system_builder import build_system, load_forcefield
from ..structure.measures import heavy_atom_shifts
from ..structure.violations import Violations, find_violations
from ..units import in_unit
from .files import file_digest, text_digest, write_text

__all__ = [
    "COLUMNS",
    "VIOLATION_KINDS",
    "StructureSettings",
    "StructureTask",
    "check_settings",
    "failed_structure",
    "minimize_structure",
    "preparation_names",
    "settings_digest",
    "structure_is_done",
]

Row = dict[str, Any]

VIOLATION_KINDS = tuple(field.name for field in fields(Violations))
# Of the summary, in this order. Energies in kJ/mol, the RMS force in kJ/mol/nm. The digests tell
# a later run whether a structure is done.
COLUMNS: dict[str, type] = {
    **{"file": str, "atoms": int, "converged": bool, "initial_energy": float},
    **{"final_energy": float, "rms_force": float, "force_evaluations": int, "seconds": float},
    **{f"{kind}_{when}": int for kind in VIOLATION_KINDS for when in ("before", "after")},
    **{"rmsd_angstrom": float, "rmsd_superposed_angstrom": float, "repairs": str},
    **{"message": str, "error": str},
    **{"input_digest": str, "settings_digest": str, "output_digest": str},
}
PDB_ENDINGS = (".pdb", ".ent")


@dataclass(frozen=True)
class StructureSettings:
    """How to prepare and minimize a structure.

    Attributes
    ----------
    tolerance : float
        RMS force in kJ/mol/nm.
    max_iterations : int
        0 for no limit.
    max_force_evaluations : int or None
    reparametrization : str
    search : str or None
        For deeper minima.
    seed : int
    platform : str or None
        None lets OpenMM choose.
    threads : int or None
        Of the CPU platform.
    restraint : float or None
        Of heavy atoms, kcal/mol/A^2.
    preparation : mapping
        Further arguments of `prepare.structure_files.prepare_file`.
    """

    tolerance: float = 10.0
    max_iterations: int = 0
    max_force_evaluations: int | None = None
    reparametrization: str = "auto"
    search: str | None = None
    seed: int = 0
    platform: str | None = None
    threads: int | None = None
    restraint: float | None = None
    preparation: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StructureTask:
    """One file to minimize; what a worker process is sent.

    Attributes
    ----------
    name : str
        Of its row.
    file : Path
    output : Path or None
        Where to write the minimized structure.
    settings : StructureSettings
    digest : str
        Of the settings.
    """

    name: str
    file: Path
    output: Path | None
    settings: StructureSettings
    digest: str


def settings_digest(settings: StructureSettings) -> str:
    """Return a digest of what decides the result but for rounding: not the platform.

    Parameters
    ----------
    settings : StructureSettings

    Returns
    -------
    str

    Examples
    --------
    >>> same = StructureSettings(platform="CPU"), StructureSettings(platform="Reference")
    >>> settings_digest(same[0]) == settings_digest(same[1])
    True
    >>> settings_digest(StructureSettings(tolerance=1.0)) == settings_digest(same[0])
    False
    """
    told = asdict(settings)
    del told["platform"], told["threads"]
    forcefield = settings.preparation.get("forcefield", ())
    names = [forcefield] if isinstance(forcefield, str) else list(forcefield)
    own = [file_digest(Path(name)) for name in names if Path(str(name)).is_file()]
    return text_digest(json.dumps([told, own], sort_keys=True, default=str))


def preparation_names() -> set[str]:
    """Return the names that `StructureSettings.preparation` may have."""
    parameters = [inspect.signature(made).parameters for made in (prepare_file, build_system)]
    return set().union(*parameters) - {"path", "name", "topology", "positions", "options"}


def check_settings(settings: StructureSettings) -> None:
    """Refuse what would make every structure fail, before any is read.

    Parameters
    ----------
    settings : StructureSettings

    Raises
    ------
    ValueError
        The tolerance, the platform, its threads or the force field cannot be right.
    """
    if in_unit(settings.tolerance, unit.kilojoules_per_mole / unit.nanometer, "tolerance") == 0:
        raise ValueError("tolerance is 0; no force is ever exactly that")
    given = settings.preparation
    solvent = given.get("solvent", "vacuum")
    if given.get("keep_water") and solvent != "tip3p":
        raise ValueError("keep_water=True needs solvent='tip3p'")
    if settings.platform is not None:
        platform_by_name(settings.platform)
    if settings.threads is not None and settings.platform != "CPU":
        raise ValueError(f"--threads is for platform='CPU', not for {settings.platform}")
    load_forcefield(given.get("forcefield", ("amber14-all.xml",)), solvent)


def minimize_structure(task: StructureTask) -> Row:
    """Minimize one file, in whatever process this is.

    Parameters
    ----------
    task : StructureTask

    Returns
    -------
    dict
        A row of the summary, with None where a failure left nothing to say.
    """
    try:
        return _minimize(task)
    except Exception as error:  # any failure of one file is that file's alone
        return failed_structure(task, f"{error}" or type(error).__name__)


def failed_structure(task: StructureTask, error: str) -> Row:
    """Return the row of a structure that could not be minimized, for a reason.

    Parameters
    ----------
    task : StructureTask
    error : str

    Returns
    -------
    dict
    """
    return {
        **dict.fromkeys(COLUMNS),
        "file": task.name,
        "converged": False,
        "error": " ".join(error.split()),
    }


def structure_is_done(row: Row, file: Path, output: Path | None, digest: str) -> bool:
    """Say whether a row is of this file with these settings, and its output as it was written.

    Parameters
    ----------
    row : dict
    file : Path
    output : Path or None
    digest : str
        Of the settings.

    Returns
    -------
    bool
    """
    if row["error"] or row["settings_digest"] != digest:
        return False
    try:
        written = None if output is None else file_digest(output)
        return row["input_digest"] == file_digest(file) and row["output_digest"] == written
    except OSError:
        return False


def _minimize(task: StructureTask) -> Row:
    """Return a row."""
    settings = task.settings
    if task.output is not None and task.output.resolve() == task.file.resolve():
        raise ValueError(f"{task.output} would overwrite the input: name another folder")
    read = file_digest(task.file)
    molecule, _ = restrained_molecule(
        task.file, settings.restraint, **{"seed": settings.seed, **settings.preparation}
    )
    simulation = molecule.simulation(settings.platform, threads=settings.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the row says so
        result = minimize_reparam(
            simulation,
            settings.tolerance,
            settings.max_iterations,
            reparametrization=settings.reparametrization,
            max_force_evaluations=settings.max_force_evaluations,
            search=settings.search,
            seed=settings.seed,
            progress=False,
        )
    end = simulation.context.getState(positions=True).getPositions(asNumpy=True)
    written = None
    if task.output is not None:
        text = _structure_text(molecule.topology, end, task.output)
        write_text(task.output, text)
        written = text_digest(text)
    return {
        "file": task.name,
        "converged": result.converged,
        "initial_energy": result.initial_energy,
        "final_energy": result.energy,
        "rms_force": result.rms_force,
        "force_evaluations": result.force_evaluations,
        "seconds": round(result.seconds, 3),
        "message": result.message,
        "error": None,
        "input_digest": read,
        "settings_digest": task.digest,
        "output_digest": written,
        **_measures(molecule, end),
    }


def _measures(molecule: MolecularSystem, end: Any) -> Row:
    """Return what is known of the structure itself, before and after."""
    topology, start = molecule.topology, molecule.positions
    shift, superposed = heavy_atom_shifts(topology, start, end)
    violations = {
        f"{kind}_{when}": count
        for when, positions in (("before", start), ("after", end))
        for kind, count in find_violations(topology, positions, molecule.system).counts.items()
    }
    return {
        "atoms": topology.getNumAtoms(),
        "repairs": "; ".join(molecule.repairs) or None,
        "rmsd_angstrom": round(shift, 4),
        "rmsd_superposed_angstrom": round(superposed, 4),
        **violations,
    }


def _structure_text(topology: app.Topology, positions: Any, path: Path) -> str:
    """Return a structure in the format that a file's ending says."""
    writer = app.PDBFile if path.suffix.lower() in PDB_ENDINGS else app.PDBxFile
    text = io.StringIO()
    writer.writeFile(topology, positions, text, keepIds=True)
    return text.getvalue()
