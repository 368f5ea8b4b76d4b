"""Labels on disk: appended one by one, and whole after the process was killed at any moment.

A file is a list of records. Each has its length, a checksum and an npz archive without pickles. A
record that was cut off by the end of a process is removed when the file is opened again. A damaged
file is refused, since what comes after the damage would be lost.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

__all__ = ["Label", "LabelFile"]

MAGIC = b"GOLFBUF1"
HEADER = struct.Struct("<II")
NOTHING = np.empty((0, 3))
# How an npz archive ends: a record that was cut off has less than this.
END, END_SIZE = b"PK\x05\x06", 22


@dataclass(frozen=True)
class Label:
    """What the genuine oracle said of a molecule's positions.

    Attributes
    ----------
    purpose : str
        What the oracle was asked for.
    molecule : int
        Its place in the list of molecules.
    positions : (N, 3) array
        In nm.
    energy : float
        In kJ/mol; NaN where the oracle failed.
    forces : (N, 3) array
        In kJ/mol/nm; (0, 3) where the oracle failed.
    message : str
        Why it failed.
    """

    purpose: str
    molecule: int
    positions: np.ndarray
    energy: float = float("nan")
    forces: np.ndarray = field(default_factory=lambda: NOTHING)
    message: str = ""

    @property
    def failed(self) -> bool:
        """Whether the oracle failed."""
        return bool(self.message)


class LabelFile:
    """An append-only file of labels.

    Parameters
    ----------
    path : Path or None
        Made where it does not exist. None keeps labels in memory.
    description : dict
        What the labels belong to, of JSON's types.

    Attributes
    ----------
    labels : list of Label
        All of the file, in the order in which they came.

    Raises
    ------
    ValueError
        The file is another one or damaged, belongs to something else, or another process writes
        to it.

    Examples
    --------
    >>> with LabelFile(None, {"seed": 1}) as file:
    ...     file.append(Label("start", 0, np.zeros((2, 3)), -1.0, np.zeros((2, 3))))
    ...     len(file.labels)
    1
    """

    def __init__(self, path: Path | None, description: dict) -> None:
        self.labels: list[Label] = []
        self._file: IO[bytes] | None = None
        if path is not None:
            self._file = self._opened(Path(path), description)

    def _opened(self, path: Path, description: dict) -> IO[bytes]:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b")  # noqa: SIM115 - closed by close()
        _lock(file, path)
        file.seek(0)
        records = _records(file, path)
        first = next(records, None)
        if first is None:
            file.seek(0)
            file.truncate()
            _write(file, MAGIC + _record(json.dumps(description).encode()))
            return file
        there, here = json.loads(first[1]), json.loads(json.dumps(description))
        if there != here:
            file.close()
            raise ValueError(
                f"{path} holds labels of another training ({_differences(there, here)}): name "
                "another file, or train as before"
            )
        end = first[0]
        for end, payload in records:  # noqa: B007 - the last end is where the file is cut
            self.labels.append(_label(payload))
        file.truncate(end)
        return file

    def append(self, label: Label) -> None:
        """Add a label; when this returns it is on the disk."""
        self.labels.append(label)
        if self._file is not None:
            _write(self._file, _record(_payload(label)))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> LabelFile:
        return self

    def __exit__(self, *details) -> None:
        self.close()


def _differences(there: dict, here: dict) -> str:
    """Return what one description says and another does not, without what they agree in."""
    found = []
    for name in dict.fromkeys([*there, *here]):
        old, new = there.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            found.append(f"{name}: {_differences(old, new)}")
        elif old != new:
            found.append(f"{name} {old}, not {new}")
    return ", ".join(found)


def _lock(file: IO[bytes], path: Path) -> None:
    """Refuse a file that another process has open; the system frees it when a process ends."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise ValueError(
            f"another training writes to {path}: wait for it, or name another file"
        ) from error


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _record(payload: bytes) -> bytes:
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def _records(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield where each whole record ends, and what it holds."""
    magic = file.read(len(MAGIC))
    if magic != MAGIC:
        if MAGIC.startswith(magic):  # the first write was cut off
            return
        file.close()
        raise ValueError(f"{path} is not a file of labels")
    begin = file.tell()
    while len(header := file.read(HEADER.size)) == HEADER.size:
        length, checksum = HEADER.unpack(header)
        payload = file.read(length)
        if len(payload) < length or zlib.crc32(payload) != checksum:
            _refuse_damage(file, path, begin)
            return
        begin = file.tell()
        yield begin, payload


def _refuse_damage(file: IO[bytes], path: Path, begin: int) -> None:
    """Raise where whole labels follow a record that cannot be read."""
    file.seek(begin)
    if END in file.read()[: 4 - END_SIZE]:
        file.close()
        raise ValueError(
            f"{path} is damaged at byte {begin}: take a copy of it, or begin a new file"
        )


def _payload(label: Label) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **asdict(label))
    return stream.getvalue()


def _label(payload: bytes) -> Label:
    with np.load(io.BytesIO(payload), allow_pickle=False) as data:
        return Label(
            str(data["purpose"]),
            int(data["molecule"]),
            data["positions"],
            float(data["energy"]),
            data["forces"],
            str(data["message"]),
        )
