"""Anneal a peptide in its latents with OpenMM's own Langevin integrator and reporters.

The molecule becomes a latent System: its particles are the latents of X = rho(Z), here the
amplitudes of its slowest modes, and its force asks OpenMM for the molecule's energy. Integrators,
reporters, checkpoints and XmlSerializer treat it like any System.

It needs openmmtorch (pip install "openmm-reparam[torchforce]") and the C++ plugin
(openmm-reparam doctor says whether both work). Run it (half a minute):

    python examples/latent_annealing.py

and then the saved System in a script that never imports this package:

    python examples/load_latent.py latent_annealing/
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import openmm as mm
from openmm import app, unit

from openmm_reparam import latent_system, minimize_reparam
from openmm_reparam.prepare.peptides import peptide

parser = argparse.ArgumentParser(description="Anneal a peptide in its latents.")
parser.add_argument("--sequence", default="1PLW", help="a code or one-letter sequence")
parser.add_argument("--modes", type=int, default=60)
parser.add_argument("--steps", type=int, default=500, help="at each of 10 temperatures")
parser.add_argument("--output", type=Path, default=Path("latent_annealing"))
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)

# The molecule as usual, minimized; without constraints, which latents would violate.
molecule = peptide(arguments.sequence, constraints=None, solvent="gbn2")
simulation = molecule.simulation("CPU")
start = minimize_reparam(simulation, tolerance=5)
print(f"minimized: {start.energy:.1f} kJ/mol")

# The same molecule in its latents. With the metric's masses they move about as fast as atoms do.
latent = latent_system(simulation, "linear", count=arguments.modes, masses="metric")
integrator = mm.LangevinMiddleIntegrator(600, 5 / unit.picosecond, 0.5 * unit.femtosecond)
integrator.setRandomNumberSeed(1)
annealing = app.Simulation(
    latent.topology, latent.system, integrator, mm.Platform.getPlatformByName("CPU")
)
annealing.context.setPositions(latent.positions)
annealing.context.setVelocitiesToTemperature(600, 1)
annealing.reporters.append(
    app.StateDataReporter(
        sys.stdout, arguments.steps, step=True, potentialEnergy=True, temperature=True
    )
)
for temperature in np.linspace(600, 0, 10):
    integrator.setTemperature(temperature * unit.kelvin)
    annealing.step(arguments.steps)

# Back to the molecule, which a last minimization takes to its nearest minimum.
latent.write_back(annealing.context)
end = minimize_reparam(simulation, tolerance=5)
print(f"annealed and minimized: {end.energy:.1f} kJ/mol")

# The model, its weights and the molecule's System are all in this file.
(arguments.output / "system.xml").write_text(mm.XmlSerializer.serialize(latent.system))
state = annealing.context.getState(positions=True, velocities=True)
(arguments.output / "state.xml").write_text(mm.XmlSerializer.serialize(state))
energy = annealing.context.getState(energy=True).getPotentialEnergy()
print(f"saved to {arguments.output}: {energy.value_in_unit(unit.kilojoule_per_mole):.3f} kJ/mol")
