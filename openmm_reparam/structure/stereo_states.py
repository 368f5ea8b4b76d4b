"""Centres and bonds that have stereochemical states, by the labels that people give them.

Those of proteins are known by atom names; all others are shown by elements and bonds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from typing import NamedTuple

from openmm.app import Residue, Topology

from .chemical_graph import SMALLEST_MOLECULE, ChemicalGraph
from .double_bonds import rigid_bonds
from .residues import residue_label, residue_labels
from .stereo_centres import stereocentres

__all__ = [
    "LabelledBond",
    "LabelledCentre",
    "other_states",
    "protein_centres",
    "protein_peptide_bonds",
    "residues_without_bonds",
]

# Neighbours by falling Cahn-Ingold-Prelog priority, hydrogen left out: a negative volume is R.
SIDE_CHAIN_CENTRES = {"ILE": ("CB", "CA", "CG1", "CG2"), "THR": ("CB", "OG1", "CA", "CG2")}


class LabelledCentre(NamedTuple):
    """A stereocentre.

    Attributes
    ----------
    label : str
        Such as ``"ALA 5 CA"``.
    atoms : list of int
        The centre, three neighbours, and the fourth or -1.
    names : tuple of str
        Of the states with a positive and with a negative volume, see `handedness`.
    united : bool
        The fourth neighbour may be a hydrogen that is left out.
    """

    label: str
    atoms: list[int]
    names: tuple[str, str]
    united: bool = False


class LabelledBond(NamedTuple):
    """A bond with a cis and a trans state.

    Attributes
    ----------
    label : str
        Such as ``"GLY 3-PRO 4"``.
    atoms : list of int
        A neighbour, the two atoms of the bond, a neighbour of the second.
    """

    label: str
    atoms: list[int]


def protein_centres(
    residues: dict[Residue, dict[str, int]], labels: dict[Residue, str]
) -> Iterator[LabelledCentre]:
    """Yield C-alpha atoms, and C-beta atoms of isoleucine and threonine."""
    for residue, atoms in residues.items():
        kinds = [(("CA", "N", "C", "CB"), ("L", "D"))]
        if residue.name in SIDE_CHAIN_CENTRES:
            kinds.append((SIDE_CHAIN_CENTRES[residue.name], ("S", "R")))
        for names, states in kinds:
            if all(name in atoms for name in names):
                found = [*(atoms[name] for name in names), -1]
                yield LabelledCentre(f"{labels[residue]} {names[0]}", found, states)


def protein_peptide_bonds(
    topology: Topology, residues: dict[Residue, dict[str, int]], labels: dict[Residue, str]
) -> Iterator[LabelledBond]:
    """Yield bonds between C and N of two protein residues."""
    for atom1, atom2 in topology.bonds():
        if {atom1.name, atom2.name} != {"C", "N"} or atom1.residue is atom2.residue:
            continue
        carbon, nitrogen = (atom1, atom2) if atom1.name == "C" else (atom2, atom1)
        before, after = residues.get(carbon.residue), residues.get(nitrogen.residue)
        if before is not None and after is not None:
            yield LabelledBond(
                f"{labels[carbon.residue]}-{labels[nitrogen.residue]}",
                [before["CA"], before["C"], after["N"], after["CA"]],
            )


def other_states(
    graph: ChemicalGraph,
    planar: Set[frozenset[int]],
    centres: list[LabelledCentre],
    bonds: list[LabelledBond],
    topology: Topology | None,
    labels: dict[Residue, str],
) -> tuple[list[LabelledCentre], list[LabelledBond]]:
    """Return what the graph shows beside the centres and bonds that have names in proteins."""
    named = {centre.atoms[0] for centre in centres}
    named_bonds = {frozenset(bond.atoms[1:3]) for bond in bonds}
    centre_rows = [row for row in stereocentres(graph).tolist() if row[0] not in named]
    bond_rows = [
        row for row in rigid_bonds(graph, planar).tolist() if frozenset(row[1:3]) not in named_bonds
    ]
    atoms = {row[0] for row in centre_rows} | {i for row in bond_rows for i in row[1:3]}
    names = _atom_names(topology, labels, atoms)
    senses = ("counterclockwise", "clockwise")
    return (
        [
            LabelledCentre(" ".join(names[row[0]]), row, senses, graph.may_be_united(row[0]))
            for row in centre_rows
        ],
        [LabelledBond(_bond_label(names[row[1]], names[row[2]]), row) for row in bond_rows],
    )


def _atom_names(
    topology: Topology | None, labels: dict[Residue, str], indices: set[int]
) -> dict[int, tuple[str, str]]:
    """Return a residue's label and an atom's name for each atom; no two of them are the same."""
    if topology is None:
        return {index: ("atom", str(index)) for index in indices}
    atoms = [atom for atom in topology.atoms() if atom.index in indices]
    labels = residue_labels({atom.residue: None for atom in atoms}) | labels
    names = {atom.index: (labels[atom.residue], atom.name) for atom in atoms}
    counts = Counter(names.values())
    return {
        index: name if counts[name] == 1 else (name[0], f"{name[1]} (atom {index})")
        for index, name in names.items()
    }


def _bond_label(first: tuple[str, str], second: tuple[str, str]) -> str:
    """Return ``"LIG 1 C7-C8"``, or ``"ACE 1 C-ALA 2 N"`` where the residues differ."""
    same = first[0] == second[0]
    return f"{' '.join(first)}-{second[1] if same else ' '.join(second)}"


def residues_without_bonds(topology: Topology | None, graph: ChemicalGraph) -> tuple[str, ...]:
    """Name the residues that may have states and have atoms without bonds."""
    if topology is None:
        return () if graph.has_bonds else ("all atoms",)
    bare = (graph.numbers >= 0) & ~graph.bonded
    if not bare.any():
        return ()
    found = []
    for residue in topology.residues():
        atoms = [atom.index for atom in residue.atoms() if graph.numbers[atom.index] >= 0]
        if len(atoms) >= SMALLEST_MOLECULE and bare[atoms].any():
            found.append(residue_label(residue))
    return tuple(found)
