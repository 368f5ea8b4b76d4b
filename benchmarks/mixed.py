"""A mixed System: alanine dipeptide by GFN2-xTB in 300 rigid waters of TIP3P, minimized.

    python -m benchmarks.mixed                    # tolerances 10 and 1, three starts
    python -m benchmarks.mixed --methods openmm-reparam --starts 1

openmm-ml builds the System from that of amber14; water feels the dipeptide by charges and
Lennard-Jones. Every call of xTB is counted. Optimizers without constraints cannot take part.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import openmm as mm
from openmm import app, unit
from openmmml import MLPotential
from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory
from rdkit import Chem
from rdkit.Chem import AllChem

from openmm_reparam import ConvergenceWarning, minimize_reparam
from openmm_reparam.constants import ANGSTROM
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.structure.molecule_topology import molecule_topology
from openmm_reparam.surrogates.oracles import python_force
from openmm_reparam.surrogates.programs import XTB

from .baselines import judged
from .optimizers_qm import CountedOracle
from .report import (
    PACKAGE,
    append,
    cell,
    grouped,
    markdown,
    origin,
    quartiles,
    read_runs,
    record,
    runs_of,
    version_of,
)

CASE = "alanine dipeptide by GFN2 in water"
WATERS = 300
SUMMARIES = {"mixed": ("case", "tolerance", "method")}
# Of ACE-ALA-NME: its heavy atoms in residues; each hydrogen is in that of its neighbour.
SMILES, RESIDUES = "CC(=O)N[C@@H](C)C(=O)NC", {"ACE": range(3), "ALA": range(3, 8), "NME": (8, 9)}


class Counted(MLPotentialImpl, MLPotentialImplFactory):
    """A potential of openmm-ml that asks a counted oracle."""

    def __init__(self) -> None:
        self.oracle: CountedOracle | None = None

    def createImpl(self, name, **options):  # noqa: D102 - openmm-ml's
        return self

    def addForces(self, topology, system, atoms, forceGroup, **options):  # noqa: D102
        every = list(topology.atoms())
        self.oracle = CountedOracle(XTB([every[i] for i in atoms]), tolerance=0.0, ends=False)
        force = python_force(self.oracle, atoms)
        force.setForceGroup(forceGroup)
        system.addForce(force)


def dipeptide(conformer: int) -> tuple[app.Topology, unit.Quantity]:
    """Return ACE-ALA-NME: Topology with residues, positions of a conformer of ETKDG."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(SMILES))
    AllChem.EmbedMultipleConfs(molecule, conformer + 1, randomSeed=1)
    found = {heavy: name for name, atoms in RESIDUES.items() for heavy in atoms}
    topology = app.Topology()
    chain = topology.addChain()
    residues = {name: topology.addResidue(name, chain) for name in RESIDUES}
    flat = molecule_topology(molecule)

    def residue_of(index: int) -> str:
        (neighbor, *_) = molecule.GetAtomWithIdx(index).GetNeighbors()
        return found.get(index) or found[neighbor.GetIdx()]

    atoms = list(flat.atoms())
    order = sorted(range(len(atoms)), key=lambda i: list(RESIDUES).index(residue_of(i)))
    made = {
        i: topology.addAtom(atoms[i].name, atoms[i].element, residues[residue_of(i)]) for i in order
    }
    for bond in flat.bonds():
        topology.addBond(made[bond[0].index], made[bond[1].index])
    place = molecule.GetConformer(conformer).GetPositions()[order] * ANGSTROM
    return topology, place * unit.nanometer


def in_water(conformer: int) -> tuple[MolecularSystem, list[int]]:
    """Return the dipeptide in water by amber14 alone, and the dipeptide's atoms."""
    forcefield = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller = app.Modeller(*dipeptide(conformer))
    modeller.addSolvent(forcefield, numAdded=WATERS)
    system = forcefield.createSystem(
        modeller.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=0.9 * unit.nanometer,
        constraints=app.HBonds,
    )
    place = np.array(modeller.positions.value_in_unit(unit.nanometer)) * unit.nanometer
    solute = [atom.index for atom in modeller.topology.atoms() if atom.residue.name in RESIDUES]
    return MolecularSystem(CASE, modeller.topology, system, place), solute


def mixed(classical: MolecularSystem, atoms: list[int]) -> tuple[MolecularSystem, CountedOracle]:
    """Return the mixed System of a classical one, and what counts its calls of xTB."""
    factory = Counted()
    MLPotential.registerImplFactory("counted", factory)
    # xTB sees one dipeptide, and not its periodic images.
    system = MLPotential("counted").createMixedSystem(
        classical.topology, classical.system, atoms, mlLongRange=False
    )
    made = MolecularSystem(CASE, classical.topology, system, classical.positions)
    return made, factory.oracle


# The settings of each variant, made from the System of amber14 alone.
OWN: dict[str, Callable[[mm.System], dict]] = {
    "openmm-reparam": lambda classical: {},
    "openmm-reparam, amber14": lambda classical: {"surrogate": classical},
}
METHODS = ("LocalEnergyMinimizer", *OWN)
# What a run is known by: one that is in the file already is not repeated.
IDENTITY = ("start", "tolerance", "method", "version")


def run_method(method: str, start: int, tolerance: float, platform: str) -> dict:
    """Minimize from a start and return what came out, judged in one way."""
    classical, atoms = in_water(start)
    molecule, oracle = mixed(classical, atoms)
    simulation = molecule.simulation(platform)
    began = time.perf_counter()
    oracle.began = began
    if method in OWN:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            settings = OWN[method](classical.system)
            minimize_reparam(simulation, tolerance, progress=False, **settings)
    else:
        simulation.minimizeEnergy(tolerance)
    seconds = time.perf_counter() - began
    calls, inside = len(oracle.trace), oracle.inside
    positions = Potential(simulation.context).positions()
    # A fresh System judges, so that its evaluation is not counted.
    judge, _ = mixed(classical, atoms)
    found = judged(
        method, judge, positions, tolerance, platform, force_evaluations=calls, seconds=seconds
    )
    told = {"case": CASE, "atoms": len(positions), "tolerance": tolerance, "start": start}
    return found.to_dict() | told | {"oracle_seconds": inside, "failures": oracle.failures}


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Group runs."""
    rows = []
    for told, members in grouped(runs, SUMMARIES["mixed"]):
        row = {**told, "atoms": members[0]["atoms"]}
        for name in ("energy", "force_evaluations", "rms_force", "seconds", "oracle_seconds"):
            row |= quartiles(name, [run[name] for run in members])
        rows.append(row | {"converged": sum(run["converged"] for run in members)})
    return {"mixed": rows}


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return calls of xTB by tolerance and method."""
    header = ["case", "tolerance", "method", "calls of xTB", "energy, kJ/mol", "RMS force"]
    header += ["seconds", "seconds in xTB", "converged", "version"]
    lines = [
        [
            *(row["case"], f"{row['tolerance']:g}", row["method"]),
            *(cell(row, name) for name in ("force_evaluations", "energy", "rms_force")),
            *(cell(row, "seconds"), cell(row, "oracle_seconds")),
            *(f"{row['converged']}/{row['starts']}", origin(row)),
        ]
        for row in found["mixed"]
    ]
    return {"mixed": markdown(header, lines)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tolerances", nargs="+", type=float, default=[10.0, 1.0])
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--output", type=Path, default=runs_of("mixed"), help="to append to")
    arguments = parser.parse_args()
    there = {tuple(run[name] for name in IDENTITY) for run in read_runs(arguments.output)}
    asked = product(range(arguments.starts), arguments.tolerances, arguments.methods)
    for start, tolerance, method in asked:
        library = PACKAGE if method in OWN else "openmm"
        if (start, tolerance, method, version_of(library)) in there:
            continue
        found = run_method(method, start, tolerance, arguments.platform)
        append(arguments.output, record(arguments.platform, library, **found))
        print(
            f"start {start} tolerance {tolerance:g} {method:>23}: "
            f"{found['force_evaluations']:5d} calls of xTB, {found['energy']:.1f} kJ/mol, "
            f"RMS {found['rms_force']:.2f}, {found['seconds']:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
