"""PDB files: their atoms, and the same file with other atoms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from .atom_records import AtomRecord, ResidueKey

__all__ = ["PdbText"]

_ATOMS = ("ATOM  ", "HETATM")
# They describe atoms by serial or by place, and are wrong once atoms are added or have moved.
_STALE = ("ANISOU", "SIGATM", "SIGUIJ", "MASTER")
# Columns that a coordinate of a PDB file has room for.
_LARGEST, _SMALLEST = 9999.999, -999.999


class PdbText:
    r"""The text of a PDB file.

    Parameters
    ----------
    text : str

    Raises
    ------
    ValueError
        An atom's line cannot be read, or a coordinate is missing or not finite; the line is named.

    Examples
    --------
    >>> line = "ATOM      1  CA  GLY A   7A      1.000   2.000   3.000  1.00 91.20           C  "
    >>> record = PdbText(line).records[0]
    >>> record.residue, record.position
    (ResidueKey(chain='A', number='7', insertion_code='A', name='GLY'), (1.0, 2.0, 3.0))
    >>> PdbText(line).with_atoms({0: [record]}) == line + "\n"
    True
    """

    def __init__(self, text: str) -> None:
        self._lines = _lines(text)
        self._records = list(_records(self._lines))

    @property
    def records(self) -> list[AtomRecord]:
        """Atoms of all models in the file's order; ``row`` is the line."""
        return self._records

    def with_atoms(self, atoms: Mapping[int, Sequence[AtomRecord]]) -> str:
        """Return the text with other atoms, see `StructureText`.

        Serial numbers count anew, and CONECT follows them. ANISOU and MASTER are left out.

        Raises
        ------
        ValueError
            A coordinate has no room in the columns of the format.
        """
        return "\n".join(self._written(atoms)) + "\n"

    def _written(self, atoms: Mapping[int, Sequence[AtomRecord]]) -> Iterator[str]:
        kept = {record.row for group in atoms.values() for record in group}
        models = {record.model for record in self._records if record.row in kept}
        serials: dict[str, str] = {}
        serial, last = 0, ""
        for row, (line, model) in enumerate(zip(self._lines, _models(self._lines), strict=True)):
            start = line[:6]
            if start in _ATOMS:
                for record in atoms.get(row, ()):
                    serial += 1
                    if record.row == row:
                        serials[line[6:11]] = _serial(serial)
                    last = self._atom_line(record, serial)
                    yield last
            elif start == "MODEL ":
                if model in models:
                    yield line
            elif _ends_model(line) or line.startswith("TER"):
                if model and model not in models:
                    continue
                if _ends_model(line):
                    yield line
                elif last:  # a chain that is left out ends nothing
                    serial += 1
                    yield _terminator(line, serial, last)
                    last = ""
            elif start == "CONECT":
                yield from _connections(line, serials)
            elif start not in _STALE:
                yield line

    def _atom_line(self, record: AtomRecord, serial: int) -> str:
        line = self._lines[record.row].ljust(80)
        original = _record(record.row, line, record.model)
        if record.residue.name != original.residue.name:
            line = f"{line[:17]}{record.residue.name:>3}{line[20:]}"
        if record.hetero != original.hetero:
            line = _ATOMS[record.hetero] + line[6:]
        if record.name != original.name:
            name = _padded_name(record.name, record.element)
            line = f"{line[:12]}{name}{line[16:76]}{record.element:>2}  {line[80:]}"
        return f"{line[:6]}{_serial(serial)}{line[11:30]}{_coordinates(record)}{line[54:]}"


def _lines(text: str) -> list[str]:
    """Return the lines; `str.splitlines` would end some at form feeds and Latin-1 controls, too."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def _models(lines: list[str]) -> Iterator[str]:
    """Yield each line's model: its number, with stars where models before have the same or none."""
    begun: set[str] = set()
    model = ""
    for line in lines:
        if line[:6] == "MODEL ":
            model = _unused(line[6:].strip(), begun)
        yield model
        if line[:6] in _ATOMS:
            begun.add(model)
        elif _ends_model(line):
            model = _unused("", begun)


def _ends_model(line: str) -> bool:
    """Say whether a line ends a model; of files that were joined, END does."""
    return line[:6] == "ENDMDL" or line.strip() == "END"


def _unused(model: str, begun: set[str]) -> str:
    while model in begun:
        model += "*"
    return model


def _records(lines: list[str]) -> Iterator[AtomRecord]:
    for row, (line, model) in enumerate(zip(lines, _models(lines), strict=True)):
        if line[:6] in _ATOMS:
            yield _record(row, line, model)


def _record(row: int, line: str, model: str) -> AtomRecord:
    try:
        x, y, z = (float(line[start : start + 8]) for start in (30, 38, 46))
    except ValueError:
        raise ValueError(f"line {row + 1} has no coordinates that can be read: {line}") from None
    if not all(isfinite(value) for value in (x, y, z)):
        raise ValueError(f"line {row + 1} has a coordinate that is not finite: {line}")
    occupancy = line[54:60].strip()
    return AtomRecord(
        row,
        line[12:16].strip(),
        line[16].strip(),
        line[76:78].strip().capitalize(),
        ResidueKey(line[21].strip(), line[22:26].strip(), line[26].strip(), line[17:20].strip()),
        line[:6] == "HETATM",
        (x, y, z),
        _number(occupancy),
        model,
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def _coordinates(record: AtomRecord) -> str:
    if not all(_SMALLEST <= value <= _LARGEST for value in record.position):
        raise ValueError(
            f"{record.residue} {record.name} ends at {record.position} angstrom, which a PDB file "
            "has no room for: take mmCIF"
        )
    return "".join(f"{value:8.3f}" for value in record.position)


def _serial(serial: int) -> str:
    """Return five columns; beyond 99999 in hexadecimal, as OpenMM writes and reads it."""
    return f"{serial:5d}" if serial < 100_000 else f"{serial - 100_000 + 0xA0000:05X}"


def _padded_name(name: str, element: str) -> str:
    return name if len(name) >= 4 else f"{' ' * (len(element) < 2)}{name}".ljust(4)


def _terminator(line: str, serial: int, last: str) -> str:
    if len(line.rstrip()) <= 3:
        return line
    return f"TER   {_serial(serial)}      {last[17:27]}".ljust(len(line))


def _connections(line: str, serials: Mapping[str, str]) -> Iterator[str]:
    """Yield a CONECT record with the new serials, of atoms that are still there."""
    found = [serials.get(line[start : start + 5]) for start in range(6, len(line.rstrip()), 5)]
    kept = [serial for serial in found[1:] if serial is not None]
    if found and found[0] is not None and kept:
        yield "CONECT" + "".join([found[0], *kept])
