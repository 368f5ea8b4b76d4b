"""When a search refines what it has found, and when it begins anew."""

import numpy as np
import pytest

from openmm_reparam import Potential, minimize_reparam
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import SearchSettings
from openmm_reparam.search.acceptance import Walker
from openmm_reparam.search.moves import Kicks
from openmm_reparam.testsystems import lennard_jones_cluster

pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")


def kick_starts(monkeypatch, **settings):
    """Search with every hop taken; return the energy each kick starts at, and if it refines."""
    simulation = peptide("AGS", "random-coil", seed=3).simulation("Reference")
    judge, starts = Potential(simulation.context), []
    displaced, turned, turns_next = Kicks.displaced, Kicks.turned, Kicks.turns_next
    refines = []

    def next_kick(kicks, refining):
        refines.append(refining)
        return turns_next(kicks, refining)

    def kick(kicks, positions, *arguments):
        starts.append((judge.evaluate(positions)[0], refines[-1]))
        return displaced(kicks, positions, *arguments)

    def turn(kicks, minima, *arguments):
        starts.append((judge.evaluate(minima[0])[0], refines[-1]))
        return turned(kicks, minima, *arguments)

    monkeypatch.setattr(Kicks, "turns_next", next_kick)
    monkeypatch.setattr(Kicks, "displaced", kick)
    monkeypatch.setattr(Kicks, "turned", turn)
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


@pytest.mark.parametrize(("torsions", "hops"), [(6, 6), (14, 14), (28, 56)])
def test_patience_grows_with_torsions_and_then_with_their_pairs(monkeypatch, torsions, hops):
    fruitless, ends = [], []
    made, afresh, meets = Kicks.__init__, Kicks.afresh, Walker.meets

    def make(kicks, *arguments):
        made(kicks, *arguments)
        kicks.torsions = torsions

    def begin(kicks, positions):
        ends.append(fruitless[-1])
        return afresh(kicks, positions)

    def note(walker, energy):
        meets(walker, energy)
        fruitless.append(walker.fruitless)

    monkeypatch.setattr(Kicks, "__init__", make)
    monkeypatch.setattr(Kicks, "afresh", begin)
    monkeypatch.setattr(Walker, "meets", note)
    simulation = peptide("AGS", "random-coil", seed=2).simulation("Reference")
    settings = SearchSettings(patience=0.25, refinement=0.0)
    minimize_reparam(simulation, 1, search=settings, max_force_evaluations=4000)
    assert ends
    assert set(ends) == {hops // 4 + 1}
