"""Slow-mode hopping: known global minima, guards, budgets, and that it never ends higher."""

import numpy as np
import openmm as mm
import pytest
import scipy.sparse.linalg
import torch
from openmm import app, unit

from openmm_reparam import Potential, ReparamMinimizer, minimize_reparam
from openmm_reparam.bond_graph import bond_graph, interchangeable_atoms
from openmm_reparam.clashes import relieve_clashes
from openmm_reparam.reparametrizations import Start, build
from openmm_reparam.replicas import compared_atoms, rmsd_matrix
from openmm_reparam.run import Run
from openmm_reparam.search import Hops, SearchSettings, exchanged_points, hop, hopping
from openmm_reparam.search.kicks import Kicks
from openmm_reparam.search.latent_explorer import perturb
from openmm_reparam.structure import Stereochemistry
from openmm_reparam.testsystems import lennard_jones_cluster, peptide
from openmm_reparam.whitening import Whitening

pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")

# Wales, Doye, J. Phys. Chem. A 1997, 101, 5111, in units of epsilon, and budgets enough for each.
GLOBAL_MINIMA = {13: (-44.326801, 6000), 19: (-72.659782, 15_000), 26: (-108.315616, 50_000)}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("atoms", GLOBAL_MINIMA)
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
    assert "hops" in deep.stages[1].message
    assert "of 3000 force evaluations are used up" in deep.stages[1].message
    energies = [minimum.energy for minimum in deep.minima]
    assert energies == sorted(energies)
    assert energy_and_forces(simulation.context)[0] == pytest.approx(deep.energy, abs=0.05)
    assert "minima" in repr(deep)
    assert deep.to_dict()["minima"][0]["energy"] == energies[0]


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
        excluded = Potential(simulation.context).excluded_pairs
        distances = np.linalg.norm(minimum.positions[:, None] - minimum.positions, axis=2)
        for i, j in zip(*np.nonzero(distances < 0.11), strict=True):
            assert i == j or (min(i, j), max(i, j)) in excluded


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
    # All four at one spot is what this bowl asks for; hops are refused as collapsed.
    result = minimize_reparam(context, 0.1, search="slow-modes", max_force_evaluations=300)
    assert result.energy == pytest.approx(0, abs=1e-3)


def test_the_same_seed_gives_the_same_hops():
    def run(seed):
        simulation = peptide("AGS", "random-coil", seed=3).simulation("Reference")
        result = minimize_reparam(
            simulation, 1, search="slow-modes", max_force_evaluations=1200, seed=seed
        )
        return [minimum.energy for minimum in result.minima]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_guards_are_counted():
    """Every structure that differs in stereochemistry is refused, and said to be."""
    simulation = peptide("AAA", "random-coil", seed=1).simulation("Reference")
    minimizer = ReparamMinimizer(simulation, "spectral")
    run = Run(minimizer, 1.0, 0, None, 800)
    start = relieve_clashes(run.potential, run.evaluate, run.potential.positions())
    hops = Hops(np.arange(len(start.positions)))
    settings = SearchSettings(quench_evaluations=20)
    mirrored = start.positions * [1, 1, -1]
    points = hop(
        run.potential,
        run.evaluate,
        start,
        settings,
        np.random.default_rng(0),
        hops,
        rms=run.rms,
        reference=mirrored,
    )
    with pytest.raises(RuntimeError, match="used up"):
        list(points)
    assert hops.rejected["stereochemistry"] + hops.rejected.get("collapsed atoms", 0) > 3
    assert hops.accepted == 0
    assert len(hops.minima) == 1
    assert "refused" in str(hops)


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
            if len(seen) > 400:
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
    seen = []

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
            simulation, 0.01, reporter=reporter, search="slow-modes", max_force_evaluations=1500
        )

    # No hop goes on to the tolerance, so that the last stage has something to do.
    monkeypatch.setattr(hopping, "NEAR", -np.inf)
    reporter = Interrupted()
    whole = run()
    assert whole.stages[-1].iterations > 1
    reporter.at = whole.iterations - whole.stages[-1].iterations + 1
    result = run()
    assert "Ctrl-C" in result.message
    assert result.stages[-1].name == "whitened L-BFGS"
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


def test_kicks_of_many_atoms_without_torsions():
    field = app.ForceField("amber14/tip3p.xml")
    water = app.Modeller(app.Topology(), [] * unit.nanometer)
    water.addSolvent(field, boxSize=mm.Vec3(2.4, 2.4, 2.4) * unit.nanometer)
    system = field.createSystem(water.topology, nonbondedMethod=app.PME, rigidWater=False)
    platform = mm.Platform.getPlatform("CPU")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(water.positions)
    potential = Potential(context, water.topology)
    x, rng = potential.positions(), np.random.default_rng(0)
    assert x.size > 3000
    settings = SearchSettings(modes=8, amplitude=0.02)
    kicks = Kicks(potential, Whitening(potential), bond_graph(potential), settings, rng)
    kicked, scaled = kicks.displaced(x, 0.02)
    assert scaled
    step = kicked - x
    assert np.sqrt((step**2).sum(axis=1).mean()) == pytest.approx(0.02, rel=1e-6)
    assert potential.counter.total == 0
    assert np.abs(step.mean(axis=0)).max() < 1e-6, "no translation of everything"
    # With the three translations left out, the eighth softest is below the eleventh of all.
    stiffness = Whitening(potential).stiffness(x)
    eigenvalues = np.sort(scipy.sparse.linalg.eigsh(stiffness, 11, sigma=-100)[0])
    step = step.ravel() / np.linalg.norm(step)
    assert step @ (stiffness @ step) < 1.01 * eigenvalues[-1]


def test_minima_are_distinct_and_clustered():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, (12, 3))
    hops = Hops(np.arange(12))
    assert hops.add(1.0, x, 10) == 0
    turned = x @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]]) + 1.0
    assert hops.add(0.5, turned, 20) == 0, "the same, turned and moved"
    assert hops.add(0.5, x + rng.normal(0, 0.03, x.shape), 30) == 1
    assert hops.add(-9.0, rng.normal(0, 0.3, (12, 3)), 40) == 2
    assert [m.visits for m in hops.minima] == [2, 1, 1]
    assert hops.minima[0].force_evaluations == 10
    found = hops.sorted_minima()
    assert [m.energy for m in found] == [-9.0, 0.5, 0.5]
    assert [m.cluster for m in found] == [0, 1, 1]
    assert Hops(np.arange(12)).sorted_minima() == ()


def test_a_ring_turned_over_is_no_other_minimum():
    molecule = peptide("AFA")
    context = molecule.simulation("Reference").context
    potential = Potential(context, molecule.topology)
    x, compared = potential.positions(), compared_atoms(molecule.topology, len(molecule.positions))
    place = {(a.residue.index, a.name): a.index for a in molecule.topology.atoms()}
    turned = np.array(x)
    for one, other in (("CD1", "CD2"), ("CE1", "CE2"), ("HD1", "HD2"), ("HE1", "HE2")):
        i, j = place[1, one], place[1, other]
        turned[[i, j]] = x[[j, i]]
    assert potential.evaluate(turned)[0] == pytest.approx(potential.evaluate(x)[0], abs=1e-3)
    assert rmsd_matrix(np.array([x, turned])[:, compared])[0, 1] > 0.05
    hops = Hops(compared, interchangeable_atoms(bond_graph(potential), potential.masses))
    assert hops.add(0.0, x, 1) == hops.add(0.0, turned, 2) == 0
    elsewhere = np.array(x)
    elsewhere[place[1, "CZ"]] += 0.1
    assert hops.add(0.0, elsewhere, 3) == 1


def kick_starts(monkeypatch, **settings):
    """Search with every hop taken; return the energy each kick starts at, and if it refines."""
    simulation = peptide("AGS", "random-coil", seed=3).simulation("Reference")
    judge, starts = Potential(simulation.context), []
    displaced = Kicks.displaced

    def followed(kicks, positions, amplitude, refining):
        starts.append((judge.evaluate(positions)[0], refining))
        return displaced(kicks, positions, amplitude, refining)

    monkeypatch.setattr(Kicks, "displaced", followed)
    minimize_reparam(
        simulation,
        1,
        search=SearchSettings(temperature=1e9, **settings),
        max_force_evaluations=3000,
        seed=1,
    )
    return np.array(starts).T


def test_the_last_share_starts_from_the_lowest(monkeypatch):
    starts, refining = kick_starts(monkeypatch, refinement=0.5, patience=np.inf)
    before, after = starts[refining == 0], starts[refining == 1]
    # Hot enough to take anything.
    assert (np.diff(before) > 1).any()
    assert len(before) > 3
    assert len(after) > 3
    assert after[0] <= before.min()


def test_a_fruitless_round_is_followed_by_another_from_the_start(monkeypatch):
    begun, rounds = [], {}
    afresh = Kicks.afresh

    def followed(kicks, positions):
        begun.append(positions)
        return afresh(kicks, positions)

    monkeypatch.setattr(Kicks, "afresh", followed)
    for patience in (0.5, np.inf):
        begun.clear()
        simulation = peptide("AGS", "random-coil", seed=2).simulation("Reference")
        settings = SearchSettings(patience=patience)
        result = minimize_reparam(simulation, 1, search=settings, max_force_evaluations=3000)
        message = result.stages[1].message
        rounds[patience] = int(message.split(" rounds")[0].split()[-1])
        assert rounds[patience] <= 1 + len(begun), "those that a guard refuses begin again"
        assert all(np.array_equal(positions, begun[0]) for positions in begun)
    assert rounds[0.5] > 3
    assert rounds[np.inf] == 1


def test_patience_is_for_lone_walkers_with_torsions():
    cluster = lennard_jones_cluster(13, seed=0).simulation("Reference")
    chain = peptide("AGS", "random-coil", seed=2).simulation("Reference")
    for simulation, walkers in ((cluster, 1), (chain, 2)):
        settings = SearchSettings(patience=0.01, walkers=walkers)
        result = minimize_reparam(simulation, 1, search=settings, max_force_evaluations=1000)
        assert "in 1 rounds" in result.stages[1].message


@pytest.mark.parametrize("candidates", [0, 4])
def test_a_turn_is_the_lowest_of_its_candidates(monkeypatch, candidates):
    simulation = peptide("AGSF", "random-coil", seed=1).simulation("Reference")
    judge = Potential(peptide("AGSF", "random-coil", seed=1).simulation("Reference").context)
    turns, counts = [], []
    displaced, turned, quench = Kicks.displaced, Kicks.turned, hopping._quench

    def kick(kicks, *arguments):
        turns.clear()
        return displaced(kicks, *arguments)

    def turn(kicks, positions):
        turns.append(turned(kicks, positions))
        return turns[-1]

    def go_down(evaluate, point, *arguments):
        if turns:
            energies = [judge.evaluate(positions)[0] for positions in turns]
            assert point.energy == pytest.approx(min(energies), abs=1e-6)
            counts.append(len(turns))
            turns.clear()
        return quench(evaluate, point, *arguments)

    monkeypatch.setattr(Kicks, "displaced", kick)
    monkeypatch.setattr(Kicks, "turned", turn)
    monkeypatch.setattr(hopping, "_quench", go_down)
    settings = SearchSettings(candidates=candidates, turns=1, refinement=0)
    minimize_reparam(simulation, 1, search=settings, max_force_evaluations=2500, seed=1)
    assert len(counts) > 10
    assert (max(counts) == 1) == (candidates == 0)
    assert max(counts) <= 2 + candidates
    assert counts[0] == 1, "the longer nothing lower is met, the more"


def test_like_atoms_change_places_where_that_is_lower():
    """Amber's two oxygens of a carboxylate are not alike to 0.2 kJ/mol."""
    molecule = peptide("AGS", "random-coil", seed=2)
    simulation = molecule.simulation("Reference")
    minimize_reparam(simulation, 1)
    run = Run(ReparamMinimizer(simulation, "spectral"), 1.0, 0, None, None)
    x = run.potential.positions()
    place = {atom.name: atom.index for atom in molecule.topology.atoms()}
    oxygens = [place["O"], place["OXT"]]
    swapped = np.array(x)
    swapped[oxygens] = x[oxygens[::-1]]
    ends = []
    for positions in (x, swapped):
        start = run.evaluate(positions)
        before = run.potential.counter.total
        points = list(exchanged_points(run.potential, run.evaluate, start))
        energies = [point.energy for point in (start, *points)]
        assert (np.diff(energies) < 0).all()
        # Two ways for NH3+, two for CH3, one for COO-.
        assert run.potential.counter.total - before == 5
        ends.append(energies[-1])
    assert abs(run.evaluate(swapped).energy - run.evaluate(x).energy) > 0.01
    assert ends[0] == pytest.approx(ends[1], abs=1e-3)


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


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_module_of_ones_own_explores(optimizer):
    class Shifts(torch.nn.Module):
        """All atoms free, in units of 0.1 nm."""

        def __init__(self, start):
            super().__init__()
            self.register_buffer("positions", torch.from_numpy(start.positions.copy()))
            self.shifts = torch.nn.Parameter(torch.zeros_like(self.positions))

        def forward(self):
            return self.positions + 0.1 * self.shifts

    simulation = peptide("AGS", "random-coil", seed=2).simulation("Reference")
    search = SearchSettings(
        explorer=Shifts, explorer_evaluations=50, explorer_optimizer=optimizer, amplitude=0.1
    )
    result = minimize_reparam(simulation, 1, search=search, max_force_evaluations=1000)
    assert result.stages[1].name == "Shifts"
    assert sum(minimum.visits for minimum in result.minima) > 3


@pytest.mark.parametrize("amplitude", [1e-3, 0.2])
def test_a_perturbation_has_the_size_asked_for(amplitude):
    potential = Potential(peptide("AG").simulation("Reference").context)
    x = potential.positions()
    start = Start(potential, x, np.random.default_rng(0))
    for name in ("gcn", "spectral"):
        module = build(name, start)
        perturb(module, amplitude, potential.moves, np.random.default_rng(1))
        both = np.stack([x, module().detach().numpy()])
        assert rmsd_matrix(both)[0, 1] == pytest.approx(amplitude, rel=0.02)


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


@pytest.mark.parametrize(
    ("turns", "refining", "share"), [(0, False, 0), (1, False, 1), (0, True, 0.9)]
)
def test_turns_are_as_many_as_asked_for_and_nine_of_ten_when_refining(turns, refining, share):
    potential = Potential(peptide("AGSF", "random-coil", seed=1).simulation("Reference").context)
    settings, rng = SearchSettings(turns=turns), np.random.default_rng(0)
    kicks = Kicks(potential, Whitening(potential), bond_graph(potential), settings, rng)
    x = potential.positions()
    kicked = [kicks.displaced(x, 0.1, refining) for _ in range(200)]
    assert np.mean([not scaled for _, scaled in kicked]) == pytest.approx(share, abs=0.06)
    assert all(np.abs(moved - x).max() > 1e-3 for moved, _ in kicked)
    assert potential.counter.total == 0


def test_turns_leave_the_size_of_kicks_alone(monkeypatch):
    sizes = []
    displaced = Kicks.displaced

    def followed(kicks, positions, amplitude, refining):
        sizes.append(amplitude)
        return displaced(kicks, positions, amplitude, refining)

    monkeypatch.setattr(Kicks, "displaced", followed)
    for turns in (1, 0):
        sizes.clear()
        simulation = peptide("AGSF", "random-coil", seed=1).simulation("Reference")
        settings = SearchSettings(turns=turns, refinement=0.0)
        minimize_reparam(simulation, 1, search=settings, max_force_evaluations=1500, seed=1)
        assert len(sizes) > 5
        assert (len(set(sizes)) == 1) == (turns == 1)
