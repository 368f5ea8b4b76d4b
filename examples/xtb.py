"""A drug molecule by quantum chemistry (GFN2-xTB) in OpenMM, minimized with few evaluations.

Where an evaluation costs most, their number is the time. The molecule comes from a SMILES string:
RDKit makes a conformer and its MMFF94 minimum, tblite computes GFN2-xTB, OpenMM holds both. The
same start goes to `minimize_reparam` and to OpenMM's own minimizer.

Run it (less than a minute; `pip install "openmm-reparam[qm]"`):

    python examples/xtb.py
    python examples/xtb.py --smiles "CC(=O)Oc1ccccc1C(=O)O" --potential gfn1 --output out.sdf
"""

import argparse

import openmm
from openmm import unit
from rdkit import Chem
from rdkit.Chem import AllChem

from openmm_reparam import minimize_reparam
from openmm_reparam.surrogates.oracles import molecule_simulation
from openmm_reparam.surrogates.programs import XTB

METHODS = {"gfn2": "GFN2-xTB", "gfn1": "GFN1-xTB"}

parser = argparse.ArgumentParser(description="Minimize a molecule by xTB.")
parser.add_argument("--smiles", default="CC(=O)Nc1ccc(O)cc1", help="paracetamol")
parser.add_argument("--potential", choices=list(METHODS), default="gfn2")
parser.add_argument("--tolerance", type=float, default=1.0, help="RMS force, kJ/mol/nm")
parser.add_argument("--output", help="an SDF file for the minimum")
arguments = parser.parse_args()

molecule = Chem.AddHs(Chem.MolFromSmiles(arguments.smiles))
AllChem.EmbedMolecule(molecule, randomSeed=1)
AllChem.MMFFOptimizeMolecule(molecule, maxIters=10_000)


class CountedXTB(XTB):
    """xTB that counts how often it is asked."""

    evaluations = 0

    def __call__(self, positions):
        """Return energy in kJ/mol and forces in kJ/mol/nm."""
        self.evaluations += 1
        return super().__call__(positions)


def new_simulation():
    """Return a Simulation at the molecule's positions, and what counts its evaluations."""
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    xtb = CountedXTB(numbers, Chem.GetFormalCharge(molecule), METHODS[arguments.potential])
    return molecule_simulation(molecule, xtb), xtb


simulation, xtb = new_simulation()
# Steps are found on MMFF94 where it knows the molecule, and verified by xTB.
result = minimize_reparam(simulation, tolerance=arguments.tolerance, surrogate="auto")
print(result)
print(f"openmm-reparam: {result.energy:.2f} kJ/mol after {xtb.evaluations} evaluations of xTB")

other, xtb = new_simulation()
try:
    other.minimizeEnergy(tolerance=arguments.tolerance)
except openmm.OpenMMException as error:
    print(f"LocalEnergyMinimizer: ended after {xtb.evaluations} evaluations of xTB: {error}")
else:
    energy = other.context.getState(energy=True).getPotentialEnergy()
    energy = energy.value_in_unit(unit.kilojoules_per_mole)
    print(f"LocalEnergyMinimizer: {energy:.2f} kJ/mol after {xtb.evaluations} evaluations of xTB")

if arguments.output:
    state = simulation.context.getState(positions=True)
    place = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
    molecule.GetConformer().SetPositions(place)
    with Chem.SDWriter(arguments.output) as writer:
        writer.write(molecule)
