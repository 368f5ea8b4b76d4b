"""Baselines of the sampling benchmark at a given number of force evaluations.

Plain molecular dynamics with independent walkers, and parallel tempering (replica exchange). One
step is one force evaluation. Both give the frames of the temperature asked for, all of equal
weight, whatever they have not equilibrated: that is what is compared.

References
----------
Sugita, Y., Okamoto, Y. Chem. Phys. Lett. 1999, 314, 141.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import openmm as mm
from openmm import app, unit
from tqdm import tqdm

from openmm_reparam.constants import BOLTZMANN

from .sampling_bias import langevin

__all__ = ["molecular_dynamics", "parallel_tempering"]

# Steps between two frames, and between two attempts to exchange replicas.
SAVED_EVERY, EXCHANGED_EVERY = 100, 100
HIGHEST_TEMPERATURE = 600.0  # K, of parallel tempering
# The share of each walker's steps that is left out of its frames.
EQUILIBRATION = 0.05

SimulationFactory = Callable[[mm.Integrator], app.Simulation]


def molecular_dynamics(
    make_simulation: SimulationFactory,
    temperature: float,
    evaluations: int,
    seed: int,
    *,
    walkers: int = 8,
) -> tuple[np.ndarray, np.ndarray]:
    """Run independent walkers from the minimum nearest to the start.

    Parameters
    ----------
    make_simulation : callable
        openmm.Integrator -> openmm.app.Simulation with the positions of the start, see
        `sampling_cases.simulation_factory`.
    temperature : float
        In K.
    evaluations : int
        Force evaluations of all walkers together; the minimization is not counted.
    seed : int
    walkers : int

    Returns
    -------
    positions : (n, N, 3) array
        In nm.
    weights : (n,) array
        All equal; they add up to one.
    """
    frames: list[np.ndarray] = []
    steps = evaluations // walkers
    for walker in tqdm(range(walkers), desc="molecular dynamics"):
        simulation = _started(make_simulation, temperature, walkers * seed + walker)
        simulation.step(int(EQUILIBRATION * steps))
        for _ in range((steps - simulation.currentStep) // SAVED_EVERY):
            simulation.step(SAVED_EVERY)
            frames.append(_positions(simulation))
    return _equally_weighted(frames)


def parallel_tempering(
    make_simulation: SimulationFactory,
    temperature: float,
    evaluations: int,
    seed: int,
    *,
    replicas: int = 8,
    highest: float = HIGHEST_TEMPERATURE,
) -> tuple[np.ndarray, np.ndarray]:
    """Run replicas at temperatures in geometric progression that exchange their configurations.

    Parameters
    ----------
    make_simulation : callable
        As for `molecular_dynamics`.
    temperature : float
        The lowest, in K; frames are of this one.
    evaluations : int
        Force evaluations of all replicas together; the minimization is not counted.
    seed : int
    replicas : int
    highest : float
        The highest temperature, in K.

    Returns
    -------
    positions : (n, N, 3) array
        In nm.
    weights : (n,) array
        All equal; they add up to one.
    """
    rng = np.random.default_rng(seed)
    temperatures = np.geomspace(temperature, highest, replicas)
    ladder = [_started(make_simulation, t, replicas * seed + k) for k, t in enumerate(temperatures)]
    frames: list[np.ndarray] = []
    rounds = evaluations // replicas // EXCHANGED_EVERY
    for count in tqdm(range(rounds), desc="parallel tempering"):
        for simulation in ladder:
            simulation.step(EXCHANGED_EVERY)
        for lower, higher in _neighbours(replicas, count):
            _exchange(ladder[lower], ladder[higher], temperatures[[lower, higher]], rng)
        if count >= EQUILIBRATION * rounds:
            frames.append(_positions(ladder[0]))
    return _equally_weighted(frames)


def _neighbours(replicas: int, count: int) -> Iterator[tuple[int, int]]:
    """Pairs of neighbours, even and odd ones by turns."""
    return (pair for pair in pairwise(range(replicas)) if pair[0] % 2 == count % 2)


def _exchange(
    lower: app.Simulation,
    higher: app.Simulation,
    temperatures: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Exchange two replicas' configurations with Metropolis' probability."""
    states = [
        s.context.getState(energy=True, positions=True, velocities=True) for s in (lower, higher)
    ]
    energies = [s.getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole) for s in states]
    inverse = 1 / (BOLTZMANN * temperatures)
    if np.log(rng.random()) < (inverse[0] - inverse[1]) * (energies[0] - energies[1]):
        scale = np.sqrt(temperatures[0] / temperatures[1])
        for simulation, state, factor in (
            (lower, states[1], scale),
            (higher, states[0], 1 / scale),
        ):
            simulation.context.setPositions(state.getPositions(asNumpy=True))
            simulation.context.setVelocities(factor * state.getVelocities(asNumpy=True))


def _started(make_simulation: SimulationFactory, temperature: float, seed: int) -> app.Simulation:
    simulation = make_simulation(langevin(temperature, seed))
    simulation.minimizeEnergy()
    simulation.context.setVelocitiesToTemperature(temperature, seed + 1)
    return simulation


def _positions(simulation: app.Simulation) -> np.ndarray:
    state = simulation.context.getState(positions=True)
    return np.array(state.getPositions(asNumpy=True)._value)


def _equally_weighted(frames: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(frames), np.full(len(frames), 1 / len(frames))
