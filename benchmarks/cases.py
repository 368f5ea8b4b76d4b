"""The cases: a function of the number of a start for each, which builds a molecule.

Structures of the Protein Data Bank are read from ../shared/pdb, or from the folder named by
OPENMM_REPARAM_DATA. Chains built from their sequence and OpenMM's own test structure need neither.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from openmm import app, unit

from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.prepare.structure_files import prepare_file

ROOT = Path(__file__).resolve().parents[1]
PDB = Path(os.environ.get("OPENMM_REPARAM_DATA", ROOT.parent / "shared" / "pdb"))


def entry(code: str, solvent: str, **options) -> MolecularSystem:
    """Read an entry of the Protein Data Bank and prepare it with amber14."""
    return prepare_file(
        PDB / f"{code}.pdb", forcefield="amber14-all.xml", solvent=solvent, **options
    )


def coil(code: str, solvent: str, seed: int) -> MolecularSystem:
    """Build the extended chain for seed 0, random coils for the others."""
    conformation = "extended" if seed == 0 else "random-coil"
    return peptide(code, conformation, solvent=solvent, seed=seed)


def random_coil(code: str, solvent: str, seed: int) -> MolecularSystem:
    """Build a random coil from the sequence."""
    return peptide(code, "random-coil", solvent=solvent, seed=seed)


def nudged(molecule: MolecularSystem, seed: int, sigma: float = 0.005) -> MolecularSystem:
    """Move atoms by N(0, sigma^2), for a spread over starts of one structure; seed 0 moves none."""
    if seed == 0:
        return molecule
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))
    x += np.random.default_rng(seed).normal(0.0, sigma, x.shape)
    return MolecularSystem(molecule.name, molecule.topology, molecule.system, x * unit.nanometer)


def openmm_test_pdb() -> MolecularSystem:
    """OpenMM's own protein in water, shipped in its wheel."""
    pdb = app.PDBFile(str(Path(app.__file__).parent / "data" / "test.pdb"))
    system = app.ForceField("amber14-all.xml", "amber14/tip3pfb.xml").createSystem(
        pdb.topology, nonbondedMethod=app.PME, constraints=app.HBonds
    )
    positions = np.array(pdb.positions.value_in_unit(unit.nanometer)) * unit.nanometer
    return MolecularSystem("test.pdb", pdb.topology, system, positions)


def four_site(code: str) -> MolecularSystem:
    """Solvate a protein in TIP4P-Ew, whose charge sits on a virtual site."""
    dry = entry(code, "vacuum")
    field = app.ForceField("amber14-all.xml", "amber14/tip4pew.xml")
    modeller = app.Modeller(dry.topology, dry.positions)
    modeller.addSolvent(field, model="tip4pew", padding=1.0 * unit.nanometer)
    system = field.createSystem(modeller.topology, nonbondedMethod=app.PME, constraints=app.HBonds)
    x = np.array(modeller.positions.value_in_unit(unit.nanometer))
    return MolecularSystem(f"{code} tip4pew", modeller.topology, system, x * unit.nanometer)


def membrane(code: str, seed: int) -> MolecularSystem:
    """Put a peptide into a patch of POPC and water (Modeller.addMembrane)."""
    dry = entry(code, "vacuum")
    field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller = app.Modeller(dry.topology, dry.positions)
    modeller.addMembrane(field, lipidType="POPC", minimumPadding=0.0 * unit.nanometer)
    system = field.createSystem(modeller.topology, nonbondedMethod=app.PME, constraints=app.HBonds)
    x = np.array(modeller.positions.value_in_unit(unit.nanometer))
    patch = MolecularSystem(f"{code} in POPC", modeller.topology, system, x * unit.nanometer)
    return nudged(patch, seed, 0.001)


def clashed(seed: int) -> MolecularSystem:
    """2JOF with every atom displaced by 0.05 nm: overlaps with forces up to 1e10 kJ/mol/nm."""
    return nudged(entry("2JOF", "vacuum"), seed + 1, 0.05)


CASES: dict[str, Callable[[int], MolecularSystem]] = {
    "2JOF vacuum pdb": lambda seed: nudged(entry("2JOF", "vacuum"), seed),
    "2JOF vacuum extended": lambda seed: coil("2JOF", "vacuum", seed),
    "2WXC vacuum pdb": lambda seed: nudged(entry("2WXC", "vacuum"), seed),
    "2WXC vacuum extended": lambda seed: coil("2WXC", "vacuum", seed),
    "2JOF gbn2 pdb": lambda seed: nudged(entry("2JOF", "gbn2"), seed),
    "2JOF gbn2 extended": lambda seed: coil("2JOF", "gbn2", seed),
    "2WXC gbn2 pdb": lambda seed: nudged(entry("2WXC", "gbn2"), seed),
    "2JOF tip3p rigid": lambda seed: entry("2JOF", "tip3p", seed=seed),
    "2JOF tip3p flexible": lambda seed: entry(
        "2JOF", "tip3p", seed=seed, constraints=None, rigid_water=False
    ),
    "2JOF tip4pew": lambda seed: nudged(four_site("2JOF"), seed, 0.001),
    "test.pdb": lambda seed: nudged(openmm_test_pdb(), seed),
    "2WXC tip3p 21 000": lambda seed: entry("2WXC", "tip3p", seed=seed, padding=1.6),
    "2WXC tip3p 100 000": lambda seed: entry("2WXC", "tip3p", seed=seed, padding=5.6),
    "5AWL in POPC": lambda seed: membrane("5AWL", seed),
    "clashed model": clashed,
    "1PLW vacuum coil": lambda seed: random_coil("1PLW", "vacuum", seed),
    "5AWL vacuum coil": lambda seed: random_coil("5AWL", "vacuum", seed),
    "2JOF vacuum coil": lambda seed: random_coil("2JOF", "vacuum", seed),
    "1PLW gbn2 coil": lambda seed: random_coil("1PLW", "gbn2", seed),
    "5AWL gbn2 coil": lambda seed: random_coil("5AWL", "gbn2", seed),
    "2JOF gbn2 coil": lambda seed: random_coil("2JOF", "gbn2", seed),
}
# Small proteins from random coils, where methods of minimization are compared.
COILS = [name for name in CASES if name.endswith(" coil")]
