"""Harmonic restraints on the heavy atoms of a molecule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from ..structure.selections import heavy_solute_atoms
from ..units import in_unit, positions_in_nanometers
from .molecular_system import MolecularSystem
from .structure_files import prepare_file

__all__ = ["restrain_heavy_atoms", "restrained_molecule"]


def restrain_heavy_atoms(
    system: openmm.System,
    topology: app.Topology,
    positions: Any,
    force_constant: Any = 10.0 * unit.kilocalories_per_mole / unit.angstrom**2,
    *,
    atoms: np.ndarray | None = None,
) -> openmm.CustomExternalForce:
    """Add harmonic restraints of the heavy atoms of proteins, nucleic acids and ligands.

    The energy is ``0.5 * k * d^2`` for each atom at distance d from its place, with the factor
    one half (as in the relaxation of AlphaFold). The force constant is the global parameter
    ``restraint_k`` of a Context, in kJ/mol/nm^2, so that it can be lowered during a run.

    Parameters
    ----------
    system : openmm.System
        The force is added to it: do so before making a Context.
    topology : openmm.app.Topology
    positions : (N, 3) array in nm, or Quantity
        Where the atoms are held. In a periodic system the nearest image counts.
    force_constant : float in kJ/mol/nm^2, or Quantity
    atoms : (n,) int array, optional
        The atoms to hold; by default all heavy atoms of the solute.

    Returns
    -------
    openmm.CustomExternalForce
        Its per-particle parameters are x0, y0, z0 in nm.

    Raises
    ------
    TypeError
        If the force constant or the positions have a wrong unit.
    ValueError
        If the force constant is negative or not finite, the topology does not fit the system, or
        there is nothing to restrain.

    Notes
    -----
    Not restrained: hydrogens, water, single-atom residues (ions), massless particles (virtual
    sites).

    References
    ----------
    Jumper, J. et al. Highly accurate protein structure prediction with AlphaFold. Nature 2021,
    596, 583 (supplementary information, section 1.8.6).
    """
    k = in_unit(force_constant, unit.kilojoules_per_mole / unit.nanometer**2, "force_constant")
    x = positions_in_nanometers(positions, topology.getNumAtoms())
    if system.getNumParticles() != topology.getNumAtoms():
        raise ValueError(
            f"the system has {system.getNumParticles()} particles, the topology "
            f"{topology.getNumAtoms()} atoms: pass the topology the system was made from"
        )
    distance2 = (
        "periodicdistance(x, y, z, x0, y0, z0)^2"
        if system.usesPeriodicBoundaryConditions()
        else "((x-x0)^2 + (y-y0)^2 + (z-z0)^2)"
    )
    force = openmm.CustomExternalForce(f"0.5*restraint_k*{distance2}")
    force.setName("HeavyAtomRestraint")
    force.addGlobalParameter("restraint_k", k)
    for parameter in ("x0", "y0", "z0"):
        force.addPerParticleParameter(parameter)
    for index in (heavy_solute_atoms(topology) if atoms is None else atoms).tolist():
        if system.getParticleMass(index)._value > 0:
            force.addParticle(index, x[index])
    if force.getNumParticles() == 0:
        raise ValueError("there is no heavy atom to restrain: all are water, ions or massless")
    system.addForce(force)
    return force


def restrained_molecule(
    file: Path, restraint: float | None, **preparation: Any
) -> tuple[MolecularSystem, int]:
    """Prepare a structure file, and restrain its heavy atoms to their places if asked.

    Parameters
    ----------
    file : Path
    restraint : float or None
        Force constant in kcal/mol/A^2.
    **preparation
        Arguments of `prepare.structure_files.prepare_file`.

    Returns
    -------
    MolecularSystem
    int
        Number of atoms restrained.
    """
    molecule = prepare_file(file, **preparation)
    if restraint is None:
        return molecule, 0
    constant = restraint * unit.kilocalories_per_mole / unit.angstrom**2
    force = restrain_heavy_atoms(molecule.system, molecule.topology, molecule.positions, constant)
    return molecule, force.getNumParticles()
