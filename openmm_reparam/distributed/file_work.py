"""Files by the thousand: each processed by a worker, its output written, its row in a summary."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client
from tqdm import tqdm

from .cluster import ClusterSettings, workers_for
from .engine import unordered_results
from .files import file_digest, text_digest, write_text
from .structure_inputs import StructureFiles
from .summary import Summary

__all__ = [
    "DIGESTS",
    "FileTask",
    "FileWork",
    "default_summary",
    "done_file",
    "file_is_done",
    "file_rows",
    "file_summary",
    "rows_with_progress",
]

Row = dict[str, Any]
# Name of the row, file, settings, ending of the output or None -> columns of the row, and the text
# of the output.
Process = Callable[[str, Path, Any, str | None], tuple[Row, str | None]]

SUMMARY_NAME = "summary.csv"
# Last columns of a summary: they tell a later run whether a file is done.
DIGESTS: Mapping[str, type] = {"input_digest": str, "settings_digest": str, "output_digest": str}


@dataclass(frozen=True)
class FileWork:
    """What is done with each of many files.

    Attributes
    ----------
    process : callable
        Of a module, so that a worker process finds it. An exception is a row with its message.
    settings : object
        Passed to `process`.
    digest : str
        Of the settings that decide the result: of other settings a file is not done.
    columns : mapping of str to type
        Of the summary: ``file`` first, ``converged`` and ``error`` among them, `DIGESTS` at the
        end.
    """

    process: Process
    settings: Any
    digest: str
    columns: Mapping[str, type]


@dataclass(frozen=True)
class FileTask:
    """One file; what a worker process is sent.

    Attributes
    ----------
    name : str
        Of its row.
    file : Path
    output : Path or None
        Where to write what is made of it.
    process, settings, digest
        Of the `FileWork`.
    """

    name: str
    file: Path
    output: Path | None
    process: Process
    settings: Any
    digest: str


def done_file(task: FileTask) -> Row:
    """Process one file, in whatever process this is; any failure of it is that file's alone.

    Parameters
    ----------
    task : FileTask

    Returns
    -------
    dict
        What is known of its row.
    """
    try:
        return _done(task)
    except Exception as error:
        return _failed(task, f"{error}" or type(error).__name__)


def _done(task: FileTask) -> Row:
    if task.output is not None and task.output.resolve() == task.file.resolve():
        raise ValueError(f"{task.output} would overwrite the input: name another folder")
    read = file_digest(task.file)
    ending = None if task.output is None else task.output.suffix.lower()
    row, text = task.process(task.name, task.file, task.settings, ending)
    written = None
    if task.output is not None and text is not None:
        write_text(task.output, text)
        written = text_digest(text)
    digests = dict(zip(DIGESTS, (read, task.digest, written), strict=True))
    return {"file": task.name, **row, "error": None, **digests}


def _failed(task: FileTask, error: str) -> Row:
    return {"file": task.name, "converged": False, "error": " ".join(error.split())}


def file_is_done(row: Row, file: Path, output: Path | None, digest: str) -> bool:
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


def default_summary(summary: str | Path | None, output: str | Path | None) -> Path | None:
    """Return where the summary is: ``summary.csv`` in the folder of outputs if nothing is said."""
    if summary is not None:
        return Path(summary)
    return None if output is None else Path(output) / SUMMARY_NAME


def file_summary(
    files: StructureFiles, work: FileWork, output: Path | None, path: Path | None, resume: bool
) -> Summary:
    """Return the table of a run, to be opened; a resumed one keeps the rows that are done.

    Parameters
    ----------
    files : StructureFiles
    work : FileWork
    output : Path or None
        Folder of what is written.
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
        return Summary(path, work.columns)
    if path is None:
        raise ValueError("resume=True needs the summary of the earlier run: name it, or its folder")

    def done(row: Row) -> bool:
        place = None if output is None else output / row["file"]
        return file_is_done(row, files.parent / row["file"], place, work.digest)

    return Summary(path, work.columns, resumed=done)


def file_rows(
    client: Client | None,
    files: StructureFiles,
    work: FileWork,
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
    work : FileWork
    output : Path or None
        Folder of what is written.
    summary : Summary
        Open.
    resources : mapping of str to float, optional
        What a file takes of its worker.

    Yields
    ------
    dict
        All columns, with None where a failure left nothing to say.
    """
    folder = None if output is None else output.absolute()  # workers may run in another one
    tasks = (
        FileTask(
            name,
            path,
            None if folder is None else folder / name,
            work.process,
            work.settings,
            work.digest,
        )
        for name, path in files.named()
        if name not in summary.kept
    )
    with closing(
        unordered_results(client, done_file, _failed, tasks, resources=resources)
    ) as found:
        for row in found:
            whole = dict.fromkeys(work.columns) | row
            summary.append(whole)
            yield whole


def rows_with_progress(
    files: StructureFiles,
    work: FileWork,
    output: Path | None,
    summary: Path | None,
    where: ClusterSettings,
    *,
    resume: bool,
    resources: Mapping[str, float] | None,
    progress: bool,
) -> Generator[Row, None, None]:
    """Yield a row for each file that is not done yet: workers, summary and bar opened and closed.

    Parameters
    ----------
    files : StructureFiles
    work : FileWork
    output : Path or None
        Folder of what is written.
    summary : Path or None
    where : ClusterSettings
    resume : bool
    resources : mapping of str to float, or None
    progress : bool
        Show a bar with the rate and the time left.

    Yields
    ------
    dict
    """
    with file_summary(files, work, output, summary, resume) as table:
        kept = len(files.among(table.kept))
        with (
            workers_for(files.total - kept, where) as client,
            tqdm(
                total=files.total,
                initial=kept,
                unit="file",
                smoothing=0,
                disable=None if progress else True,
            ) as bar,
            closing(file_rows(client, files, work, output, table, resources=resources)) as rows,
        ):
            for row in rows:
                bar.update()
                yield row
