"""Stereochemistry of molecules: what a minimization may not change.

Chirality and cis/trans states of proteins are read from heavy atoms alone, so a structure with and
one without hydrogens compare; those of all other molecules from elements and bonds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from openmm.app import Residue, Topology

from ..geometry.neighbors import nearest_image
from ..potentials.bond_graph import planar_bonds
from ..potentials.potential import Potential
from ..units import positions_in_nanometers
from .chemical_graph import SMALLEST_MOLECULE, ChemicalGraph
from .double_bonds import is_cis, rigid_bonds
from .residues import protein_residues, residue_label, residue_labels
from .stereo_centres import handedness, stereocentres

__all__ = [
    "StereoCheck",
    "StereoComparison",
    "Stereochemistry",
    "chirality",
    "peptide_bonds",
    "stereo_changes",
]

# A tetrahedral centre has a triple product of unit bond vectors near 0.77, an inverting one 0.
PLANAR_TRIPLE_PRODUCT = 0.1
# A carbon whose hydrogen is left out may as well be a flat one: it is judged where it is clearly
# tetrahedral, and its bonds (nm) are bonds and not distances between beads.
UNITED_TRIPLE_PRODUCT, LONGEST_UNITED_BOND = 0.35, 0.22

# Neighbours by falling Cahn-Ingold-Prelog priority, hydrogen left out: a negative volume is R.
_SIDE_CHAIN_CENTRES = {"ILE": ("CB", "CA", "CG1", "CG2"), "THR": ("CB", "OG1", "CA", "CG2")}
# Residues without bonds that are named one by one.
_MOST_NAMED = 3


@dataclass(frozen=True)
class StereoCheck:
    """What of a structure's stereochemistry was compared.

    Attributes
    ----------
    centres, cis_trans_bonds : int
        How many; peptide bonds are among the bonds.
    unknown : tuple of str
        Residues that were not checked because their bonds are not known; ``("all atoms",)`` where
        no bond is.

    Examples
    --------
    >>> print(StereoCheck(12, 1, ("LIG 1",)))
    12 centres, 1 cis/trans bond checked; not checked (no bonds known): LIG 1
    >>> print(StereoCheck(0, 0))
    no stereocentres
    """

    centres: int
    cis_trans_bonds: int
    unknown: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many states were compared."""
        return self.centres + self.cis_trans_bonds

    def __str__(self) -> str:
        counts = [(self.centres, "centre"), (self.cis_trans_bonds, "cis/trans bond")]
        named = ", ".join(f"{n} {name}{'s' * (n != 1)}" for n, name in counts if n)
        parts = [f"{named} checked"] if self.total else []
        if self.unknown:
            names = ", ".join(self.unknown[:_MOST_NAMED])
            more = len(self.unknown) - _MOST_NAMED
            parts.append(
                f"not checked (no bonds known): {names}{f' and {more} more' if more > 0 else ''}"
            )
        return "; ".join(parts) or "no stereocentres"


class StereoComparison(NamedTuple):
    """What differs in stereochemistry between two structures, and what was compared.

    Attributes
    ----------
    changes : tuple of str, or None
        Such as ``("ALA 5 CA: L -> D",)``; None where the bonds are not known and nothing could be
        compared.
    checked : StereoCheck
    """

    changes: tuple[str, ...] | None
    checked: StereoCheck


class _Centre(NamedTuple):
    label: str
    atoms: list[int]  # the centre, three neighbours, the fourth or -1
    names: tuple[str, str]  # of a positive and a negative volume
    united: bool = False


class _Bond(NamedTuple):
    label: str
    atoms: list[int]  # neighbour, the bond's atoms, neighbour


class Stereochemistry:
    """The stereochemical states of molecules: stereocentres, double bonds, peptide bonds.

    The centres are looked up once; reading the states of a structure is a few numpy lines.

    Parameters
    ----------
    topology : openmm.app.Topology, optional
        Peptide bonds and centres of proteins are known by atom names, in residues with atoms N, CA
        and C. A peptide bond is a topology bond between C and N of two such residues (rings
        included, caps not).
    graph : ChemicalGraph, optional
        Elements and bonds, which show all other states; those of the topology by default.
    planar : set of pairs
        Bonds that the force field holds planar, see `bond_graph.planar_bonds`.
    box : (3, 3) array, optional
        Periodic box vectors in nm: bonds go to the nearest image. Without one coordinates are
        taken as they are, and a molecule broken across a boundary has to be made whole first.

    Raises
    ------
    ValueError
        If neither a topology nor a graph is given.

    Notes
    -----
    States of proteins are

    - C-alpha (not glycine), label ``"ALA 5 CA"``: ``"L"`` or ``"D"``;
    - C-beta of isoleucine and threonine, label ``"ILE 7 CB"``: ``"R"`` or ``"S"`` (natural:
      isoleucine S, threonine R);
    - peptide bond, label ``"PRO 12-ALA 13"``: ``"cis"`` (abs(omega) < 90 degrees) or ``"trans"``.

    All other states are

    - stereocentre (`stereo_centres.stereocentres` says which), label ``"DA 3 C1'"``:
      ``"clockwise"`` or ``"counterclockwise"``, as its neighbours turn by rising index, seen with
      the hydrogen (or else the neighbour of the highest index, or the lone pair) pointing away.
      That is no Cahn-Ingold-Prelog label: it compares structures of one topology;
    - double bond or amide (`double_bonds.rigid_bonds` says which), label ``"LIG 1 C7-C8"``:
      ``"cis"`` or ``"trans"``.

    A flat centre is ``"planar"``. With several chains a label starts with the chain:
    ``"A:ALA 5 CA"``.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> system = peptide("GAP")
    >>> stereochemistry = Stereochemistry(system.topology)
    >>> stereochemistry.chirality(system.positions)
    {'ALA 2 CA': 'L', 'PRO 3 CA': 'L'}
    >>> stereochemistry.peptide_bonds(system.positions)
    {'GLY 1-ALA 2': 'trans', 'ALA 2-PRO 3': 'trans'}
    >>> mirrored = system.positions * [-1.0, 1.0, 1.0]
    >>> stereochemistry.changes(system.positions, mirrored)
    ['ALA 2 CA: L -> D', 'PRO 3 CA: L -> D']
    """

    def __init__(
        self,
        topology: Topology | None = None,
        graph: ChemicalGraph | None = None,
        planar: Set[frozenset[int]] = frozenset(),
        box: np.ndarray | None = None,
    ) -> None:
        if graph is None:
            if topology is None:
                raise ValueError("no topology and no graph of bonds: stereochemistry needs one")
            graph = ChemicalGraph.of_topology(topology)
        self._box = box
        self._n_atoms = len(graph.numbers)
        self._unknown = _unknown(topology, graph)
        residues = {} if topology is None else dict(protein_residues(topology))
        labels = residue_labels(residues)
        centres = list(_protein_centres(residues, labels))
        bonds = [] if topology is None else list(_peptide_bonds(topology, residues, labels))
        self._n_protein_centres, self._n_peptide_bonds = len(centres), len(bonds)
        more_centres, more_bonds = _other_states(graph, planar, centres, bonds, topology, labels)
        self._centres, self._bonds = centres + more_centres, bonds + more_bonds
        self._centre_atoms = np.array([c.atoms for c in self._centres], dtype=int).reshape(-1, 5)
        self._bond_atoms = np.array([b.atoms for b in self._bonds], dtype=int).reshape(-1, 4)

    @classmethod
    def of_potential(cls, potential: Potential) -> Stereochemistry:
        """Look up all that a Context and its topology, if there is one, show.

        Where the topology is missing or shows no bonds, those of the System count; its torsions
        show the double bonds where elements or hydrogens are missing.

        Parameters
        ----------
        potential : Potential

        Returns
        -------
        Stereochemistry
            Without a topology labels are ``"atom 4"`` and ``"atom 4-6"``.
        """
        topology = potential.topology
        if topology is not None and topology.getNumAtoms() != potential.num_particles:
            topology = None
        graph = ChemicalGraph.of_potential(potential)
        return cls(topology, graph, planar_bonds(potential.system), potential.box())

    def chirality(self, positions: Any) -> dict[str, str]:
        """Return the state of every chiral centre of proteins.

        Parameters
        ----------
        positions : (N, 3) array in nm, or Quantity

        Returns
        -------
        dict of str to str
            ``{"ALA 5 CA": "L", ...}``; see the class for the states.

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        x = positions_in_nanometers(positions, self._n_atoms)
        return self._centre_states(x, slice(self._n_protein_centres))

    def peptide_bonds(self, positions: Any) -> dict[str, str]:
        """Return the state of every peptide bond.

        Parameters
        ----------
        positions : (N, 3) array in nm, or Quantity

        Returns
        -------
        dict of str to str
            ``{"PRO 12-ALA 13": "trans", ...}``.

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        x = positions_in_nanometers(positions, self._n_atoms)
        return self._bond_states(x, slice(self._n_peptide_bonds))

    def states(self, positions: Any) -> dict[str, str]:
        """Return all states, of proteins and of all other molecules, in one dict.

        Parameters
        ----------
        positions : (N, 3) array in nm, or Quantity

        Returns
        -------
        dict of str to str
            Empty where there are none, or where no bonds are known.

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        x = positions_in_nanometers(positions, self._n_atoms)
        return self._centre_states(x, slice(None)) | self._bond_states(x, slice(None))

    def compare(self, before: Any, after: Any) -> StereoComparison:
        """Return what differs between two structures, and what was compared.

        Parameters
        ----------
        before, after : (N, 3) array in nm, or Quantity

        Returns
        -------
        StereoComparison

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        old, new = self.states(before), self.states(after)
        common = [label for label in old if label in new]
        checked = StereoCheck(len(common) - len(self._bonds), len(self._bonds), self._unknown)
        if self._unknown and not checked.total:
            return StereoComparison(None, checked)
        changes = tuple(f"{k}: {old[k]} -> {new[k]}" for k in common if old[k] != new[k])
        return StereoComparison(changes, checked)

    def changes(self, before: Any, after: Any) -> list[str]:
        """Return the states that differ between two structures, as readable lines.

        Parameters
        ----------
        before, after : (N, 3) array in nm, or Quantity

        Returns
        -------
        list of str
            Such as ``["ALA 5 CA: L -> D", "GLY 3-PRO 4: trans -> cis"]``; empty as well where
            nothing could be compared, which `compare` tells.

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        return list(self.compare(before, after).changes or ())

    def _centre_states(self, x: np.ndarray, which: slice) -> dict[str, str]:
        atoms, centres = self._centre_atoms[which], self._centres[which]
        vectors = self._vectors(x, atoms[:, :1], atoms[:, 1:])
        vectors[atoms[:, 4] < 0, 3] = 0.0
        volumes = handedness(vectors)
        longest = np.linalg.norm(vectors, axis=-1).max(axis=-1, initial=0.0)
        clear = (abs(volumes) > UNITED_TRIPLE_PRODUCT) & (longest < LONGEST_UNITED_BOND)
        return {
            centre.label: "planar"
            if abs(volume) < PLANAR_TRIPLE_PRODUCT
            else centre.names[int(volume < 0)]
            for centre, volume, judged in zip(centres, volumes, clear, strict=True)
            if judged or not centre.united
        }

    def _bond_states(self, x: np.ndarray, which: slice) -> dict[str, str]:
        atoms = self._bond_atoms[which]
        cis = is_cis(self._vectors(x, atoms[:, :3], atoms[:, 1:]))
        return {
            bond.label: "cis" if state else "trans"
            for bond, state in zip(self._bonds[which], cis, strict=True)
        }

    def _vectors(self, x: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return the vectors between atoms, to the nearest image where there is a box."""
        vectors = x[end] - x[start]
        flat = nearest_image(vectors.reshape(-1, 3), self._box, self._box is not None)
        return flat.reshape(vectors.shape)


def chirality(topology: Topology, positions: Any) -> dict[str, str]:
    """Return the state of every chiral centre of proteins: `Stereochemistry.chirality` in one call.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions : (N, 3) array in nm, or Quantity

    Returns
    -------
    dict of str to str
        ``{"ALA 5 CA": "L", "ILE 7 CB": "S", ...}``.

    Raises
    ------
    TypeError, ValueError
        If the positions have a wrong unit or shape or are not finite.
    """
    return Stereochemistry(topology).chirality(positions)


def peptide_bonds(topology: Topology, positions: Any) -> dict[str, str]:
    """Return the state of every peptide bond: `Stereochemistry.peptide_bonds` in one call.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions : (N, 3) array in nm, or Quantity

    Returns
    -------
    dict of str to str
        ``{"PRO 12-ALA 13": "trans", ...}``.

    Raises
    ------
    TypeError, ValueError
        If the positions have a wrong unit or shape or are not finite.
    """
    return Stereochemistry(topology).peptide_bonds(positions)


def stereo_changes(topology: Topology, before: Any, after: Any) -> list[str]:
    """Return what changed in stereochemistry: `Stereochemistry.changes` in one call.

    Parameters
    ----------
    topology : openmm.app.Topology
    before, after : (N, 3) array in nm, or Quantity

    Returns
    -------
    list of str
        Such as ``["ALA 5 CA: L -> D"]``; empty where nothing changed or could be compared.

    Raises
    ------
    TypeError, ValueError
        If the positions have a wrong unit or shape or are not finite.
    """
    return Stereochemistry(topology).changes(before, after)


def _protein_centres(
    residues: dict[Residue, dict[str, int]], labels: dict[Residue, str]
) -> Iterator[_Centre]:
    """Yield C-alpha atoms, and C-beta atoms of isoleucine and threonine."""
    for residue, atoms in residues.items():
        kinds = [(("CA", "N", "C", "CB"), ("L", "D"))]
        if residue.name in _SIDE_CHAIN_CENTRES:
            kinds.append((_SIDE_CHAIN_CENTRES[residue.name], ("S", "R")))
        for names, states in kinds:
            if all(name in atoms for name in names):
                found = [*(atoms[name] for name in names), -1]
                yield _Centre(f"{labels[residue]} {names[0]}", found, states)


def _peptide_bonds(
    topology: Topology, residues: dict[Residue, dict[str, int]], labels: dict[Residue, str]
) -> Iterator[_Bond]:
    """Yield bonds between C and N of two protein residues."""
    for atom1, atom2 in topology.bonds():
        if {atom1.name, atom2.name} != {"C", "N"} or atom1.residue is atom2.residue:
            continue
        carbon, nitrogen = (atom1, atom2) if atom1.name == "C" else (atom2, atom1)
        before, after = residues.get(carbon.residue), residues.get(nitrogen.residue)
        if before is not None and after is not None:
            yield _Bond(
                f"{labels[carbon.residue]}-{labels[nitrogen.residue]}",
                [before["CA"], before["C"], after["N"], after["CA"]],
            )


def _other_states(
    graph: ChemicalGraph,
    planar: Set[frozenset[int]],
    centres: list[_Centre],
    bonds: list[_Bond],
    topology: Topology | None,
    labels: dict[Residue, str],
) -> tuple[list[_Centre], list[_Bond]]:
    """Return what the graph shows beside the centres and bonds that have names in proteins."""
    named = {centre.atoms[0] for centre in centres}
    named_bonds = {frozenset(bond.atoms[1:3]) for bond in bonds}
    centre_rows = [row for row in stereocentres(graph).tolist() if row[0] not in named]
    bond_rows = [
        row for row in rigid_bonds(graph, planar).tolist() if frozenset(row[1:3]) not in named_bonds
    ]
    atoms = {row[0] for row in centre_rows} | {i for row in bond_rows for i in row[1:3]}
    names = _atom_names(topology, labels, atoms)
    turns = ("counterclockwise", "clockwise")
    return (
        [
            _Centre(" ".join(names[row[0]]), row, turns, graph.may_be_united(row[0]))
            for row in centre_rows
        ],
        [_Bond(_bond_label(names[row[1]], names[row[2]]), row) for row in bond_rows],
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


def _unknown(topology: Topology | None, graph: ChemicalGraph) -> tuple[str, ...]:
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
