"""Residues of a topology and what people call them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from openmm.app import Residue, Topology

__all__ = ["protein_residues", "residue_label", "residue_labels"]


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


def residue_labels(residues: Iterable[Residue]) -> dict[Residue, str]:
    """Return a label for each residue that no other of them has.

    Parameters
    ----------
    residues : iterable of openmm.app.Residue

    Returns
    -------
    dict
        ``"ALA 5"``; with several chains ``"A:ALA 5"``, and where that is not enough ``"A:ALA 5
        (residue index 4)"``.
    """
    residues = list(residues)
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


def protein_residues(topology: Topology) -> Iterator[tuple[Residue, dict[str, int]]]:
    """Yield every residue with a peptide backbone and its atom indices by name.

    Parameters
    ----------
    topology : openmm.app.Topology

    Yields
    ------
    openmm.app.Residue, dict of str to int
    """
    for residue in topology.residues():
        if len(residue) < 4:  # water and ions, the bulk of a solvated box
            continue
        atoms = {atom.name: atom.index for atom in residue.atoms()}
        if "N" in atoms and "CA" in atoms and "C" in atoms:
            yield residue, atoms
