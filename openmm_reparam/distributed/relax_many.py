"""`relax_many`: predicted structures by the thousand, on the workers of one machine or many."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from distributed import Client
from tqdm import tqdm

from ..predicted.protocol import RelaxationSettings
from ..prepare.molecular_system import platform_by_name
from ..prepare.system_builder import load_forcefield
from .cluster import cluster_settings, workers_for
from .engine import unordered_results
from .files import absolute_name
from .minimize_many import default_summary
from .prediction_task import (
    RELAXATION_COLUMNS,
    PredictionTask,
    failed_prediction,
    relax_file,
    relaxation_digest,
)
from .structure_inputs import StructureFiles, structure_files
from .structure_task import structure_is_done
from .summary import Summary

__all__ = ["check_relaxation", "relax_files", "relax_many", "relaxation_summary"]

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
    folder = None if output is None else Path(output)
    path = default_summary(None if summary is None else Path(summary), folder)
    with (
        relaxation_summary(files, chosen, folder, path, resume) as table,
        workers_for(files.total - len(files.among(table.kept)), where) as client,
        tqdm(
            total=files.total,
            initial=len(files.among(table.kept)),
            unit="file",
            smoothing=0,
            disable=None if progress else True,
        ) as bar,
        closing(
            relax_files(
                client,
                files,
                chosen,
                folder,
                table,
                processes=where.processes(files.total),
                resources=resources,
            )
        ) as rows,
    ):
        for row in rows:
            bar.update()
            yield row


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


def relaxation_summary(
    files: StructureFiles,
    settings: RelaxationSettings,
    output: Path | None,
    path: Path | None,
    resume: bool,
) -> Summary:
    """Return the table of a run, to be opened; a resumed one keeps the rows that are done.

    Parameters
    ----------
    files : StructureFiles
    settings : RelaxationSettings
    output : Path or None
        Folder of the relaxed structures.
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
        return Summary(path, RELAXATION_COLUMNS)
    if path is None:
        raise ValueError("resume=True needs the summary of the earlier run: name it, or its folder")
    digest = relaxation_digest(settings)

    def done(row: Row) -> bool:
        place = None if output is None else output / row["file"]
        return structure_is_done(row, files.parent / row["file"], place, digest)

    return Summary(path, RELAXATION_COLUMNS, resumed=done)


def relax_files(
    client: Client | None,
    files: StructureFiles,
    settings: RelaxationSettings,
    output: Path | None,
    summary: Summary,
    *,
    processes: int | None = 1,
    resources: Mapping[str, float] | None = None,
) -> Generator[Row, None, None]:
    """Yield a row for each file that the summary does not have, once it is in the summary.

    Parameters
    ----------
    client : distributed.Client or None
        None works in this process.
    files : StructureFiles
    settings : RelaxationSettings
    output : Path or None
        Folder of the relaxed structures.
    summary : Summary
        Open.
    processes : int or None
        Workers; None if nobody knows. Of several each takes the CPU platform on one thread, unless
        the settings or `resources` say otherwise.
    resources : mapping of str to float, optional

    Yields
    ------
    dict
    """
    digest = relaxation_digest(settings)
    if processes != 1 and settings.platform is None and not resources:
        settings = replace(settings, platform="CPU", threads=settings.threads or 1)
    # Workers may run in another folder.
    settings = replace(settings, forcefield=absolute_name(settings.forcefield))
    output = None if output is None else output.absolute()
    tasks = (
        PredictionTask(name, path, None if output is None else output / name, settings, digest)
        for name, path in files.named()
        if name not in summary.kept
    )
    with closing(
        unordered_results(client, relax_file, failed_prediction, tasks, resources=resources)
    ) as rows:
        for row in rows:
            summary.append(row)
            yield row
