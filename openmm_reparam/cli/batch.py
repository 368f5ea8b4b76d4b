"""``openmm-reparam minimize FOLDER``: many structure files, minimized in parallel processes.

A file that fails is a row with its error, and the others are done all the same; so is one whose
worker process dies.
"""

from __future__ import annotations

import csv
import sys
import warnings
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from openmm import app, unit
from tqdm import tqdm

from ..errors import ConvergenceWarning
from ..minimization.api import minimize_reparam
from ..prepare.molecular_system import platform_by_name
from ..prepare.system_builder import load_forcefield
from ..structure.violations import Violations, find_violations
from ..units import in_unit
from .minimize import heavy_atom_shifts, restrained_molecule
from .process_pool import default_workers, unordered_results
from .settings import Outputs, RunSettings, platform_name

__all__ = ["COLUMNS", "Task", "minimize_folder", "minimize_task"]

INPUT_ENDINGS = (".pdb", ".ent", ".cif", ".mmcif")
VIOLATION_KINDS = tuple(field.name for field in fields(Violations))
# Of the summary in CSV, in this order. Energies in kJ/mol, the RMS force in kJ/mol/nm.
COLUMNS = (
    *("file", "atoms", "converged", "initial_energy", "final_energy", "rms_force"),
    *("force_evaluations", "seconds"),
    *(f"{kind}_{when}" for kind in VIOLATION_KINDS for when in ("before", "after")),
    *("rmsd_angstrom", "rmsd_superposed_angstrom", "repairs", "message", "error"),
)


@dataclass(frozen=True)
class Task:
    """One file to minimize; what a worker process is sent.

    Attributes
    ----------
    file : Path
    output : Path or None
        Where to write the minimized structure.
    settings : RunSettings
    restraint : float or None
        Of heavy atoms, kcal/mol/A^2.
    preparation : dict
        Arguments of `prepare.structure_files.prepare_file`.
    """

    file: Path
    output: Path | None
    settings: RunSettings
    restraint: float | None
    preparation: dict[str, Any]


def minimize_folder(
    folder: Path,
    settings: RunSettings,
    outputs: Outputs,
    *,
    workers: int | None = None,
    summary: Path | None = None,
    restraint: float | None = None,
    **preparation: Any,
) -> int:
    """Minimize every structure file of a folder and summarize them as CSV.

    Parameters
    ----------
    folder : Path
        Its .pdb, .ent, .cif and .mmcif files are taken by name; folders inside it are not.
    settings : RunSettings
        With more than one worker, no platform means the CPU platform on one thread.
    outputs : Outputs
        ``structure`` is a folder here: it gets files of the same names.
    workers : int or None
        Processes; None is half of the cores.
    summary : Path or None
        CSV file; None is ``summary.csv`` in the folder of outputs, if there is one.
    restraint : float or None
        Force constant of heavy atoms in kcal/mol/A^2; None restrains nothing.
    **preparation
        Further arguments of `prepare.structure_files.prepare_file`.

    Returns
    -------
    int
        Exit code: 0 all converged, 1 some not converged or failed.

    Raises
    ------
    ValueError
        There is no file to minimize, or the arguments cannot be right for any.
    KeyboardInterrupt
        Ctrl-C, once the workers have ended and the summary holds the files that were done.
    """
    files = _structure_files(folder)
    _refuse_bad_arguments(folder, settings, outputs, preparation)
    out = outputs.structure
    if summary is None and out is not None:
        summary = out / "summary.csv"
    for place in (out, summary and summary.parent):
        if place is not None:
            place.mkdir(parents=True, exist_ok=True)
    workers = min(workers or default_workers(), len(files))
    if workers > 1:
        chosen = platform_name(settings.platform, settings.threads) or "CPU"
        threads = (settings.threads or 1) if chosen == "CPU" else settings.threads
        settings = replace(settings, platform=chosen, threads=threads)
    preparation["seed"] = settings.seed
    tasks = [
        Task(file, out and out / file.name, settings, restraint, preparation) for file in files
    ]
    print(f"{len(files)} files of {folder}, {workers} worker process{'es' * (workers > 1)}")
    rows = _minimize_all(tasks, workers, summary)
    converged = sum(row["converged"] is True for row in rows)
    print(_last_line(rows, converged))
    if summary is not None:
        print(f"Wrote the summary: {summary}")
    return 0 if converged == len(rows) else 1


def _structure_files(folder: Path) -> list[Path]:
    """Return the structure files of a folder by name; ValueError where there is none."""
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in INPUT_ENDINGS and path.is_file() and not path.name.startswith(".")
    )
    if not files:
        raise ValueError(f"no .pdb, .ent, .cif or .mmcif file in {folder}")
    return files


def _last_line(rows: list[dict[str, Any]], converged: int) -> str:
    """Return how many files converged, did not, or failed, and which these are."""
    failed = [row["file"] for row in rows if row["error"]]
    return (
        f"{converged} of {len(rows)} converged, {len(rows) - converged - len(failed)} did not, "
        f"{len(failed)} failed{': ' if failed else ''}{', '.join(failed)}"
    )


def _minimize_all(tasks: list[Task], workers: int, summary: Path | None) -> list[dict[str, Any]]:
    """Minimize all files, print a row for each when it is done, write what was done at the end."""
    width = max(len(task.file.name) for task in tasks)
    print("\n".join(table_head(width)))
    rows: list[dict[str, Any]] = []
    try:
        with (
            tqdm(total=len(tasks), unit="file", leave=False, disable=None) as bar,
            closing(unordered_results(minimize_task, _failed, tasks, workers)) as finished,
        ):
            for row in finished:
                rows.append(row)
                bar.write(table_line(row, width), file=sys.stdout)
                bar.update()
    finally:
        rows.sort(key=lambda row: row["file"])
        if summary is not None:
            _write_csv(rows, summary)
    return rows


def minimize_task(task: Task) -> dict[str, Any]:
    """Minimize one file, in whatever process this is.

    Parameters
    ----------
    task : Task

    Returns
    -------
    dict
        A row of the summary, with None where a failure left nothing to say.
    """
    row = _empty_row(task)
    try:
        _minimize(task, row)
    except Exception as error:  # any failure of one file is that file's alone
        return _failed(task, f"{error}" or type(error).__name__)
    return row


def _minimize(task: Task, row: dict[str, Any]) -> None:
    """Fill a row."""
    settings = task.settings
    molecule, _ = restrained_molecule(task.file, task.restraint, **task.preparation)
    topology, start = molecule.topology, molecule.positions
    row.update(atoms=topology.getNumAtoms(), repairs="; ".join(molecule.repairs))
    before = find_violations(topology, start, molecule.system)
    simulation = molecule.simulation(
        platform_name(settings.platform, settings.threads), threads=settings.threads
    )
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
    after = find_violations(topology, end, molecule.system)
    shift, superposed = heavy_atom_shifts(topology, start, end)
    if task.output is not None:
        is_pdb = task.output.suffix.lower() in (".pdb", ".ent")
        with open(task.output, "w") as file:
            writer = app.PDBFile if is_pdb else app.PDBxFile
            writer.writeFile(topology, end, file, keepIds=True)
    row.update(
        converged=result.converged,
        initial_energy=result.initial_energy,
        final_energy=result.energy,
        rms_force=result.rms_force,
        force_evaluations=result.force_evaluations,
        seconds=round(result.seconds, 3),
        rmsd_angstrom=round(shift, 4),
        rmsd_superposed_angstrom=round(superposed, 4),
        message=result.message,
    )
    for when, violations in (("before", before), ("after", after)):
        row.update({f"{kind}_{when}": count for kind, count in violations.counts.items()})


def _empty_row(task: Task) -> dict[str, Any]:
    return {**dict.fromkeys(COLUMNS), "file": task.file.name}


def _failed(task: Task, error: str) -> dict[str, Any]:
    return {**_empty_row(task), "converged": False, "error": " ".join(error.split())}


def _refuse_bad_arguments(folder, settings, outputs, preparation) -> None:
    """Raise what would make every file fail, before any is read."""
    if outputs.plot is not None or outputs.json is not None or settings.compare:
        raise ValueError("--plot, --json and --compare are for one file; for a folder take --csv")
    if outputs.structure is not None:
        if outputs.structure.suffix.lower() in INPUT_ENDINGS:
            raise ValueError(f"-o {outputs.structure}: for a folder of files, name a folder")
        if outputs.structure.resolve() == folder.resolve():
            raise ValueError(f"-o {outputs.structure} would overwrite the input: name another")
    if in_unit(settings.tolerance, unit.kilojoules_per_mole / unit.nanometer, "tolerance") == 0:
        raise ValueError("tolerance is 0; no force is ever exactly that")
    if preparation.get("keep_water") and preparation["solvent"] != "tip3p":
        raise ValueError("keep_water=True needs solvent='tip3p'")
    chosen = platform_name(settings.platform, settings.threads)
    if chosen is not None:
        platform_by_name(chosen)
    if settings.threads is not None and chosen != "CPU":
        raise ValueError(f"--threads is for platform='CPU', not for {chosen}")
    load_forcefield(preparation["forcefield"], preparation["solvent"])


def _write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


# Of the table on the terminal: two lines of headings, and widths.
_HEADINGS = (
    ("", "", "energy", "heavy-atom", "hydrogen", "other", "RMSD", "time"),
    ("atoms", "converged", "kJ/mol", "clashes", "clashes", "violations", "angstrom", "seconds"),
)
_WIDTHS = (7, 11, 13, 12, 10, 12, 10, 9)
_OTHER_VIOLATIONS = [
    kind for kind in VIOLATION_KINDS if "clashes" not in kind and kind != "cis_prolines"
]


def table_head(width: int) -> list[str]:
    """Return the lines above the rows; ``width`` is that of file names."""
    return [
        "Clashes and other violations: before > after. RMSD: of heavy atoms from the file.",
        _cells("", width, _HEADINGS[0]),
        _cells("file", width, _HEADINGS[1]),
    ]


def table_line(row: dict[str, Any], width: int) -> str:
    """Return a row of the summary for the terminal; ``width`` is that of file names."""
    if row["error"]:
        return f"{row['file']:<{width}}  FAILED: {row['error']}"
    counts = [
        " > ".join(
            str(sum(row[f"{kind}_{when}"] for kind in kinds)) for when in ("before", "after")
        )
        for kinds in (["clashes"], ["hydrogen_clashes"], _OTHER_VIOLATIONS)
    ]
    cells = (
        f"{row['atoms']}",
        "yes" if row["converged"] else "NO",
        f"{row['final_energy']:.1f}",
        *counts,
        f"{row['rmsd_angstrom']:.3f}",
        f"{row['seconds']:.1f}",
    )
    return _cells(row["file"], width, cells)


def _cells(name: str, width: int, cells: tuple[str, ...]) -> str:
    columns = (f"{cell:>{size}}" for cell, size in zip(cells, _WIDTHS, strict=True))
    return f"{name:<{width}}{''.join(columns)}"
