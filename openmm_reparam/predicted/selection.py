"""Which atoms of a predicted structure are relaxed, and what is said about the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from openmm import app
from pdbfixer.pdbfixer import dnaResidues, proteinResidues, rnaResidues, substitutions

from ..structure.selections import WATER_NAMES
from .atom_records import AtomRecord, ResidueKey, residue_name

__all__ = ["SelectedResidue", "Selection", "select_atoms"]

# Their atoms are those of the L amino acids, and so are their parameters.
D_AMINO_ACIDS = {
    **{"DAL": "ALA", "DAR": "ARG", "DSG": "ASN", "DAS": "ASP", "DCY": "CYS", "DGN": "GLN"},
    **{"DGL": "GLU", "DHI": "HIS", "DIL": "ILE", "DLE": "LEU", "DLY": "LYS", "MED": "MET"},
    **{"DPN": "PHE", "DPR": "PRO", "DSN": "SER", "DTH": "THR", "DTR": "TRP", "DTY": "TYR"},
    **{"DVA": "VAL"},
}
# Names that Amber and CHARMM have for protonation states: the residue, and OpenMM's name for the
# state. A cysteine's follows from its bonds.
_PROTONATION_STATES = {
    **{"HID": ("HIS", "HID"), "HIE": ("HIS", "HIE"), "HIP": ("HIS", "HIP")},
    **{"HSD": ("HIS", "HID"), "HSE": ("HIS", "HIE"), "HSP": ("HIS", "HIP")},
    **{"ASH": ("ASP", "ASH"), "GLH": ("GLU", "GLH"), "LYN": ("LYS", "LYN")},
    **{"CYX": ("CYS", None), "CYM": ("CYS", None)},
}
_CAPS = frozenset(("ACE", "NME"))
_BACKBONE = frozenset(("N", "CA", "C"))
_NUCLEOTIDES = frozenset((*dnaResidues, *rnaResidues))
_KNOWN = _NUCLEOTIDES | _CAPS | frozenset(proteinResidues)
# Heavy atoms under the names that older programs write.
_ATOM_ALIASES = {
    **{("ILE", "CD"): "CD1", ("MSE", "SE"): "SD"},
    **{("", "OT1"): "O", ("", "OT2"): "OXT", ("", "O1P"): "OP1"},
    **{("", "O2P"): "OP2", ("", "C5M"): "C7"},
}


@dataclass(frozen=True)
class SelectedResidue:
    """A residue that is relaxed.

    Attributes
    ----------
    key : ResidueKey
        As in the output.
    name : str
        What the force field calls it.
    atoms : dict of str to AtomRecord
        By the names that the force field gives them.
    replaced : bool
        It stands for a modified residue, whose further atoms are left out.
    state : str or None
        The protonation state that its name tells, as OpenMM's Modeller calls it.
    """

    key: ResidueKey
    name: str
    atoms: dict[str, AtomRecord]
    replaced: bool = False
    state: str | None = None


@dataclass(frozen=True)
class Selection:
    """The residues that are relaxed, and lines about everything else.

    Attributes
    ----------
    residues : list of SelectedResidue
    notes : tuple of str
    """

    residues: list[SelectedResidue]
    notes: tuple[str, ...]


def select_atoms(records: Sequence[AtomRecord]) -> Selection:
    """Choose the atoms to relax: one model, one conformer, proteins and nucleic acids.

    Parameters
    ----------
    records : sequence of AtomRecord

    Returns
    -------
    Selection

    Raises
    ------
    ValueError
        There is no atom, no protein or nucleic acid, only a CA trace, or a residue that the force
        field cannot have; it is named.
    """
    if not records:
        raise ValueError("there is no atom (no ATOM or HETATM record)")
    notes: list[str] = []
    models = list(dict.fromkeys(record.model for record in records))
    if len(models) > 1:
        notes.append(f"used model {models[0] or 1}, the first of {len(models)}")
    chosen = [record for record in records if record.model == models[0]]
    groups = [_one_conformer(group, notes) for group in _positions_in_chain(chosen)]
    kept = [group for group in groups if _is_polymer(group)]
    _refuse_scattered(kept)
    _refuse_ca_trace(kept)
    notes += _left_out_lines([group for group in groups if not _is_polymer(group)])
    residues = [_selected(group, notes) for group in kept]
    residues = _without_single_residues(residues, notes)
    if not residues:
        raise ValueError(f"there is no protein or nucleic acid to relax ({'; '.join(notes)})")
    return Selection(residues, tuple(notes))


def _positions_in_chain(records: Sequence[AtomRecord]) -> Iterator[list[AtomRecord]]:
    """Yield the records of each residue number; alternatives may be of different residues."""
    for _, group in groupby(records, key=lambda record: record.residue[:3]):
        records_here = list(group)
        if any(record.altloc for record in records_here):
            yield records_here
        else:
            for _, residue in groupby(records_here, key=lambda record: record.residue):
                yield list(residue)


def _one_conformer(group: list[AtomRecord], notes: list[str]) -> list[AtomRecord]:
    """Return the records of the alternative with the highest occupancy, and of atoms with none."""
    lettered = {record.name for record in group if record.altloc}
    occupancies: dict[str, float] = {}
    for record in group:
        if record.name in lettered:  # the one without a letter is an alternative too
            occupancies[record.altloc] = occupancies.get(record.altloc, 0.0) + record.occupancy
    if len(occupancies) > 1:
        best = max(sorted(occupancies), key=lambda altloc: occupancies[altloc])
        notes.append(
            f"used alternative {_letter(best)} of {', '.join(map(_letter, sorted(occupancies)))} "
            f"of {residue_name(group[0].residue)}"
        )
        in_best = {record.name for record in group if record.altloc == best}
        group = [
            record
            for record in group
            if record.altloc == best or (not record.altloc and record.name not in in_best)
        ]
    counts = Counter(record.name for record in group)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"{residue_name(group[0].residue)} has atom {twice[0]} twice")
    return group


def _letter(altloc: str) -> str:
    return altloc or "without a letter"


def _is_polymer(group: list[AtomRecord]) -> bool:
    """Return whether a residue belongs to a protein or nucleic acid."""
    name = group[0].residue.name
    if name in _KNOWN or name in _PROTONATION_STATES:
        return True
    if name in WATER_NAMES:
        return False
    names = {record.name for record in group}
    return names >= _BACKBONE or (name in substitutions and "CA" in names)


def _refuse_scattered(groups: list[list[AtomRecord]]) -> None:
    """Raise where an amino acid lacks backbone atoms that stand elsewhere in the file."""
    counts = Counter(group[0].residue for group in groups)
    for group in groups:
        key = group[0].residue
        is_amino = key.name not in _NUCLEOTIDES | _CAPS
        if counts[key] > 1 and is_amino and not {record.name for record in group} >= _BACKBONE:
            raise ValueError(
                f"the atoms of {residue_name(key)} stand in {counts[key]} places of the file: put "
                "them together, or give chains that share residue numbers names of their own"
            )


def _refuse_ca_trace(groups: list[list[AtomRecord]]) -> None:
    amino = [g for g in groups if g[0].residue.name not in _NUCLEOTIDES | _CAPS]
    names = [{record.name for record in group} for group in amino]
    traced = sum("CA" in found and not found & {"N", "C"} for found in names)
    if 2 * traced > len(amino):
        raise ValueError(
            f"{traced} of {len(amino)} amino acids have only their CA atom: rebuild an all-atom "
            "model first (PULCHRA does), or take the all-atom output of the prediction"
        )


def _left_out_lines(groups: list[list[AtomRecord]]) -> list[str]:
    """Return lines about waters, ligands and ions that are not in the output."""
    kinds: dict[str, list[str]] = {}
    for group in groups:
        key = group[0].residue
        kinds.setdefault(key.name, []).append(residue_name(key))
    return [
        f"left out {names[0]}" if len(names) == 1 else f"left out {len(names)} {kind}"
        for kind, names in sorted(kinds.items())
    ]


def _selected(group: list[AtomRecord], notes: list[str]) -> SelectedResidue:
    """Return a residue under the names of the force field, replaced where it has no parameters."""
    key = group[0].residue
    named = {_atom_name(key.name, record.name): record for record in group}
    if key.name in _KNOWN:
        residue = SelectedResidue(key, key.name, named)
    elif key.name in _PROTONATION_STATES:
        standard, state = _PROTONATION_STATES[key.name]
        residue = SelectedResidue(key, standard, named, state=state)
    elif key.name in D_AMINO_ACIDS:
        notes.append(
            f"kept {residue_name(key)}, a D amino acid, with the parameters of "
            f"{D_AMINO_ACIDS[key.name]}"
        )
        residue = SelectedResidue(key, D_AMINO_ACIDS[key.name], named)
    elif key.name in substitutions:
        residue = _replaced(key, named, notes)
    else:
        raise ValueError(
            f"{residue_name(key)} is no residue that the force field knows, and no standard one is "
            "known to stand for it: replace it in the input, or remove it"
        )
    if residue.name in proteinResidues:
        missing = [name for name in ("N", "CA", "C") if name not in residue.atoms]
        if missing:
            raise ValueError(
                f"{residue_name(key)} has no backbone atom {missing[0]}, which cannot be rebuilt: "
                "complete the residue or remove it"
            )
    return residue


def _replaced(key: ResidueKey, atoms: dict[str, AtomRecord], notes: list[str]) -> SelectedResidue:
    """Return the standard residue that stands for a modified one; selenium becomes sulfur."""
    standard = substitutions[key.name]
    notes.append(f"replaced {residue_name(key)} by {standard}")
    new_key = key._replace(name=standard)
    new_atoms = {}
    for name, record in atoms.items():
        if record.element == "H":
            continue  # placed anew
        renamed = replace(record, residue=new_key, hetero=False)
        if record.name != name:
            renamed = replace(renamed, name=name, element="S")
        new_atoms[name] = renamed
    return SelectedResidue(new_key, standard, new_atoms, replaced=True)


def _atom_name(residue: str, name: str) -> str:
    if residue in _NUCLEOTIDES:
        name = name.replace("*", "'")
    return _ATOM_ALIASES.get((residue, name)) or _ATOM_ALIASES.get(("", name), name)


def _without_single_residues(
    residues: list[SelectedResidue], notes: list[str]
) -> list[SelectedResidue]:
    """Leave out chains of one residue: Amber's force fields have none that is both ends."""
    kept = []
    for _, chain in groupby(residues, key=lambda residue: residue.key.chain):
        members = list(chain)
        if len(members) == 1:
            notes.append(f"left out {residue_name(members[0].key)}, a chain of one residue")
        else:
            kept += members
    return kept


def element_of(record: AtomRecord) -> app.Element:
    """Return an atom's element, from its name where the file has none.

    Parameters
    ----------
    record : AtomRecord
        Of a protein or nucleic acid.

    Returns
    -------
    openmm.app.Element

    Raises
    ------
    ValueError
        There is no such element.
    """
    symbol = record.element or record.name.lstrip("0123456789")[:1]
    try:
        return app.Element.getBySymbol("H" if symbol == "D" else symbol)
    except KeyError:
        raise ValueError(
            f"atom {record.name} of {residue_name(record.residue)} has the unknown element "
            f"{symbol!r}"
        ) from None
