"""Molecules that go with a protein on the command line: read, given parameters, and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from openmm import app

from ..prepare import gaff
from ..prepare.ligand_files import ligand_records, read_ligand
from ..prepare.ligands import complete_ligand, ligand_changes, positions_of
from ..structure.molecule_topology import molecule_topology
from .ligands import require_programs
from .settings import Console

__all__ = ["PlacedLigand", "ligand_report", "placed_ligands"]


@dataclass(frozen=True)
class PlacedLigand:
    """A molecule that goes with a protein.

    Attributes
    ----------
    title : str
    molecule : rdkit.Chem.Mol
        With all hydrogens, where it is to be.
    parameters : GaffLigand
    """

    title: str
    molecule: Any
    parameters: gaff.GaffLigand


def placed_ligands(
    files: Sequence[Path], charges: str, seed: int, console: Console
) -> list[PlacedLigand]:
    """Read the molecules that go with a protein, and make their GAFF2 parameters.

    Parameters
    ----------
    files : sequence of Path
        With coordinates in the protein's frame. Every molecule of each is taken.
    charges : {"bcc", "gas"}
    seed : int
    console : Console
        Told what is done.

    Returns
    -------
    list of PlacedLigand
        Residues LIG, LG2, LG3, ...: one name for each kind of molecule.

    Raises
    ------
    ValueError
        A molecule cannot be read, has no coordinates in 3D, or has no parameters.
    """
    from rdkit import Chem

    require_programs("gaff")
    found: list[PlacedLigand] = []
    kinds: dict[str, gaff.GaffLigand] = {}
    for title, molecule in _molecules_in_place(files, seed, console):
        kind = Chem.MolToSmiles(molecule, isomericSmiles=False)
        if kind not in kinds:
            name = f"LG{len(kinds) + 1}" if kinds else "LIG"
            console.say(f"Making GAFF2 parameters of {title} ...")
            try:
                kinds[kind] = gaff.gaff_ligand(molecule, name, charges)
            except ValueError as error:
                raise ValueError(f"{title}: {error}") from error
            for note in kinds[kind].notes:
                console.say(f"{title}: {note}")
        known = kinds[kind]
        topology = molecule_topology(molecule, known.name)
        parameters = replace(known, topology=topology, positions=positions_of(molecule))
        found.append(PlacedLigand(title, molecule, parameters))
    return found


def _molecules_in_place(files, seed, console) -> Iterator[tuple[str, Any]]:
    for file in files:
        for record in ligand_records(file):
            title = record.title or f"{file}, molecule {record.number}"
            try:
                given = read_ligand(record)
                molecule, notes = complete_ligand(given, seed)
            except ValueError as error:
                raise ValueError(f"{title} of {file}: {error}") from error
            if any("conformer" in note for note in notes):
                raise ValueError(
                    f"{title} of {file} has no coordinates in 3D: a ligand needs its place in the "
                    "protein, as docking or a crystal structure gives it"
                )
            for note in notes:
                console.say(f"{title}: {note}")
            yield title, molecule


def ligand_report(
    ligands: Sequence[PlacedLigand], topology: app.Topology, positions: np.ndarray
) -> list[str]:
    """Say what changed in the ligands of a complex.

    Parameters
    ----------
    ligands : sequence of PlacedLigand
    topology : openmm.app.Topology
        Of the complex.
    positions : (N, 3) array
        In nm.

    Returns
    -------
    list of str
        One line for each.
    """
    names = {ligand.parameters.name for ligand in ligands}
    residues = [residue for residue in topology.residues() if residue.name in names]
    lines = []
    for ligand, residue in zip(ligands, residues, strict=False):
        place = positions[[atom.index for atom in residue.atoms()]]
        changes = ligand_changes(ligand.molecule, place)
        what = "; ".join(changes) or "stereo and bonds unchanged"
        lines.append(f"{residue.name} of chain {residue.chain.id} ({ligand.title}): {what}")
    return lines
