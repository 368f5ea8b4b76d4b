"""Files that are there as a whole or not at all, and digests that tell whether one is the same."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

__all__ = [
    "absolute_name",
    "file_digest",
    "read_text",
    "replaced_file",
    "text_digest",
    "write_text",
]

# Hexadecimal digits of SHA-256 that are kept: 64 bits.
DIGITS = 16
# Characters of a file's name, up to four bytes each, in that of the one written beside it.
LONGEST_PREFIX = 32
# Bytes that are no UTF-8 stay as they are from file to file.
ANY_BYTES = "surrogateescape"


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
    # A name may be as long as the file system allows: this one must not be longer.
    prefix = f".{path.name[:LONGEST_PREFIX]}."
    descriptor, beside = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=path.parent)
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


def absolute_name(name: str) -> str:
    """Return the full path of a file that is there, and any other name as it is.

    A worker with another working directory finds it.
    """
    return str(Path(name).absolute()) if Path(name).is_file() else name


def read_text(path: Path) -> str:
    """Return the text of a file; `write_text` writes the same bytes, UTF-8 or not.

    Raises
    ------
    OSError
        It cannot be read.
    """
    return path.read_text(encoding="utf-8", errors=ANY_BYTES)


def write_text(path: Path, text: str) -> None:
    """Write a text to a file, as a whole or not at all.

    Parameters
    ----------
    path : Path
    text : str
    """
    with replaced_file(path) as file:
        file.write(text.encode(errors=ANY_BYTES))


def text_digest(text: str) -> str:
    """Return a digest of a text: 16 hexadecimal digits of its SHA-256.

    Examples
    --------
    >>> text_digest("ATOM")
    '939f34238170826d'
    """
    return hashlib.sha256(text.encode(errors=ANY_BYTES)).hexdigest()[:DIGITS]


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
