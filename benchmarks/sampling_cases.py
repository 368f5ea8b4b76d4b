"""Molecules of the sampling benchmark, nothing constrained, and the torsions they are compared by.

ACE-ALA-NME is alanine dipeptide (22 atoms), ACE-ALA-ALA-ALA-NME the tetrapeptide (42 atoms);
met-enkephalin, YGGFM, has 75 atoms and charged ends, aspirin 21.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm as mm
from openmm import app, unit
from rdkit import Chem

from openmm_reparam.prepare.ligands import complete_ligand, positions_of
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.structure.molecule_topology import molecule_topology

from .molecules import MOLECULES

__all__ = [
    "CASES",
    "SamplingCase",
    "aspirin",
    "backbone_torsions",
    "capped_alanines",
    "dihedrals",
    "met_enkephalin",
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
# System of aspirin as `prepare.gaff.gaff_ligand` makes it with AmberTools 26 (GAFF2, AM1-BCC): the
# charges take half a minute, and other versions have others.
ASPIRIN = Path(__file__).parent / "aspirin_gaff2.xml"
# Of aspirin as RDKit numbers it: ring to ester oxygen, ring to carboxyl group; the ester's C-O
# bond, the acid's C-OH bond. The last two are 180 degrees in the common Z form.
ASPIRIN_TORSIONS = (((1, 3, 4, 9), (11, 10, 9, 4)), ((0, 1, 3, 4), (20, 12, 10, 9)))


@dataclass(frozen=True)
class SamplingCase:
    """A molecule at a temperature.

    Attributes
    ----------
    kind : {"dipeptide", "tetrapeptide", "enkephalin", "aspirin"}
    forcefield : str
        A name in ``FORCE_FIELDS``; "gaff2" for aspirin, in vacuum.
    temperature : float
        In K.
    """

    kind: str
    forcefield: str
    temperature: float

    @property
    def name(self) -> str:
        """Name in tables and of files."""
        return f"{self.kind}-{self.forcefield}-{self.temperature:g}K"

    @property
    def platform(self) -> str:
        """The faster one: GBSAOBCForce takes 70 us on Reference, CustomGBForce 0.5 ms on CPU."""
        return "Reference" if self.forcefield in ("ff96-obc2", "gaff2") else "CPU"

    @property
    def basins(self) -> tuple[str, ...]:
        """Names in `sampling_measures.BASINS`."""
        return ("ester E", "acid E") if self.kind == "aspirin" else ("left-handed", "alpha")

    @property
    def basin_pairs(self) -> list[int]:
        """Pairs of torsions whose basins count; free energies are averaged over them."""
        return [1] if self.kind == "aspirin" else list(range(len(self.torsion_atoms())))

    def molecule(self) -> MolecularSystem:
        """Build the molecule: peptides are extended."""
        if self.kind == "aspirin":
            return aspirin()
        if self.kind == "enkephalin":
            return met_enkephalin(self.forcefield)
        residues = {"dipeptide": 1, "tetrapeptide": 3}[self.kind]
        return capped_alanines(residues, self.forcefield)

    def torsion_atoms(self) -> np.ndarray:
        """Return the atoms of the torsions, (pairs, 2, 4): phi and psi, or those of aspirin."""
        if self.kind == "aspirin":
            return np.array(ASPIRIN_TORSIONS)
        return backbone_atoms(self.molecule().topology)

    def torsions(self, positions: np.ndarray) -> np.ndarray:
        """Return (n, pairs, 2) torsions in radians, from -pi to pi, of (n, N, 3) positions."""
        return dihedrals(positions, self.torsion_atoms())


CASES = {
    case.name: case
    for case in (
        SamplingCase("dipeptide", "ff96-obc2", 300.0),
        SamplingCase("dipeptide", "ff96-obc2", 330.0),
        SamplingCase("dipeptide", "ff96-obc1", 300.0),
        SamplingCase("dipeptide", "amber14-gbn2", 300.0),
        SamplingCase("tetrapeptide", "ff96-obc2", 300.0),
        SamplingCase("aspirin", "gaff2", 300.0),
        SamplingCase("enkephalin", "ff96-obc2", 300.0),
    )
}


def aspirin() -> MolecularSystem:
    """Build aspirin with GAFF2 and AM1-BCC charges in vacuum, see ``ASPIRIN``."""
    molecule, _ = complete_ligand(Chem.MolFromSmiles(MOLECULES["aspirin"]))
    system = mm.XmlSerializer.deserialize(ASPIRIN.read_text())
    positions = positions_of(molecule) * unit.nanometer
    return MolecularSystem("aspirin", molecule_topology(molecule), system, positions)


def met_enkephalin(forcefield: str) -> MolecularSystem:
    """Build YGGFM, extended, both ends charged; see `capped_alanines`."""
    field = app.ForceField(*FORCE_FIELDS[forcefield])
    return peptide("YGGFM", forcefield=field, constraints="none")


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


def backbone_atoms(topology: app.Topology) -> np.ndarray:
    """Return the atoms of phi and psi of each residue that has neighbours, (residues, 2, 4)."""
    residues = [{atom.name: atom.index for atom in r.atoms()} for r in topology.residues()]
    return np.array(
        [
            (
                [before["C"], here["N"], here["CA"], here["C"]],
                [here["N"], here["CA"], here["C"], after["N"]],
            )
            for before, here, after in zip(residues, residues[1:], residues[2:], strict=False)
        ]
    )


def backbone_torsions(topology: app.Topology, positions: np.ndarray) -> np.ndarray:
    """Return phi and psi of each residue that has neighbours, (n, residues, 2) in radians."""
    return dihedrals(positions, backbone_atoms(topology))


def dihedrals(positions: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Return torsions, (n, pairs, 2) in radians from -pi to pi.

    Parameters
    ----------
    positions : (n, N, 3) array
    atoms : (pairs, 2, 4) int array
    """
    x = [np.asarray(positions, dtype=float)[:, column] for column in np.moveaxis(atoms, -1, 0)]
    first, axis, last = (x[k + 1] - x[k] for k in range(3))
    normal, other = np.cross(first, axis), np.cross(axis, last)
    sines = np.linalg.norm(axis, axis=-1) * (first * other).sum(-1)
    return np.arctan2(sines, (normal * other).sum(-1))
