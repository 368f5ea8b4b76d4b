"""Backbone and side-chain torsions of proteins by residue, with mdtraj's tables of atoms."""

from __future__ import annotations

import mdtraj
import numpy as np
from mdtraj.geometry import dihedral
from openmm import app

from ..geometry.internal_coordinates import dihedrals

__all__ = ["residue_torsions"]

# nm: a longer bond along a torsion is a chain break.
_LONGEST_BOND = 0.25

# The residue that a torsion belongs to is that of its atom at this place.
_TORSIONS = {
    "phi": (dihedral.indices_phi, 2),
    "psi": (dihedral.indices_psi, 1),
    "omega": (dihedral.indices_omega, 2),
    "chi1": (dihedral.indices_chi1, 0),
    "chi2": (dihedral.indices_chi2, 0),
    "chi3": (dihedral.indices_chi3, 0),
}


def residue_torsions(topology: app.Topology, x: np.ndarray) -> dict[str, dict[int, float]]:
    """Return torsions in degrees by kind and by the residue's index.

    Parameters
    ----------
    topology : openmm.app.Topology
    x : (N, 3) array in nm

    Returns
    -------
    dict of str to dict
        Kinds are phi, psi, omega (of the bond before the residue), chi1, chi2 and chi3. Torsions
        over a chain break are left out.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("GVG")
    >>> torsions = residue_torsions(molecule.topology, molecule.positions._value)
    >>> sorted(torsions["phi"]), sorted(torsions["chi1"])
    ([1, 2], [1])
    """
    described = mdtraj.Topology.from_openmm(topology)
    residues = [atom.residue.index for atom in topology.atoms()]
    return {
        kind: _by_residue(atoms_of(described), place, residues, x)
        for kind, (atoms_of, place) in _TORSIONS.items()
    }


def _by_residue(
    atoms: np.ndarray, place: int, residues: list[int], x: np.ndarray
) -> dict[int, float]:
    quadruples = np.asarray(atoms, dtype=int).reshape(-1, 4)
    points = x[quadruples]
    bonds = np.diff(points, axis=1)
    whole = np.linalg.norm(bonds, axis=2).max(axis=1, initial=0.0) < _LONGEST_BOND
    quadruples, bonds = quadruples[whole], bonds[whole]
    angles, _ = dihedrals(-bonds[:, 0], bonds[:, 1], -bonds[:, 2])
    return {
        residues[row[place]]: float(angle)
        for row, angle in zip(quadruples, np.degrees(angles), strict=True)
    }
