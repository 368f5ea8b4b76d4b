"""Small molecules made ready to minimize, and what a minimization did to their chemistry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..constants import ANGSTROM
from ..structure.molecule_parts import set_apart

__all__ = [
    "bonds_by_distance",
    "complete_ligand",
    "ligand_changes",
    "positions_of",
    "stereo_labels",
    "unsupported",
    "with_positions",
]

# Atoms are bonded up to this multiple of the sum of their covalent radii; RDKit's limit, too.
BONDED = 1.3
# Atoms with a common neighbour are nearer to each other than strangers: 0.187 nm across
# bicyclo[1.1.1]pentane. They count as bonded only where they are as near as in a ring of three.
BONDED_GEMINAL = 1.12
# Elements with parameters, by potential.
_MMFF = frozenset((1, 3, 6, 7, 8, 9, 11, 12, 14, 15, 16, 17, 19, 20, 26, 29, 30, 35, 53))
_GAFF = frozenset((1, 6, 7, 8, 9, 15, 16, 17, 35, 53))
_ANI = frozenset((1, 6, 7, 8))
_XTB_HEAVIEST = 86
_EMBEDDING_TRIES = 200


def complete_ligand(molecule: Any, seed: int = 0) -> tuple[Any, list[str]]:
    """Add what a molecule lacks: hydrogens, and a conformer where it has none in 3D.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        Its bond orders, charges, stereo, title and properties are kept. New hydrogens come last.
    seed : int
        Of the conformer.

    Returns
    -------
    rdkit.Chem.Mol
        A new one.
    list of str
        What was done, such as ``"added 8 hydrogens"``.

    Raises
    ------
    ValueError
        There is no conformer with this stereo (a bridge that cannot be closed, say).

    References
    ----------
    Riniker and Landrum, J. Chem. Inf. Model. 2015, 55, 2562 (ETKDG).

    Examples
    --------
    >>> from rdkit import Chem
    >>> complete_ligand(Chem.MolFromSmiles("CO"))[1]
    ['added 4 hydrogens', 'made a conformer by ETKDG']
    """
    from rdkit import Chem

    embedded = not _is_flat(molecule)
    whole = Chem.AddHs(molecule, addCoords=embedded)
    notes = []
    added = whole.GetNumAtoms() - molecule.GetNumAtoms()
    if added:
        notes.append(f"added {added} hydrogen{'s' * (added > 1)}")
    if embedded:
        Chem.AssignStereochemistryFrom3D(whole)
        return whole, notes
    open_centres = _unspecified_stereo(whole)
    _embed(whole, seed)
    notes.append("made a conformer by ETKDG")
    labels = stereo_labels(whole)
    taken = [f"{place} {labels[place]}" for place in open_centres if place in labels]
    if taken:
        notes.append(f"stereo not given in the input, chosen at random: {', '.join(taken)}")
    return whole, notes


def _is_flat(molecule: Any) -> bool:
    """Return whether a molecule has no conformer in three dimensions."""
    if not molecule.GetNumConformers():
        return True
    conformer = molecule.GetConformer()
    if np.ptp(conformer.GetPositions(), axis=0).min() > 1e-3:
        return False
    if molecule.GetNumAtoms() <= 3:  # a plane holds any three atoms
        return not conformer.Is3D()
    solid = any(atom.GetTotalDegree() > 3 for atom in molecule.GetAtoms())
    return solid or not conformer.Is3D()


def _embed(molecule: Any, seed: int) -> None:
    from rdkit import rdBase
    from rdkit.Chem import rdDistGeom

    _quiet = rdBase.BlockLogs()  # until the function ends
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed + 1
    parameters.maxIterations = _EMBEDDING_TRIES
    if rdDistGeom.EmbedMolecule(molecule, parameters) != 0:
        parameters.useRandomCoords = True  # for what distance bounds alone do not find
        if rdDistGeom.EmbedMolecule(molecule, parameters) != 0:
            raise ValueError(
                "no conformer could be made: is its stereo possible? Pass a file with 3D "
                "coordinates"
            )
    set_apart(molecule)


def _unspecified_stereo(molecule: Any) -> list[str]:
    """Return the places whose stereo the input leaves open."""
    from rdkit import Chem

    found = []
    for element in Chem.FindPotentialStereo(Chem.Mol(molecule)):
        if element.specified == Chem.StereoSpecified.Unspecified:
            if element.type == Chem.StereoType.Atom_Tetrahedral:
                found.append(_atom_name(molecule, element.centeredOn))
            elif element.type == Chem.StereoType.Bond_Double:
                found.append(_bond_name(molecule.GetBondWithIdx(element.centeredOn)))
    return found


def positions_of(molecule: Any) -> np.ndarray:
    """Return the positions of a molecule's conformer, (N, 3) in nm."""
    return np.array(molecule.GetConformer().GetPositions()) * ANGSTROM


def with_positions(molecule: Any, positions: np.ndarray) -> Any:
    """Return a copy of a molecule with other positions.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        With a conformer.
    positions : (N, 3) array
        In nm.

    Returns
    -------
    rdkit.Chem.Mol
    """
    from rdkit import Chem

    copy = Chem.Mol(molecule)
    conformer = copy.GetConformer()
    conformer.Set3D(True)
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=float) / ANGSTROM)
    return copy


def stereo_labels(molecule: Any) -> dict[str, str]:
    """Return the stereo of a molecule's conformer.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        With a conformer in 3D.

    Returns
    -------
    dict of str to str
        R or S of an atom (or the sense, for want of a CIP label), E or Z of a double bond.

    Examples
    --------
    >>> from rdkit import Chem
    >>> alanine, _ = complete_ligand(Chem.MolFromSmiles("C[C@H](N)C(=O)O"))
    >>> stereo_labels(alanine)
    {'C2': 'S'}
    """
    from rdkit import Chem

    copy = Chem.Mol(molecule)
    Chem.AssignStereochemistryFrom3D(copy, replaceExistingTags=True)
    labels = {}
    for atom in copy.GetAtoms():
        if atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED:
            sense = atom.GetPropsAsDict().get("_CIPCode", str(atom.GetChiralTag()))
            labels[_atom_name(copy, atom.GetIdx())] = sense
    for bond in copy.GetBonds():
        if bond.GetStereo() > Chem.BondStereo.STEREOANY:
            labels[_bond_name(bond)] = str(bond.GetStereo()).removeprefix("STEREO")
    return labels


def bonds_by_distance(molecule: Any, positions: np.ndarray) -> set[tuple[int, int]]:
    """Return the pairs of atoms that are as near as bonded ones.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
    positions : (N, 3) array
        In nm.

    Returns
    -------
    set of (int, int)
        The lower index first.
    """
    from rdkit import Chem

    table = Chem.GetPeriodicTable()
    radii = [table.GetRcovalent(atom.GetAtomicNum()) for atom in molecule.GetAtoms()]
    sums = np.add.outer(radii, radii) * ANGSTROM
    bonded = Chem.GetAdjacencyMatrix(molecule)
    geminal = (bonded @ bonded > 0) & (bonded == 0)
    limits = sums * np.where(geminal, BONDED_GEMINAL, BONDED)
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    near = np.triu(distances < limits, 1)
    return {(int(i), int(j)) for i, j in np.argwhere(near)}


def ligand_changes(molecule: Any, positions: np.ndarray) -> list[str]:
    """Compare the stereo and the bonds of new positions with those of a molecule.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        As it was before, with its conformer.
    positions : (N, 3) array
        Afterwards, in nm.

    Returns
    -------
    list of str
        What changed, such as ``"C2 R -> S"`` or ``"bond O3-H9 broken"``; empty if nothing did.
    """
    before, after = stereo_labels(molecule), stereo_labels(with_positions(molecule, positions))
    changes = [
        f"{place} {before.get(place, 'no stereo')} -> {after.get(place, 'no stereo')}"
        for place in dict.fromkeys([*before, *after])
        if before.get(place) != after.get(place)
    ]
    graph = {tuple(sorted(_ends(bond))) for bond in molecule.GetBonds()}
    first = bonds_by_distance(molecule, positions_of(molecule))
    last = bonds_by_distance(molecule, positions)

    def named(pair: Sequence[int]) -> str:
        return "-".join(_atom_name(molecule, atom) for atom in pair)

    changes += [f"bond {named(pair)} broken" for pair in sorted(graph - last)]
    changes += [f"bond {named(pair)} formed" for pair in sorted(last - first - graph)]
    return changes


def unsupported(molecule: Any, potential: str) -> str | None:
    """Say why a potential cannot describe a molecule, and which one can.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        With all hydrogens.
    potential : str
        "mmff", "gaff", "gfn1", "gfn2", "gfnff", "ani1ccx" or "ani1x".

    Returns
    -------
    str or None
        None if it can, as far as the molecule alone tells.

    Examples
    --------
    >>> from rdkit import Chem
    >>> unsupported(Chem.MolFromSmiles("[H]B([H])[H]"), "mmff")
    'MMFF94 has no parameters for B: take --potential gfn2'
    """
    advice = "take --potential gfn2"
    name, known = {
        "mmff": ("MMFF94", _MMFF),
        "gaff": ("GAFF2", _GAFF),
        "ani1ccx": ("ANI-1ccx", _ANI),
        "ani1x": ("ANI-1x", _ANI),
    }.get(potential, (potential, range(1, _XTB_HEAVIEST + 1)))
    foreign = sorted(
        {atom.GetSymbol() for atom in molecule.GetAtoms() if atom.GetAtomicNum() not in known}
    )
    if potential in ("gfn1", "gfn2", "gfnff"):
        return f"{name} has no parameters for {', '.join(foreign)}" if foreign else None
    if foreign:
        return f"{name} has no parameters for {', '.join(foreign)}: {advice}"
    if any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()):
        return f"{name} is for closed shells, and this is a radical: {advice}"
    if potential.startswith("ani") and _charge(molecule):
        return f"{name} is for neutral molecules, and the charge is {_charge(molecule)}: {advice}"
    if potential == "gaff":
        return _not_for_gaff(molecule)
    if potential == "mmff":
        from rdkit.Chem import rdForceFieldHelpers

        if not rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
            return f"MMFF94 has no atom type for an atom of this molecule: {advice}"
    return None


def _not_for_gaff(molecule: Any) -> str | None:
    from rdkit import Chem

    pieces = len(Chem.GetMolFrags(molecule))
    if pieces > 1:
        return (
            f"GAFF2 parameters are made for one molecule, and these are {pieces} (a salt?): remove "
            "the others, or take --potential mmff"
        )
    if molecule.GetNumAtoms() < 2 or not any(a.GetAtomicNum() == 6 for a in molecule.GetAtoms()):
        return "GAFF2 is for organic molecules, and this has no carbon: take --potential gfn2"
    return None


def _charge(molecule: Any) -> int:
    return sum(atom.GetFormalCharge() for atom in molecule.GetAtoms())


def _ends(bond: Any) -> Sequence[int]:
    return bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()


def _atom_name(molecule: Any, index: int) -> str:
    """Return element and number in the file, from 1."""
    return f"{molecule.GetAtomWithIdx(int(index)).GetSymbol()}{int(index) + 1}"


def _bond_name(bond: Any) -> str:
    return "=".join(_atom_name(bond.GetOwningMol(), end) for end in _ends(bond))
