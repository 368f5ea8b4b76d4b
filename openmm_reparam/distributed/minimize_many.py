"""`minimize_many`: structure files by the thousand, on the workers of one machine or many."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from distributed import Client
from tqdm import tqdm

from .cluster import cluster_settings, workers_for
from .engine import unordered_results
from .files import absolute_name
from .structure_inputs import StructureFiles, structure_files
from .structure_task import (
    COLUMNS,
    StructureSettings,
    StructureTask,
    check_settings,
    failed_structure,
    minimize_structure,
    preparation_names,
    settings_digest,
    structure_is_done,
)
from .summary import Summary

__all__ = [
    "default_summary",
    "minimize_files",
    "minimize_many",
    "settings_of_workers",
    "structure_summary",
]

Row = dict[str, Any]

SUMMARY_NAME = "summary.csv"


def minimize_many(
    structures: str | Path | Iterable[str | Path],
    output: str | Path | None = None,
    *,
    summary: str | Path | None = None,
    resume: bool = False,
    workers: int | None = None,
    cluster: str | Path | None = None,
    resources: Mapping[str, float] | None = None,
    progress: bool = True,
    **settings: Any,
) -> Generator[Row, None, None]:
    """Minimize many structure files, and yield a row for each as it is done.

    Nothing is begun before the first row is asked for. Files are read as workers become free: any
    number of them can be given. A file that fails, or whose worker process dies again and again,
    is a row with its error, and the others are done all the same. On one machine the calling
    script needs ``if __name__ == "__main__":``, as for every use of Python's processes.

    Parameters
    ----------
    structures : str, Path or iterable of them
        A folder, a list of paths in a .txt file, or paths.
    output : str or Path, optional
        Folder of the minimized structures, under the names they have.
    summary : str or Path, optional
        Table of all rows, .csv or .parquet; by default ``summary.csv`` in the folder of outputs.
    resume : bool
        Go on with the summary of an earlier run: what is done and still there is left out.
    workers : int, optional
        Processes on this machine (half of its cores), or of the cluster to start.
    cluster : str or Path, optional
        Address of a Dask scheduler, its scheduler file (.json), or a .yaml file with a cluster to
        start, see `ClusterSettings`.
    resources : mapping of str to float, optional
        What a structure takes of its worker, for example ``{"GPU": 1}``.
    progress : bool
        Show a progress bar with the rate and the time left.
    **settings
        See `StructureSettings` (``tolerance``, ``seed``, ``platform``, ``restraint``, ...). Others
        are arguments of `prepare.structure_files.prepare_file` (``forcefield``, ``solvent``, ...).

    Yields
    ------
    dict
        ``file``, ``converged``, ``final_energy`` (kJ/mol), ``rms_force`` (kJ/mol/nm), ``error``
        and the further columns of the summary.

    Raises
    ------
    FileExistsError
        The summary is of an earlier run, and `resume` is False.
    FileNotFoundError, ValueError
        There is no file to minimize, or the arguments cannot be right for any.
    ConnectionError
        The scheduler does not answer, or is gone.

    Examples
    --------
    >>> import tempfile
    >>> from openmm import app
    >>> from openmm_reparam import minimize_many
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> folder = Path(tempfile.mkdtemp())
    >>> molecule = peptide("AA")
    >>> with open(folder / "start.pdb", "w") as file:
    ...     app.PDBFile.writeFile(molecule.topology, molecule.positions, file)
    >>> for row in minimize_many(folder, folder / "minimized", platform="Reference"):
    ...     row["file"], row["converged"], row["final_energy"] < row["initial_energy"]
    ('start.pdb', True, True)
    """
    files = structure_files(structures)
    where = cluster_settings(cluster, workers)
    chosen = _settings(settings)
    check_settings(chosen)
    folder = None if output is None else Path(output)
    path = default_summary(None if summary is None else Path(summary), folder)
    with (
        structure_summary(files, chosen, folder, path, resume) as table,
        workers_for(files.total - len(files.among(table.kept)), where) as client,
        tqdm(
            total=files.total,
            initial=len(files.among(table.kept)),
            unit="file",
            smoothing=0,
            disable=None if progress else True,
        ) as bar,
        closing(
            minimize_files(
                client,
                files,
                settings_of_workers(chosen, where.processes(files.total), resources),
                folder,
                table,
                resources=resources,
            )
        ) as rows,
    ):
        for row in rows:
            bar.update()
            yield row


def default_summary(summary: Path | None, output: Path | None) -> Path | None:
    """Return where the summary is: ``summary.csv`` in the folder of outputs if nothing is said."""
    return output / SUMMARY_NAME if summary is None and output is not None else summary


def structure_summary(
    files: StructureFiles,
    settings: StructureSettings,
    output: Path | None,
    path: Path | None,
    resume: bool,
) -> Summary:
    """Return the table of a run, to be opened; a resumed one keeps the rows that are done.

    Parameters
    ----------
    files : StructureFiles
    settings : StructureSettings
    output : Path or None
        Folder of the minimized structures.
    path : Path or None
        None keeps no table.
    resume : bool

    Returns
    -------
    Summary

    Raises
    ------
    ValueError
        There is nothing to resume from without a table.
    """
    if not resume:
        return Summary(path, COLUMNS)
    if path is None:
        raise ValueError("resume=True needs the summary of the earlier run: name it, or its folder")
    digest = settings_digest(settings)

    def done(row: Row) -> bool:
        name = row["file"]
        place = None if output is None else output / name
        return structure_is_done(row, files.parent / name, place, digest)

    return Summary(path, COLUMNS, resumed=done)


def settings_of_workers(
    settings: StructureSettings, processes: int | None, resources: Mapping[str, float] | None
) -> StructureSettings:
    """Return the settings for one worker of several: on a thread, if it has no device.

    Parameters
    ----------
    settings : StructureSettings
    processes : int or None
        Workers; None if nobody knows. One alone keeps the settings.
    resources : mapping of str to float, or None

    Returns
    -------
    StructureSettings
    """
    if processes == 1:
        return settings
    platform = settings.platform or (None if resources else "CPU")
    threads = (settings.threads or 1) if platform == "CPU" else settings.threads
    return replace(settings, platform=platform, threads=threads)


def minimize_files(
    client: Client | None,
    files: StructureFiles,
    settings: StructureSettings,
    output: Path | None,
    summary: Summary,
    *,
    resources: Mapping[str, float] | None = None,
) -> Generator[Row, None, None]:
    """Yield a row for each file that the summary does not have, once it is in the summary.

    Parameters
    ----------
    client : distributed.Client or None
        None works in this process.
    files : StructureFiles
    settings : StructureSettings
    output : Path or None
        Folder of the minimized structures.
    summary : Summary
        Open.
    resources : mapping of str to float, optional

    Yields
    ------
    dict
    """
    digest = settings_digest(settings)
    # Workers may run in another folder.
    settings = _with_full_paths(settings)
    output = None if output is None else output.absolute()
    tasks = (
        StructureTask(name, path, None if output is None else output / name, settings, digest)
        for name, path in files.named()
        if name not in summary.kept
    )
    with closing(
        unordered_results(client, minimize_structure, failed_structure, tasks, resources=resources)
    ) as rows:
        for row in rows:
            summary.append(row)
            yield row


def _with_full_paths(settings: StructureSettings) -> StructureSettings:
    """Return the settings with full paths of the user's own force field files."""
    given = settings.preparation.get("forcefield")
    if given is None:
        return settings
    names = [given] if isinstance(given, str | Path) else given
    full = tuple(absolute_name(str(name)) for name in names)
    return replace(settings, preparation={**settings.preparation, "forcefield": full})


def _settings(given: Mapping[str, Any]) -> StructureSettings:
    """Split settings into those of the minimization and those of the preparation."""
    names = {field.name for field in fields(StructureSettings)} - {"preparation"}
    own = {name: value for name, value in given.items() if name in names}
    rest = {name: value for name, value in given.items() if name not in names}
    unknown = set(rest) - preparation_names()
    if unknown:
        raise TypeError(f"minimize_many has no argument {', '.join(sorted(unknown))}")
    return StructureSettings(**own, preparation=rest)
