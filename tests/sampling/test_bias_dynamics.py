"""Dynamics in OpenMM with the bias of a sampler: peroxide, whose torsion is 12 kT from flat."""

import numpy as np
import openmm as mm
import pytest
from harmonic_peroxide import BARRIER, harmonic_peroxide
from openmm import unit

from openmm_reparam.constants import BOLTZMANN
from openmm_reparam.sampling.sampler import boltzmann_sampler

KT = BOLTZMANN * 300
TORSION = "torsion 2 0 1 3"
GROUP = 3


@pytest.fixture(scope="module")
def bias():
    sampler = boltzmann_sampler(
        harmonic_peroxide().simulation("Reference"),
        max_force_evaluations=6000,
        progress=False,
    )
    sampler.sample(6000, broad=True, progress=False)
    return sampler.bias_force(TORSION)


def biased_context(bias, integrator):
    molecule = harmonic_peroxide()
    system = mm.XmlSerializer.clone(molecule.system)
    force = mm.XmlSerializer.clone(bias)
    force.setForceGroup(GROUP)
    system.addForce(force)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, integrator, platform)
    context.setPositions(molecule.positions)
    return context


def test_forces_are_finite_differences_all_around(bias):
    context = biased_context(bias, mm.VerletIntegrator(0.001))
    start = np.array(harmonic_peroxide().positions._value)
    rng = np.random.default_rng(0)
    for angle in np.linspace(-np.pi, np.pi, 15):
        x = start.copy()
        x[3] = [0.165, 0.097 * np.cos(angle), 0.097 * np.sin(angle)]
        direction = rng.normal(size=x.shape)

        def energy(step, x=x, direction=direction):
            context.setPositions(x + step * direction)
            state = context.getState(energy=True, forces=True, groups={GROUP})
            return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value

        slope = (energy(1e-6)[0] - energy(-1e-6)[0]) / 2e-6
        assert slope == pytest.approx(-(energy(0)[1] * direction).sum(), rel=1e-5, abs=1e-4)


def test_energy_is_conserved(bias):
    """Over 20 ps: a bias that is not smooth would heat."""
    context = biased_context(bias, mm.VerletIntegrator(0.0002))
    context.setVelocitiesToTemperature(300, 1)
    totals = []
    for _ in range(100):
        context.getIntegrator().step(1000)
        state = context.getState(energy=True)
        totals.append((state.getPotentialEnergy() + state.getKineticEnergy())._value)
    assert np.std(totals) < 0.05
    assert abs(np.polyfit(np.arange(100), totals, 1)[0]) * 100 < 0.1


def test_biased_torsions_turn_freely_and_weigh_back_to_the_molecule(bias):
    integrator = mm.LangevinMiddleIntegrator(300, 5.0, 0.001)
    integrator.setRandomNumberSeed(1)
    context = biased_context(bias, integrator)
    torsions, energies = [], []
    for _ in range(4000):
        integrator.step(50)
        state = context.getState(positions=True, energy=True, groups={GROUP})
        torsions.append(_torsion(state.getPositions(asNumpy=True)._value))
        energies.append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
    counts, edges = np.histogram(torsions, 12, (-np.pi, np.pi))
    assert counts.min() > 0.4 * counts.mean()  # without the bias exp(-12) of it
    weights = np.exp((np.array(energies) - np.max(energies)) / KT)
    shares, _ = np.histogram(torsions, edges, weights=weights)
    fine = np.linspace(-np.pi, np.pi, 12 * 100, endpoint=False).reshape(12, 100) + np.pi / 1200
    exact = -KT * np.log(np.exp(-BARRIER * (1 + np.cos(fine)) / KT).mean(axis=1))
    found = -KT * np.log(shares)
    deviations = (found - exact) - (found - exact).mean()
    assert np.abs(deviations).max() < 0.6 * KT


def _torsion(x):
    b0, b1, b2 = x[2] - x[0], x[1] - x[0], x[3] - x[1]
    first, second = np.cross(b0, b1), np.cross(b2, b1)
    sine = np.cross(first, second) @ b1 / np.linalg.norm(b1)
    return np.arctan2(sine, first @ second)
