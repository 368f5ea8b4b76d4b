"""mmCIF files: their atoms, and the same file with other atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import gemmi

from .atom_records import AtomRecord, ResidueKey

__all__ = ["CifText"]

_CATEGORY = "_atom_site."
_COORDINATES = ("Cartn_x", "Cartn_y", "Cartn_z")
# They describe atoms by identifier, and are wrong once atoms have moved.
_STALE = "_atom_site_anisotrop."


class CifText:
    """The text of an mmCIF file.

    Parameters
    ----------
    text : str

    Raises
    ------
    ValueError
        The text cannot be read, has no atoms, or a coordinate is missing or not finite.
    """

    def __init__(self, text: str) -> None:
        self._document = gemmi.cif.read_string(text)
        if not len(self._document):
            raise ValueError("the file has no data block")
        self._block = next(
            (block for block in self._document if block.find_mmcif_category(_CATEGORY)),
            self._document[0],
        )
        table = self._block.find_mmcif_category(_CATEGORY)
        self._tags = [tag[len(_CATEGORY) :] for tag in table.tags]
        self._rows = [list(row) for row in table]
        missing = [tag for tag in _COORDINATES if tag not in self._tags]
        if missing:
            raise ValueError(f"the file has no atoms: {_CATEGORY}{missing[0]} is missing")
        self._records = [self._record(row) for row in range(len(self._rows))]

    @property
    def records(self) -> list[AtomRecord]:
        """Atoms of all models in the file's order; ``row`` is that of ``_atom_site``."""
        return self._records

    def with_atoms(self, atoms: Mapping[int, Sequence[AtomRecord]]) -> str:
        """Return the text with other atoms, see `StructureText`.

        All categories but ``_atom_site`` stay as they are, and all columns of it but the
        identifiers, which count anew. ``_atom_site_anisotrop`` is left out.
        """
        document = gemmi.cif.read_string(self._document.as_string())
        block = document[self._block.name]
        rows = [
            self._row(record, row, serial)
            for serial, (row, record) in enumerate(
                ((row, record) for row in sorted(atoms) for record in atoms[row]), start=1
            )
        ]
        loop = block.find_mmcif_category(_CATEGORY).loop
        loop.set_all_values([list(column) for column in zip(*rows, strict=True)])
        stale = block.find_mmcif_category(_STALE)
        if stale:
            stale.erase()
        return document.as_string()

    def _record(self, row: int) -> AtomRecord:
        x, y, z = (self._coordinate(row, tag) for tag in _COORDINATES)
        return AtomRecord(
            row,
            self._first(row, "label_atom_id", "auth_atom_id"),
            self._first(row, "label_alt_id"),
            self._first(row, "type_symbol").capitalize(),
            ResidueKey(
                self._first(row, "auth_asym_id", "label_asym_id"),
                self._first(row, "auth_seq_id", "label_seq_id"),
                self._first(row, "pdbx_PDB_ins_code"),
                self._first(row, "label_comp_id", "auth_comp_id"),
            ),
            self._first(row, "group_PDB") == "HETATM",
            (x, y, z),
            float(self._first(row, "occupancy").partition("(")[0] or 1.0),
            self._first(row, "pdbx_PDB_model_num"),
        )

    def _first(self, row: int, *tags: str) -> str:
        """Return the value of the first of these columns that has one."""
        for tag in tags:
            if tag in self._tags:
                value = gemmi.cif.as_string(self._rows[row][self._tags.index(tag)])
                if value:
                    return value
        return ""

    def _coordinate(self, row: int, tag: str) -> float:
        text = self._first(row, tag)
        try:
            value = float(text.partition("(")[0])
        except ValueError:
            value = float("nan")
        if not isfinite(value):
            raise ValueError(
                f"atom {row + 1} ({self._first(row, 'label_comp_id')} "
                f"{self._first(row, 'auth_seq_id', 'label_seq_id')} "
                f"{self._first(row, 'label_atom_id')}) has {text or 'nothing'} for {tag}"
            )
        return value

    def _row(self, record: AtomRecord, row: int, serial: int) -> list[str]:
        values = dict(zip(self._tags, self._rows[record.row], strict=True))
        original = self._records[record.row]
        changes = {"id": str(serial)}
        changes |= {
            tag: f"{value:.3f}" for tag, value in zip(_COORDINATES, record.position, strict=True)
        }
        if record.name != original.name:
            name = gemmi.cif.quote(record.name)
            changes |= {"label_atom_id": name, "auth_atom_id": name}
            changes |= {"type_symbol": record.element.upper(), "pdbx_formal_charge": "?"}
        if record.residue.name != original.residue.name:
            changes |= dict.fromkeys(("label_comp_id", "auth_comp_id"), record.residue.name)
        if record.hetero != original.hetero:
            changes["group_PDB"] = "HETATM" if record.hetero else "ATOM"
        return [changes.get(tag, value) for tag, value in values.items()]
