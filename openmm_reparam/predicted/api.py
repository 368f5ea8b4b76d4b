"""Relax a predicted structure: text in, text and a report out."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from openmm import app

from ..structure.residues import residue_labels
from ..structure.selections import is_heavy
from ..structure.stereochemistry import Stereochemistry
from ..structure.violations import find_violations
from ..units import positions_in_nanometers
from .atom_records import StructureText, residue_name
from .preparation import PreparedPrediction, prepare_prediction
from .protocol import RelaxationSettings, Relaxed, relax_molecule
from .report import RelaxationReport, StructureState
from .scores import structure_scores
from .selection import select_atoms
from .violating_residues import violating_residues

__all__ = ["RelaxedPrediction", "relax_prediction", "relax_structure", "structure_text"]


def relax_prediction(
    text: str, *, name: str = "prediction", **settings: Any
) -> tuple[str, RelaxationReport]:
    """Relax a predicted structure as AlphaFold and ColabFold do, and keep its metadata.

    Hydrogens and missing atoms are added, and rounds of restrained minimization release residues
    with violations (`protocol.relax_molecule`). All atoms that stay keep their B-factors (pLDDT),
    occupancies, chain, residue number and insertion code, segment, element and order, and the
    file its other records; in mmCIF all other categories and columns stay.

    Parameters
    ----------
    text : str
        Of a PDB or mmCIF file; which of them it is, is seen from it.
    name : str
        What the report and errors call the structure.
    **settings
        Attributes of `protocol.RelaxationSettings`: ``tolerance``, ``restraint``, ``max_rounds``,
        ``platform``, ``threads`` and others.

    Returns
    -------
    str
        Of the same format. Waters, ligands and all models but the first are left out; the report
        says so.
    RelaxationReport

    Raises
    ------
    TypeError
        A setting is unknown, or the text is no string.
    ValueError
        The text has no atoms, coordinates that cannot be read, only CA atoms, or a residue
        without parameters; which one is said.

    References
    ----------
    Jumper, J. et al. Highly accurate protein structure prediction with AlphaFold. Nature 2021,
    596, 583 (supplementary information, section 1.8.6).

    Examples
    --------
    >>> import io
    >>> from openmm.app import PDBFile
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule, file = peptide("GAG"), io.StringIO()
    >>> PDBFile.writeFile(molecule.topology, molecule.positions, file)
    >>> relaxed, report = relax_prediction(file.getvalue(), platform="Reference")
    >>> report.converged, report.after.violations.total
    (True, 0)
    """
    relaxed = relax_structure(text, name=name, **settings)
    return relaxed.text, relaxed.report


@dataclass(frozen=True, eq=False)
class RelaxedPrediction:
    """A relaxed prediction with what its pictures are drawn from.

    Attributes
    ----------
    text : str
    report : RelaxationReport
    topology : openmm.app.Topology
        With all atoms.
    start, end : (N, 3) array
        In nm.
    histories : tuple of structured array
        Of each round, see `MinimizationResult`.
    """

    text: str
    report: RelaxationReport
    topology: app.Topology
    start: np.ndarray
    end: np.ndarray
    histories: tuple[np.ndarray, ...]


def relax_structure(text: str, *, name: str = "prediction", **settings: Any) -> RelaxedPrediction:
    """Relax a prediction as `relax_prediction`, and keep the structures and histories.

    Parameters
    ----------
    text : str
    name : str
    **settings

    Returns
    -------
    RelaxedPrediction

    Raises
    ------
    TypeError, ValueError
        As `relax_prediction`.
    """
    chosen = _settings(settings)
    began = time.perf_counter()
    source = structure_text(text)
    selection = select_atoms(source.records)
    prepared = prepare_prediction(
        selection, name=name, forcefield=chosen.forcefield, ph=chosen.ph, seed=chosen.seed
    )
    seconds = {"preparation": time.perf_counter() - began}
    relaxed = relax_molecule(prepared.molecule, chosen)
    seconds["minimization"] = sum(entry.seconds for entry in relaxed.rounds)
    began = time.perf_counter()
    report = _report(name, prepared, relaxed, selection.notes, chosen, seconds)
    written = source.with_atoms(prepared.replaced_atoms(relaxed.positions))
    seconds["scores"] = time.perf_counter() - began
    topology = prepared.molecule.topology
    start = positions_in_nanometers(prepared.molecule.positions, topology.getNumAtoms())
    return RelaxedPrediction(written, report, topology, start, relaxed.positions, relaxed.histories)


def structure_text(text: str) -> StructureText:
    """Read the atoms of a PDB or mmCIF file.

    Parameters
    ----------
    text : str

    Returns
    -------
    StructureText

    Raises
    ------
    TypeError
        It is no string.
    ValueError
        It is empty or cannot be read.
    """
    if not isinstance(text, str):
        raise TypeError(f"the text of a PDB or mmCIF file is needed, not {type(text).__name__}")
    text = text.removeprefix("\ufeff")  # editors of Windows mark UTF-8 by it
    if not text.strip():
        raise ValueError("the file is empty")
    if any(line.startswith("data_") for line in text.splitlines()):
        from .cif_text import CifText

        return CifText(text)
    from .pdb_text import PdbText

    return PdbText(text)


def _settings(settings: dict[str, Any]) -> RelaxationSettings:
    known = [field.name for field in fields(RelaxationSettings)]
    for name in settings:
        if name not in known:
            raise TypeError(f"{name} is no setting of a relaxation: there are {', '.join(known)}")
    return RelaxationSettings(**settings)


def _report(
    name: str,
    prepared: PreparedPrediction,
    relaxed: Relaxed,
    notes: tuple[str, ...],
    settings: RelaxationSettings,
    seconds: dict[str, float],
) -> RelaxationReport:
    molecule = prepared.molecule
    topology = molecule.topology
    start = positions_in_nanometers(molecule.positions, topology.getNumAtoms())
    end = relaxed.positions
    from_file = _atoms_of_the_file(prepared)
    shifts = (end - start)[from_file]
    stereochemistry = Stereochemistry(topology)
    chains = {residue.key.chain for residue in prepared.residues}
    return RelaxationReport(
        name=name,
        atoms=topology.getNumAtoms(),
        residues=topology.getNumResidues(),
        chains=len(chains),
        converged=relaxed.converged,
        stopped=relaxed.stopped,
        before=_state(prepared, start, relaxed.initial_energy, stereochemistry),
        after=_state(prepared, end, relaxed.final_energy, stereochemistry),
        rounds=relaxed.rounds,
        released=_labels(topology, relaxed.released),
        turned=_labels(topology, relaxed.turned),
        notes=(*notes, *prepared.notes),
        stereo_changes=tuple(stereochemistry.changes(start, end)),
        disulfides=_disulfides(prepared),
        rmsd=10.0 * float(np.sqrt((shifts**2).sum(axis=1).mean())),
        force_evaluations=sum(entry.force_evaluations for entry in relaxed.rounds),
        seconds=seconds,
        settings=settings,
    )


def _state(
    prepared: PreparedPrediction,
    x: np.ndarray,
    energy: float,
    stereochemistry: Stereochemistry,
) -> StructureState:
    molecule = prepared.molecule
    violating = violating_residues(molecule.topology, molecule.system, x)
    return StructureState(
        find_violations(molecule.topology, x, molecule.system, stereochemistry=stereochemistry),
        structure_scores(molecule.topology, x),
        _labels(molecule.topology, violating),
        energy,
    )


def _labels(topology: app.Topology, indices: frozenset[int]) -> tuple[str, ...]:
    labels = residue_labels(topology.residues())
    return tuple(label for residue, label in labels.items() if residue.index in indices)


def _atoms_of_the_file(prepared: PreparedPrediction) -> np.ndarray:
    """Return the indices of the heavy atoms that the file had."""
    residues = zip(prepared.molecule.topology.residues(), prepared.residues, strict=True)
    return np.array(
        [
            atom.index
            for residue, selected in residues
            for atom in residue.atoms()
            if atom.name in selected.atoms and is_heavy(atom)
        ],
        dtype=int,
    )


def _disulfides(prepared: PreparedPrediction) -> tuple[str, ...]:
    pairs = sorted(
        sorted(atom.residue.index for atom in (bond[0], bond[1]))
        for bond in prepared.molecule.topology.bonds()
        if bond[0].name == bond[1].name == "SG"
    )
    return tuple(
        "-".join(residue_name(prepared.residues[index].key) for index in pair) for pair in pairs
    )
