"""A table of many results that grows row by row, and that a later run takes up.

Rows go to a CSV file at once. A table whose name ends in .parquet is made of it at the end.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from .files import ANY_BYTES, replaced_file

__all__ = ["Summary", "read_summary", "row_state", "summary_exists"]

Row = dict[str, Any]

PARQUET = ".parquet"
ROWS_IN_GROUP = 10_000
# Characters: the notes on a large structure are many.
LONGEST_VALUE = 2**31 - 1


def row_state(row: Row) -> str:
    """Return what became of a row: "converged", "not converged" or "failed"."""
    if row.get("error"):
        return "failed"
    return "converged" if row.get("converged") else "not converged"


def read_summary(path: str | Path, columns: Mapping[str, type]) -> Iterator[Row]:
    """Yield the rows of a summary, of a run that has ended or of one that was interrupted.

    Parameters
    ----------
    path : str or Path
        The CSV or Parquet file.
    columns : mapping of str to type
        Names, and ``str``, ``int``, ``float`` or ``bool``.

    Yields
    ------
    dict
        With None where a row says nothing.

    Raises
    ------
    FileNotFoundError
        There is no such summary.
    ValueError
        It has other columns.
    """
    path = Path(path)
    journal = _journal(path)
    if journal.exists() or path == journal:
        return _csv_rows(journal, columns)
    return _parquet_rows(path, columns)


def summary_exists(path: Path) -> bool:
    """Say whether there is a summary, of a run that has ended or of one that was interrupted."""
    return path.exists() or _journal(path).exists()


class Summary:
    """A table that rows are added to within a ``with`` block; what is added stays.

    A table that is still without a row when an error ends the block is removed.

    Parameters
    ----------
    path : Path or None
        CSV, or Parquet (needs pyarrow) by its ending. None keeps nothing.
    columns : mapping of str to type
        Names, and ``str``, ``int``, ``float`` or ``bool``. The first names a row.
    resumed : callable, optional
        Says whether a row of an earlier run is done and good. Then the earlier run's summary is
        taken up, without the rows that are not; else there must be none.

    Attributes
    ----------
    kept : dict
        Rows of the earlier run that are done, by name: "converged", "not converged" or "failed".

    Raises
    ------
    FileExistsError
        The file is of an earlier run, or of one that goes on.
    ValueError
        It has other columns.
    ImportError
        The ending is .parquet and pyarrow is not installed.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "summary.csv"
    >>> columns = {"file": str, "converged": bool, "atoms": int}
    >>> with Summary(path, columns) as summary:
    ...     summary.append({"file": "a.pdb", "converged": True, "atoms": 22})
    >>> list(read_summary(path, columns))
    [{'file': 'a.pdb', 'converged': True, 'atoms': 22}]
    >>> with Summary(path, columns, resumed=lambda row: True) as summary:
    ...     summary.kept
    {'a.pdb': 'converged'}
    """

    def __init__(
        self,
        path: Path | None,
        columns: Mapping[str, type],
        *,
        resumed: Callable[[Row], bool] | None = None,
    ) -> None:
        self.kept: dict[Any, str] = {}
        self._path, self._columns, self._resumed = path, columns, resumed
        self._file: io.FileIO | None = None
        self._empty = False

    def __enter__(self) -> Summary:
        if self._path is None:
            return self
        if self._path.suffix.lower() == PARQUET:
            _pyarrow()  # before the work, not after it
        journal = _journal(self._path)
        try:
            journal.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise NotADirectoryError(f"{journal.parent} is no folder: name another") from None
        if self._resumed is not None and (journal.exists() or self._path.exists()):
            self._take_up(self._path, journal, self._resumed)
            self._file = _locked(journal, "ab")
            return self
        if self._path.exists():
            raise FileExistsError(_earlier(self._path))
        try:
            self._file = _locked(journal, "xb")
        except FileExistsError:
            raise FileExistsError(_earlier(journal)) from None
        self._write(_csv_text([list(self._columns)]))
        self._empty = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._file is None or self._path is None:
            return
        journal = _journal(self._path)
        try:
            if kind is None and journal != self._path:
                _write_parquet(self._path, self._columns, _csv_rows(journal, self._columns))
                journal.unlink()
        finally:
            self._file.close()
        if kind is not None and self._empty:
            journal.unlink()

    def append(self, row: Row) -> None:
        """Add a row; it is in the file when this returns.

        Raises
        ------
        OSError
            It cannot be written, to a full disk say; the rows before are whole.
        """
        if self._file is not None:
            self._write(_csv_text([[row[name] for name in self._columns]]))
            self._empty = False

    def _take_up(self, path: Path, journal: Path, done: Callable[[Row], bool]) -> None:
        """Rewrite the table of an earlier run with the rows that are done."""
        held = _locked(journal, "r+b") if journal.exists() else None
        try:
            with replaced_file(journal) as file:
                file.write(_csv_text([list(self._columns)]))
                for row in read_summary(path, self._columns):
                    name = row[next(iter(self._columns))]
                    if name not in self.kept and done(row):
                        self.kept[name] = row_state(row)
                        file.write(_csv_text([list(row.values())]))
        finally:
            if held is not None:
                held.close()

    def _write(self, text: bytes) -> None:
        """Write a line as a whole or not at all."""
        assert self._file is not None
        end = self._file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(text):
                written += self._file.write(text[written:])
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(end)
            raise OSError(
                error.errno,
                f"{error.strerror}: the summary ends with what was done before; make room and "
                "run again with --resume",
                str(self._path),
            ) from error


def _earlier(path: Path) -> str:
    return (
        f"{path} is of an earlier run: --resume (resume=True) completes that; or delete it, or "
        "name another"
    )


def _journal(path: Path) -> Path:
    """Return the CSV file that rows go to while a run lasts."""
    return path.with_name(path.name + ".csv") if path.suffix.lower() == PARQUET else path


def _locked(path: Path, mode: str) -> io.FileIO:
    """Open a file that no other run has open; FileExistsError where one has."""
    file = io.FileIO(path, mode)
    try:
        import fcntl
    except ImportError:  # Windows
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise FileExistsError(f"another run is writing {path}: wait, or name another") from None
    except OSError:  # some network file systems know no locks
        return file
    return file


# --- CSV and Parquet ---


def _csv_text(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return rows as CSV. Names stay as they are, no other value holds a line's end."""
    text = io.StringIO()
    for name, *values in rows:
        cells = [name, *(" ".join(v.split()) if isinstance(v, str) else v for v in values)]
        if "\r" in str(name):  # quoted by itself from Python 3.13 on
            csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
        else:
            csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode(errors=ANY_BYTES)


def _csv_rows(path: Path, columns: Mapping[str, type]) -> Iterator[Row]:
    with open(path, newline="", encoding="utf-8", errors=ANY_BYTES) as file:
        # A machine that goes down may leave half a line at the end.
        csv.field_size_limit(LONGEST_VALUE)
        reader = csv.reader(line for line in file if line.endswith(("\n", "\r")))
        _check_columns(path, next(reader, []), columns)
        for cells in reader:
            if len(cells) == len(columns):
                yield {
                    name: _value(text, kind)
                    for text, (name, kind) in zip(cells, columns.items(), strict=True)
                }


def _value(text: str, kind: type) -> Any:
    if text == "":
        return None
    return text == "True" if kind is bool else kind(text)


def _check_columns(path: Path, found: Sequence[str], columns: Mapping[str, type]) -> None:
    if list(found) != list(columns):
        raise ValueError(f"{path} is no summary of this command, or of another version of it")


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "a .parquet file needs pyarrow: pip install 'openmm-reparam[cluster]', or take .csv"
        ) from error
    return pyarrow


def _parquet_rows(path: Path, columns: Mapping[str, type]) -> Iterator[Row]:
    if not path.exists():
        raise FileNotFoundError(f"there is no summary {path}")
    file = _pyarrow().parquet.ParquetFile(path)
    _check_columns(path, file.schema_arrow.names, columns)
    for batch in file.iter_batches():
        yield from batch.to_pylist()


def _write_parquet(path: Path, columns: Mapping[str, type], rows: Iterator[Row]) -> None:
    """Write rows as Parquet, some thousands at a time."""
    pyarrow = _pyarrow()
    kinds = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    with (
        replaced_file(path) as file,
        pyarrow.parquet.ParquetWriter(file, schema) as writer,
    ):
        while group := list(islice(rows, ROWS_IN_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist([*map(_in_unicode, group)], schema))


def _in_unicode(row: Row) -> Row:
    """Return a row that Parquet can hold: bytes of a name that are no UTF-8 are spelled out."""
    return {
        name: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }
