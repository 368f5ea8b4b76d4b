"""Which structure files to work on: those of a folder, of a list in a file, or of an iterable."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .files import ANY_BYTES

__all__ = ["STRUCTURE_ENDINGS", "StructureFiles", "structure_files"]

STRUCTURE_ENDINGS = (".pdb", ".ent", ".cif", ".mmcif")
LIST_ENDINGS = (".txt", ".lst", ".list")


@dataclass(frozen=True)
class StructureFiles:
    """Structure files by name.

    Attributes
    ----------
    parent : Path
        The deepest folder that holds all of them. A name is a path from there: two files of one
        name in different folders differ.
    total : int
    paths : callable
        Returns an iterator over the paths of the files.
    """

    parent: Path
    total: int
    paths: Callable[[], Iterator[str]]

    def among(self, kept: Mapping[str, str]) -> dict[str, str]:
        """Return the entries whose names are of these files."""
        return {name: kept[name] for name, _ in self.named() if name in kept} if kept else {}

    def named(self) -> Iterator[tuple[str, Path]]:
        """Yield the name of each file, with slashes, and its path."""
        for path in self.paths():
            name = path.removeprefix(str(self.parent)).lstrip(os.sep)
            yield name.replace(os.sep, "/"), Path(path)


def structure_files(source: str | Path | Iterable[str | Path]) -> StructureFiles:
    """Return the structure files of a source.

    Parameters
    ----------
    source : str, Path or iterable of them
        A folder: its .pdb, .ent, .cif and .mmcif files by name, not those of folders inside. A
        .txt, .lst or .list file: a path a line, from the folder of that file; empty lines and
        comments (#) are none. It is read again and again, never held. Or paths. One that comes
        again is left out.

    Returns
    -------
    StructureFiles

    Raises
    ------
    FileNotFoundError
        There is no such folder or file.
    ValueError
        There is no structure file in it.

    Examples
    --------
    >>> files = structure_files(["a/model.pdb", "b/model.pdb"])
    >>> files.total, [name for name, _ in files.named()]
    (2, ['a/model.pdb', 'b/model.pdb'])
    """
    if not isinstance(source, str | Path):
        given = [_absolute(str(path), os.getcwd()) for path in source]
        return _of(lambda: iter(given), "the paths given")
    source = Path(source)
    if source.is_dir():
        return _of_folder(source)
    if not source.exists():
        raise FileNotFoundError(f"there is no file or folder {source}")
    if source.suffix.lower() in LIST_ENDINGS:
        return _of(lambda: _listed(source), str(source))
    return _of(lambda: iter([_absolute(str(source), os.getcwd())]), str(source))


def _of_folder(folder: Path) -> StructureFiles:
    folder = folder.absolute()  # workers may have another working directory
    names = sorted(
        entry.name
        for entry in os.scandir(folder)
        if os.path.splitext(entry.name)[1].lower() in STRUCTURE_ENDINGS
        and not entry.name.startswith(".")
        and entry.is_file()
    )
    if not names:
        raise ValueError(f"no .pdb, .ent, .cif or .mmcif file in {folder}")
    return StructureFiles(folder, len(names), lambda: (f"{folder / name}" for name in names))


def _of(paths: Callable[[], Iterator[str]], source: str) -> StructureFiles:
    """Count files, and find the folder that holds all."""
    given, parent = 0, ""
    for path in paths():
        given += 1
        folder = os.path.dirname(path)
        parent = os.path.commonpath([parent or folder, folder])
    if not given:
        raise ValueError(f"there is no structure file in {source}")
    hashes = np.fromiter((hash(path) for path in paths()), np.int64, count=given)
    hashes.sort()  # in place: eight bytes a path
    again = hashes[1:][hashes[1:] == hashes[:-1]]
    repeated = set(again.tolist())
    return StructureFiles(Path(parent), given - len(again), lambda: _once(paths(), repeated))


def _once(paths: Iterator[str], repeated: set[int]) -> Iterator[str]:
    """Yield each path once; those that come again have these hashes."""
    seen: set[str] = set()
    for path in paths:
        if hash(path) in repeated:
            if path in seen:
                continue
            seen.add(path)
        yield path


def _listed(source: Path) -> Iterator[str]:
    """Yield paths as text: a path of pathlib takes some hundred bytes that come back late."""
    folder = str(source.absolute().parent)
    with open(source, encoding="utf-8-sig", errors=ANY_BYTES) as lines:
        for line in lines:
            text = line.strip()
            if text and not text.startswith("#"):
                yield _absolute(text, folder)


def _absolute(path: str, folder: str) -> str:
    return os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
