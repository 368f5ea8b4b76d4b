"""A bias on phi and psi of alanine peptides: filled by metadynamics, then kept as it is.

The bias is a CMAPTorsionForce for each residue, which costs next to nothing. Metadynamics is
well-tempered, its walkers share one bias.

References
----------
Barducci, A., Bussi, G., Parrinello, M. Phys. Rev. Lett. 2008, 100, 020603.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import openmm as mm
from openmm import app, unit
from tqdm import tqdm

from openmm_reparam.constants import BOLTZMANN
from openmm_reparam.prepare.molecular_system import MolecularSystem

from .sampling_cases import backbone_torsions

__all__ = ["BiasedMolecule", "filled_bias", "langevin"]

# Grid points of a torsion; width of a Gaussian in radians, and its height in kJ/mol.
GRID, WIDTH, HEIGHT = 36, 0.35, 1.5
# Steps between two Gaussians, and how much higher the temperature of phi and psi becomes.
PACE, BIAS_FACTOR = 200, 10.0
STEP, FRICTION = 0.002, 1.0  # ps, 1/ps; hydrogens weigh 3 amu
BIAS_GROUP = 8  # the first force group of biases


def langevin(temperature: float, seed: int) -> mm.Integrator:
    """Return an integrator: 2 fs, 1/ps.

    Parameters
    ----------
    temperature : float
        In K.
    seed : int
    """
    integrator = mm.LangevinMiddleIntegrator(temperature, FRICTION, STEP)
    integrator.setRandomNumberSeed(seed + 1)  # 0 would be drawn anew
    return integrator


@dataclass
class BiasedMolecule:
    """A molecule whose residues' phi and psi feel biases, in one Context.

    Attributes
    ----------
    simulation : openmm.app.Simulation
    forces : list of openmm.CMAPTorsionForce
        One a residue.
    """

    simulation: app.Simulation
    forces: list[mm.CMAPTorsionForce]

    @classmethod
    def make(
        cls, molecule: MolecularSystem, temperature: float, seed: int, platform: str
    ) -> BiasedMolecule:
        """Return a molecule with biases that are zero.

        Parameters
        ----------
        molecule : MolecularSystem
            Of capped alanines.
        temperature : float
            In K.
        seed : int
            Of the dynamics.
        platform : str
        """
        system = copy.deepcopy(molecule.system)
        forces = []
        for r, (phi, psi) in enumerate(_torsion_atoms(molecule.topology)):
            force = mm.CMAPTorsionForce()
            force.addMap(GRID, np.zeros(GRID**2))
            force.addTorsion(0, *phi, *psi)
            force.setForceGroup(BIAS_GROUP + r)
            system.addForce(force)
            forces.append(system.getForce(system.getNumForces() - 1))
        biased = MolecularSystem(molecule.name, molecule.topology, system, molecule.positions)
        threads = 1 if platform == "CPU" else None
        return cls(biased.simulation(platform, langevin(temperature, seed), threads), forces)

    def set_bias(self, values: np.ndarray) -> None:
        """Set the biases, (residues, GRID, GRID) in kJ/mol at multiples of 10 degrees."""
        for force, of_residue in zip(self.forces, values, strict=True):
            force.setMapParameters(0, GRID, of_residue.T.ravel())
            force.updateParametersInContext(self.simulation.context)

    def positions(self) -> np.ndarray:
        """Return the positions, (N, 3) in nm."""
        state = self.simulation.context.getState(positions=True)
        return np.array(state.getPositions(asNumpy=True)._value)

    def torsions(self) -> np.ndarray:
        """Return phi and psi, (residues, 2) in radians."""
        return backbone_torsions(self.simulation.topology, self.positions()[None])[0]

    def bias_energies(self) -> np.ndarray:
        """Return each residue's bias, (residues,) in kJ/mol."""
        groups = [1 << (BIAS_GROUP + r) for r in range(len(self.forces))]
        context = self.simulation.context
        energies = [context.getState(energy=True, groups=g).getPotentialEnergy() for g in groups]
        return np.array([e.value_in_unit(unit.kilojoules_per_mole) for e in energies])


def filled_bias(
    biased: BiasedMolecule, temperature: float, steps: int, walkers: int
) -> tuple[np.ndarray, list[mm.State]]:
    """Fill the biases by well-tempered metadynamics.

    Parameters
    ----------
    biased : BiasedMolecule
    temperature : float
        In K.
    steps : int
        Of all walkers together.
    walkers : int

    Returns
    -------
    (residues, GRID, GRID) array
        In kJ/mol.
    list of openmm.State
        Of the walkers at the end.
    """
    context = biased.simulation.context
    biased.simulation.minimizeEnergy()
    context.setVelocitiesToTemperature(temperature, 0)
    states = [_state(context)] * walkers
    values = np.zeros((len(biased.forces), GRID, GRID))
    tempering = BOLTZMANN * temperature * (BIAS_FACTOR - 1)
    for turn in tqdm(range(steps // PACE), desc="metadynamics", mininterval=20):
        walker = turn % walkers
        context.setState(states[walker])
        biased.simulation.step(PACE)
        states[walker] = _state(context)
        for r, torsions in enumerate(biased.torsions()):
            here = values[r][tuple(np.rint(torsions / (2 * np.pi / GRID)).astype(int) % GRID)]
            values[r] += HEIGHT * np.exp(-here / tempering) * _gaussian(torsions)
        biased.set_bias(values)
    return values, states


def _state(context: mm.Context) -> mm.State:
    return context.getState(positions=True, velocities=True)


def _gaussian(centre: np.ndarray) -> np.ndarray:
    grid = 2 * np.pi / GRID * np.arange(GRID)
    # Periodic: a von Mises function, which is a Gaussian where it is narrow.
    first, second = (np.exp((np.cos(grid - c) - 1) / WIDTH**2) for c in centre)
    return np.outer(first, second)


def _torsion_atoms(topology: app.Topology) -> list[tuple[list[int], list[int]]]:
    """Atoms of phi and psi of each residue between the caps."""
    residues = [{atom.name: atom.index for atom in r.atoms()} for r in topology.residues()]
    return [
        (
            [before["C"], here["N"], here["CA"], here["C"]],
            [here["N"], here["CA"], here["C"], after["N"]],
        )
        for before, here, after in zip(residues, residues[1:], residues[2:], strict=False)
    ]
