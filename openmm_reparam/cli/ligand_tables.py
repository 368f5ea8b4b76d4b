"""Files that grow with each small molecule: what was done stays, whatever ends the run.

Molecules go to a file beside the one that was named, which is renamed when all are done. The table
says which they are, so that a later run can go on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from ..distributed.files import text_digest
from ..distributed.summary import Summary, summary_exists
from .settings import Console

__all__ = ["DIGESTS", "MoleculeFiles", "with_digests"]

Task = TypeVar("Task")

# The last columns of a table: of a molecule with the settings, and of what was written of it.
DIGESTS: dict[str, type] = {"input_digest": str, "output_digest": str}
END = "$$$$"


def with_digests(row: dict[str, Any], text: str, digest: str) -> dict[str, Any]:
    """Return a row that says which input and which text it is of."""
    return {**row, "input_digest": digest, "output_digest": text_digest(text) if text else None}


class MoleculeFiles(Generic[Task]):
    """A file of molecules and a table of them, open within a ``with`` block.

    Parameters
    ----------
    structure : Path or None
        An SDF file, or of one molecule a MOL file.
    summary : Path or None
        A CSV or Parquet file.
    columns : mapping of str to type
        Of the table.
    tasks : iterator
        The molecules to do.
    digest : callable
        Returns what tells a task from others.
    resume : bool
        Go on with the files of an earlier run, as far as they are of the same tasks. Without its
        table there is nothing to go on with.

    Attributes
    ----------
    tasks : iterator
        Those left to do.
    kept : dict
        See `Summary`.

    Raises
    ------
    FileExistsError
        There are files of an interrupted run, or a table of an earlier one, and `resume` is False.
    ValueError
        There is no table to resume from.
    """

    def __init__(
        self,
        structure: Path | None,
        summary: Path | None,
        columns: Mapping[str, type],
        tasks: Iterator[Task],
        digest: Callable[[Task], str],
        *,
        resume: bool = False,
    ) -> None:
        if resume and summary is None:
            raise ValueError("--resume needs the table of the earlier run: name it by --csv")
        self.tasks = tasks
        self._structure, self._digest = structure, digest
        self._resume = resume and summary is not None and summary_exists(summary)
        self._growing = structure and structure.with_name(structure.name + ".part")
        self._molecules: IO[bytes] | None = None
        self._good, self._written = True, False
        self._table = Summary(summary, columns, resumed=self._is_done if resume else None)
        self._summary = summary

    @property
    def kept(self) -> dict[Any, str]:
        """Rows of the earlier run."""
        return self._table.kept

    def __enter__(self) -> MoleculeFiles[Task]:
        with ExitStack() as stack:
            if self._growing is not None:
                self._molecules = self._open(self._growing)
                stack.push(self._leave_nothing_empty)
                stack.enter_context(self._molecules)
            stack.enter_context(self._table)
            if self._molecules is not None:
                self._molecules.truncate()  # where the last molecule that is done ends
            self._files = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        self._files.__exit__(kind, *error)
        if kind is None and self._growing is not None and self._structure is not None:
            os.replace(self._growing, self._structure)

    def _leave_nothing_empty(self, kind: type[BaseException] | None, *error: Any) -> None:
        """Remove the file of a run that ends by an error before a molecule is done."""
        if kind is not None and self._growing is not None and not (self._written or self._resume):
            self._growing.unlink()

    def write(self, row: dict[str, Any], text: str) -> None:
        """Write a molecule, if there is a text of it, and its row."""
        if self._molecules is not None and text:
            if self._structure is not None and self._structure.suffix.lower() == ".mol":
                text = text.partition("M  END")[0] + "M  END\n"
            self._molecules.write(text.encode())
            self._molecules.flush()
        self._written = True
        self._table.append(row)

    def say(self, console: Console, kind: str) -> None:
        """Name the files that were written, of molecules of some kind."""
        if self._structure is not None:
            console.say(f"Wrote the {kind} molecules: {self._structure}")
        if self._summary is not None:
            console.say(f"Wrote the table: {self._summary}")

    def _open(self, growing: Path) -> IO[bytes]:
        """Open the file of molecules: a new one, or at the beginning of an earlier run's."""
        if not self._resume:
            try:
                return open(growing, "xb")
            except FileExistsError:
                raise FileExistsError(
                    f"{growing} is of a run that was interrupted or goes on: --resume with its "
                    "table (--csv) completes it; or delete it"
                ) from None
        if not growing.exists() and self._structure is not None and self._structure.exists():
            os.replace(self._structure, growing)
        return open(growing, "r+b" if growing.exists() else "w+b")

    def _is_done(self, row: dict[str, Any]) -> bool:
        """Say whether the next row is of the next task, and the next molecule what it says.

        Molecules are in the order of tasks: after the first that is not done, none is.
        """
        if not self._good:
            return False
        task = next(self.tasks, None)
        begin = self._molecules.tell() if self._molecules is not None else 0
        self._good = (
            task is not None
            and row["input_digest"] == self._digest(task)
            and (self._molecules is None or not row["output_digest"] or self._text_is(row))
        )
        if not self._good:
            self.tasks = self.tasks if task is None else chain([task], self.tasks)
            if self._molecules is not None:
                self._molecules.seek(begin)
        return self._good

    def _text_is(self, row: dict[str, Any]) -> bool:
        """Say whether the next molecule of the file is the one of a row."""
        assert self._molecules is not None
        lines = []
        for line in iter(self._molecules.readline, b""):
            lines.append(line)
            if line.startswith(END.encode()):
                break
        return row["output_digest"] == text_digest(b"".join(lines).decode(errors="replace"))
