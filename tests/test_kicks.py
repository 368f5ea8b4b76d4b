"""Kicks along soft modes and turns of side chains: sizes, shares, candidates."""

import numpy as np
import openmm as mm
import pytest
import scipy.sparse.linalg
from openmm import app, unit

from openmm_reparam import Potential, minimize_reparam
from openmm_reparam.bond_graph import bond_graph
from openmm_reparam.search import SearchSettings, hopping
from openmm_reparam.search.kicks import Kicks
from openmm_reparam.testsystems import peptide
from openmm_reparam.whitening import Whitening

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

    def go_down(descend, point, *arguments):
        if turns:
            energies = [judge.evaluate(positions)[0] for positions in turns]
            assert point.energy == pytest.approx(min(energies), abs=1e-6)
            counts.append(len(turns))
            turns.clear()
        return quench(descend, point, *arguments)

    monkeypatch.setattr(Kicks, "displaced", kick)
    monkeypatch.setattr(Kicks, "turned", turn)
    monkeypatch.setattr(hopping, "_quench", go_down)
    settings = SearchSettings(candidates=candidates, turns=1, refinement=0)
    minimize_reparam(simulation, 1, search=settings, max_force_evaluations=2500, seed=1)
    assert len(counts) > 10
    assert (max(counts) == 1) == (candidates == 0)
    assert max(counts) <= 2 + candidates
    assert counts[0] == 1, "the longer nothing lower is met, the more"
