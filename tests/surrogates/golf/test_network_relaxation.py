"""Relaxation on a model, verified by the genuine energy; closed forms in place of networks."""

import numpy as np
import openmm as mm
import pytest
from morse_molecule import MorseMolecule
from openmm import app

from openmm_reparam.errors import ConvergenceWarning
from openmm_reparam.minimization.network_relaxation import NetworkModel, relax_on_network
from openmm_reparam.surrogates.oracles import python_force


class Counted:
    """A genuine energy that knows how often it was asked, and can be made to fail."""

    def __init__(self, energy, failing=()):
        self.energy, self.failing, self.calls = energy, failing, 0

    def __call__(self, positions):
        self.calls += 1
        if self.calls in self.failing:
            raise RuntimeError("no convergence")
        return self.energy(positions)


def simulation_of(acetic_acid, oracle, positions):
    numbers, _, bonds = acetic_acid
    topology, system = app.Topology(), mm.System()
    residue = topology.addResidue("ACT", topology.addChain())
    for k, number in enumerate(numbers):
        element = app.Element.getByAtomicNumber(int(number))
        topology.addAtom(f"{element.symbol}{k}", element, residue)
        system.addParticle(element.mass)
    atoms = list(topology.atoms())
    for i, j in bonds:
        topology.addBond(atoms[i], atoms[j])
    system.addForce(python_force(oracle))
    simulation = app.Simulation(
        topology,
        system,
        mm.VerletIntegrator(0.001),
        mm.Platform.getPlatformByName("Reference"),
    )
    simulation.context.setPositions(positions)
    return simulation


def positions_of(simulation):
    return simulation.context.getState(positions=True).getPositions(asNumpy=True)._value


@pytest.fixture
def start(acetic_acid):
    return acetic_acid[1] + 0.006 * np.random.default_rng(3).normal(size=acetic_acid[1].shape)


@pytest.fixture
def genuine(acetic_acid):
    return Counted(MorseMolecule(acetic_acid))


def test_the_end_is_a_genuine_minimum_and_calls_are_counted(acetic_acid, start, genuine):
    model = MorseMolecule(acetic_acid, scale=1.004)
    simulation = simulation_of(acetic_acid, genuine, start)
    relaxed = relax_on_network(simulation, NetworkModel(model), tolerance=1.0)
    assert relaxed.verified
    assert relaxed.converged
    assert relaxed.genuine_calls == genuine.calls <= 8
    energy, forces = genuine.energy(relaxed.positions)
    assert energy == pytest.approx(0.0, abs=0.01)
    assert np.sqrt((forces**2).sum() / len(forces)) <= 1.0
    np.testing.assert_array_equal(positions_of(simulation), relaxed.positions)
    # What the model says of itself, and what was found where it ended.
    assert relaxed.promised_fall == pytest.approx(model(start)[0], rel=0.01)
    assert relaxed.further_fall == pytest.approx(relaxed.result.initial_energy - energy, abs=0.01)
    assert relaxed.warnings == ()
    assert relaxed.found_fall is None


def test_a_good_model_saves_calls(acetic_acid, start):
    """Against none, and against a poor one: the genuine minimum is checked once or twice."""
    calls = {}
    for scale in (1.0, 1.02):
        oracle = Counted(MorseMolecule(acetic_acid))
        simulation = simulation_of(acetic_acid, oracle, start)
        relax_on_network(simulation, NetworkModel(MorseMolecule(acetic_acid, scale=scale)))
        calls[scale] = oracle.calls
    assert calls[1.0] == 1
    assert calls[1.02] > 1


@pytest.mark.parametrize("prior", ["surrogate", "network", None])
def test_steps_are_found_on_the_prior(acetic_acid, start, genuine, prior):
    """On the surrogate oracle alone by default; the network is not asked after its own descent."""
    model = Counted(MorseMolecule(acetic_acid, scale=1.01))
    surrogate = Counted(MorseMolecule(acetic_acid, scale=1.02))
    simulation = simulation_of(acetic_acid, genuine, start)
    relaxed = relax_on_network(
        simulation, NetworkModel(model, surrogate), prior=prior, tolerance=1.0
    )
    assert relaxed.converged
    assert relaxed.genuine_calls == genuine.calls
    assert relaxed.network_evaluations == model.calls
    assert (model.calls > relaxed.descent.force_evaluations) == (prior == "network")
    assert (surrogate.calls > 1) == (prior != "network")


def test_priors_that_are_none(acetic_acid, start, genuine):
    simulation = simulation_of(acetic_acid, genuine, start)
    with pytest.raises(ValueError, match="prior is 'mmff'"):
        relax_on_network(simulation, NetworkModel(MorseMolecule(acetic_acid)), prior="mmff")


def test_unverified_asks_nothing_and_says_so(acetic_acid, start, genuine):
    model = MorseMolecule(acetic_acid, scale=1.01)
    simulation = simulation_of(acetic_acid, genuine, start)
    relaxed = relax_on_network(simulation, NetworkModel(model), verify=False)
    assert genuine.calls == relaxed.genuine_calls == 0
    assert not relaxed.verified
    assert "NOTHING VERIFIED" in repr(relaxed)
    assert model(relaxed.positions)[0] == pytest.approx(0.0, abs=0.05)
    np.testing.assert_array_equal(positions_of(simulation), relaxed.positions)


def test_falls_are_compared_where_asked(acetic_acid, start, genuine):
    model = MorseMolecule(acetic_acid, scale=1.004)
    simulation = simulation_of(acetic_acid, genuine, start)
    relaxed = relax_on_network(simulation, NetworkModel(model), check_start=True)
    fall = genuine.energy(start)[0] - relaxed.result.initial_energy
    assert relaxed.found_fall == pytest.approx(fall, abs=1e-6)
    assert relaxed.genuine_calls == genuine.calls


def test_what_is_outside_of_the_training_is_said(acetic_acid, start, genuine):
    simulation = simulation_of(acetic_acid, genuine, start)
    model = NetworkModel(MorseMolecule(acetic_acid), outside=("not trained on S",))
    relaxed = relax_on_network(simulation, model)
    assert relaxed.warnings == ("not trained on S",)
    assert relaxed.found_fall == pytest.approx(genuine.energy(start)[0], abs=0.5)


@pytest.mark.parametrize("kind", ["surrogate", "training"])
def test_disagreeing_forces_are_said(acetic_acid, start, genuine, kind):
    """A model no better than the surrogate oracle, or far worse than in training."""
    poor = MorseMolecule(acetic_acid, scale=1.05)
    base = {
        "surrogate": {
            "surrogate": MorseMolecule(acetic_acid, scale=1.02),
            "surrogate_name": "other",
        },
        "training": {"force_error": 5.0},
    }[kind]
    simulation = simulation_of(acetic_acid, genuine, start)
    relaxed = relax_on_network(simulation, NetworkModel(poor, **base))
    assert len([w for w in relaxed.warnings if "genuine RMS force" in w]) == 1
    assert relaxed.converged
    assert relaxed.found_fall is not None


def test_a_model_that_breaks_the_molecule_is_left(acetic_acid, start, genuine):
    """It pulls a hydrogen off: begun again from the start, without it."""

    def model(positions):
        energy, forces = MorseMolecule(acetic_acid)(positions)
        apart = positions[7] - positions[3]
        distance = np.linalg.norm(apart)
        pull = 3e5 * (distance - 0.25) * apart / distance
        forces = forces.copy()
        forces[7] -= pull
        forces[3] += pull
        return energy + 1.5e5 * (distance - 0.25) ** 2, forces

    simulation = simulation_of(acetic_acid, genuine, start)
    surrogate = MorseMolecule(acetic_acid, scale=1.01)
    relaxed = relax_on_network(simulation, NetworkModel(model, surrogate), tolerance=1.0)
    assert any("is broken" in warning for warning in relaxed.warnings)
    assert relaxed.converged
    assert relaxed.genuine_calls == genuine.calls
    assert genuine.energy(relaxed.positions)[0] == pytest.approx(0.0, abs=0.01)


def test_a_minimum_above_the_start_is_not_kept(acetic_acid, genuine):
    """From the genuine minimum, on a model of twice as long bonds that stops there."""
    start = acetic_acid[1]
    model = MorseMolecule(acetic_acid, scale=1.25)
    simulation = simulation_of(acetic_acid, genuine, start)
    with pytest.warns(ConvergenceWarning):
        relaxed = relax_on_network(
            simulation,
            NetworkModel(model, MorseMolecule(acetic_acid), outside=("another",)),
            tolerance=1e-7,
            max_force_evaluations=2,
        )
    assert any("led above the start" in warning for warning in relaxed.warnings)
    assert genuine.energy(relaxed.positions)[0] <= genuine.energy(start)[0]
    assert relaxed.genuine_calls == genuine.calls


def test_failures_are_counted(acetic_acid, start):
    genuine = Counted(MorseMolecule(acetic_acid), failing=(2,))
    simulation = simulation_of(acetic_acid, genuine, start)
    model = NetworkModel(MorseMolecule(acetic_acid, scale=1.02))
    relaxed = relax_on_network(simulation, model)
    assert relaxed.converged
    assert relaxed.genuine_calls == genuine.calls


def test_a_network_minimum_that_fails_is_left(acetic_acid, start):
    """The first call fails: begun again from the start, without the network."""
    genuine = Counted(MorseMolecule(acetic_acid), failing=(1,))
    simulation = simulation_of(acetic_acid, genuine, start)
    model = NetworkModel(MorseMolecule(acetic_acid, scale=1.02), MorseMolecule(acetic_acid))
    relaxed = relax_on_network(simulation, model)
    assert any("no convergence" in warning for warning in relaxed.warnings)
    assert relaxed.converged
    assert relaxed.genuine_calls == genuine.calls


def test_a_start_that_fails_compares_nothing(acetic_acid, start):
    """The genuine energy fails there alone."""
    energy = MorseMolecule(acetic_acid)

    def genuine(positions):
        if np.allclose(positions, start):
            raise RuntimeError("no convergence")
        return energy(positions)

    counted = Counted(genuine)
    simulation = simulation_of(acetic_acid, counted, start)
    relaxed = relax_on_network(simulation, NetworkModel(energy), check_start=True)
    assert relaxed.converged
    assert relaxed.found_fall is None
    assert relaxed.genuine_calls == counted.calls == 2
    np.testing.assert_array_equal(positions_of(simulation), relaxed.positions)


def test_an_error_leaves_the_context_as_it_was(acetic_acid, start):
    genuine = Counted(MorseMolecule(acetic_acid), failing=range(1, 100))
    simulation = simulation_of(acetic_acid, genuine, start)
    with pytest.raises(Exception, match="no convergence"):
        relax_on_network(simulation, NetworkModel(MorseMolecule(acetic_acid, scale=1.02)))
    np.testing.assert_array_equal(positions_of(simulation), start)


@pytest.mark.parametrize("where", ["network", "genuine"])
def test_ctrl_c_is_ctrl_c_and_leaves_the_context_as_it_was(acetic_acid, start, where):
    """Both energies are functions that OpenMM calls, which hands on no more than a message."""

    def interrupted(positions):
        raise KeyboardInterrupt

    right, wrong = MorseMolecule(acetic_acid), interrupted
    genuine, network = (right, wrong) if where == "network" else (wrong, right)
    simulation = simulation_of(acetic_acid, genuine, start)
    with pytest.raises(KeyboardInterrupt):
        relax_on_network(simulation, NetworkModel(network))
    np.testing.assert_array_equal(positions_of(simulation), start)
