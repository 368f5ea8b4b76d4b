"""Molecules in SDF, MOL, MOL2 and SMILES files, read one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "LIGAND_ENDINGS",
    "LigandRecord",
    "ligand_records",
    "read_ligand",
    "sdf_text",
    "smiles_records",
]

LIGAND_ENDINGS = (".sdf", ".sd", ".mol", ".mol2", ".smi", ".smiles")
_MOL2_START = "@<TRIPOS>MOLECULE"


@dataclass(frozen=True)
class LigandRecord:
    """The text of one molecule in a file, not yet understood.

    Attributes
    ----------
    number : int
        Its place in the file, from 1.
    kind : {"sdf", "mol2", "smiles"}
    text : str
    title : str
        The file's name of it; may be empty.
    """

    number: int
    kind: str
    text: str
    title: str = ""

    @property
    def name(self) -> str:
        """Title, or the number where there is none."""
        return self.title or f"molecule {self.number}"


def ligand_records(path: str | Path) -> Iterator[LigandRecord]:
    """Yield the molecules of a file, as text, without holding more than one in memory.

    Parameters
    ----------
    path : str or Path
        A .sdf, .sd, .mol, .mol2, .smi or .smiles file. A .smi file has one SMILES a line, with a
        title behind it if there is one.

    Yields
    ------
    LigandRecord

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix not in LIGAND_ENDINGS:
        raise ValueError(f"{path} ends in {suffix!r}: {', '.join(LIGAND_ENDINGS)} can be read")
    with open(path, encoding="utf-8", errors="replace") as lines:
        if suffix in (".smi", ".smiles"):
            yield from smiles_records(lines)
        elif suffix == ".mol2":
            for number, text in enumerate(_mol2_texts(lines), 1):
                yield LigandRecord(number, "mol2", text, _line(text, 1))
        else:
            for number, text in enumerate(_sdf_texts(lines), 1):
                yield LigandRecord(number, "sdf", text, _line(text, 0))


def smiles_records(lines: Iterable[str]) -> Iterator[LigandRecord]:
    """Yield a molecule for each line of SMILES; empty lines and comments (#) are none.

    Parameters
    ----------
    lines : iterable of str
        A SMILES, and a title behind it if there is one.

    Yields
    ------
    LigandRecord

    Examples
    --------
    >>> [record.name for record in smiles_records(["CCO ethanol", "", "CC"])]
    ['ethanol', 'molecule 2']
    """
    number = 0
    for line in lines:
        smiles, _, title = line.strip().partition(" " if "\t" not in line else "\t")
        # "smiles name" heads the columns in many files.
        if not smiles or smiles.startswith("#") or smiles.lower() == "smiles":
            continue
        number += 1
        yield LigandRecord(number, "smiles", smiles, title.strip())


def read_ligand(record: LigandRecord) -> Any:
    """Return the molecule of a record as the record has it.

    Parameters
    ----------
    record : LigandRecord

    Returns
    -------
    rdkit.Chem.Mol
        With its title, its properties, all hydrogens of the record and, unless it is SMILES, a
        conformer.

    Raises
    ------
    ValueError
        RDKit cannot make a molecule of it; the message says why.

    Examples
    --------
    >>> (record,) = smiles_records(["C[C@H](N)C(=O)O alanine"])
    >>> read_ligand(record).GetNumAtoms()
    6
    """
    from rdkit import Chem, rdBase

    messages = ""
    with getattr(rdBase, "CaptureErrorLog", rdBase.BlockLogs)() as log:
        readers = {"smiles": _from_smiles, "mol2": _from_mol2, "sdf": _from_sdf}
        try:
            molecule = readers[record.kind](record.text, True)
        except Exception as error:  # RDKit raises kinds of its own, with a stack trace inside
            molecule, messages = None, str(error)
        if molecule is None:
            with suppress(Exception):
                unchecked = readers[record.kind](record.text, False)
                problems = [p.Message() for p in Chem.DetectChemistryProblems(unchecked)]
                messages = "; ".join(problems)
    if molecule is None:
        raise ValueError(
            f"cannot be read: {messages or _reason(record.kind, getattr(log, 'messages', ''))}"
        )
    if molecule.GetNumAtoms() == 0:
        raise ValueError("it has no atoms")
    unknown = [atom.GetIdx() + 1 for atom in molecule.GetAtoms() if atom.GetAtomicNum() == 0]
    if unknown:
        raise ValueError(f"atom {unknown[0]} is no element: a query or a place for a substituent")
    if record.kind != "sdf":
        molecule.SetProp("_Name", record.title)
    return molecule


def sdf_text(molecule: Any, properties: dict[str, str] | None = None) -> str:
    """Return a molecule as an entry of an SDF file, ended by ``$$$$``.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        Its title and its own properties are written, too.
    properties : dict of str to str, optional
        Further ones; they replace its own of the same names.

    Returns
    -------
    str
    """
    from rdkit import Chem

    copy = Chem.Mol(molecule)
    for name, value in (properties or {}).items():
        copy.SetProp(name, value)
    return Chem.SDWriter.GetText(copy)


def _from_smiles(text: str, sanitize: bool) -> Any:
    from rdkit import Chem

    parameters: Any = Chem.SmilesParserParams()
    parameters.removeHs = False
    parameters.sanitize = sanitize
    return Chem.MolFromSmiles(text, parameters)


def _from_mol2(text: str, sanitize: bool) -> Any:
    from rdkit import Chem

    molecule = Chem.MolFromMol2Block(text, sanitize=sanitize, removeHs=False)
    if molecule is None or not sanitize:
        return molecule
    if any(atom.GetAtomicNum() == 1 for atom in molecule.GetAtoms()):
        return molecule
    # Of a file without hydrogens RDKit makes radicals.
    for atom in molecule.GetAtoms():
        atom.SetNoImplicit(False)
        atom.SetNumRadicalElectrons(0)
    Chem.SanitizeMol(molecule)
    return molecule


def _from_sdf(text: str, sanitize: bool) -> Any:
    from rdkit import Chem

    supplier = Chem.SDMolSupplier()
    supplier.SetData(text, sanitize=sanitize, removeHs=False)
    return supplier[0]


def _reason(kind: str, log: str) -> str:
    """Return the first line of RDKit's log that says what is wrong, without the time."""
    for line in log.splitlines():
        line = line.partition("] ")[2] if line.startswith("[") else line
        line = line.removeprefix("ERROR: ").strip()
        if line.startswith("Element '") and kind == "mol2":
            return f"{line} (of a .mol2 file RDKit reads SYBYL atom types only)"
        if line and not line.startswith(("*", "Post-cond", "Pre-cond")):
            return line
    return "RDKit does not say why"


def _line(text: str, number: int) -> str:
    """Return a line of a text."""
    lines = text.split("\n", number + 1)
    return lines[number].strip() if len(lines) > number else ""


def _sdf_texts(lines: Iterable[str]) -> Iterator[str]:
    held: list[str] = []
    for line in lines:
        held.append(line)
        if line.startswith("$$$$"):
            yield "".join(held)
            held = []
    if any(line.strip() for line in held):
        yield "".join(held)


def _mol2_texts(lines: Iterable[str]) -> Iterator[str]:
    held: list[str] = []
    for line in lines:
        if line.startswith(_MOL2_START):
            if held:
                yield "".join(held)
            held = []
            held.append(line)
        elif held:  # comments before the first molecule are of none
            held.append(line)
    if held:
        yield "".join(held)
