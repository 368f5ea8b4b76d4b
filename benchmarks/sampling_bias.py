"""A bias on pairs of torsions: filled by metadynamics, then kept as it is.

The bias is a CMAPTorsionForce for each pair (such as phi and psi), which costs next to nothing.
Metadynamics is well-tempered, its walkers share one bias.

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

from .sampling_cases import dihedrals

__all__ = ["BiasedMolecule", "filled_bias", "langevin", "torsion_bias"]

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
    """A molecule whose pairs of torsions feel biases, in one Context.

    Attributes
    ----------
    simulation : openmm.app.Simulation
    forces : list of openmm.CMAPTorsionForce
        One a pair.
    atoms : (pairs, 2, 4) array
        Of the torsions.
    """

    simulation: app.Simulation
    forces: list[mm.CMAPTorsionForce]
    atoms: np.ndarray

    @classmethod
    def make(
        cls,
        molecule: MolecularSystem,
        atoms: np.ndarray,
        temperature: float,
        seed: int,
        platform: str,
    ) -> BiasedMolecule:
        """Return a molecule with biases that are zero.

        Parameters
        ----------
        molecule : MolecularSystem
        atoms : (pairs, 2, 4) array
            Of the torsions.
        temperature : float
            In K.
        seed : int
            Of the dynamics.
        platform : str
        """
        system = copy.deepcopy(molecule.system)
        forces = []
        for r, (phi, psi) in enumerate(atoms.tolist()):
            force = mm.CMAPTorsionForce()
            force.addMap(GRID, np.zeros(GRID**2))
            force.addTorsion(0, *phi, *psi)
            force.setForceGroup(BIAS_GROUP + r)
            system.addForce(force)
            forces.append(system.getForce(system.getNumForces() - 1))
        biased = MolecularSystem(molecule.name, molecule.topology, system, molecule.positions)
        threads = 1 if platform == "CPU" else None
        simulation = biased.simulation(platform, langevin(temperature, seed), threads)
        return cls(simulation, forces, atoms)

    def set_bias(self, values: np.ndarray) -> None:
        """Set the biases, (pairs, GRID, GRID) in kJ/mol at multiples of 10 degrees."""
        for force, of_residue in zip(self.forces, values, strict=True):
            force.setMapParameters(0, GRID, of_residue.T.ravel())
            force.updateParametersInContext(self.simulation.context)

    def positions(self) -> np.ndarray:
        """Return the positions, (N, 3) in nm."""
        state = self.simulation.context.getState(positions=True)
        return np.array(state.getPositions(asNumpy=True)._value)

    def torsions(self) -> np.ndarray:
        """Return the torsions, (pairs, 2) in radians."""
        return dihedrals(self.positions()[None], self.atoms)[0]

    def bias_energies(self) -> np.ndarray:
        """Return each pair's bias, (pairs,) in kJ/mol."""
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
    (pairs, GRID, GRID) array
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


def torsion_bias(molecule: MolecularSystem, atoms: np.ndarray) -> np.ndarray:
    """Return minus the force field's own torsion terms about bonds: nothing has to be filled.

    Parameters
    ----------
    molecule : MolecularSystem
        Its positions tell how far other torsions about a bond are from the one that is biased.
    atoms : (pairs, 2, 4) array
        Of the torsions.

    Returns
    -------
    (pairs, GRID, GRID) array
        In kJ/mol.
    """
    positions = np.array(molecule.positions._value)[None]
    grid = 2 * np.pi / GRID * np.arange(GRID)
    profiles = np.zeros((*atoms.shape[:2], GRID))
    torsions = [f for f in molecule.system.getForces() if isinstance(f, mm.PeriodicTorsionForce)]
    for force in torsions:
        for term in range(force.getNumTorsions()):
            *four, fold, phase, constant = force.getTorsionParameters(term)
            for place in np.ndindex(atoms.shape[:2]):
                if set(four[1:3]) == set(atoms[place][1:3]):
                    both = dihedrals(positions, np.array([[four, atoms[place]]]))[0, 0]
                    angle = fold * (grid + both[0] - both[1]) - phase._value
                    profiles[place] -= constant._value * (1 + np.cos(angle))
    return profiles[:, 0, :, None] + profiles[:, 1, None, :]


def _state(context: mm.Context) -> mm.State:
    return context.getState(positions=True, velocities=True)


def _gaussian(centre: np.ndarray) -> np.ndarray:
    grid = 2 * np.pi / GRID * np.arange(GRID)
    # Periodic: a von Mises function, which is a Gaussian where it is narrow.
    first, second = (np.exp((np.cos(grid - c) - 1) / WIDTH**2) for c in centre)
    return np.outer(first, second)
