"""Violations before and after as rows of a table, with the atoms that each is of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from openmm import app

from ..structure.residues import protein_residues, residue_labels
from ..structure.stereo_states import protein_centres, protein_peptide_bonds
from ..structure.violations import Violations
from ..units import positions_in_nanometers
from .shown_molecule import atom_residue_labels

__all__ = ["VIOLATION_TITLES", "ViolationRow", "violation_rows"]

# Of each kind, by the names of `Violations`.
VIOLATION_TITLES = {
    "clashes": "Clashes of heavy atoms",
    "hydrogen_clashes": "Clashes of hydrogens",
    "bonds": "Bond outliers",
    "angles": "Angle outliers",
    "chirality": "Wrong chirality",
    "cis_peptides": "Cis peptides, not proline",
    "cis_prolines": "Cis prolines",
}
# One of each.
_NAMES = {
    "clashes": "clash",
    "hydrogen_clashes": "clash, hydrogen",
    "bonds": "bond",
    "angles": "angle",
    "chirality": "chirality",
    "cis_peptides": "cis peptide",
    "cis_prolines": "cis proline",
}
# "0.142 nm (allowed from 0.172)" and "140 degrees (usual 112)"
_MEASURED = re.compile(r"([-\d.]+ \w+) \((allowed from|usual) ([-\d.]+)\)")


@dataclass(frozen=True)
class ViolationRow:
    """A violation of the start, of the end, or of both.

    Attributes
    ----------
    kind : str
        ``"clash"``, ``"bond"``, ...
    where : str
        ``"ALA 5 CB - GLY 9 O"``.
    state : {"remains", "new", "mended"}
    before, after : str
        ``"0.142 nm"``, ``"D"``; empty where nothing is known.
    limit : str
        ``"≥ 0.172"``, the shortest distance that is no clash, or the force field's value.
    atoms : tuple of int
        Indices in the topology; none where the label is of no atoms there.
    """

    kind: str
    where: str
    state: str
    before: str
    after: str
    limit: str
    atoms: tuple[int, ...]


def violation_rows(
    topology: app.Topology, before: Violations, after: Violations, start: Any, end: Any
) -> list[ViolationRow]:
    """Return a row for each violation: those of the end first, each kind's worst first.

    A length or angle that is a violation in one of the structures only is measured in the other,
    too.

    Parameters
    ----------
    topology : openmm.app.Topology
        That the violations were found in.
    before, after : Violations
    start, end : (N, 3) array in nm, or Quantity
        The structures they are of.

    Returns
    -------
    list of ViolationRow

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> chain = peptide("GA").topology
    >>> bad = Violations(chirality=("ALA 2 CA: D",))
    >>> x = np.zeros((chain.getNumAtoms(), 3))
    >>> [(row.where, row.state) for row in violation_rows(chain, bad, Violations(), x, x)]
    [('ALA 2 CA', 'mended')]
    """
    places = _places(topology)
    structures = [positions_in_nanometers(x, topology.getNumAtoms()) for x in (start, end)]
    rows = []
    for kind, name in _NAMES.items():
        found = [dict(_split(line) for line in getattr(v, kind) or ()) for v in (before, after)]
        # Those of the end come first, in their order.
        for where in {**found[1], **found[0]}:
            atoms = _atoms_of(where, places)
            texts = [
                lines.get(where) or _measured(kind, atoms, x)
                for lines, x in zip(found, structures, strict=True)
            ]
            (value, limit), (value_after, limit_after) = map(_value_and_limit, texts)
            state = "mended" if where not in found[1] else "new"
            if where in found[0] and where in found[1]:
                state = "remains"
            rows.append(
                ViolationRow(name, where, state, value, value_after, limit or limit_after, atoms)
            )
    return sorted(rows, key=lambda row: row.state == "mended")


def _split(line: str) -> tuple[str, str]:
    """Return where a violation is and what it is."""
    where, _, what = line.rpartition(": ")
    return where, what


def _value_and_limit(text: str) -> tuple[str, str]:
    found = _MEASURED.fullmatch(text)
    if found is None:
        return text, ""
    return found[1], f"{'≥ ' if found[2] == 'allowed from' else ''}{found[3]}"


def _measured(kind: str, atoms: tuple[int, ...], x: np.ndarray) -> str:
    """Return the distance of two atoms or the angle of three, as `Violations` writes it."""
    if kind in ("clashes", "hydrogen_clashes", "bonds") and len(atoms) == 2:
        return f"{np.linalg.norm(x[atoms[0]] - x[atoms[1]]):.3f} nm"
    if kind == "angles" and len(atoms) == 3:
        first, last = (x[atoms[k]] - x[atoms[1]] for k in (0, 2))
        sine, cosine = np.linalg.norm(np.cross(first, last)), first @ last
        return f"{np.degrees(np.arctan2(sine, cosine)):.0f} degrees"
    return ""


def _atoms_of(label: str, places: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the atoms of a label, of one of several atoms those of its parts."""
    if label in places:
        return places[label]
    parts = [places.get(part, ()) for part in label.split(" - ")]
    return tuple(atom for part in parts for atom in part) if all(parts) else ()


def _places(topology: app.Topology) -> dict[str, tuple[int, ...]]:
    """Return the atoms of each label that `find_violations` may give."""
    places: dict[str, tuple[int, ...]] = {}
    for atom, label in zip(topology.atoms(), atom_residue_labels(topology), strict=True):
        name = f"{label} {atom.name}"
        # Where two chains have one name, nobody can tell which is meant.
        places[name] = () if name in places else (atom.index,)
    residues = dict(protein_residues(topology))
    labels = residue_labels(residues)
    for centre in protein_centres(residues, labels):
        places[centre.label] = (centre.atoms[0],)
    for bond in protein_peptide_bonds(topology, residues, labels):
        places[bond.label] = tuple(bond.atoms)
    return places
