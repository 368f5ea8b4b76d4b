"""What SQLite's errors mean, and what to do about them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["explained_errors"]

# What SQLite says, what that means, and the kind of error that it is.
MEANINGS: tuple[tuple[str, str, type[Exception]], ...] = (
    (
        "locked",
        "is locked by another process. Wait until that is done, or end it",
        TimeoutError,
    ),
    (
        "readonly",
        "cannot be written: the file or its folder is read-only. Copy it to a folder of yours",
        PermissionError,
    ),
    (
        "unable to open",
        "cannot be opened: look at the permissions of the file and of its folder, in which SQLite "
        "makes a journal",
        PermissionError,
    ),
    (
        "full",
        "cannot grow: the disk is full. What it held before is safe. Make room, then go on with "
        "the same command",
        OSError,
    ),
    ("disk I/O", "cannot be read or written: its disk or network has failed", OSError),
    ("not a database", "is no database of minima. Name another file", ValueError),
    (
        "malformed",
        "is damaged. Keep a copy; `sqlite3 FILE .recover | sqlite3 NEW` saves what can be read",
        ValueError,
    ),
    ("no such table", "is no database of minima. Name another file", ValueError),
)


@contextmanager
def explained_errors(path: str | Path) -> Iterator[None]:
    """Raise errors that say what to do in place of SQLite's own.

    Parameters
    ----------
    path : str or Path
        Of the file.

    Raises
    ------
    OSError
        The file is locked, read-only or unreachable, or the disk is full.
    ValueError
        It is damaged, or no such file.

    Examples
    --------
    >>> with explained_errors("minima.db"):
    ...     raise sqlite3.OperationalError("database is locked")
    Traceback (most recent call last):
        ...
    TimeoutError: minima.db is locked by another process. Wait until that is done, or end it.
    """
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as error:
        for sign, meaning, kind in MEANINGS:
            if sign in str(error):
                raise kind(f"{path} {meaning}.") from error
        raise OSError(f"{path}: SQLite says {error}") from error
