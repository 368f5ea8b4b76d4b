"""An ordinary OpenMM script, with one line changed: how it is minimized.

OpenMM's own test structure (a peptide in a box of water) is minimized with rigid water and
constrained bonds, as one does before a simulation, and simulated for a few hundred steps.

Run it (about half a minute on two cores):

    python examples/minimize_existing_script.py
    python examples/minimize_existing_script.py my.pdb --steps 1000

A file of your own needs all its hydrogens, water and a periodic box.
"""

import argparse
import sys
from pathlib import Path

import openmm
from openmm import LangevinMiddleIntegrator, app, unit

from openmm_reparam import minimize_reparam

parser = argparse.ArgumentParser(description="Minimize and simulate a solvated structure.")
parser.add_argument("file", nargs="?", help="a PDB file; OpenMM's test.pdb by default")
parser.add_argument("--steps", type=int, default=200, help="of molecular dynamics, 2 fs each")
parser.add_argument("--platform", help="CUDA, OpenCL, CPU or Reference; OpenMM chooses by default")
arguments = parser.parse_args()

pdb = app.PDBFile(arguments.file or str(Path(app.__file__).parent / "data" / "test.pdb"))
forcefield = app.ForceField("amber14-all.xml", "amber14/tip3pfb.xml")
system = forcefield.createSystem(
    pdb.topology,
    nonbondedMethod=app.PME,
    nonbondedCutoff=0.9 * unit.nanometer,
    constraints=app.HBonds,
)
integrator = LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 2 * unit.femtoseconds)
platform = openmm.Platform.getPlatformByName(arguments.platform) if arguments.platform else None
simulation = app.Simulation(pdb.topology, system, integrator, platform)
simulation.context.setPositions(pdb.positions)

# Here stood simulation.minimizeEnergy().
result = minimize_reparam(simulation)
print(result)

simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
simulation.reporters.append(
    app.StateDataReporter(
        sys.stdout,
        max(1, arguments.steps // 5),
        step=True,
        potentialEnergy=True,
        temperature=True,
    )
)
simulation.step(arguments.steps)
