"""Files that are there as a whole or not at all, and digests that tell whether one is the same."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

__all__ = ["file_digest", "replaced_file", "text_digest", "write_text"]

# Hexadecimal digits of SHA-256 that are kept: 64 bits.
DIGITS = 16


@contextmanager
def replaced_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a new file that takes the place of another when the block ends without an error.

    It is written beside it and then renamed: whoever reads the path finds the file as it was or as
    it is, never half of it.

    Parameters
    ----------
    path : Path
        Its folder is made if need be.
    mode : {"wb", "w+b"}

    Yields
    ------
    file object

    Raises
    ------
    OSError
        The disk is full, say; nothing is left behind then.

    Examples
    --------
    >>> path = Path(tempfile.mkdtemp()) / "new.txt"
    >>> with replaced_file(path) as file:
    ...     _ = file.write(b"whole")
    >>> path.read_bytes()
    b'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a full disk may be found out only now
        os.chmod(beside, 0o666 & ~_umask())  # a temporary file is its owner's alone
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text to a file, as a whole or not at all.

    Parameters
    ----------
    path : Path
    text : str
    """
    with replaced_file(path) as file:
        file.write(text.encode())


def text_digest(text: str) -> str:
    """Return a digest of a text: 16 hexadecimal digits of its SHA-256.

    Examples
    --------
    >>> text_digest("ATOM")
    '939f34238170826d'
    """
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def file_digest(path: Path) -> str:
    """Return the digest of what a file holds, as `text_digest`.

    Raises
    ------
    OSError
        It cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:DIGITS]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
