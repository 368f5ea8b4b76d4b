"""All-atom clashes as MolProbity counts them, hydrogens included."""

from __future__ import annotations

import numpy as np
from openmm import app

from ..geometry.neighbors import near_pairs
from ..structure.outliers import bonded_within, pair_keys

__all__ = ["clashscore"]

# Radii in nm of the program Probe for hydrogens at the places of their nuclei.
_RADII = {"H": 0.117, "C": 0.170, "N": 0.155, "O": 0.140, "S": 0.180, "P": 0.180, "Se": 0.190}
_POLAR_OR_AROMATIC_HYDROGEN = 0.100
_CARBONYL_CARBON = 0.165
_CARBONYLS = {("ASP", "CG"), ("ASN", "CG"), ("GLU", "CD"), ("GLN", "CD")}
_RINGS = {
    "PHE": {"CD1", "CD2", "CE1", "CE2", "CZ"},
    "TYR": {"CD1", "CD2", "CE1", "CE2"},
    "TRP": {"CD1", "CE3", "CZ2", "CZ3", "CH2"},
    "HIS": {"CD2", "CE1"},
}

# Overlaps in nm: more is a clash; this much more is allowed in a hydrogen bond.
_OVERLAP = 0.04
_HYDROGEN_BOND = 0.06


def clashscore(topology: app.Topology, x: np.ndarray) -> float:
    """Return the clashes of all atoms, hydrogens too, in 1000 atoms.

    Parameters
    ----------
    topology : openmm.app.Topology
    x : (N, 3) array in nm

    Returns
    -------
    float

    Notes
    -----
    A clash is a pair of atoms that overlap by 0.04 nm or more. Pairs up to three bonds apart do
    not count, nor those up to four bonds apart with a hydrogen. Of a hydrogen of N, O or S with an
    N, O or S the overlap may be 0.06 nm larger. Of the program Probe the rules are kept (Word et
    al., J. Mol. Biol. 1999, 285, 1711), not the dots: distances of nuclei and radii decide.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("AAA")
    >>> clashscore(molecule.topology, molecule.positions._value)
    0.0
    """
    atoms = list(topology.atoms())
    if not atoms:
        return 0.0
    radii, polar = _radii(topology, atoms)
    hydrogen = np.array([_symbol(atom) == "H" for atom in atoms])
    acceptor = np.array([_symbol(atom) in ("N", "O", "S") for atom in atoms])
    i, j, vectors = near_pairs(x, 2 * radii.max() - _OVERLAP, None)
    overlaps = radii[i] + radii[j] - np.linalg.norm(vectors, axis=1)
    bonded = (polar[i] & acceptor[j]) | (polar[j] & acceptor[i])
    clash = (overlaps >= _OVERLAP + _HYDROGEN_BOND * bonded) & (radii[i] > 0) & (radii[j] > 0)
    i, j = i[clash], j[clash]
    keys, with_hydrogen = pair_keys(i, j, len(atoms)), hydrogen[i] | hydrogen[j]
    near = np.isin(keys, bonded_within(topology, 3)) | (
        with_hydrogen & np.isin(keys, bonded_within(topology, 4))
    )
    return 1000.0 * float((~near).sum()) / len(atoms)


def _symbol(atom: app.Atom) -> str:
    return "" if atom.element is None else atom.element.symbol


def _radii(topology: app.Topology, atoms: list[app.Atom]) -> tuple[np.ndarray, np.ndarray]:
    """Return radii in nm, and which atoms are hydrogens of N, O or S."""
    radii = np.array([_RADII.get(_symbol(atom), 0.0) for atom in atoms])
    polar = np.zeros(len(atoms), dtype=bool)
    for first, second in topology.bonds():
        for atom, partner in ((first, second), (second, first)):
            if _symbol(atom) != "H":
                continue
            polar[atom.index] = _symbol(partner) in ("N", "O", "S")
            ring = partner.name in _RINGS.get(partner.residue.name, ())
            if polar[atom.index] or ring:
                radii[atom.index] = _POLAR_OR_AROMATIC_HYDROGEN
    for atom in atoms:
        if atom.name == "C" or (atom.residue.name, atom.name) in _CARBONYLS:
            radii[atom.index] = _CARBONYL_CARBON
    return radii, polar
