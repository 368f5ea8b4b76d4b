"""Stereochemistry and RMSD of a structure: what a minimization may not change, and how far it went.

Chirality and cis/trans states are read from heavy atoms alone, so a structure with and one without
hydrogens compare; a topology without protein has no states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import mdtraj
import numpy as np
from openmm.app import Residue, Topology
from openmm.app.element import hydrogen
from scipy.spatial import cKDTree

from .units import positions_in_nanometers

__all__ = [
    "Stereochemistry",
    "chirality",
    "collapsed_hydrogens",
    "peptide_bonds",
    "residue_label",
    "rmsd",
    "stereo_changes",
]

# A tetrahedral centre has a triple product of unit bond vectors near 0.77, an inverting one 0.
PLANAR_TRIPLE_PRODUCT = 0.1

_BACKBONE = ("N", "CA", "C", "O")

# Neighbours by falling Cahn-Ingold-Prelog priority, hydrogen left out: a negative volume is R.
_SIDE_CHAIN_CENTRES = {"ILE": ("CB", "CA", "CG1", "CG2"), "THR": ("CB", "OG1", "CA", "CG2")}

# Names of one residue in other protonation or bonding states.
_RESIDUE_ALIASES = {
    **dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"), "HIS"),
    **dict.fromkeys(("CYX", "CYM"), "CYS"),
    "ASH": "ASP",
    "GLH": "GLU",
    "LYN": "LYS",
}


class Stereochemistry:
    """The stereochemical states of a protein: chiral centres and peptide bonds.

    The centres are looked up once; reading the states of a structure is a few numpy lines.

    Parameters
    ----------
    topology : openmm.app.Topology
        Only residues with atoms N, CA and C are looked at. A peptide bond is a topology bond
        between C and N of two such residues (rings included, caps not).

    Notes
    -----
    States are

    - C-alpha (not glycine), label ``"ALA 5 CA"``: ``"L"`` or ``"D"``;
    - C-beta of isoleucine and threonine, label ``"ILE 7 CB"``: ``"R"`` or ``"S"`` (natural:
      isoleucine S, threonine R);
    - peptide bond, label ``"PRO 12-ALA 13"``: ``"cis"`` (abs(omega) < 90 degrees) or ``"trans"``.

    A centre whose three heavy neighbours lie in one plane with it is ``"planar"``. With several
    protein chains a label starts with the chain: ``"A:ALA 5 CA"``. Coordinates are taken as they
    are: a molecule broken across a periodic boundary has to be made whole first.

    Examples
    --------
    >>> from openmm_reparam.testsystems import peptide
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

    def __init__(self, topology: Topology):
        self._n_atoms = topology.getNumAtoms()
        residues = dict(_protein_residues(topology))
        labels = _residue_labels(residues)

        self._centre_labels: list[str] = []
        self._state_names: list[tuple[str, str]] = []  # of a positive and a negative volume
        centres: list[list[int]] = []
        for residue, atoms in residues.items():
            kinds = [(("CA", "N", "C", "CB"), ("L", "D"))]
            if residue.name in _SIDE_CHAIN_CENTRES:
                kinds.append((_SIDE_CHAIN_CENTRES[residue.name], ("S", "R")))
            for names, states in kinds:
                if all(name in atoms for name in names):
                    centres.append([atoms[name] for name in names])
                    self._centre_labels.append(f"{labels[residue]} {names[0]}")
                    self._state_names.append(states)
        self._centres = np.array(centres, dtype=int).reshape(-1, 4)

        self._bond_labels: list[str] = []
        omegas: list[list[int]] = []
        for atom1, atom2 in topology.bonds():
            if {atom1.name, atom2.name} != {"C", "N"} or atom1.residue is atom2.residue:
                continue
            carbon, nitrogen = (atom1, atom2) if atom1.name == "C" else (atom2, atom1)
            before, after = residues.get(carbon.residue), residues.get(nitrogen.residue)
            if before is not None and after is not None:
                omegas.append([before["CA"], before["C"], after["N"], after["CA"]])
                self._bond_labels.append(f"{labels[carbon.residue]}-{labels[nitrogen.residue]}")
        self._omegas = np.array(omegas, dtype=int).reshape(-1, 4)

    def chirality(self, positions: Any) -> dict[str, str]:
        """Return the state of every chiral centre.

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
        bonds = x[self._centres[:, 1:]] - x[self._centres[:, :1]]
        lengths = np.linalg.norm(bonds, axis=-1).prod(axis=-1)
        volumes = np.linalg.det(bonds) / np.maximum(lengths, np.finfo(float).tiny)
        return {
            label: "planar" if abs(volume) < PLANAR_TRIPLE_PRODUCT else names[int(volume < 0)]
            for label, names, volume in zip(
                self._centre_labels, self._state_names, volumes, strict=True
            )
        }

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
        a, b, c, d = x[self._omegas].transpose(1, 0, 2)
        # cos(omega) > 0 is cis; its sign needs no normalisation.
        cosines = (np.cross(b - a, c - b) * np.cross(c - b, d - c)).sum(axis=-1)
        return {
            label: "cis" if cosine > 0 else "trans"
            for label, cosine in zip(self._bond_labels, cosines, strict=True)
        }

    def states(self, positions: Any) -> dict[str, str]:
        """Return the states of all chiral centres and peptide bonds in one dict.

        Parameters
        ----------
        positions : (N, 3) array in nm, or Quantity

        Returns
        -------
        dict of str to str
            Empty for a topology without protein.

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        return self.chirality(positions) | self.peptide_bonds(positions)

    def changes(self, before: Any, after: Any) -> list[str]:
        """Return the states that differ between two structures, as readable lines.

        Parameters
        ----------
        before, after : (N, 3) array in nm, or Quantity

        Returns
        -------
        list of str
            Such as ``["ALA 5 CA: L -> D", "GLY 3-PRO 4: trans -> cis"]``.

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        old, new = self.states(before), self.states(after)
        return [
            f"{label}: {old[label]} -> {new[label]}" for label in old if old[label] != new[label]
        ]


def chirality(topology: Topology, positions: Any) -> dict[str, str]:
    """Return the state of every chiral centre: `Stereochemistry.chirality` in one call.

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
        Such as ``["ALA 5 CA: L -> D"]``; empty where nothing changed or there is no protein.

    Raises
    ------
    TypeError, ValueError
        If the positions have a wrong unit or shape or are not finite.
    """
    return Stereochemistry(topology).changes(before, after)


def rmsd(
    topology: Topology,
    positions: Any,
    native_topology: Topology,
    native_positions: Any,
    atoms: str = "CA",
) -> float:
    """Return the root-mean-square deviation from a native structure after superposition, in nm.

    Atoms are matched by residue order and atom name among the protein residues of both; atoms
    only one of them has (hydrogens, say), waters, ions and ligands are left out.

    Parameters
    ----------
    topology, native_topology : openmm.app.Topology
        Residue numbers and chain names may differ, the sequence may not.
    positions, native_positions : (N, 3) array in nm, or Quantity
    atoms : {"CA", "backbone", "heavy", "all"}
        Which atoms to superpose and to compare; backbone is N, CA, C, O.

    Returns
    -------
    float
        In nm. Equivalent atoms (the two halves of a phenyl ring) are not exchanged.

    Raises
    ------
    TypeError
        If the positions have a unit that is no length.
    ValueError
        If the sequences differ (both are given), fewer than three atoms match, `atoms` is unknown
        or the positions have a wrong shape or are not finite.

    Examples
    --------
    >>> from openmm_reparam.testsystems import peptide
    >>> folded, extended = peptide("YGGFM", "random-coil", seed=1), peptide("YGGFM")
    >>> rmsd(extended.topology, extended.positions, extended.topology, extended.positions) < 1e-6
    True
    >>> rmsd(folded.topology, folded.positions, extended.topology, extended.positions) > 0.1
    True
    """
    if atoms not in ("CA", "backbone", "heavy", "all"):
        raise ValueError(f'atoms is {atoms!r}: choose "CA", "backbone", "heavy" or "all"')
    x = positions_in_nanometers(positions, topology.getNumAtoms())
    native_x = positions_in_nanometers(native_positions, native_topology.getNumAtoms())

    residues = dict(_protein_residues(topology))
    native_residues = dict(_protein_residues(native_topology))
    sequence, native_sequence = _sequence(residues), _sequence(native_residues)
    if sequence != native_sequence:
        raise ValueError(
            "the structures differ in sequence, so their atoms cannot be matched:\n"
            f"  structure: {'-'.join(sequence)}\n  native:    {'-'.join(native_sequence)}"
        )

    pairs = [
        (own[name], native[name])
        for own, native in zip(
            _selected_atoms(residues, atoms), _selected_atoms(native_residues, atoms), strict=True
        )
        for name in own
        if name in native
    ]
    if len(pairs) < 3:
        raise ValueError(
            f'only {len(pairs)} protein atoms of kind "{atoms}" match by residue and name; '
            "a superposition needs three"
        )
    own_indices, native_indices = np.array(pairs).T
    return _superposed_rmsd(x[own_indices], native_x[native_indices])


def collapsed_hydrogens(topology: Topology, positions: Any, distance: float = 0.05) -> list[str]:
    """Return the hydrogens that have fallen onto an atom they are not bonded to.

    A hydrogen without a Lennard-Jones core can fall onto a charge: an energy of -1e8 kJ/mol is
    then a collapse, not a minimum.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions : (N, 3) array in nm, or Quantity
    distance : float
        How close counts as collapsed, in nm.

    Returns
    -------
    list of str
        Such as ``["TYR 2 HH - GLU 5 OE1: 0.012 nm"]``. Periodic images are not searched.

    Raises
    ------
    TypeError, ValueError
        If the positions have a wrong unit or shape or are not finite.
    """
    x = positions_in_nanometers(positions, topology.getNumAtoms())
    close = cKDTree(x).query_pairs(distance, output_type="ndarray")
    if len(close) == 0:
        return []
    atoms = list(topology.atoms())
    bonded = {frozenset((bond[0].index, bond[1].index)) for bond in topology.bonds()}
    lines = []
    for i, j in np.sort(close, axis=1).tolist():
        first, second = (
            (atoms[i], atoms[j]) if atoms[i].element is hydrogen else (atoms[j], atoms[i])
        )
        is_site = first.element is None or second.element is None
        if first.element is not hydrogen or is_site or frozenset((i, j)) in bonded:
            continue
        separation = np.linalg.norm(x[i] - x[j])
        names = " - ".join(f"{residue_label(a.residue)} {a.name}" for a in (first, second))
        lines.append(f"{names}: {separation:.3f} nm")
    return lines


def residue_label(residue: Residue) -> str:
    """Return the name people give a residue: ``"ALA 5"``, insertion code included.

    Parameters
    ----------
    residue : openmm.app.Residue

    Returns
    -------
    str
    """
    return f"{residue.name} {residue.id}{residue.insertionCode.strip()}"


def _protein_residues(topology: Topology) -> Iterator[tuple[Residue, dict[str, int]]]:
    """Yield every residue with a peptide backbone and its atom indices by name."""
    for residue in topology.residues():
        if len(residue) < 4:  # water and ions, the bulk of a solvated box
            continue
        atoms = {atom.name: atom.index for atom in residue.atoms()}
        if "N" in atoms and "CA" in atoms and "C" in atoms:
            yield residue, atoms


def _residue_labels(residues: dict[Residue, dict[str, int]]) -> dict[Residue, str]:
    """Return a label for each residue that no other residue has."""
    several_chains = len({residue.chain for residue in residues}) > 1
    labels = {
        residue: f"{residue.chain.id}:{residue_label(residue)}"
        if several_chains
        else residue_label(residue)
        for residue in residues
    }
    counts = Counter(labels.values())
    return {
        residue: label if counts[label] == 1 else f"{label} (residue index {residue.index})"
        for residue, label in labels.items()
    }


def _sequence(residues: dict[Residue, dict[str, int]]) -> list[str]:
    return [_RESIDUE_ALIASES.get(residue.name, residue.name) for residue in residues]


def _selected_atoms(residues: dict[Residue, dict[str, int]], atoms: str) -> list[dict[str, int]]:
    """Return, for each residue, the indices of the atoms asked for by name."""
    if atoms in ("CA", "backbone"):
        names = ("CA",) if atoms == "CA" else _BACKBONE
        return [
            {name: found[name] for name in names if name in found} for found in residues.values()
        ]
    return [
        {
            atom.name: atom.index
            for atom in residue.atoms()
            if atom.element is not None and (atoms == "all" or atom.element is not hydrogen)
        }
        for residue in residues
    ]


def _superposed_rmsd(x: np.ndarray, reference: np.ndarray) -> float:
    """Return the RMSD of two (N, 3) arrays in nm after mdtraj has superposed them."""
    # mdtraj keeps single precision: centring first keeps its digits for the shape.
    moving, fixed = (mdtraj.Trajectory(y - y.mean(axis=0), None) for y in (x, reference))
    moving.superpose(fixed)
    difference = moving.xyz[0].astype(float) - fixed.xyz[0]
    return float(np.sqrt((difference**2).sum(axis=1).mean()))
