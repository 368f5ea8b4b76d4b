"""Files that grow with each small molecule: what was done stays, whatever ends the run."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .settings import Console

__all__ = ["MoleculeFiles"]


class MoleculeFiles:
    """A file of molecules and a table of them, open within a ``with`` block.

    Parameters
    ----------
    structure : Path or None
        An SDF file, or of one molecule a MOL file.
    summary : Path or None
        A CSV file.
    columns : sequence of str
        Of the table.
    """

    def __init__(
        self, structure: Path | None, summary: Path | None, columns: Sequence[str]
    ) -> None:
        self._structure, self._summary, self._columns = structure, summary, columns

    def __enter__(self) -> MoleculeFiles:
        with ExitStack() as stack:
            self._molecules: Any = None
            self._rows: Any = None
            if self._structure is not None:
                self._molecules = stack.enter_context(open(self._structure, "w"))
            if self._summary is not None:
                file = stack.enter_context(open(self._summary, "w", newline=""))
                self._rows = csv.DictWriter(file, self._columns)
                self._rows.writeheader()
            self._files = stack.pop_all()
        return self

    def __exit__(self, *error) -> None:
        self._files.close()

    def write(self, row: dict[str, Any], text: str) -> None:
        """Write a molecule, if there is a text of it, and its row."""
        if self._rows is not None:
            self._rows.writerow(row)
        if self._molecules is not None and text:
            if self._structure is not None and self._structure.suffix.lower() == ".mol":
                text = text.partition("M  END")[0] + "M  END\n"
            self._molecules.write(text)
            self._molecules.flush()

    def say(self, console: Console, kind: str) -> None:
        """Name the files that were written, of molecules of some kind."""
        if self._structure is not None:
            console.say(f"Wrote the {kind} molecules: {self._structure}")
        if self._summary is not None:
            console.say(f"Wrote the table: {self._summary}")
