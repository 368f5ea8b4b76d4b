"""Forces that hold chirality and cis/trans states while clashes are pushed apart."""

from __future__ import annotations

import math

import numpy as np
import openmm as mm
from openmm import app

from ..geometry.internal_coordinates import dihedrals
from ..structure.residues import protein_residues, residue_labels
from ..structure.stereo_states import protein_centres, protein_peptide_bonds

__all__ = ["add_stereo_guards"]

# Degrees from the ideal torsion where the force sets in, and kJ/mol/rad^2.
_CHIRAL_WIDTH, _PEPTIDE_WIDTH, _CONSTANT = 40.0, 50.0, 2000.0
# The torsion of a tetrahedral centre's first neighbour, itself, and its two others, in degrees.
_CHIRAL_TORSION = 120.0


def add_stereo_guards(
    system: mm.System, topology: app.Topology, x: np.ndarray
) -> mm.CustomTorsionForce:
    """Add a force that pulls stereocentres and peptide bonds of proteins back to their states.

    Parameters
    ----------
    system : openmm.System
        The force is added to it.
    topology : openmm.app.Topology
    x : (N, 3) array in nm
        Has the states: whatever they are, D or cis, they are held.

    Returns
    -------
    openmm.CustomTorsionForce

    Notes
    -----
    Zero within 40 degrees of a tetrahedral centre's ideal torsion and within 50 degrees of a planar
    peptide bond, harmonic beyond: a structure whose states do not change does not feel it.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("AIP")
    >>> add_stereo_guards(molecule.system, molecule.topology, molecule.positions._value)
    ... # doctest: +ELLIPSIS
    <openmm.openmm.CustomTorsionForce; ...>
    >>> molecule.system.getForces()[-1].getNumTorsions()
    6
    """
    force = mm.CustomTorsionForce(
        f"0.5*{_CONSTANT}*max(0, off-width)^2; off=min(turn, {2 * math.pi}-turn); "
        "turn=abs(theta-theta0)"
    )
    force.setName("StereoGuard")
    force.addPerTorsionParameter("theta0")
    force.addPerTorsionParameter("width")
    residues = dict(protein_residues(topology))
    labels = residue_labels(residues)
    centres = [
        [row[1], row[0], row[2], row[3]]
        for row in (centre.atoms for centre in protein_centres(residues, labels))
    ]
    bonds = [bond.atoms for bond in protein_peptide_bonds(topology, residues, labels)]
    for atoms, angle in zip(centres, _torsions(x, centres), strict=True):
        ideal = math.copysign(math.radians(_CHIRAL_TORSION), angle)
        force.addTorsion(*atoms, [ideal, math.radians(_CHIRAL_WIDTH)])
    for atoms, angle in zip(bonds, _torsions(x, bonds), strict=True):
        ideal = 0.0 if abs(angle) < math.pi / 2 else math.pi
        force.addTorsion(*atoms, [ideal, math.radians(_PEPTIDE_WIDTH)])
    system.addForce(force)
    return force


def _torsions(x: np.ndarray, atoms: list[list[int]]) -> np.ndarray:
    points = x[np.array(atoms, dtype=int).reshape(-1, 4)]
    bonds = np.diff(points, axis=1)
    return dihedrals(-bonds[:, 0], bonds[:, 1], -bonds[:, 2])[0]
