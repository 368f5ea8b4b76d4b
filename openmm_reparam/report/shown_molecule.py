"""A molecule as the 3D viewer of a page takes it: atoms, bonds, conformations, no water."""

from __future__ import annotations

from typing import Any

import numpy as np
from openmm import app

from ..geometry.superposition import superposed
from ..structure.residues import residue_label
from ..structure.selections import is_heavy, solute_atoms
from ..units import positions_in_nanometers

__all__ = ["atom_residue_labels", "shown_molecule"]

# A page stays under some ten megabytes with so many atoms, and a phone draws it.
MOST_ATOMS = 20_000
# Of residues too many to be drawn whole: the trace of proteins and of nucleic acids.
TRACE_NAMES = frozenset(("N", "CA", "C", "O", "P", "O5'", "C5'", "C4'", "C3'", "O3'", "C1'"))
# Coordinates are written in picometres.
PICOMETRES = 1000
HELIX, STRAND, COIL = "h", "s", "c"


def shown_molecule(topology: app.Topology, conformations: dict[str, Any]) -> dict[str, Any]:
    """Return what the viewer draws, as plain Python values.

    Parameters
    ----------
    topology : openmm.app.Topology
    conformations : dict of str to (N, 3) array in nm, or Quantity
        All are superposed on the second, or on the first where there is one only.

    Returns
    -------
    dict
        ``names``, ``elements``, ``residues`` (by atom), ``labels``, ``resnames``, ``chains``,
        ``numbers`` (by residue; numbers leave a gap where the chain is broken), ``bonds``,
        ``conformations`` (each a ``label``, ``xyz`` in pm, and ``structure``, a letter by residue),
        ``indices`` (of the atoms in the topology) and ``left_out``, in words.
    """
    atoms, left_out = _shown_atoms(topology)
    residues = list(dict.fromkeys(atom.residue for atom in atoms))
    number = {residue: k for k, residue in enumerate(residues)}
    place = {atom.index: k for k, atom in enumerate(atoms)}
    bonds = [
        (place[a.index], place[b.index])
        for a, b in topology.bonds()
        if a.index in place and b.index in place
    ]
    size = topology.getNumAtoms()
    x = {label: positions_in_nanometers(p, size) for label, p in conformations.items()}
    indices = np.array([atom.index for atom in atoms], dtype=int)
    labels = atom_residue_labels(topology)
    return {
        "names": [atom.name for atom in atoms],
        "elements": [atom.element.symbol for atom in atoms],
        "residues": [number[atom.residue] for atom in atoms],
        "labels": [labels[next(residue.atoms()).index] for residue in residues],
        "resnames": [residue.name for residue in residues],
        "chains": [residue.chain.index for residue in residues],
        "numbers": _numbers(topology, residues),
        "bonds": [end for bond in bonds for end in bond],
        "conformations": _conformations(topology, x, indices, residues),
        "indices": indices.tolist(),
        "left_out": left_out,
    }


def atom_residue_labels(topology: app.Topology) -> list[str]:
    """Return each atom's residue as people call it: ``"ALA 5"``, of several chains ``"A:ALA 5"``.

    Parameters
    ----------
    topology : openmm.app.Topology

    Returns
    -------
    list of str
    """
    several_chains = topology.getNumChains() > 1
    labels = []
    for residue in topology.residues():
        chain = f"{residue.chain.id}:" if several_chains else ""
        labels += [f"{chain}{residue_label(residue)}"] * len(residue)
    return labels


def _shown_atoms(topology: app.Topology) -> tuple[list[app.Atom], str]:
    """Return the atoms to draw, fewer of large molecules, and what was left out."""
    atoms = solute_atoms(topology)
    left_out = "water and ions" if len(atoms) < topology.getNumAtoms() else ""
    for keep, what in (
        (is_heavy, "hydrogens"),
        (lambda atom: atom.name in TRACE_NAMES, "side chains"),
        (lambda atom: atom.name in ("CA", "P"), "all but CA and P atoms"),
    ):
        if len(atoms) > MOST_ATOMS:
            atoms = [atom for atom in atoms if keep(atom)]
            left_out = ", ".join(part for part in (left_out, what) if part)
    return atoms, left_out


def _numbers(topology: app.Topology, residues: list[app.Residue]) -> list[int]:
    """Return increasing numbers: a residue bonded to the one before it has the next."""
    linked = {
        frozenset((a.residue.index, b.residue.index))
        for a, b in topology.bonds()
        if a.residue is not b.residue
    }
    numbers: list[int] = []
    for k, residue in enumerate(residues):
        follows = k and frozenset((residues[k - 1].index, residue.index)) in linked
        numbers.append((numbers[-1] if numbers else 0) + (1 if follows else 2))
    return numbers


def _conformations(
    topology: app.Topology,
    positions: dict[str, np.ndarray],
    indices: np.ndarray,
    residues: list[app.Residue],
) -> list[dict[str, Any]]:
    """Return the coordinates and the secondary structure of each conformation."""
    chosen = [x[indices] for x in positions.values()]
    reference = chosen[min(1, len(chosen) - 1)]
    folds = _secondary_structures(topology, np.array(list(positions.values())), residues)
    rows = zip(positions, chosen, folds, strict=True)
    return [
        {
            "label": label,
            "xyz": np.rint(PICOMETRES * _onto(x, reference)).astype(int).ravel().tolist(),
            "structure": fold,
        }
        for label, x, fold in rows
    ]


def _onto(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Superpose, and put the reference's centre into the origin."""
    middle = reference.mean(axis=0) if len(reference) else 0.0
    return (x if x is reference or not len(x) else superposed(x, reference)) - middle


def _secondary_structures(
    topology: app.Topology, positions: np.ndarray, residues: list[app.Residue]
) -> list[str]:
    """Return a letter for each residue by DSSP, for each of (k, N, 3) positions in nm."""
    import mdtraj

    whole = mdtraj.Topology.from_openmm(topology)
    wanted = [atom.index for residue in residues for atom in residue.atoms()]
    if not wanted:
        return ["" for _ in positions]
    part = mdtraj.Trajectory(positions[:, wanted], whole.subset(wanted))
    letters = {"H": HELIX, "E": STRAND}
    return [
        "".join(letters.get(letter, COIL) for letter in row)
        for row in mdtraj.compute_dssp(part, simplified=True)
    ]
