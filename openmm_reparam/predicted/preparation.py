"""From the chosen atoms of a predicted structure to a molecule with all atoms and its System."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from itertools import count

import numpy as np
from openmm import app, unit
from pdbfixer import PDBFixer
from pdbfixer.pdbfixer import proteinResidues
from scipy.spatial import cKDTree

from ..geometry.placement import carboxylate_oxygen
from ..prepare.molecular_system import MolecularSystem
from ..prepare.system_builder import (
    add_hydrogens,
    explained_template_errors,
    load_forcefield,
)
from ..structure.selections import is_heavy
from ..units import positions_in_nanometers
from .atom_records import AtomRecord, ResidueKey, residue_name
from .hydrogens import with_hydrogens
from .selection import SelectedResidue, Selection, element_of

__all__ = ["PreparedPrediction", "prepare_prediction"]

# nm. Residues whose numbers follow each other are bonded up to the second distance: a prediction's
# bond may be far too long, and relaxation closes it.
_LONGEST_BOND, _LONGEST_BOND_IN_SEQUENCE = 0.25, 0.6
# Angstrom, up to which atoms stand on one spot.
_ONE_SPOT = 0.001


@dataclass(frozen=True)
class PreparedPrediction:
    """A predicted structure with all its atoms.

    Attributes
    ----------
    molecule : MolecularSystem
    residues : list of SelectedResidue
        One for each residue of its topology.
    notes : tuple of str
        What was added, and where chains are broken.
    """

    molecule: MolecularSystem
    residues: list[SelectedResidue]
    notes: tuple[str, ...]

    def replaced_atoms(self, positions: np.ndarray) -> dict[int, list[AtomRecord]]:
        """Return what to write in the place of each row of the file.

        Parameters
        ----------
        positions : (N, 3) array in nm

        Returns
        -------
        dict of int to list of AtomRecord
        """
        written: dict[int, list[AtomRecord]] = {}
        for residue, selected in zip(self.molecule.topology.residues(), self.residues, strict=True):
            atoms = {atom.name: atom for atom in residue.atoms()}
            kept = [
                replace(record, position=_angstroms(positions[atoms[name].index]))
                for name, record in selected.atoms.items()
                if name in atoms
            ]
            pattern = selected.atoms.get("CA", kept[0])
            added = [
                replace(
                    pattern,
                    name=name,
                    element=atom.element.symbol,
                    residue=selected.key,
                    position=_angstroms(positions[atom.index]),
                )
                for name, atom in atoms.items()
                if name not in selected.atoms
            ]
            written |= {record.row: [record] for record in kept}
            written[kept[-1].row] = [kept[-1], *added]
        return written


def prepare_prediction(
    selection: Selection, *, name: str, forcefield: str, ph: float = 7.0, seed: int = 0
) -> PreparedPrediction:
    """Add missing atoms and hydrogens, and make the System with bonds to hydrogen constrained.

    Parameters
    ----------
    selection : Selection
    name : str
        What errors call the structure.
    forcefield : str
        A file that OpenMM ships, or the path of your own.
    ph : float
        Decides which hydrogens are added.
    seed : int
        Of the places of added atoms.

    Returns
    -------
    PreparedPrediction

    Raises
    ------
    ValueError
        The force field does not know a residue, or an atom in it; or two atoms stand on one spot.
    """
    _refuse_one_spot(selection.residues)
    segments, notes = _segments(selection.residues)
    segments, lone = _without_single_residues(segments)
    topology, x, residues, more = _topology(segments)
    topology, x, added = _with_missing_atoms(topology, x, seed)
    field = _forcefield(forcefield)
    with explained_template_errors(topology, name):
        topology, x, hydrogens = _with_hydrogens(
            topology, x, field, ph, seed, [residue.state for residue in residues]
        )
        system = field.createSystem(topology, constraints=app.HBonds)
    molecule = MolecularSystem(name, topology, system, x * unit.nanometer)
    return PreparedPrediction(molecule, residues, (*notes, *lone, *more, *added, *hydrogens))


def _refuse_one_spot(residues: Sequence[SelectedResidue]) -> None:
    """Refuse atoms between which no force has a direction."""
    atoms = [(residue, name) for residue in residues for name in residue.atoms]
    places = [residue.atoms[name].position for residue, name in atoms]
    pairs = cKDTree(places).query_pairs(_ONE_SPOT) if places else ()
    if pairs:
        first, second = (
            f"{name} of {residue_name(residue.key)}"
            for residue, name in (atoms[place] for place in min(pairs))
        )
        more = f", and {len(pairs) - 1} more pairs" if len(pairs) > 1 else ""
        raise ValueError(f"{first} and {second} stand on one spot{more}: move or leave out one")


@cache
def _forcefield(file: str) -> app.ForceField:
    return load_forcefield(file)


@cache
def _fixer() -> PDBFixer:
    """Return a PDBFixer with its templates read; its structure is to be replaced."""
    line = "ATOM      1  CA  GLY A   1       0.000   0.000   0.000  1.00  0.00           C  \n"
    return PDBFixer(pdbfile=io.StringIO(line))


def _angstroms(position: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (10.0 * position).tolist()
    return x, y, z


def _segments(
    residues: Sequence[SelectedResidue],
) -> tuple[list[list[SelectedResidue]], list[str]]:
    """Return the unbroken pieces of chains, and lines about the breaks."""
    segments: list[list[SelectedResidue]] = []
    notes = []
    for residue in residues:
        if segments and segments[-1][-1].key.chain == residue.key.chain:
            before = segments[-1][-1]
            if not _is_broken(before, residue):
                segments[-1].append(residue)
                continue
            notes.append(
                f"chain break between {residue_name(before.key)} and {residue_name(residue.key)}: "
                "both are relaxed as ends of chains"
            )
        segments.append([residue])
    return segments, notes


def _without_single_residues(
    segments: Sequence[list[SelectedResidue]],
) -> tuple[list[list[SelectedResidue]], list[str]]:
    """Leave out pieces of one residue: Amber's force fields have none that is both ends."""
    kept = [segment for segment in segments if len(segment) > 1]
    lone = [
        f"left out {residue_name(segment[0].key)}, which is bonded to no other residue"
        for segment in segments
        if len(segment) == 1
    ]
    if not kept:
        raise ValueError(f"there are no two residues that are bonded ({'; '.join(lone[:5])})")
    return kept, lone


def _is_broken(before: SelectedResidue, after: SelectedResidue) -> bool:
    if "C" not in before.atoms or "N" not in after.atoms:
        return False
    ends = np.array([before.atoms["C"].position, after.atoms["N"].position]) / 10.0
    apart = float(np.linalg.norm(ends[0] - ends[1]))
    limit = _LONGEST_BOND_IN_SEQUENCE if _follows(before.key, after.key) else _LONGEST_BOND
    return apart > limit


def _follows(before: ResidueKey, after: ResidueKey) -> bool:
    """Return whether a residue's number follows another's, with insertion codes or without."""
    try:
        return int(after.number) - int(before.number) in (0, 1)
    except ValueError:
        return False


def _topology(
    segments: Sequence[Sequence[SelectedResidue]],
) -> tuple[app.Topology, np.ndarray, list[SelectedResidue], list[str]]:
    """Return the topology and positions (nm) of the segments, with the oxygens of chain ends.

    Hydrogens that no residue of this name has, and atoms of modified residues that the standard one
    has not, are left out.
    """
    residues = [residue for segment in segments for residue in segment]
    topology, positions = _built(segments)
    unbonded = _unbonded(topology)
    notes = []
    if unbonded:
        _refuse_strange_atoms(unbonded, residues)
        hydrogens = sum(not is_heavy(atom) for atom in unbonded)
        notes += [f"removed {hydrogens} hydrogens of unknown names"] if hydrogens else []
        segments = _without(segments, {(atom.residue.index, atom.name) for atom in unbonded})
        residues = [residue for segment in segments for residue in segment]
        topology, positions = _built(segments)
    ends = [segment[-1] for segment in segments if _terminal_oxygen(segment[-1]) is not None]
    notes += [f"added OXT to {residue_name(residue.key)}" for residue in ends]
    return topology, positions, residues, notes


def _refuse_strange_atoms(unbonded: list[app.Atom], residues: list[SelectedResidue]) -> None:
    """Raise where a residue has a heavy atom that it should not have."""
    for atom in unbonded:
        residue = residues[atom.residue.index]
        if is_heavy(atom) and not residue.replaced:
            raise ValueError(
                f"{residue_name(residue.key)} has an atom {atom.name}, which {residue.name} has "
                "not: rename or remove it"
            )


def _without(
    segments: Sequence[Sequence[SelectedResidue]], dropped: set[tuple[int, str]]
) -> list[list[SelectedResidue]]:
    """Return the segments without these atoms, given by the residue's index and the name."""
    index = count()
    return [
        [
            replace(
                residue,
                atoms={name: a for name, a in residue.atoms.items() if (k, name) not in dropped},
            )
            for residue, k in zip(segment, index, strict=False)
        ]
        for segment in segments
    ]


def _built(
    segments: Sequence[Sequence[SelectedResidue]],
) -> tuple[app.Topology, np.ndarray]:
    topology = app.Topology()
    positions: list[np.ndarray] = []
    for segment in segments:
        chain = topology.addChain(segment[0].key.chain)
        for selected in segment:
            key = selected.key
            residue = topology.addResidue(selected.name, chain, key.number, key.insertion_code)
            for name, record in selected.atoms.items():
                topology.addAtom(name, element_of(record), residue)
                positions.append(np.array(record.position) / 10.0)
        oxygen = _terminal_oxygen(segment[-1])
        if oxygen is not None:
            topology.addAtom("OXT", app.element.oxygen, residue)
            positions.append(oxygen)
    x = np.array(positions)
    topology.createStandardBonds()
    topology.createDisulfideBonds(x * unit.nanometer)
    return topology, x


def _terminal_oxygen(residue: SelectedResidue) -> np.ndarray | None:
    """Return where the second oxygen of an amino acid at a chain's end goes, in nm."""
    wanted = residue.name in proteinResidues and "OXT" not in residue.atoms
    if not wanted or not {"CA", "C", "O"} <= set(residue.atoms):
        return None
    return carboxylate_oxygen(
        *(np.array(residue.atoms[name].position) / 10.0 for name in ("CA", "C", "O"))
    )


def _unbonded(topology: app.Topology) -> list[app.Atom]:
    bonded = {atom for bond in topology.bonds() for atom in (bond[0], bond[1])}
    return [atom for atom in topology.atoms() if atom not in bonded]


def _with_missing_atoms(
    topology: app.Topology, x: np.ndarray, seed: int
) -> tuple[app.Topology, np.ndarray, list[str]]:
    """Return topology and positions (nm) with all heavy atoms, and lines about those added."""
    fixer = copy(_fixer())
    fixer.topology, fixer.positions = topology, x * unit.nanometer
    fixer.sequences, fixer.modifiedResidues, fixer.missingResidues = [], [], {}
    fixer.findMissingAtoms()
    missing = Counter(
        {residue: len(atoms) for residue, atoms in fixer.missingAtoms.items()}
    ) + Counter({residue: len(atoms) for residue, atoms in fixer.missingTerminals.items()})
    if not missing:
        return topology, x, []
    notes = [
        f"added {count} missing heavy atom{'s' if count > 1 else ''} to "
        f"{residue.chain.id}:{residue.name} {residue.id}{residue.insertionCode.strip()}"
        for residue, count in missing.items()
    ]
    fixer.addMissingAtoms(seed=seed + 1)  # OpenMM takes 0 for "choose one at random"
    completed = positions_in_nanometers(fixer.positions, fixer.topology.getNumAtoms())
    return fixer.topology, completed, notes


def _with_hydrogens(
    topology: app.Topology,
    x: np.ndarray,
    field: app.ForceField,
    ph: float,
    seed: int,
    states: Sequence[str | None],
) -> tuple[app.Topology, np.ndarray, list[str]]:
    """Return topology and positions (nm) with hydrogens; those that are there are kept."""
    if any(atom.element is app.element.hydrogen for atom in topology.atoms()):
        modeller = app.Modeller(topology, x * unit.nanometer)
        lines = add_hydrogens(modeller, field, ph=ph, seed=seed, states=states)
        size = modeller.topology.getNumAtoms()
        return modeller.topology, positions_in_nanometers(modeller.positions, size), lines
    completed, positions = with_hydrogens(topology, x, ph, states)
    count = completed.getNumAtoms() - topology.getNumAtoms()
    return completed, positions, [f"added {count} hydrogens"]
