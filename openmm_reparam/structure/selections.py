"""Which residues are water or ions, and which atoms are a molecule's own."""

from __future__ import annotations

import numpy as np
from openmm.app import Atom, Residue, Topology
from openmm.app.element import hydrogen

__all__ = ["WATER_NAMES", "heavy_solute_atoms", "is_heavy", "is_ion", "is_water", "solute_atoms"]

# As PDB and mmCIF files, Amber, CHARMM and GROMACS spell them.
WATER_NAMES = frozenset(("HOH", "WAT", "H2O", "DOD", "SOL", "TIP", "TIP2", "TIP3", "TP3", "SPC"))


def is_water(residue: Residue) -> bool:
    """Return whether a residue is a water molecule.

    Parameters
    ----------
    residue : openmm.app.Residue

    Returns
    -------
    bool
    """
    return residue.name in WATER_NAMES


def is_ion(residue: Residue) -> bool:
    """Return whether a residue is a single atom other than a water oxygen.

    Parameters
    ----------
    residue : openmm.app.Residue

    Returns
    -------
    bool
    """
    return len(residue) == 1 and not is_water(residue)


def is_heavy(atom: Atom) -> bool:
    """Return whether an atom is heavier than hydrogen; virtual sites are not.

    Parameters
    ----------
    atom : openmm.app.Atom

    Returns
    -------
    bool
    """
    return atom.element not in (None, hydrogen)


def solute_atoms(topology: Topology) -> list[Atom]:
    """Return the atoms of all but water and ions, virtual sites left out.

    Parameters
    ----------
    topology : openmm.app.Topology

    Returns
    -------
    list of openmm.app.Atom
    """
    return [
        atom
        for residue in topology.residues()
        if not (is_water(residue) or is_ion(residue))
        for atom in residue.atoms()
        if atom.element is not None
    ]


def heavy_solute_atoms(topology: Topology) -> np.ndarray:
    """Return the indices of heavy atoms of all but water and ions.

    Parameters
    ----------
    topology : openmm.app.Topology

    Returns
    -------
    (n,) int array

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> len(heavy_solute_atoms(peptide("GG").topology))
    9
    """
    return np.array([a.index for a in solute_atoms(topology) if is_heavy(a)], dtype=int)
