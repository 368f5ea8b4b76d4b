"""Atoms as a structure file has them, and what is common to the two formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = ["AtomRecord", "ResidueKey", "StructureText", "residue_name"]


class ResidueKey(NamedTuple):
    """What tells a residue of a file from the others.

    Attributes
    ----------
    chain, number, insertion_code, name : str
        The author's, as the file has them.
    """

    chain: str
    number: str
    insertion_code: str
    name: str


@dataclass(frozen=True)
class AtomRecord:
    """An atom of a structure file.

    Attributes
    ----------
    row : int
        Place of the atom in the file, or of the one whose fields an added atom takes.
    name, altloc, element : str
        Without blanks; the element may be missing.
    residue : ResidueKey
    hetero : bool
        A HETATM record.
    position : tuple of float
        In angstrom.
    occupancy : float
    model : str
        Its number; another model of a file has another.
    """

    row: int
    name: str
    altloc: str
    element: str
    residue: ResidueKey
    hetero: bool
    position: tuple[float, float, float]
    occupancy: float
    model: str


class StructureText(Protocol):
    """A structure file's text: its atoms, and itself with other atoms."""

    @property
    def records(self) -> list[AtomRecord]:
        """Atoms of all models in the file's order."""
        ...

    def with_atoms(self, atoms: Mapping[int, Sequence[AtomRecord]]) -> str:
        """Return the file's text with other atoms, everything else as it was.

        Parameters
        ----------
        atoms : mapping of int to sequence of AtomRecord
            What stands in the place of each row; rows that are missing are left out. All fields
            that `AtomRecord` does not name are those of the record's ``row``.
        """
        ...


def residue_name(key: ResidueKey) -> str:
    """Return what people call a residue: chain, name and number.

    Examples
    --------
    >>> residue_name(ResidueKey("A", "52", "B", "MSE"))
    'A:MSE 52B'
    """
    return f"{key.chain}:{key.name} {key.number}{key.insertion_code}".lstrip(":")
