"""Measures of a structure: RMSD from another one, radius of gyration, collapsed hydrogens."""

from __future__ import annotations

from typing import Any

import numpy as np
from openmm.app import Residue, Topology
from openmm.app.element import hydrogen
from scipy.spatial import cKDTree

from ..geometry.superposition import superposed, superposed_rmsd
from ..units import positions_in_nanometers
from .residues import protein_residues, residue_label
from .selections import heavy_solute_atoms, is_heavy, solute_atoms

__all__ = ["collapsed_hydrogens", "heavy_atom_shifts", "radius_of_gyration", "rmsd"]

_BACKBONE_ATOMS = ("N", "CA", "C", "O")

# Names of one residue in other protonation or bonding states.
_RESIDUE_ALIASES = {
    **dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"), "HIS"),
    **dict.fromkeys(("CYX", "CYM"), "CYS"),
    "ASH": "ASP",
    "GLH": "GLU",
    "LYN": "LYS",
}


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
    >>> from openmm_reparam.prepare.peptides import peptide
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

    residues = dict(protein_residues(topology))
    native_residues = dict(protein_residues(native_topology))
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
    return superposed_rmsd(x[own_indices], native_x[native_indices])


def heavy_atom_shifts(topology: Topology, before: Any, after: Any) -> tuple[float, float]:
    """Return how far the heavy atoms of a molecule moved; water and ions do not count.

    Parameters
    ----------
    topology : openmm.app.Topology
    before, after : (N, 3) array in nm, or Quantity

    Returns
    -------
    float, float
        RMSD in angstrom, as the structures stand and after superposition; nan without such atoms.
    """
    heavy = heavy_solute_atoms(topology)
    if not len(heavy):
        return float("nan"), float("nan")
    x, y = (positions_in_nanometers(p, topology.getNumAtoms())[heavy] for p in (before, after))
    shifts = (y - x, superposed(y, x) - x)
    as_it_stands, after_superposition = (10 * np.sqrt((d**2).sum(axis=1).mean()) for d in shifts)
    return float(as_it_stands), float(after_superposition)


def radius_of_gyration(topology: Topology, positions: Any) -> float:
    """Return the mass-weighted radius of gyration of all but water and ions, in nm.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions : (N, 3) array in nm, or Quantity

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If the positions have a wrong unit or shape or are not finite, or all is water and ions.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> extended = peptide("AAAAAA")
    >>> 0.4 < radius_of_gyration(extended.topology, extended.positions) < 0.8
    True
    """
    x = positions_in_nanometers(positions, topology.getNumAtoms())
    atoms = solute_atoms(topology)
    if not atoms:
        raise ValueError("no radius of gyration: the topology has only water and ions")
    masses = np.array([atom.element.mass._value for atom in atoms])
    x = x[[atom.index for atom in atoms]]
    centre = masses @ x / masses.sum()
    return float(np.sqrt(masses @ ((x - centre) ** 2).sum(axis=1) / masses.sum()))


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


def _sequence(residues: dict[Residue, dict[str, int]]) -> list[str]:
    return [_RESIDUE_ALIASES.get(residue.name, residue.name) for residue in residues]


def _selected_atoms(residues: dict[Residue, dict[str, int]], atoms: str) -> list[dict[str, int]]:
    """Return, for each residue, the indices of the atoms asked for by name."""
    if atoms in ("CA", "backbone"):
        names = ("CA",) if atoms == "CA" else _BACKBONE_ATOMS
        return [
            {name: found[name] for name in names if name in found} for found in residues.values()
        ]
    return [
        {
            atom.name: atom.index
            for atom in residue.atoms()
            if atom.element is not None and (atoms == "all" or is_heavy(atom))
        }
        for residue in residues
    ]
