"""Basin hopping: known global minima, validity checks, budgets, and that it ends no higher."""

import numpy as np
import openmm as mm
import pytest

from openmm_reparam import Potential, minimize_reparam
from openmm_reparam.potentials.evaluator import Evaluator
from openmm_reparam.potentials.potential import EvaluationCounter
from openmm_reparam.potentials.unbonded import UnbondedPairs
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import (
    BasinHopping,
    MinimaDatabase,
    SearchContext,
    SearchRecord,
    SearchSettings,
    basin_hopping,
)
from openmm_reparam.structure.stereochemistry import Stereochemistry
from openmm_reparam.testsystems import lennard_jones_cluster

pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")

# Wales, Doye, J. Phys. Chem. A 1997, 101, 5111, in units of epsilon, and budgets. The way there
# takes 1000, 4100 and 27 000 force evaluations on average (65 to 100 seeds) and hangs on rounding,
# so on the processor; its length is spread exponentially, so that one in a million takes 14 times
# the average.
GLOBAL_MINIMA = {13: (-44.326801, 15_000), 19: (-72.659782, 60_000), 26: (-108.315616, 400_000)}


# The quick ones of each size; all the others take minutes.
QUICK_SEEDS = {13: 10, 19: 3, 26: 0}
CLUSTERS = [
    pytest.param(atoms, seed, marks=[pytest.mark.slow] * (seed >= QUICK_SEEDS[atoms]))
    for atoms in GLOBAL_MINIMA
    for seed in range(10)
]


@pytest.mark.parametrize(("atoms", "seed"), CLUSTERS)
def test_clusters_reach_their_global_minima(atoms, seed):
    energy, budget = GLOBAL_MINIMA[atoms]
    cluster = lennard_jones_cluster(atoms, seed=seed)
    simulation = cluster.simulation("Reference")

    class Arrived(mm.MinimizationReporter):
        def report(self, iteration, x, gradient, info):
            return cluster.reduced_energy(info["system energy"]) < energy + 0.02

    found = minimize_reparam(
        simulation,
        0.01,
        reporter=Arrived(),
        search="slow-modes",
        max_force_evaluations=budget,
        seed=seed,
    )
    assert found.force_evaluations < budget
    last = minimize_reparam(simulation, 0.01)
    assert cluster.reduced_energy(last.energy) == pytest.approx(energy, abs=1e-4)


def test_it_ends_no_higher_than_its_plain_quench_and_keeps_to_its_budget(energy_and_forces):
    molecule = peptide("AGSF", "random-coil", seed=1)
    simulation = molecule.simulation("CPU")
    plain = minimize_reparam(simulation, 1)
    simulation.context.setPositions(molecule.positions)
    deep = minimize_reparam(simulation, 1, search="slow-modes", max_force_evaluations=3000)
    assert deep.energy <= plain.energy + 0.5
    assert deep.force_evaluations <= 3000
    assert deep.converged
    assert [s.name for s in deep.stages][1] == "slow-modes"
    assert "of 3000 force evaluations are spent; the others are kept for" in deep.stages[1].message
    assert "equivalent atoms exchanged" in deep.stages[2].message
    energies = [minimum.energy for minimum in deep.minima]
    assert energies == sorted(energies)
    assert energy_and_forces(simulation.context)[0] == pytest.approx(deep.energy, abs=0.05)
    assert f"minima: {len(deep.minima)}" in repr(deep)
    assert "free energies: harmonic_superposition(simulation, result.minima, tempera" in repr(deep)
    assert deep.to_dict()["minima"][0]["energy"] == energies[0]
    record = deep.search_record
    assert record.explorer == "slow-modes"
    assert record.minima == len(deep.minima)
    assert 0 < record.accepted <= record.tried
    # The start is a visit too; the budget may have ended the last hop.
    visits = sum(m.visits for m in deep.minima)
    assert visits - 1 <= record.tried - record.refused <= visits
    assert record.force_evaluations == deep.stages[1].force_evaluations
    assert deep.to_dict()["search_record"]["tried"] == record.tried
    assert f"{record.tried} hops" in repr(deep)
    assert plain.search_record is None
    assert "search_record" not in plain.to_dict()


def test_no_minimum_has_a_changed_stereochemistry_or_collapsed_atoms():
    molecule = peptide("AVPTI", "random-coil", seed=2)
    simulation = molecule.simulation("CPU")
    start = minimize_reparam(simulation, 10)
    x = Potential(simulation.context).positions()
    assert start.stereo_changes == ()
    result = minimize_reparam(simulation, 1, search="slow-modes", max_force_evaluations=4000)
    states = Stereochemistry(molecule.topology)
    assert result.stereo_changes == ()
    assert len(result.minima) > 3
    for minimum in result.minima:
        assert states.changes(x, minimum.positions) == []
        unbonded = UnbondedPairs(Potential(simulation.context))
        assert not len(unbonded.near(minimum.positions, 0.11)[0])


def test_constraints_hold_at_every_minimum():
    molecule = peptide("AGS", constraints="HBonds")
    simulation = molecule.simulation("Reference")
    result = minimize_reparam(simulation, 1, search="slow-modes", max_force_evaluations=1500)
    pairs, lengths = Potential(simulation.context).constraints
    for minimum in result.minima:
        found = np.linalg.norm(
            minimum.positions[pairs[:, 0]] - minimum.positions[pairs[:, 1]], axis=1
        )
        assert np.abs(found / lengths - 1).max() < 1e-4


def test_a_bowl_has_one_bottom():
    system = mm.System()
    force = mm.CustomExternalForce("500*(x^2+2*y^2+3*z^2)")
    for _ in range(4):
        force.addParticle(system.addParticle(12.0))
    system.addForce(force)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(np.random.default_rng(0).normal(0, 0.3, (4, 3)) + np.eye(4, 3))
    # All four at one spot is what this bowl asks for; such minima are refused as collapsed.
    result = minimize_reparam(context, 0.1, search="slow-modes", max_force_evaluations=300)
    assert result.energy == pytest.approx(0, abs=1e-3)


def test_the_same_seed_gives_the_same_minima():
    def run(seed):
        simulation = peptide("AGS", "random-coil", seed=3).simulation("Reference")
        result = minimize_reparam(
            simulation, 1, search="slow-modes", max_force_evaluations=1200, seed=seed
        )
        return [minimum.energy for minimum in result.minima]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_refusals_are_counted():
    """Every structure differs in stereochemistry from the reference, and is refused."""
    simulation = peptide("AAA", "random-coil", seed=1).simulation("Reference")
    counter = EvaluationCounter(limit=800)
    evaluator = Evaluator(Potential(simulation.context, simulation.topology, counter))
    start = evaluator.evaluate(evaluator.potential.positions())
    database, record = MinimaDatabase(np.arange(len(start.positions))), SearchRecord()
    settings = SearchSettings(quench_evaluations=20)
    rng = np.random.default_rng(0)
    context = SearchContext.of(evaluator, settings, rng)
    mirrored = start.positions * [1, 1, -1]
    before = counter.total
    search = BasinHopping(context, start, database, record, reference=mirrored)
    with pytest.raises(RuntimeError, match="used up"):
        list(search.points())
    assert record.refusals["stereochemistry"] + record.refusals.get("collapsed atoms", 0) > 3
    assert record.refused == sum(record.refusals.values()) == record.tried - 1
    assert record.accepted == 0
    assert record.force_evaluations == counter.total - before
    assert record.minima == len(database.minima) == 1
    assert "for stereochemistry" in str(record)


def test_what_is_not_relaxed_is_no_minimum():
    """After two steps from a displaced structure no quench is at rest."""
    simulation = peptide("AAA", "random-coil", seed=1).simulation("Reference")
    minimize_reparam(simulation, 10)
    counter = EvaluationCounter(limit=200)
    evaluator = Evaluator(Potential(simulation.context, simulation.topology, counter))
    start = evaluator.evaluate(evaluator.potential.positions())
    database, record = MinimaDatabase(np.arange(len(start.positions))), SearchRecord()
    settings = SearchSettings(quench_evaluations=2)
    context = SearchContext.of(evaluator, settings, np.random.default_rng(0))
    with pytest.raises(RuntimeError, match="used up"):
        list(BasinHopping(context, start, database, record).points())
    assert record.refusals["not relaxed"] > 3
    evaluator.potential.counter.limit = None
    for minimum in database.minima:
        assert evaluator.rms(evaluator.evaluate(minimum.positions)) < 100


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"modes": 0}, "modes"),
        ({"amplitude": 0.0}, "amplitude"),
        ({"temperature": np.nan}, "temperature"),
        ({"acceptance": 1.0}, "acceptance"),
        ({"patience": 0.0}, "patience"),
        ({"patience": np.nan}, "patience"),
        ({"candidates": -1}, "candidates"),
        ({"explorer_optimizer": "sgd"}, "explorer_optimizer"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SearchSettings(**wrong)


def test_what_a_search_needs_is_said():
    simulation = peptide("AAA").simulation("Reference")
    with pytest.raises(ValueError, match="max_force_evaluations"):
        minimize_reparam(simulation, search="slow-modes")
    with pytest.raises(ValueError, match="slow-modes"):
        minimize_reparam(simulation, search="fast", max_force_evaluations=10)
    with pytest.raises(ValueError, match="replicas"):
        minimize_reparam(simulation, search="slow-modes", max_force_evaluations=10, replicas=2)


def test_ctrl_c_ends_a_search_with_the_best_written_back(energy_and_forces):
    molecule = peptide("AGSF", "random-coil", seed=1)
    simulation = molecule.simulation("CPU")
    seen = []

    class Impatient(mm.MinimizationReporter):
        def report(self, iteration, x, gradient, info):
            seen.append(info["system energy"])
            # Far into the search: the plain minimization before it is left alone by then.
            if len(seen) > 250:
                raise KeyboardInterrupt

    def interrupted(reporter):
        simulation.context.setPositions(molecule.positions)
        return minimize_reparam(
            simulation, 1, reporter=reporter, search="slow-modes", max_force_evaluations=100_000
        )

    result = interrupted(Impatient())
    assert "Ctrl-C" in result.message
    assert result.stages[-1].name == "slow-modes"
    assert result.energy == min(seen)
    assert result.minima[0].energy <= result.energy
    assert energy_and_forces(simulation.context)[0] == pytest.approx(result.energy, abs=0.05)

    class AtOnce(mm.MinimizationReporter):
        def report(self, iteration, x, gradient, info):
            raise KeyboardInterrupt

    # Before the search there is nothing to keep: the Context stays as it was.
    with pytest.raises(KeyboardInterrupt):
        interrupted(AtOnce())
    x = Potential(simulation.context).positions()
    assert np.abs(x - np.array(molecule.positions._value)).max() < 1e-6


def test_ctrl_c_in_the_last_stage_of_a_search_keeps_the_best_too(monkeypatch):
    molecule = peptide("AGS", "random-coil", seed=2)
    simulation = molecule.simulation("Reference")
    loose, seen = SearchSettings(quench_tolerance=10.0), []

    class Interrupted(mm.MinimizationReporter):
        at = np.inf

        def report(self, iteration, x, gradient, info):
            seen.append(info["system energy"])
            if len(seen) == self.at:
                raise KeyboardInterrupt

    def run():
        simulation.context.setPositions(molecule.positions)
        seen.clear()
        return minimize_reparam(
            simulation, 0.01, reporter=reporter, search=loose, max_force_evaluations=1500
        )

    # No hop goes on to the tolerance, so that the last stage has something to do.
    monkeypatch.setattr(basin_hopping, "NEAR_LOWEST_ENERGY", -np.inf)
    reporter = Interrupted()
    whole = run()
    assert whole.stages[-1].iterations > 1
    reporter.at = whole.iterations - whole.stages[-1].iterations + 1
    result = run()
    assert "Ctrl-C" in result.message
    assert result.stages[-1].name == "preconditioned L-BFGS"
    assert result.energy == min(seen)


def test_whatever_is_the_lowest_has_been_taken_to_the_tolerance():
    """Loose quenches of 10 kJ/mol/nm do not tell which of two rotamers is lower."""
    molecule = peptide("AYS", "random-coil", seed=2)
    hops = []

    class Followed(mm.MinimizationReporter):
        def report(self, iteration, x, gradient, info):
            rms = np.sqrt((np.array(gradient) ** 2).sum() * 3 / len(gradient))
            hops.append((info["system energy"], rms))
            return False

    result = minimize_reparam(
        molecule.simulation("Reference"),
        1.0,
        reporter=Followed(),
        search="slow-modes",
        max_force_evaluations=3000,
    )
    first = result.stages[0].iterations
    hops = np.array(hops)[first : first + result.stages[1].iterations]
    before = np.minimum.accumulate([result.stages[0].energy, *hops[:-1, 0]])
    near = hops[:, 0] < before
    assert near.sum() > 1
    assert hops[near, 1].max() <= 1.0
    assert hops[~near, 1].max() > 1.0, "the others are left as they are"


@pytest.mark.slow
def test_a_search_stopped_within_the_tolerance_has_converged():
    class Stop(mm.MinimizationReporter):
        def report(self, iteration, x, gradient, info):
            return iteration > 200

    simulation = peptide("AGS", "random-coil", seed=2).simulation("Reference")
    result = minimize_reparam(
        simulation, 10, reporter=Stop(), search="slow-modes", max_force_evaluations=100_000
    )
    assert result.stages[-1].name == "slow-modes"
    assert result.rms_force <= 10
    assert result.converged
    assert result.message == "stopped by the reporter"


@pytest.mark.parametrize("search", ["annealed", "neural", "population", "auto"])
def test_every_search_keeps_its_budget_and_ends_no_higher(search):
    molecule = peptide("AGS", "random-coil", seed=2)
    simulation = molecule.simulation("Reference")
    plain = minimize_reparam(simulation, 1)
    simulation.context.setPositions(molecule.positions)
    result = minimize_reparam(simulation, 1, search=search, max_force_evaluations=1500)
    assert result.energy <= plain.energy + 1e-3
    assert result.force_evaluations <= 1500
    assert result.stereo_changes == ()
    assert sum(minimum.visits for minimum in result.minima) > 3


@pytest.mark.parametrize("search", ["slow-modes", "annealed", "neural"])
def test_fixed_atoms_stay_bit_for_bit_in_every_minimum(search):
    molecule = peptide("AGS", "random-coil", seed=2)
    held = [atom.index for atom in molecule.topology.atoms() if atom.residue.index == 1]
    for atom in held:
        molecule.system.setParticleMass(atom, 0.0)
    simulation = molecule.simulation("Reference")
    x = Potential(simulation.context).positions()
    result = minimize_reparam(simulation, 1, search=search, max_force_evaluations=800)
    assert sum(minimum.visits for minimum in result.minima) > 2
    for minimum in result.minima:
        assert np.array_equal(minimum.positions[held], x[held])
    after = Potential(simulation.context)
    assert np.array_equal(after.positions()[held], x[held])
    assert after.evaluate(after.positions())[0] == pytest.approx(result.energy, abs=1e-6)
