"""Kicks along soft modes and turns of side chains: sizes, shares, candidates."""

import numpy as np
import openmm as mm
import pytest
import scipy.sparse.linalg
from openmm import app, unit

from openmm_reparam import Potential, minimize_reparam
from openmm_reparam.potentials.bond_graph import bond_graph
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import SearchSettings
from openmm_reparam.search import basin_hopping as hopping
from openmm_reparam.search.acceptance import Walker
from openmm_reparam.search.moves import Kicks
from openmm_reparam.search.quench import Quench
from openmm_reparam.search.torsions import Torsions

pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")


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
    kicks = Kicks(
        potential,
        Preconditioner(potential),
        Torsions(potential, bond_graph(potential)),
        settings,
        rng,
    )
    assert not any(kicks.turns_next(refining) for refining in (False, True))
    step = kicks.displaced(x, 0.02) - x
    assert np.sqrt((step**2).sum(axis=1).mean()) == pytest.approx(0.02, rel=1e-6)
    assert potential.counter.total == 0
    assert np.abs(step.mean(axis=0)).max() < 1e-6, "no translation of everything"
    # With the three translations left out, the eighth softest is below the eleventh of all.
    stiffness = Preconditioner(potential).stiffness(x)
    eigenvalues = np.sort(scipy.sparse.linalg.eigsh(stiffness, 11, sigma=-100)[0])
    step = step.ravel() / np.linalg.norm(step)
    assert step @ (stiffness @ step) < 1.01 * eigenvalues[-1]


@pytest.mark.parametrize(
    ("turns", "refining", "share"), [(0, False, 0), (1, False, 1), (0, True, 0.9)]
)
def test_turns_are_as_many_as_asked_for_and_nine_of_ten_when_refining(turns, refining, share):
    potential = Potential(peptide("AGSF", "random-coil", seed=1).simulation("Reference").context)
    settings, rng = SearchSettings(turns=turns), np.random.default_rng(0)
    kicks = Kicks(
        potential,
        Preconditioner(potential),
        Torsions(potential, bond_graph(potential)),
        settings,
        rng,
    )
    x = potential.positions()
    assert np.mean([kicks.turns_next(refining) for _ in range(200)]) == pytest.approx(
        share, abs=0.06
    )
    moved = [kicks.displaced(x, 0.1), *(turned for _, turned in kicks.turned([x], 20))]
    assert all(np.abs(positions - x).max() > 1e-3 for positions in moved)
    assert potential.counter.total == 0


def test_kicks_go_where_the_minima_learnt_promise_low_energies():
    potential = Potential(peptide("AGSF", "random-coil", seed=1).simulation("Reference").context)
    graph, x = bond_graph(potential), potential.positions()
    torsions = Torsions(potential, graph)
    # A landscape that falls in one direction of every torsion.
    energy = {name: [] for name in ("turned", "turned, learnt", "kicked", "kicked, learnt")}

    def height(positions):
        return np.sin(torsions.angles(positions) - torsions.angles(x)).sum()

    for seed in range(20):
        rng = np.random.default_rng(seed)
        kicks = Kicks(potential, Preconditioner(potential), torsions, SearchSettings(), rng)
        for learnt in ("", ", learnt"):
            place, turned = kicks.turned([x], 1)[0]
            assert place == 0
            energy["turned" + learnt].append(height(turned))
            energy["kicked" + learnt].append(height(kicks.displaced(x, 0.2)))
            for _ in range(200):
                start = kicks.afresh(x)
                kicks.learn(start, height(start))
            assert kicks.learnt
    for kind in ("turned", "kicked"):
        learnt, not_learnt = np.array(energy[kind + ", learnt"]), np.array(energy[kind])
        assert learnt.mean() < not_learnt.mean() - 0.5


def test_turns_of_several_minima_name_the_one_they_are_of():
    potential = Potential(peptide("AGSF", "random-coil", seed=1).simulation("Reference").context)
    rng = np.random.default_rng(0)
    kicks = Kicks(
        potential,
        Preconditioner(potential),
        Torsions(potential, bond_graph(potential)),
        SearchSettings(),
        rng,
    )
    minima = [kicks.afresh(potential.positions()) for _ in range(30)]
    for minimum in minima:
        kicks.learn(minimum, rng.normal())
    turns = kicks.turned(minima, 12)
    assert len(turns) == 12
    assert len({place for place, _ in turns}) > 3
    for place, turned in turns:
        # Most atoms are where they were in that minimum, and in no other.
        still = [(np.abs(turned - other).max(axis=1) < 1e-9).sum() for other in minima]
        assert still[place] >= len(turned) - 20
        assert np.argmax(still) == place


def test_turns_leave_the_size_of_kicks_alone(monkeypatch):
    sizes = []
    meets = Walker.meets

    def followed(walker, *arguments):
        sizes.append(walker.amplitude)
        return meets(walker, *arguments)

    monkeypatch.setattr(Walker, "meets", followed)
    for turns in (1, 0):
        sizes.clear()
        simulation = peptide("AGSF", "random-coil", seed=1).simulation("Reference")
        settings = SearchSettings(turns=turns, refinement=0.0)
        minimize_reparam(simulation, 1, search=settings, max_force_evaluations=1500, seed=1)
        assert len(sizes) > 5
        assert (len(set(sizes)) == 1) == (turns == 1)


@pytest.mark.parametrize("candidates", [0, 4])
def test_a_turn_is_the_lowest_of_its_candidates(monkeypatch, candidates):
    simulation = peptide("AGSF", "random-coil", seed=1).simulation("Reference")
    judge = Potential(peptide("AGSF", "random-coil", seed=1).simulation("Reference").context)
    turns, counts = [], []
    turned, quench = Kicks.turned, Quench.__call__

    def turn(kicks, minima, count, trust):
        turns[:] = turned(kicks, minima, count, trust)
        assert len(turns) == count
        return list(turns)

    def go_down(self, point, force):
        if turns:
            energies = [judge.evaluate(positions)[0] for _, positions in turns]
            assert point.energy == pytest.approx(min(energies), abs=1e-6)
            counts.append(len(turns))
            turns.clear()
        return quench(self, point, force)

    monkeypatch.setattr(Kicks, "turned", turn)
    monkeypatch.setattr(Quench, "__call__", go_down)
    settings = SearchSettings(candidates=candidates, turns=1, refinement=0)
    minimize_reparam(simulation, 1, search=settings, max_force_evaluations=2500, seed=1)
    assert len(counts) > 10
    assert (max(counts) == 1) == (candidates == 0)
    assert max(counts) <= 2 + candidates
    assert counts[0] == 1, "the longer nothing lower is met, the more"


def test_the_lowest_minima_have_their_side_chains_turned_when_refining(monkeypatch):
    simulation = peptide("AGSF", "random-coil", seed=1).simulation("Reference")
    judge, bases = Potential(simulation.context), []
    turned = Kicks.turned

    def turn(kicks, minima, *arguments):
        bases.append([judge.evaluate(positions)[0] for positions in minima])
        return turned(kicks, minima, *arguments)

    monkeypatch.setattr(Kicks, "turned", turn)
    settings = SearchSettings(refinement=0.5, patience=np.inf)
    result = minimize_reparam(simulation, 1, search=settings, max_force_evaluations=6000, seed=1)
    pooled = [energies for energies in bases if len(energies) > 1]
    assert all(len(energies) == hopping.REFINED for energies in pooled)
    assert all((np.diff(energies) > -1e-6).all() for energies in pooled)
    assert len(pooled) > 10
    found = sorted(minimum.energy for minimum in result.minima)
    # Whatever was turned last is among the lowest of all, or was found after it.
    assert max(pooled[-1]) < np.median(found)
