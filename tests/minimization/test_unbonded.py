"""Energies of unknown terms on atoms that nothing is bonded to: clusters, atoms in a field."""

import numpy as np
import openmm as mm
import pytest
from openmm import app
from scipy.optimize import minimize

from openmm_reparam import minimize_reparam
from openmm_reparam.surrogates.oracles import python_force


class LennardJones:
    """Of all pairs: depth in kJ/mol, size in nm."""

    def __init__(self, depth, size):
        self.depth, self.size = depth, size

    def __call__(self, positions):
        vectors = positions[:, None] - positions[None]
        apart = 1 - np.eye(len(positions))
        squares = (vectors**2).sum(axis=-1) + np.eye(len(positions))
        sixth = (self.size**2 / squares) ** 3 * apart
        pulls = 24 * self.depth * (2 * sixth**2 - sixth) / squares
        forces = (pulls[..., None] * vectors).sum(axis=1)
        return float(2 * self.depth * (sixth**2 - sixth).sum()), forces


def in_a_field(positions):
    return float(100 * (positions**2).sum()), -200 * positions


def grid(count, spacing):
    places = np.array([[i, j, k] for i in range(3) for j in range(3) for k in range(2)], float)
    return spacing * places[:count] + 0.02 * np.random.default_rng(0).normal(size=(count, 3))


def simulation_of(symbol, positions, energy):
    element, topology, system = app.Element.getBySymbol(symbol), app.Topology(), mm.System()
    residue = topology.addResidue("X", topology.addChain())
    for _ in positions:
        topology.addAtom(symbol, element, residue)
        system.addParticle(element.mass)
    system.addForce(python_force(energy))
    platform = mm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(topology, system, mm.VerletIntegrator(0.001), platform)
    simulation.context.setPositions(positions)
    return simulation


def evaluations_of_lbfgs(energy, positions, tolerance):
    """Scipy's, to the same RMS force."""
    calls = []

    def both(flat):
        value, forces = energy(flat.reshape(-1, 3))
        calls.append(np.sqrt((forces**2).sum() / len(positions)))
        if calls[-1] < tolerance:
            raise StopIteration
        return value, -forces.ravel()

    with pytest.raises(StopIteration):
        minimize(
            both,
            positions.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 10_000, "maxfun": 10_000, "ftol": 0, "gtol": 0},
        )
    return len(calls)


@pytest.mark.parametrize(
    ("symbol", "spacing", "energy"),
    [
        ("Ar", 0.4, LennardJones(1.0, 0.34)),
        ("Au", 0.29, LennardJones(40.0, 0.26)),
        ("Na", 0.35, LennardJones(10.0, 0.33)),
    ],
)
def test_clusters_take_no_more_evaluations_than_lbfgs(symbol, spacing, energy):
    """Atoms of metals are near enough to pass for bonded; there are no molecules all the same."""
    start = grid(13, spacing)
    result = minimize_reparam(simulation_of(symbol, start, energy), tolerance=1)
    assert result.converged
    assert result.force_evaluations <= 1.1 * evaluations_of_lbfgs(energy, start, 1.0)


def test_atoms_in_a_field_arrive():
    """Each by itself, at one spot, in few evaluations."""
    result = minimize_reparam(simulation_of("C", np.eye(3), in_a_field), tolerance=0.1)
    assert result.converged
    assert result.force_evaluations <= 30
