"""Molecules of the sampling benchmark: alanine peptides with both ends capped, nothing constrained.

ACE-ALA-NME is alanine dipeptide (22 atoms), ACE-ALA-ALA-ALA-NME the tetrapeptide (42 atoms).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import mdtraj
import numpy as np
import openmm as mm
from openmm import app

from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.prepare.peptides import peptide

__all__ = [
    "CASES",
    "SamplingCase",
    "backbone_torsions",
    "capped_alanines",
    "repartition_masses",
    "simulation_factory",
]

# Force fields by the names that tables use. amber96_obc.xml makes a GBSAOBCForce, which is OBC2;
# implicit/obc1.xml is OBC1.
FORCE_FIELDS = {
    "ff96-obc2": ("amber96.xml", "amber96_obc.xml"),
    "ff96-obc1": ("amber96.xml", "implicit/obc1.xml"),
    "amber14-gbn2": ("amber14-all.xml", "implicit/gbn2.xml"),
}
HYDROGEN_MASS = 3.0  # amu


@dataclass(frozen=True)
class SamplingCase:
    """A molecule at a temperature.

    Attributes
    ----------
    residues : int
        Alanines between ACE and NME.
    forcefield : str
        A name in ``FORCE_FIELDS``.
    temperature : float
        In K.
    """

    residues: int
    forcefield: str
    temperature: float

    @property
    def name(self) -> str:
        """Name in tables and of files."""
        peptide = {1: "dipeptide", 3: "tetrapeptide"}[self.residues]
        return f"{peptide}-{self.forcefield}-{self.temperature:g}K"

    @property
    def platform(self) -> str:
        """The faster one: GBSAOBCForce takes 70 us on Reference, CustomGBForce 0.5 ms on CPU."""
        return "Reference" if self.forcefield == "ff96-obc2" else "CPU"

    def molecule(self) -> MolecularSystem:
        """Build the molecule, extended."""
        return capped_alanines(self.residues, self.forcefield)


CASES = {
    case.name: case
    for case in (
        SamplingCase(1, "ff96-obc2", 300.0),
        SamplingCase(1, "ff96-obc2", 330.0),
        SamplingCase(1, "ff96-obc1", 300.0),
        SamplingCase(1, "amber14-gbn2", 300.0),
        SamplingCase(3, "ff96-obc2", 300.0),
    )
}


def capped_alanines(residues: int, forcefield: str) -> MolecularSystem:
    """Build ACE-ALA...-NME, extended, without cutoffs or constraints.

    Parameters
    ----------
    residues : int
        Alanines between the caps.
    forcefield : str
        A name in ``FORCE_FIELDS``.

    Returns
    -------
    MolecularSystem

    Examples
    --------
    >>> capped_alanines(1, "ff96-obc2")
    <MolecularSystem ACE-ALA-NME: 22 atoms, 3 residues>
    """
    name = "-".join(["ACE", *["ALA"] * residues, "NME"])
    built = peptide(
        "A" * residues,
        forcefield=app.ForceField(*FORCE_FIELDS[forcefield]),
        constraints="none",
        capped=True,
    )
    return MolecularSystem(name, built.topology, built.system, built.positions)


def simulation_factory(
    molecule: MolecularSystem, platform: str = "Reference"
) -> Callable[[mm.Integrator], app.Simulation]:
    """Return what makes a Simulation of a molecule with an integrator, on one thread.

    Hydrogens weigh 3 amu, taken from the atoms they are bonded to: dynamics may take steps of 2 fs
    without constraints, and what configurations are sampled does not depend on masses.

    Parameters
    ----------
    molecule : MolecularSystem
    platform : {"Reference", "CPU"}
        See `SamplingCase.platform`.

    Returns
    -------
    callable
        openmm.Integrator -> openmm.app.Simulation.
    """
    system = copy.deepcopy(molecule.system)
    repartition_masses(system, molecule.topology)
    heavier = MolecularSystem(molecule.name, molecule.topology, system, molecule.positions)

    def make(integrator: mm.Integrator) -> app.Simulation:
        return heavier.simulation(platform, integrator, 1 if platform == "CPU" else None)

    return make


def repartition_masses(system: mm.System, topology: app.Topology) -> None:
    """Give each hydrogen of a System the mass of 3 amu, from the atom it is bonded to."""
    for bond in topology.bonds():
        heavy, hydrogen = sorted(bond, key=lambda atom: atom.element is app.element.hydrogen)
        if hydrogen.element is app.element.hydrogen:
            moved = HYDROGEN_MASS - system.getParticleMass(hydrogen.index)._value
            system.setParticleMass(hydrogen.index, HYDROGEN_MASS)
            system.setParticleMass(heavy.index, system.getParticleMass(heavy.index)._value - moved)


def backbone_torsions(topology: app.Topology, positions: np.ndarray) -> np.ndarray:
    """Return phi and psi of each residue.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions : (n, N, 3) array
        In nm.

    Returns
    -------
    (n, residues, 2) array
        In radians, from -pi to pi.
    """
    # mdtraj keeps single precision: centring first keeps its digits for the shape.
    centred = positions - positions.mean(axis=1, keepdims=True)
    trajectory = mdtraj.Trajectory(centred, mdtraj.Topology.from_openmm(topology))
    angles = [mdtraj.compute_phi(trajectory)[1], mdtraj.compute_psi(trajectory)[1]]
    return np.stack(angles, axis=2).astype(float)
