"""Free energies of alanine dipeptide without dynamics, checked by a short simulation.

A sampler is trained on energies alone. Structures are drawn with weights, a short simulation says
whether the sampler misses a basin, and the Ramachandran map is drawn. Then dynamics runs with the
free energy as a bias, so that it crosses barriers that it would not cross in nanoseconds.

Run it (some minutes on two cores):

    python examples/sample_dipeptide.py
    python examples/sample_dipeptide.py --evaluations 450000 --steps 200000
"""

import argparse

import numpy as np
import openmm as mm
from openmm import app, unit

from openmm_reparam import boltzmann_sampler
from openmm_reparam.plotting import plot_free_energy
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.sampling.observables import observable

STRIDE = 100  # steps between two structures
PLATFORM = "Reference"  # the fastest one for 22 atoms


def simulation_of(topology: app.Topology, system: mm.System, positions) -> app.Simulation:
    """Return a Simulation at 300 K with steps of 1 fs."""
    integrator = mm.LangevinMiddleIntegrator(
        300 * unit.kelvin, 5 / unit.picosecond, 1 * unit.femtosecond
    )
    integrator.setRandomNumberSeed(1)
    platform = mm.Platform.getPlatformByName(PLATFORM)
    simulation = app.Simulation(topology, system, integrator, platform)
    simulation.context.setPositions(positions)
    return simulation


def trajectory(simulation: app.Simulation, steps: int) -> np.ndarray:
    """Return positions (m, N, 3) in nm of a simulation, after a tenth for equilibration."""
    simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
    simulation.step(steps // 10)
    found = []
    for _ in range(steps // STRIDE):
        simulation.step(STRIDE)
        state = simulation.context.getState(positions=True)
        found.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    return np.array(found)


def share_of_positive_phi(structures: np.ndarray, topology: app.Topology) -> float:
    """Return how many structures are left-handed."""
    phi = observable("phi", topology)(structures)
    return float(((phi > 0) & (phi < 2.4)).mean())


def main() -> None:
    """Train, draw, check, plot, bias."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=120_000, help="of the training")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=100_000, help="of each simulation")
    arguments = parser.parse_args()

    molecule = peptide("A", capped=True, forcefield="amber96.xml", solvent="obc2", constraints=None)
    simulation = simulation_of(molecule.topology, molecule.system, molecule.positions)
    simulation.minimizeEnergy()

    sampler = boltzmann_sampler(
        simulation, temperature=300, max_force_evaluations=arguments.evaluations
    )
    plain = trajectory(simulation, arguments.steps)
    ensemble = sampler.sample(arguments.samples, configurations=plain)
    print(ensemble)

    broad = sampler.sample(arguments.samples, broad=True)
    phi = broad.measure("phi")
    left = (phi > 0) & (phi < 2.4)
    print(f"Left-handed basin: {broad.free_energy_difference(left, ~left)} kJ/mol")
    plot_free_energy(broad.free_energy("phi", "psi"), "ramachandran.png")
    print("Wrote ramachandran.png")

    molecule.system.addForce(sampler.bias_force("phi", "psi"))
    start = simulation.context.getState(positions=True).getPositions()
    biased = trajectory(simulation_of(molecule.topology, molecule.system, start), arguments.steps)
    for name, structures in (("plain", plain), ("biased", biased)):
        share = share_of_positive_phi(structures, molecule.topology)
        print(f"Left-handed structures in {name} dynamics: {share:.1%}")


if __name__ == "__main__":
    main()
