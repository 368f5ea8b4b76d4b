"""Anneal a peptide in its latents, and minimize it on the way, with OpenMM's own tools.

The molecule becomes a latent System: its particles are the latents of X = rho(Z), here those that
the preconditioner makes equally stiff ("spectral"). Integrators, minimizers, reporters, checkpoints
and XmlSerializer treat it like any System.

OpenMM's Langevin integrator anneals the latents. At each of ten temperatures OpenMM's minimizer
starts from the structure that was reached, once in Cartesian coordinates and once in latents. The
table at the end compares energies and force evaluations. The latents take fewer.

It needs openmmtorch (pip install "openmm-reparam[torchforce]") and the C++ plugin
(openmm-reparam doctor says whether both work), or --force python, which needs neither. Run it
(half a minute):

    python examples/latent_annealing.py

and then the saved System in a script of its own:

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
parser.add_argument("--steps", type=int, default=500, help="at each of 10 temperatures")
parser.add_argument("--modes", type=int, help="anneal in so many slow modes alone")
parser.add_argument("--force", default="auto", help="of latent Systems: torchforce or python")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--output", type=Path, default=Path("latent_annealing"))
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
cpu = mm.Platform.getPlatformByName("CPU")


def energy_of(context):
    """Potential energy in kJ/mol."""
    found = context.getState(energy=True).getPotentialEnergy()
    return found.value_in_unit(unit.kilojoule_per_mole)


def minimize(simulation, reparametrization, tolerance, iterations=0):
    """Run OpenMM's minimizer in latents; return the molecule's energy and the evaluations."""
    latent = latent_system(simulation, reparametrization, force=arguments.force)
    context = mm.Context(latent.system, mm.VerletIntegrator(0.001), cpu)
    context.setPositions(latent.positions)
    mm.LocalEnergyMinimizer.minimize(context, tolerance, iterations)
    latent.write_back(context)
    return energy_of(simulation.context), latent.evaluations


def minimize_in_latents(simulation):
    """Minimize in latents that are made anew every 50 iterations, where the molecule has come."""
    energy, total = energy_of(simulation.context), 0
    while True:
        # Forces on these latents are far smaller than on atoms, and so is the tolerance.
        lower, count = minimize(simulation, "spectral", 0.001, 50)
        total += count
        if lower > energy - 0.01:
            return lower, total
        energy = lower


# The molecule as usual, minimized; without constraints, which latents would violate.
molecule = peptide(arguments.sequence, constraints=None, solvent="gbn2")
simulation = molecule.simulation("CPU")
start = minimize_reparam(simulation, tolerance=5)
print(f"minimized: {start.energy:.1f} kJ/mol")

# The same molecule in its latents. Spectral latents are about equally stiff: with one mass all
# move equally fast, at a time step that counts in their time, not in that of atoms. Slow modes
# alone get the masses with which they move about as fast as the atoms do.
if arguments.modes:
    settings = {"reparametrization": "linear", "count": arguments.modes, "masses": "metric"}
    step, friction = 0.0005, 5.0
else:
    settings = {"reparametrization": "spectral", "masses": 1.0}
    step, friction = 0.05, 0.1
latent = latent_system(simulation, force=arguments.force, **settings)
integrator = mm.LangevinMiddleIntegrator(600, friction, step)
integrator.setRandomNumberSeed(arguments.seed)
annealing = app.Simulation(latent.topology, latent.system, integrator, cpu)
annealing.context.setPositions(latent.positions)
annealing.context.setVelocitiesToTemperature(600, arguments.seed)
annealing.reporters.append(
    app.StateDataReporter(
        sys.stdout, arguments.steps, step=True, potentialEnergy=True, temperature=True
    )
)
rows, minima = [], []
for temperature in np.linspace(600, 0, 10):
    integrator.setTemperature(temperature * unit.kelvin)
    annealing.step(arguments.steps)
    latent.write_back(annealing.context)
    reached = simulation.context.getState(positions=True).getPositions()
    cartesian = minimize(simulation, "cartesian", 1.0)
    simulation.context.setPositions(reached)
    latents = minimize_in_latents(simulation)
    rows.append((temperature, *cartesian, *latents))
    minima.append((latents[0], simulation.context.getState(positions=True).getPositions()))

print("\n             Cartesian coordinates      latents")
print("temperature  kJ/mol     evaluations     kJ/mol     evaluations")
for row in rows:
    print("{:8.0f} K  {:9.2f}  {:11d}  {:9.2f}  {:11d}".format(*row))
totals = np.sum(rows, axis=0)
print(f"all          {totals[2]:22.0f}  {totals[4]:22.0f}")

# The deepest minimum found, taken to the tolerance of the start.
simulation.context.setPositions(min(minima, key=lambda minimum: minimum[0])[1])
end = minimize_reparam(simulation, tolerance=5)
print(f"\nannealed and minimized: {end.energy:.1f} kJ/mol")

# The model and the molecule's System are both in this file.
(arguments.output / "system.xml").write_text(mm.XmlSerializer.serialize(latent.system))
state = annealing.context.getState(positions=True, velocities=True)
(arguments.output / "state.xml").write_text(mm.XmlSerializer.serialize(state))
print(f"saved to {arguments.output}: {energy_of(annealing.context):.3f} kJ/mol")
