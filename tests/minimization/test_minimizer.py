"""ReparamMinimizer: stages, budgets, reporters, the best structure, and what the result says."""

import copy
import itertools
import json
import re

import numpy as np
import openmm as mm
import pytest
from openmm import app

from openmm_reparam import (
    ConvergenceWarning,
    MinimizationResult,
    Potential,
    ReparamMinimizer,
    minimize_reparam,
)
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.testsystems import coil, lennard_jones_cluster

SMALL = {"reparametrization": "gcn", "hidden": (8,), "count": 6, "latents": 4}
cut_short = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")


class Recording(mm.MinimizationReporter):
    """Keep what is reported; stop at one iteration."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.stop_at, self.calls = stop_at, []

    def report(self, iteration, x, grad, args):
        self.calls.append((iteration, np.array(x), np.array(grad), dict(args)))
        return len(self.calls) == self.stop_at


def rms_force(simulation, tangent_part, energy_and_forces, nanometers):
    """Return the RMS force over moving atoms, tangent to the constraints, from OpenMM itself."""
    system = simulation.context.getSystem()
    _, forces = energy_and_forces(simulation.context)
    tangent = tangent_part(system, nanometers(simulation.context), forces)
    moves = [
        i
        for i in range(system.getNumParticles())
        if system.getParticleMass(i)._value > 0 and not system.isVirtualSite(i)
    ]
    return np.sqrt((tangent[moves] ** 2).sum() / len(moves)), tangent


@pytest.mark.parametrize("reparametrization", ["gcn", "linear", "cartesian", "spectral"])
@pytest.mark.parametrize("constraints", ["none", "HBonds"])
def test_every_reparametrization_converges_and_its_result_is_true(
    reparametrization, constraints, platform, tangent_part, energy_and_forces, nanometers
):
    molecule = peptide("AGS", constraints=constraints)
    simulation = molecule.simulation(platform)
    result = minimize_reparam(simulation, 2.0, reparametrization=reparametrization)
    force, tangent = rms_force(simulation, tangent_part, energy_and_forces, nanometers)
    assert result.converged
    assert force <= 2.0 * 1.01
    assert result.rms_force == pytest.approx(force, rel=0.01)
    sizes = np.linalg.norm(tangent, axis=1)
    assert result.max_force == pytest.approx(sizes.max(), rel=0.02)
    assert f"(atom {int(np.argmax(sizes))})" in result.max_force_atom
    assert result.energy == pytest.approx(energy_and_forces(simulation.context)[0], rel=1e-6)
    assert result.energy < result.initial_energy
    assert result.tolerance == 2.0


def test_constraints_hold_to_the_integrators_tolerance(platform, nanometers):
    molecule = peptide("AK", constraints="AllBonds")
    integrator = mm.VerletIntegrator(0.001)
    integrator.setConstraintTolerance(1e-6)
    simulation = molecule.simulation(platform, integrator)
    # A start that violates them.
    x = molecule.positions._value + np.random.default_rng(0).normal(
        0, 0.01, (len(nanometers(simulation.context)), 3)
    )
    simulation.context.setPositions(x)
    minimize_reparam(simulation)
    x = nanometers(simulation.context)
    for k in range(molecule.system.getNumConstraints()):
        i, j, length = molecule.system.getConstraintParameters(k)
        assert abs(np.linalg.norm(x[i] - x[j]) / length._value - 1) < 1.01e-6


@pytest.mark.parametrize("maximum", [1, 2, 3, 10, 37])
@pytest.mark.parametrize("fine_stage", [True, False])
@cut_short
def test_max_iterations_caps_the_whole_run(tripeptide, maximum, fine_stage):
    reporter = Recording()
    simulation = tripeptide.simulation("Reference")
    result = minimize_reparam(
        simulation, 1e-8, maximum, reporter, fine_stage=fine_stage, patience=10_000, **SMALL
    )
    assert result.iterations == maximum == len(reporter.calls) == len(result.history)
    assert sum(stage.iterations for stage in result.stages) == maximum
    assert "maxIterations" in result.message or "iterations" in result.message


@pytest.mark.parametrize("reparametrization", ["gcn", "linear", "cartesian", "spectral"])
@pytest.mark.parametrize("budget", [1, 2, 3, 50, 110, 150])
@pytest.mark.parametrize("constraints", ["none", "HBonds"])
@cut_short
def test_the_budget_is_never_passed_and_the_best_structure_comes_back(
    reparametrization, budget, constraints, monkeypatch, energy_and_forces, nanometers
):
    molecule = peptide("AG", constraints=constraints)
    simulation = molecule.simulation("Reference")
    made, evaluate = [], Potential.evaluate

    def counted(self, positions):
        energy, forces = evaluate(self, positions)
        made.append((self.kind, energy))
        return energy, forces

    monkeypatch.setattr(Potential, "evaluate", counted)
    result = minimize_reparam(
        simulation, 1e-8, reparametrization=reparametrization, max_force_evaluations=budget
    )
    assert len(made) == result.force_evaluations == sum(result.evaluations.values()) <= budget
    lowest = min(energy for kind, energy in made if kind == "context")
    assert result.energy == pytest.approx(lowest, abs=1e-4)
    assert result.energy <= result.initial_energy
    assert energy_and_forces(simulation.context)[0] == pytest.approx(result.energy, rel=1e-9)
    x = nanometers(simulation.context)
    for k in range(molecule.system.getNumConstraints()):
        i, j, length = molecule.system.getConstraintParameters(k)
        assert abs(np.linalg.norm(x[i] - x[j]) / length._value - 1) < 1.01e-5


@cut_short
def test_a_modest_budget_is_not_all_spent_on_hessians(tripeptide):
    """100 evaluations minimize AAA well; the slow modes of the network may not take them all."""
    simulation = tripeptide.simulation("Reference")
    result = minimize_reparam(simulation, 1e-8, max_force_evaluations=100)
    assert result.energy < result.initial_energy - 20


@cut_short
def test_reporters_see_what_openmms_own_minimizer_shows(tripeptide, energy_and_forces):
    ours, peers = Recording(), Recording()
    mm.LocalEnergyMinimizer.minimize(tripeptide.simulation("Reference").context, 10, 3, peers)
    minimize_reparam(tripeptide.simulation("Reference"), 1e-8, 30, ours)
    assert set(ours.calls[0][3]) == set(peers.calls[0][3])
    assert [call[0] for call in ours.calls] == list(range(30))
    check = tripeptide.simulation("Reference")
    for _, x, gradient, args in ours.calls[::7]:
        assert x.shape == peers.calls[0][1].shape
        assert gradient.shape == peers.calls[0][2].shape
        check.context.setPositions(x.reshape(-1, 3))
        energy, forces = energy_and_forces(check.context)
        assert args["system energy"] == pytest.approx(energy, rel=1e-9)
        assert np.allclose(gradient.reshape(-1, 3), -forces, rtol=1e-6, atol=1e-4)
        assert args["restraint energy"] == 0
        assert args["max constraint error"] == 0


@cut_short
def test_reporters_are_told_the_constraint_error():
    molecule = peptide("AG", constraints="HBonds")
    reporter = Recording()
    minimize_reparam(molecule.simulation("Reference"), 1e-8, 12, reporter)
    for _, x, _, args in reporter.calls:
        x = x.reshape(-1, 3)
        errors = []
        for k in range(molecule.system.getNumConstraints()):
            i, j, length = molecule.system.getConstraintParameters(k)
            errors.append(abs(np.linalg.norm(x[i] - x[j]) / length._value - 1))
        assert args["max constraint error"] == pytest.approx(max(errors), abs=1e-9)
        assert max(errors) < 1.01e-5


@pytest.mark.parametrize("at", [1, 5, 220])
def test_a_reporter_that_returns_true_stops_with_the_best_structure(
    tripeptide, energy_and_forces, recwarn, at
):
    reporter = Recording(at)
    simulation = tripeptide.simulation("Reference")
    result = minimize_reparam(simulation, 1e-8, reporter=reporter, patience=10_000, **SMALL)
    assert len(reporter.calls) == result.iterations == at
    assert not result.converged
    assert "reporter" in result.message
    best = min(result.initial_energy, *(args["system energy"] for *_, args in reporter.calls))
    assert result.energy == pytest.approx(best, abs=1e-9)
    assert energy_and_forces(simulation.context)[0] == pytest.approx(best, abs=1e-6)
    assert not [w for w in recwarn if issubclass(w.category, ConvergenceWarning)]


def test_not_converging_warns_where_the_user_called(tripeptide):
    with pytest.warns(ConvergenceWarning, match="tolerance") as caught:
        minimize_reparam(tripeptide.simulation("Reference"), 1e-8, 3, **SMALL)
    assert caught[0].filename == __file__
    with pytest.warns(ConvergenceWarning, match="tolerance") as caught:
        ReparamMinimizer(tripeptide.simulation("Reference"), **SMALL).minimize(1e-8, 3)
    assert caught[0].filename == __file__


@cut_short
def test_energies_never_end_above_the_start(tripeptide, energy_and_forces):
    """From a minimum, where a network's first steps only lead up."""
    simulation = tripeptide.simulation("Reference")
    mm.LocalEnergyMinimizer.minimize(simulation.context, 1e-3)
    start = energy_and_forces(simulation.context)[0]
    for name in ("gcn", "linear", "cartesian", "spectral"):
        result = minimize_reparam(
            simulation, 1e-9, 12, reparametrization=name, optimizer="adam", learning_rate=0.5
        )
        end = energy_and_forces(simulation.context)[0]
        assert end <= start
        assert result.energy == pytest.approx(end, abs=1e-9)


@cut_short
def test_a_flat_place_above_the_start_is_no_minimum_found(energy_and_forces):
    """A step over the rim of a shallow well: the force is zero there, the energy 0.4 higher."""
    system = mm.System()
    system.addParticle(12.0)
    force = mm.CustomExternalForce("-1e6 - exp(-(x^2+y^2+z^2)/1e-4)")
    force.addParticle(0, [])
    system.addForce(force)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions([[0.009, 0, 0]])
    start = energy_and_forces(context)[0]
    result = minimize_reparam(
        context, 1e-3, reparametrization="cartesian", learning_rate=0.1, fine_stage=False
    )
    energy, forces = energy_and_forces(context)
    assert energy <= start
    assert result.energy == pytest.approx(energy, abs=1e-6)
    assert result.converged == bool(np.linalg.norm(forces) <= 1e-3)


def test_a_start_within_the_tolerance_is_returned_as_it_is(tripeptide, nanometers):
    simulation = tripeptide.simulation("Reference")
    mm.LocalEnergyMinimizer.minimize(simulation.context, 1e-3)
    before = nanometers(simulation.context)
    result = minimize_reparam(simulation, 5)
    assert result.converged
    assert (result.iterations, result.force_evaluations) == (0, 1)
    assert np.array_equal(nanometers(simulation.context), before)


@cut_short
def test_forces_that_contradict_the_energy_end_with_the_start(
    tripeptide, monkeypatch, energy_and_forces
):
    evaluate = Potential.evaluate

    def wrong(self, positions):
        energy, forces = evaluate(self, positions)
        return energy, -forces

    monkeypatch.setattr(Potential, "evaluate", wrong)
    simulation = tripeptide.simulation("Reference")
    start = energy_and_forces(simulation.context)[0]
    result = minimize_reparam(simulation, reparametrization="spectral")
    assert not result.converged
    assert energy_and_forces(simulation.context)[0] <= start
    assert "inconsistent" in result.message or "precision" in result.message


@cut_short
def test_history_and_stages_add_up(tripeptide):
    result = minimize_reparam(tripeptide.simulation("Reference"), 1e-8, 60, **SMALL)
    history = result.history
    assert [stage.name for stage in result.stages] == ["gcn", "preconditioned L-BFGS"]
    assert history["iteration"].tolist() == list(range(1, 61))
    assert (np.diff(history["force_evaluations"]) > 0).all()
    assert (np.diff(history["seconds"]) >= 0).all()
    assert np.bincount(history["stage"]).tolist() == [s.iterations for s in result.stages]
    spent = sum(stage.force_evaluations for stage in result.stages)
    assert spent + 1 == result.force_evaluations == history["force_evaluations"][-1]
    assert result.energy == pytest.approx(history["energy"].min(), abs=1e-6)
    assert all(stage.message for stage in result.stages)
    assert result.stages[1].energy <= result.stages[0].energy
    # What is printed adds up, too: the start has a line of its own.
    told = [line for line in str(result).splitlines() if ": " in line]
    parts = [line for line in told if line.split(":")[0].strip() in ("start", "stage")]
    counts = [int(re.search(r"(\d+) force evaluation", line)[1]) for line in parts]
    assert len(counts) == 3
    assert sum(counts) == result.force_evaluations


@cut_short
def test_results_read_well_and_become_json(tripeptide):
    result = minimize_reparam(tripeptide.simulation("Reference"), 1e-8, 5, **SMALL)
    assert isinstance(result, MinimizationResult)
    text = str(result)
    for part in ("NOT converged", f"{result.energy:.3f}", "ALA", "gcn", "unchanged"):
        assert part in text
    back = json.loads(json.dumps(result.to_dict()))
    assert back["energy"] == result.energy
    assert len(back["history"]["energy"]) == 5


@cut_short
@pytest.mark.parametrize(
    "settings",
    [
        {"reparametrization": "spectral", "fine_stage": False},
        {"latent_iterations": 0, "fine_stage": False},
    ],
)
def test_settings_that_leave_no_stage_are_refused(tripeptide, settings):
    """Else nothing is done, and the message ends in a bare colon."""
    with pytest.raises(ValueError, match="stage"):
        minimize_reparam(tripeptide.simulation("Reference"), **settings)


def test_massless_atoms_keep_their_bits_and_the_energy_is_true(
    platform, tripeptide, energy_and_forces, nanometers, tangent_part
):
    """1-4 exceptions couple atoms that move to those that do not."""
    system = copy.deepcopy(tripeptide.system)
    fixed = [0, 4, 8, 12]
    for atom in fixed:
        system.setParticleMass(atom, 0.0)
    chosen = mm.Platform.getPlatformByName(platform)
    simulation = app.Simulation(tripeptide.topology, system, mm.VerletIntegrator(0.001), chosen)
    simulation.context.setPositions(tripeptide.positions)
    before = nanometers(simulation.context)
    reporter = Recording()
    result = minimize_reparam(simulation, 2.0, reporter=reporter)
    assert result.converged
    assert np.array_equal(nanometers(simulation.context)[fixed], before[fixed])
    assert energy_and_forces(simulation.context)[0] == pytest.approx(result.energy, rel=1e-6)
    for _, x, *_ in reporter.calls:
        assert np.array_equal(x.reshape(-1, 3)[fixed], before[fixed])
    _, forces = energy_and_forces(simulation.context)
    moving = np.setdiff1d(np.arange(33), fixed)
    assert np.sqrt((forces[moving] ** 2).sum() / len(moving)) <= 2.02


def test_nothing_that_moves_is_refused(tripeptide):
    system = copy.deepcopy(tripeptide.system)
    for atom in range(33):
        system.setParticleMass(atom, 0.0)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(tripeptide.positions)
    with pytest.raises(ValueError, match="massless"):
        minimize_reparam(context)


@pytest.mark.parametrize("seed", range(3))
def test_clusters_reach_a_minimum_of_lennard_jones(platform, seed, energy_and_forces):
    cluster = lennard_jones_cluster(13, seed=seed)
    simulation = cluster.simulation(platform)
    result = minimize_reparam(simulation, 0.01, reparametrization="spectral")
    assert result.converged
    assert -44.3269 <= cluster.reduced_energy(result.energy) < -20
    assert energy_and_forces(simulation.context)[0] == pytest.approx(result.energy, abs=1e-3)


def test_a_coil_goes_down_to_its_bound():
    system = coil(40)
    # A local minimizer meets a minimum of the coil far above it.
    result = minimize_reparam(system.simulation("Reference"), 5.0, reparametrization="gcn")
    assert result.converged
    assert system.reduced_energy(result.energy) < 0.05


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_smallest_systems(count):
    """One atom on a spring; two; three in a row."""
    system = mm.System()
    force = mm.CustomExternalForce("500*(x^2+y^2+z^2)")
    force.addParticle(0, [])
    bonds = mm.HarmonicBondForce()
    for i in range(count):
        system.addParticle(10.0)
        if i:
            bonds.addBond(i - 1, i, 0.15, 1e5)
    system.addForce(force)
    system.addForce(bonds)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(0.3 * np.eye(3)[:count] + [0.0, 0.1, 0.2])
    result = minimize_reparam(context, 1e-3)
    assert result.converged
    assert result.energy == pytest.approx(0, abs=1e-4)


@cut_short
def test_a_large_tolerance_still_prefers_lower_energies(tripeptide):
    """Converged means at the tolerance; energies fall on the way there."""
    energies = [
        minimize_reparam(tripeptide.simulation("Reference"), tolerance).energy
        for tolerance in (300, 30, 3, 0.3)
    ]
    assert all(b <= a + 1e-6 for a, b in itertools.pairwise(energies))
