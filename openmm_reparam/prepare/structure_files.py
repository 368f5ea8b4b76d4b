"""From a structure file to a molecule that can be minimized.

PDBFixer repairs, Modeller adds hydrogens and water, a force field of OpenMM's makes the System;
this module joins them, says what was done, and turns their errors into ones that say what to do.
"""

from __future__ import annotations

import copy
import io
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from openmm import app, unit
from pdbfixer import PDBFixer
from pdbfixer.pdbfixer import proteinResidues

from ..geometry.placement import carboxylate_oxygen
from ..structure.residues import residue_label
from ..structure.selections import is_water
from ..units import positions_in_nanometers
from .gaff import GaffLigand, join_ligands
from .molecular_system import MolecularSystem
from .system_builder import (
    SOLVENTS,
    add_hydrogens,
    build_system,
    explained_template_errors,
    load_forcefield,
    python_random_seed,
    removal_lines,
)

__all__ = [
    "ca_only_residues",
    "fetch_pdb",
    "prepare_file",
    "read_structure",
]

# Terminal caps that a chain needs to stay what it is.
_CAPS = frozenset(("ACE", "NME", "NMA", "NH2"))

_NUCLEOTIDES = frozenset(("A", "G", "C", "U", "I", "DA", "DG", "DC", "DT", "DI"))

# A peptide bond is 0.133 nm long: beyond this, residues are missing between its two.
_LONGEST_PEPTIDE_BOND = 0.25

_DOWNLOAD_URL = "https://files.rcsb.org/download/{code}.pdb"


def prepare_file(
    path: str | Path,
    *,
    forcefield: str | Sequence[str] | app.ForceField = ("amber14-all.xml",),
    solvent: str = "vacuum",
    ph: float = 7.0,
    keep_water: bool = False,
    keep_heterogens: bool = False,
    build_missing_residues: bool = False,
    ligands: Sequence[GaffLigand] = (),
    name: str | None = None,
    seed: int = 0,
    **options: Any,
) -> MolecularSystem:
    """Read a structure file, repair it and return its System.

    Nonstandard residues are replaced by standard ones, heterogens removed, missing heavy atoms
    and hydrogens added. What was done is in ``repairs`` of the result.

    Parameters
    ----------
    path : str or Path
        A .pdb, .ent, .cif or .mmcif file. Of several models the first is used.
    forcefield, solvent
        As for `build_system`.
    ph : float
        Decides the protonation of titratable residues, where the file has no hydrogens yet.
    keep_water : bool
        Keep the file's waters; it takes solvent="tip3p".
    keep_heterogens : bool
        Keep ions and ligands; the force field has to know them. Terminal caps are always kept.
    build_missing_residues : bool
        Build the missing residues inside a chain, from the sequence in the file. By default a
        gap is an error. Missing terminal residues are never built.
    ligands : sequence of GaffLigand
        Molecules to add where their positions say, with their parameters
        (`openmm_reparam.prepare.gaff.gaff_ligand`). They need an Amber force field.
    name : str or None
        None takes the file's name without its ending.
    seed : int
        Of every random choice made; the same seed gives the same structure.
    **options
        Further arguments of `build_system`.

    Returns
    -------
    MolecularSystem

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError, ValueError
        If the file is of another kind, empty or unreadable, if it has CA atoms only, if residues
        are missing inside a chain, or `build_system` refuses.

    Examples
    --------
    >>> molecule = prepare_file("1ubq.pdb", solvent="gbn2")  # doctest: +SKIP
    >>> molecule.repairs  # doctest: +SKIP
    ('removed 58 HOH', 'added 629 hydrogens')
    """
    path = Path(path)
    if solvent not in SOLVENTS:
        raise ValueError(f"solvent {solvent!r} is unknown: choose one of {', '.join(SOLVENTS)}")
    if keep_water and solvent != "tip3p":
        raise ValueError(
            f'keep_water needs solvent="tip3p": solvent={solvent!r} has no water model'
        )
    fixer, n_models = read_structure(path)
    _refuse_ca_trace(fixer.topology, path)

    repairs = [] if n_models == 1 else [f"used the first of {n_models} models"]
    with python_random_seed(seed):
        repairs += _repair(fixer, path, keep_water, keep_heterogens, build_missing_residues, seed)
        modeller = app.Modeller(fixer.topology, fixer.positions)
        field = load_forcefield(forcefield, solvent)
        with explained_template_errors(fixer.topology, path.name):
            repairs += add_hydrogens(modeller, field, ph=ph, seed=seed)
    if ligands:
        if field is forcefield:
            field = copy.deepcopy(field)  # the caller's stays as it is
        repairs += join_ligands(modeller, field, ligands)
    return build_system(
        modeller.topology,
        modeller.positions,
        name=path.stem if name is None else name,
        forcefield=field,
        solvent=solvent,
        seed=seed,
        repairs=repairs,
        **options,
    )


def fetch_pdb(code: str, timeout: float = 20.0) -> PDBFixer:
    """Download an entry of the Protein Data Bank.

    Parameters
    ----------
    code : str
        Four characters, such as "2JOF".
    timeout : float
        Seconds to wait for an answer.

    Returns
    -------
    pdbfixer.PDBFixer

    Raises
    ------
    ValueError
        If the code is none, or the Protein Data Bank has no PDB file of it.
    ConnectionError
        If the Protein Data Bank does not answer.
    """
    if not isinstance(code, str) or not re.fullmatch(r"[0-9][A-Za-z0-9]{3}", code):
        raise ValueError(f'{code!r} is no PDB code: a digit and three letters or digits, as "2JOF"')
    url = _DOWNLOAD_URL.format(code=code.upper())
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise ValueError(f"the Protein Data Bank has no PDB file of {code.upper()}") from error
        raise ConnectionError(f"the Protein Data Bank refused {url}: {error}") from error
    except OSError as error:
        raise ConnectionError(
            f"could not download {code.upper()} from the Protein Data Bank ({error}): "
            "check the network, or download the file elsewhere and pass its path"
        ) from error
    return PDBFixer(pdbfile=io.StringIO(text))


def read_structure(path: Path) -> tuple[PDBFixer, int]:
    """Read a structure file as it is, nothing repaired.

    Parameters
    ----------
    path : Path
        A .pdb, .ent, .cif or .mmcif file.

    Returns
    -------
    pdbfixer.PDBFixer
        The first model, with the file's sequences.
    int
        Number of models.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is of another kind, empty, unreadable, or a coordinate is not finite.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix not in (".pdb", ".ent", ".cif", ".mmcif"):
        raise ValueError(f"{path} ends in {suffix!r}: a .pdb, .ent, .cif or .mmcif file is needed")
    try:
        text = path.read_text()
        if not text.strip():
            raise ValueError("the file is empty")
        if suffix in (".pdb", ".ent"):
            fixer = PDBFixer(pdbfile=io.StringIO(text))
            n_models = max(1, len(re.findall(r"^MODEL ", text, re.MULTILINE)))
        else:
            fixer = PDBFixer(pdbxfile=io.StringIO(text))
            n_models = app.PDBxFile(io.StringIO(text)).getNumFrames()
        # A reader can take nonsense for coordinates: nothing later would say which file.
        positions_in_nanometers(fixer.positions, fixer.topology.getNumAtoms())
    except Exception as error:  # the readers raise many kinds, down to bare Exception
        reason = "no atoms found" if isinstance(error, IndexError) else str(error)
        reason = reason or "no atoms found"
        raise ValueError(f"could not read a structure from {path}: {reason}") from error
    return fixer, n_models


def _repair(
    fixer: PDBFixer,
    path: Path,
    keep_water: bool,
    keep_heterogens: bool,
    build_missing_residues: bool,
    seed: int,
) -> list[str]:
    """Bring a structure to complete heavy atoms and return what was done."""
    lines = []
    fixer.findMissingResidues()
    lengths = [len(list(chain.residues())) for chain in fixer.topology.chains()]
    inner = {
        (chain, place): names
        for (chain, place), names in fixer.missingResidues.items()
        if 0 < place < lengths[chain]
    }
    fixer.missingResidues = inner if build_missing_residues else {}
    if build_missing_residues:
        lines += [f"built the missing residues {'-'.join(names)}" for names in inner.values()]

    fixer.findNonstandardResidues()
    lines += [
        f"replaced {residue_label(residue)} by {standard}"
        for residue, standard in fixer.nonstandardResidues
    ]
    fixer.replaceNonstandardResidues()

    dropped = [
        residue
        for residue in fixer.topology.residues()
        if (not keep_water if is_water(residue) else not keep_heterogens and _is_heterogen(residue))
    ]
    lines += removal_lines(dropped)
    modeller = app.Modeller(fixer.topology, fixer.positions)
    modeller.delete(dropped)
    fixer.topology, fixer.positions = modeller.topology, modeller.positions
    if fixer.topology.getNumAtoms() == 0:
        raise ValueError(
            f"{path} has no protein or nucleic acid ({'; '.join(lines)}): "
            "pass keep_heterogens=True for a ligand that the force field knows"
        )

    fixer.findMissingAtoms()
    added: Counter[str] = Counter()
    for missing in (fixer.missingAtoms, fixer.missingTerminals):
        added.update({residue_label(residue): len(atoms) for residue, atoms in missing.items()})
    lines += [
        f"added {count} heavy atom{'s' if count > 1 else ''} to {residue}"
        for residue, count in added.items()
    ]
    if added or fixer.missingResidues:
        present = {_place(atom) for atom in fixer.topology.atoms()}
        fixer.addMissingAtoms(seed=seed + 1)  # OpenMM takes 0 for "choose one at random"
        _place_terminal_oxygens(fixer, present)
    _refuse_gaps(fixer, path)
    return lines


def _place(atom: app.Atom) -> tuple[int, str, str, str]:
    residue = atom.residue
    return residue.chain.index, residue.id, residue.insertionCode, atom.name


def _place_terminal_oxygens(fixer: PDBFixer, present: set[tuple[int, str, str, str]]) -> None:
    """Put oxygens added at chains' ends into the carboxylates' planes: PDBFixer's are not."""
    x = positions_in_nanometers(fixer.positions, fixer.topology.getNumAtoms())
    for residue in fixer.topology.residues():
        atoms = {atom.name: atom for atom in residue.atoms()}
        if {"CA", "C", "O", "OXT"} <= atoms.keys() and _place(atoms["OXT"]) not in present:
            alpha, carbon, oxygen = (x[atoms[name].index] for name in ("CA", "C", "O"))
            x[atoms["OXT"].index] = carboxylate_oxygen(alpha, carbon, oxygen)
    fixer.positions = x * unit.nanometer


def ca_only_residues(topology: app.Topology) -> tuple[int, int]:
    """Count the amino acids that have no backbone but their CA atom, and all amino acids.

    Parameters
    ----------
    topology : openmm.app.Topology

    Returns
    -------
    int, int
    """
    sizes = [
        {atom.name for atom in residue.atoms()}
        for residue in topology.residues()
        if residue.name in proteinResidues
    ]
    return sum("CA" in names and not names & {"N", "C"} for names in sizes), len(sizes)


def _refuse_ca_trace(topology: app.Topology, path: Path) -> None:
    """Raise where most amino acids are CA atoms alone, which no repair can complete."""
    traced, residues = ca_only_residues(topology)
    if 2 * traced > residues:
        raise ValueError(
            f"{path} has only the CA atoms of {traced} of its {residues} amino acids' backbones: "
            "a force field needs all atoms, and no backbone is built here from CA alone. Rebuild "
            "an all-atom model first (PULCHRA rebuilds backbone and side chains, SCWRL4 side "
            "chains on a backbone), or take the all-atom output of the prediction (AlphaFold and "
            "ColabFold write one)."
        )


def _is_heterogen(residue: app.Residue) -> bool:
    """Return whether a residue belongs neither to a protein nor to a nucleic acid."""
    names = {atom.name for atom in residue.atoms()}
    in_protein = {"N", "CA", "C"} <= names or residue.name in _CAPS
    return not in_protein and residue.name not in _NUCLEOTIDES


def _refuse_gaps(fixer: PDBFixer, path: Path) -> None:
    """Raise where a peptide bond spans residues that are not there."""
    x = positions_in_nanometers(fixer.positions, fixer.topology.getNumAtoms())
    for first, second in fixer.topology.bonds():
        length = np.linalg.norm(x[first.index] - x[second.index])
        if {first.name, second.name} == {"C", "N"} and length > _LONGEST_PEPTIDE_BOND:
            raise ValueError(
                f"{path}: {residue_label(first.residue)} and {residue_label(second.residue)} of "
                f"chain {first.residue.chain.id} are bonded but {length:.2f} nm apart, so residues "
                "are missing between them: pass build_missing_residues=True (where the file has "
                "the sequence) or split the chain there"
            )
