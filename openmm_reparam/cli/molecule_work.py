"""Small molecules by the thousand: each done by a worker, written, and a row of the table."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tqdm import tqdm

from ..distributed.cluster import workers_for
from ..distributed.engine import ordered_results
from ..prepare.ligand_files import LigandRecord
from .ligand_tables import MoleculeFiles, with_digests
from .settings import Console, Outputs
from .workforce import Workforce, say_workers

__all__ = ["MoleculeTask", "MoleculeWork", "prepare_files", "tasks_of"]

Row = dict[str, Any]
OUTPUT_ENDINGS = (".sdf", ".mol")


class MoleculeTask(Protocol):
    """One molecule and what to do with it; what a worker process is sent."""

    @property
    def record(self) -> LigandRecord:
        """The molecule."""


Task = TypeVar("Task", bound=MoleculeTask)


@dataclass(frozen=True)
class MoleculeWork(Generic[Task]):
    """What is done with each of many molecules.

    Attributes
    ----------
    process : callable
        Of a module, so that a worker process finds it. Takes a task; returns what is known of its
        row, the molecule as an SDF entry, and the result, which stays in its process. In `attempt`
        an exception is a row with its message.
    digest : callable
        Returns what tells a task from others.
    columns : mapping of str to type
        Of the table: ``number``, ``name`` and ``error`` among them, `DIGESTS` at the end.
    head : str
        Of the table in the terminal.
    line : callable
        A row for the terminal.
    """

    process: Callable[[Task], tuple[Row, str, Any]]
    digest: Callable[[Task], str]
    columns: Mapping[str, type]
    head: str
    line: Callable[[Row], str]

    def do(self, task: Task) -> tuple[Row, str, Any]:
        """Do a task in this process: its row, its text and its result."""
        known, text, result = self.process(task)
        return self._row(task, text, **known), text, result

    def attempt(self, task: Task) -> tuple[Row, str]:
        """Do a task in whatever process this is; any failure of it is that molecule's alone."""
        try:
            return self.do(task)[:2]
        except Exception as error:
            return self.failed(task, f"{error}" or type(error).__name__)

    def failed(self, task: Task, error: str) -> tuple[Row, str]:
        """Return the row of a molecule that failed for a reason, and no text."""
        return self._row(task, "", error=" ".join(error.split())), ""

    def _row(self, task: Task, text: str, **known: Any) -> Row:
        """Return a whole row, with None where nothing is known, and False for what is not so."""
        empty = {name: False if kind is bool else None for name, kind in self.columns.items()}
        named = {"number": task.record.number, "name": task.record.name}
        return with_digests({**empty, **named, **known}, text, self.digest(task))

    def files(
        self,
        outputs: Outputs,
        summary: Path | None,
        tasks: Iterator[Task],
        *,
        resume: bool = False,
    ) -> MoleculeFiles[Task]:
        """Return the files that grow with the molecules, to be opened."""
        return MoleculeFiles(
            outputs.structure, summary, self.columns, tasks, self.digest, resume=resume
        )

    def rows(
        self, files: MoleculeFiles[Task], workforce: Workforce, console: Console, json: str | None
    ) -> Generator[Row, None, None]:
        """Yield a row for each molecule that is left, when it is written and printed.

        Parameters
        ----------
        files : MoleculeFiles
            Open.
        workforce : Workforce
        console : Console
        json : str or None
            Where JSON goes; "-" is standard output, and the table goes to standard error then.

        Yields
        ------
        dict
            All columns, with None where a failure left nothing to say.
        """
        if workforce.resume:
            console.say(f"{len(files.kept)} molecules are done and unchanged")
        with (
            workers_for(None, workforce.cluster) as client,
            tqdm(
                initial=len(files.kept), unit="molecule", smoothing=0, leave=False, disable=None
            ) as bar,
            closing(
                ordered_results(
                    *(client, self.attempt, self.failed, files.tasks),
                    resources=workforce.resources,
                )
            ) as finished,
        ):
            say_workers(client, workforce.cluster.processes(), console)
            console.say(self.head)
            for row, text in finished:
                files.write(row, text)
                bar.write(self.line(row), file=sys.stderr if json == "-" else sys.stdout)
                bar.update()
                yield row


def prepare_files(source: str, outputs: Outputs, summary: Path | None) -> None:
    """Make the folders of what is written.

    Raises
    ------
    ValueError
        A file has a wrong ending, or would overwrite the input.
    """
    outputs.prepare(OUTPUT_ENDINGS)
    for path in (outputs.structure, summary):
        if path is not None and path.exists() and path.resolve() == Path(source).resolve():
            raise ValueError(f"{path} would overwrite the input: name another")
    if summary is not None:
        summary.parent.mkdir(parents=True, exist_ok=True)


def tasks_of(
    records: Iterable[LigandRecord],
    make: Callable[[LigandRecord], Task],
    source: str,
    outputs: Outputs,
) -> tuple[Iterator[Task], bool]:
    """Return a task for each molecule, and whether there is one alone.

    Parameters
    ----------
    records : iterable of LigandRecord
        Read as the tasks are.
    make : callable
    source : str
        What the records are of.
    outputs : Outputs

    Raises
    ------
    ValueError
        There is no molecule, or several are to go into a MOL file.
    """
    stream = iter(records)
    first = list(itertools.islice(stream, 2))
    if not first:
        raise ValueError(f"{source} holds no molecule")
    alone = len(first) == 1
    single = outputs.structure is not None and outputs.structure.suffix.lower() == ".mol"
    if single and not alone:
        raise ValueError(f"-o {outputs.structure}: a .mol file holds one molecule, take .sdf")
    return map(make, itertools.chain(first, stream)), alone
