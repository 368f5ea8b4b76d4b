"""`relax_many`: predicted structures by the thousand, on the workers of one machine or many."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..predicted.protocol import RelaxationSettings
from ..prepare.molecular_system import platform_by_name
from ..prepare.system_builder import load_forcefield
from .cluster import cluster_settings
from .file_work import FileWork, default_summary, rows_with_progress
from .files import absolute_name
from .prediction_task import RELAXATION_COLUMNS, relaxation_digest, relaxed_file
from .structure_inputs import structure_files

__all__ = ["check_relaxation", "relax_many", "relaxation_work"]

Row = dict[str, Any]


def relax_many(
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
    """Relax many predicted structures, and yield a row for each as it is done.

    Each is relaxed as by `relax_prediction`; files, workers, summary and resuming are those of
    `minimize_many`.

    Parameters
    ----------
    structures : str, Path or iterable of them
        A folder, a list of paths in a .txt file, or paths.
    output : str or Path, optional
        Folder of the relaxed structures, under the names they have.
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
        Attributes of `RelaxationSettings`.

    Yields
    ------
    dict
        ``file``, ``converged``, ``clashes_after``, ``molprobity_like_after``, ``error`` and the
        further columns of the summary.

    Raises
    ------
    FileExistsError
        The summary is of an earlier run, and `resume` is False.
    FileNotFoundError, TypeError, ValueError
        There is no file to relax, or the arguments cannot be right for any.
    ConnectionError
        The scheduler does not answer, or is gone.

    Examples
    --------
    >>> for row in relax_many("predictions", "relaxed"):  # doctest: +SKIP
    ...     print(row["file"], row["clashes_before"], row["clashes_after"])
    """
    files = structure_files(structures)
    where = cluster_settings(cluster, workers)
    chosen = RelaxationSettings(**settings)
    check_relaxation(chosen)
    yield from rows_with_progress(
        files,
        relaxation_work(chosen, where.processes(files.total), resources),
        None if output is None else Path(output),
        default_summary(summary, output),
        where,
        resume=resume,
        resources=resources,
        progress=progress,
    )


def check_relaxation(settings: RelaxationSettings) -> None:
    """Refuse what would make every structure fail, before any is read.

    Parameters
    ----------
    settings : RelaxationSettings

    Raises
    ------
    ValueError
        The force field or the platform is not there.
    """
    load_forcefield(settings.forcefield)
    if settings.platform is not None:
        platform_by_name(settings.platform)


def relaxation_work(
    settings: RelaxationSettings, processes: int | None, resources: Mapping[str, float] | None
) -> FileWork:
    """Return what is done with each file.

    Parameters
    ----------
    settings : RelaxationSettings
    processes : int or None
        Workers; None if nobody knows. Of several each takes the CPU platform on one thread, unless
        the settings or `resources` say otherwise.
    resources : mapping of str to float, or None
        What a file takes of its worker.

    Returns
    -------
    FileWork
    """
    # Workers may run in another folder.
    own = replace(settings, forcefield=absolute_name(settings.forcefield))
    if processes != 1 and settings.platform is None and not resources:
        own = replace(own, platform="CPU", threads=settings.threads or 1)
    return FileWork(relaxed_file, own, relaxation_digest(settings), RELAXATION_COLUMNS)
