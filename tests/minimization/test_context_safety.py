"""What a user's Context may and may not lose: only positions change, and only on success."""

import copy
import random
import warnings

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import app, unit

from openmm_reparam import (
    ConvergenceWarning,
    NonFiniteError,
    NotConvergedError,
    Potential,
    ReparamMinimizer,
    UnsupportedSystemError,
    minimize_reparam,
)
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.reparametrizations import Cartesian

QUICK = {
    "reparametrization": "gcn",
    "latent_iterations": 6,
    "hidden": (8,),
    "count": 6,
    "latents": 4,
}


@pytest.fixture(params=["none", "HBonds"])
def lived_in(request, platform, tripeptide):
    """Return a Simulation with a past: velocities, time, steps, a changed parameter and box."""
    molecule = tripeptide
    if request.param == "HBonds":
        molecule = peptide("AAA", constraints="HBonds")
    system = copy.deepcopy(molecule.system)
    restraint = mm.CustomExternalForce("strength*periodicdistance(x,y,z,0,0,0)^2")
    restraint.addGlobalParameter("strength", 0.5)
    restraint.addParticle(0, [])
    system.addForce(restraint)
    # GPU platforms keep the kind of the box that a Context was made with.
    system.setDefaultPeriodicBoxVectors([6, 0, 0], [1, 7, 0], [-1, 2, 8])
    integrator = mm.LangevinMiddleIntegrator(300, 1.0, 0.0005)
    integrator.setRandomNumberSeed(3)
    chosen = mm.Platform.getPlatformByName(platform)
    simulation = app.Simulation(molecule.topology, system, integrator, chosen)
    context = simulation.context
    context.setPeriodicBoxVectors([7, 0, 0], [1, 7.5, 0], [-1, 2, 8])
    context.setPositions(molecule.positions)
    context.setVelocitiesToTemperature(250, 7)
    context.setParameter("strength", 2.5)
    simulation.step(3)
    return simulation


class Recording(mm.MinimizationReporter):
    """Keep what is reported; do something at one iteration."""

    def __init__(self, at=None, action=None):
        super().__init__()
        self.at, self.action, self.calls = at, action, []

    def report(self, iteration, x, grad, args):
        self.calls.append((iteration, np.array(x), np.array(grad), dict(args)))
        if self.at is not None and len(self.calls) == self.at:
            return self.action()
        return False


def raiser(error):
    def action():
        raise error

    return action


def test_success_changes_positions_alone(lived_in, snapshot, energy_and_forces):
    context = lived_in.context
    before = snapshot(context, positions=False)
    result = minimize_reparam(lived_in, 20, **QUICK)
    assert result.converged
    assert snapshot(context, positions=False) == before
    assert lived_in.currentStep == 3
    assert energy_and_forces(context)[0] == pytest.approx(result.energy, rel=1e-6)
    assert result.energy < result.initial_energy


@pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")
def test_a_run_cut_short_changes_positions_alone(lived_in, snapshot, energy_and_forces):
    before = snapshot(lived_in.context, positions=False)
    result = minimize_reparam(lived_in, 1e-6, 5, **QUICK)
    assert not result.converged
    assert snapshot(lived_in.context, positions=False) == before
    assert energy_and_forces(lived_in.context)[0] == pytest.approx(result.energy, rel=1e-6)


@pytest.mark.parametrize("stage", ["latent", "fine"])
@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_a_reporter_raises_leaves_the_context_as_it_was(lived_in, snapshot, stage, error):
    before = snapshot(lived_in.context)
    settings = QUICK if stage == "latent" else QUICK | {"latent_iterations": 0}
    reporter = Recording(3, raiser(error))
    with pytest.raises(type(error)) as caught:
        minimize_reparam(lived_in, 1e-6, reporter=reporter, **settings)
    assert caught.value is error
    assert len(reporter.calls) == 3
    assert snapshot(lived_in.context) == before


@pytest.mark.parametrize("evaluation", [1, 2, 9, 25])
@pytest.mark.parametrize("error", [KeyboardInterrupt, mm.OpenMMException, MemoryError])
def test_whatever_an_evaluation_raises_leaves_the_context_as_it_was(
    lived_in, snapshot, monkeypatch, evaluation, error
):
    before = snapshot(lived_in.context)
    evaluate, calls = Potential.evaluate, []

    def failing(self, positions):
        if self.kind == "context":
            calls.append(1)
            self.set_positions(np.array(positions) + 0.01)
            if len(calls) >= evaluation:
                raise error("out of the blue")
        return evaluate(self, positions)

    monkeypatch.setattr(Potential, "evaluate", failing)
    with pytest.raises(error):
        minimize_reparam(lived_in, 1e-6, **QUICK)
    assert len(calls) == evaluation
    assert snapshot(lived_in.context) == before


def test_strict_raises_and_leaves_the_context_as_it_was(lived_in, snapshot):
    before = snapshot(lived_in.context)
    with pytest.raises(NotConvergedError) as caught:
        minimize_reparam(lived_in, 1e-6, 7, strict=True, **QUICK)
    assert snapshot(lived_in.context) == before
    assert caught.value.result.iterations == 7
    assert not caught.value.result.converged


def test_strict_does_not_hurt_a_run_that_converges(lived_in):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert minimize_reparam(lived_in, 20, strict=True, **QUICK).converged


def test_a_warning_turned_into_an_error_leaves_the_context_as_it_was(lived_in, snapshot):
    """As under ``python -W error``: any exception, the promise says."""
    before = snapshot(lived_in.context)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        with pytest.raises(ConvergenceWarning):
            minimize_reparam(lived_in, 1e-6, 4, **QUICK)
    assert snapshot(lived_in.context) == before


def bad_module(x):
    return torch.nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"reparametrization": "nonsense"}, ValueError),
        ({"reparametrization": 3}, TypeError),
        ({"reparametrization": bad_module}, TypeError),
        ({"hiden": (3,)}, TypeError),
        ({"reparametrization": "gcn", "hidden": (0,)}, ValueError),
        ({"optimizer": "sgd"}, ValueError),
        ({"latent_iterations": -1}, ValueError),
        ({"tolerance": -1}, ValueError),
        ({"tolerance": 0}, ValueError),
        ({"tolerance": float("nan")}, ValueError),
        ({"tolerance": float("inf")}, ValueError),
        ({"tolerance": "loose"}, TypeError),
        ({"tolerance": None}, TypeError),
        ({"tolerance": 1 * unit.kilojoule_per_mole}, TypeError),
        ({"tolerance": 1 * unit.nanometer}, TypeError),
        ({"maxIterations": -1}, ValueError),
        ({"maxIterations": 2.5}, TypeError),
        ({"maxIterations": True}, TypeError),
        ({"max_force_evaluations": 0}, ValueError),
        ({"max_force_evaluations": "all"}, TypeError),
    ],
)
def test_bad_arguments_leave_the_context_as_it_was(tripeptide, snapshot, arguments, error):
    simulation = tripeptide.simulation("Reference")
    before = snapshot(simulation.context)
    with pytest.raises(error):
        minimize_reparam(simulation, **arguments)
    assert snapshot(simulation.context) == before


@pytest.mark.parametrize("thing", [None, "model.pdb", 3, mm.System()])
def test_what_is_no_simulation_is_refused(thing):
    with pytest.raises(TypeError, match="Simulation"):
        minimize_reparam(thing)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_start_that_is_not_finite_names_its_atoms(tripeptide, platform, nanometers, bad):
    simulation = tripeptide.simulation(platform)
    x = tripeptide.positions._value.copy()
    x[14] = bad
    simulation.context.setPositions(x)
    before = nanometers(simulation.context)
    name = list(simulation.topology.atoms())[14].name
    reporter = Recording()
    with pytest.raises(NonFiniteError, match=f"{name} of ALA 2") as caught:
        minimize_reparam(simulation, reporter=reporter)
    assert caught.value.atoms == (14,)
    assert not reporter.calls
    assert np.array_equal(nanometers(simulation.context), before, equal_nan=True)


def test_two_interacting_atoms_on_one_spot_are_named(tripeptide, platform, snapshot):
    simulation = tripeptide.simulation(platform)
    x = tripeptide.positions._value.copy()
    x[30] = x[2]
    simulation.context.setPositions(x)
    before = snapshot(simulation.context)
    with pytest.raises(NonFiniteError, match="one spot: H2 of ALA 1") as caught:
        minimize_reparam(simulation)
    assert set(caught.value.atoms) == {2, 30}
    assert snapshot(simulation.context) == before


@pytest.mark.parametrize("pair", [(4, 5), (0, 4), (8, 9)])
def test_bonded_atoms_on_one_spot_are_minimized(tripeptide, platform, pair):
    """OpenMM finds their energy finite: no non-bonded force is between them."""
    simulation = tripeptide.simulation(platform)
    x = tripeptide.positions._value.copy()
    x[pair[1]] = x[pair[0]]
    simulation.context.setPositions(x)
    result = minimize_reparam(simulation, 5)
    assert result.converged
    assert result.energy < result.initial_energy


def test_an_atom_on_a_fixed_one_is_named(tripeptide, snapshot):
    system = copy.deepcopy(tripeptide.system)
    system.setParticleMass(30, 0.0)
    platform = mm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(tripeptide.topology, system, mm.VerletIntegrator(0.001), platform)
    x = tripeptide.positions._value.copy()
    x[2] = x[30]
    simulation.context.setPositions(x)
    before = snapshot(simulation.context)
    with pytest.raises(NonFiniteError, match="H2 of ALA 1"):
        minimize_reparam(simulation)
    assert snapshot(simulation.context) == before


def test_global_random_states_and_threads_are_left_alone(tripeptide):
    threads = torch.get_num_threads()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    for name in ("gcn", "linear", "cartesian", "spectral"):
        minimize_reparam(tripeptide.simulation("Reference"), reparametrization=name, seed=5)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("how", ["raised", "stopped", "cut short"])
@pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")
def test_threads_come_back_however_a_latent_stage_ends(tripeptide, how):
    """Also while the exception is still held, as a debugger, pytest or Jupyter does."""
    before = torch.get_num_threads()
    actions = {"raised": raiser(KeyError()), "stopped": lambda: True, "cut short": lambda: False}
    reporter = Recording(2, actions[how])
    simulation = tripeptide.simulation("Reference")
    held = None
    try:
        torch.set_num_threads(2)
        try:
            minimize_reparam(
                simulation, 1e-6, 3, reporter, reparametrization="gcn", fine_stage=False
            )
        except KeyError as error:
            held = error
        assert (held is not None) == (how == "raised")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_it_works_inside_no_grad_and_with_another_default_dtype(tripeptide):
    """A caller's torch settings are the caller's."""
    dtype = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float16)
        assert minimize_reparam(tripeptide.simulation("Reference")).converged
    finally:
        torch.set_default_dtype(dtype)
    with torch.no_grad():
        assert minimize_reparam(tripeptide.simulation("Reference")).converged
        assert not torch.is_grad_enabled()


def test_the_same_seed_gives_the_same_energies(tripeptide):
    def run(seed):
        # A network starts at random; preconditioned L-BFGS has nothing random.
        result = minimize_reparam(
            tripeptide.simulation("Reference"),
            1,
            reparametrization="gcn",
            seed=seed,
            hidden=(8,),
            latent_iterations=20,
        )
        return result.history["energy"].tolist(), result.energy

    assert run(4) == run(4)
    assert run(None) == run(0)
    assert run(4) != run(5)


def test_a_bare_context_works_with_all_it_holds(tripeptide, platform, snapshot):
    chosen = mm.Platform.getPlatformByName(platform)
    context = mm.Context(tripeptide.system, mm.VerletIntegrator(0.001), chosen)
    context.setPositions(tripeptide.positions)
    before = snapshot(context, positions=False)
    result = minimize_reparam(context)
    assert result.converged
    # Its bonds are those of the force field.
    assert result.stereo_changes == ()
    assert result.max_force_atom.startswith("atom ")
    assert snapshot(context, positions=False) == before


def test_a_minimizer_may_be_used_again(tripeptide):
    simulation = tripeptide.simulation("Reference")
    minimizer = ReparamMinimizer(simulation, **QUICK)
    first = minimizer.minimize(20)
    second = minimizer.minimize(0.5)
    assert second.converged
    assert second.initial_energy == pytest.approx(first.energy)
    assert second.energy <= first.energy


def test_dynamics_go_on_afterwards(lived_in):
    minimize_reparam(lived_in, 20, **QUICK)
    lived_in.step(20)
    state = lived_in.context.getState(energy=True)
    assert np.isfinite(state.getPotentialEnergy()._value)
    assert lived_in.currentStep == 23


def test_drude_particles_are_refused(snapshot):
    system = mm.System()
    for mass in (16.0, 0.4, 1.0):
        system.addParticle(mass)
    drude = mm.DrudeForce()
    drude.addParticle(1, 0, -1, -1, -1, -1.0, 0.001, 1, 1)
    system.addForce(drude)
    integrator = mm.DrudeSCFIntegrator(0.001)
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.eye(3))
    with pytest.raises(UnsupportedSystemError, match="Drude"):
        minimize_reparam(context)
    assert np.array_equal(
        context.getState(positions=True).getPositions(asNumpy=True)._value, np.eye(3)
    )


def test_ring_polymers_are_refused(tripeptide):
    integrator = mm.RPMDIntegrator(4, 300, 1.0, 0.0005)
    context = mm.Context(tripeptide.system, integrator, mm.Platform.getPlatformByName("Reference"))
    context.setPositions(tripeptide.positions)
    with pytest.raises(UnsupportedSystemError, match="RPMD"):
        minimize_reparam(context)


def test_a_module_that_runs_away_never_reaches_the_context(tripeptide, energy_and_forces):
    """Adam with an absurd rate: energies overflow, the best structure comes back."""
    simulation = tripeptide.simulation("Reference")
    start = energy_and_forces(simulation.context)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = minimize_reparam(
            simulation,
            1e-6,
            reparametrization=Cartesian(tripeptide.positions._value),
            learning_rate=1e6,
            latent_iterations=30,
            fine_stage=False,
        )
    energy, forces = energy_and_forces(simulation.context)
    assert energy == pytest.approx(result.energy)
    assert energy <= start
    assert np.isfinite(forces).all()
