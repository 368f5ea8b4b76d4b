"""One structure file of many: prepared, minimized and measured, wherever that is done."""

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
from .file_work import DIGESTS
from .files import file_digest, text_digest

__all__ = [
    "COLUMNS",
    "VIOLATION_KINDS",
    "StructureSettings",
    "check_settings",
    "minimized_file",
    "preparation_names",
    "settings_digest",
]

Row = dict[str, Any]

VIOLATION_KINDS = tuple(field.name for field in fields(Violations))
# Of the summary, in this order. Energies in kJ/mol, the RMS force in kJ/mol/nm.
COLUMNS: dict[str, type] = {
    **{"file": str, "atoms": int, "converged": bool, "initial_energy": float},
    **{"final_energy": float, "rms_force": float, "force_evaluations": int, "seconds": float},
    **{f"{kind}_{when}": int for kind in VIOLATION_KINDS for when in ("before", "after")},
    **{"rmsd_angstrom": float, "rmsd_superposed_angstrom": float, "repairs": str},
    **{"message": str, "error": str},
    **DIGESTS,
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


def minimized_file(
    name: str, file: Path, settings: StructureSettings, ending: str | None
) -> tuple[Row, str | None]:
    """Prepare and minimize a structure file, see `FileWork.process`.

    Parameters
    ----------
    name : str
    file : Path
    settings : StructureSettings
    ending : str or None
        Of the output: it says the format.

    Returns
    -------
    dict
        Columns of its row.
    str or None
        The minimized structure, if there is an output.

    Raises
    ------
    ValueError
        The file cannot be prepared.
    """
    molecule, _ = restrained_molecule(
        file, settings.restraint, **{"seed": settings.seed, **settings.preparation}
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
    row = {
        "converged": result.converged,
        "initial_energy": result.initial_energy,
        "final_energy": result.energy,
        "rms_force": result.rms_force,
        "force_evaluations": result.force_evaluations,
        "seconds": round(result.seconds, 3),
        "message": result.message,
        **_measures(molecule, end),
    }
    return row, None if ending is None else _structure_text(molecule.topology, end, ending)


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


def _structure_text(topology: app.Topology, positions: Any, ending: str) -> str:
    """Return a structure in the format that a file's ending says."""
    writer = app.PDBFile if ending in PDB_ENDINGS else app.PDBxFile
    text = io.StringIO()
    writer.writeFile(topology, positions, text, keepIds=True)
    return text.getvalue()
