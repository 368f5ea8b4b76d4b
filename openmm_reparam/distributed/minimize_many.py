"""`minimize_many`: structure files by the thousand, on the workers of one machine or many."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from .cluster import cluster_settings
from .file_work import FileWork, default_summary, rows_with_progress
from .files import absolute_name
from .structure_inputs import structure_files
from .structure_task import (
    COLUMNS,
    StructureSettings,
    check_settings,
    minimized_file,
    preparation_names,
    settings_digest,
)

__all__ = ["minimization_work", "minimize_many"]

Row = dict[str, Any]


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
    yield from rows_with_progress(
        files,
        minimization_work(chosen, where.processes(files.total), resources),
        None if output is None else Path(output),
        default_summary(summary, output),
        where,
        resume=resume,
        resources=resources,
        progress=progress,
    )


def minimization_work(
    settings: StructureSettings, processes: int | None, resources: Mapping[str, float] | None
) -> FileWork:
    """Return what is done with each file; one worker of several works on a thread without a device.

    Parameters
    ----------
    settings : StructureSettings
    processes : int or None
        Workers; None if nobody knows. One alone keeps the settings.
    resources : mapping of str to float, or None
        What a file takes of its worker.

    Returns
    -------
    FileWork
    """
    own = _with_full_paths(settings)  # workers may run in another folder
    if processes != 1:
        platform = settings.platform or (None if resources else "CPU")
        threads = (settings.threads or 1) if platform == "CPU" else settings.threads
        own = replace(own, platform=platform, threads=threads)
    return FileWork(minimized_file, own, settings_digest(settings), COLUMNS)


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
