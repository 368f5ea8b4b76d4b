"""When a search refines what it has found, and when it restarts from another fold."""

import numpy as np
import pytest

from openmm_reparam import Potential, minimize_reparam
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import SearchSettings
from openmm_reparam.search.acceptance import Walker
from openmm_reparam.search.moves import LowModeMove, MixedMove
from openmm_reparam.search.torsions import TorsionTopology
from openmm_reparam.testsystems import lennard_jones_cluster

pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")


def test_the_last_share_starts_from_the_lowest(monkeypatch):
    simulation = peptide("AGS", "random-coil", seed=3).simulation("Reference")
    judge, starts, refines = Potential(simulation.context), [], []
    propose = MixedMove.propose

    def followed(move, situation):
        starts.append(judge.evaluate(situation.positions)[0])
        refines.append(situation.refining)
        return propose(move, situation)

    monkeypatch.setattr(MixedMove, "propose", followed)
    # Hot enough to take anything.
    settings = SearchSettings(temperature=1e9, refinement=0.5, patience=np.inf)
    minimize_reparam(simulation, 1, search=settings, max_force_evaluations=3000, seed=1)
    starts, refines = np.array(starts), np.array(refines)
    before, after = starts[~refines], starts[refines]
    assert (np.diff(before) > 1).any()
    assert len(before) > 3
    assert len(after) > 3
    assert after[0] <= before.min()


@pytest.mark.slow
def test_a_search_that_stagnates_is_reseeded_from_the_start(monkeypatch):
    seeds, restarts = [], {}
    reseed = LowModeMove.reseed

    def followed(move, positions):
        seeds.append(positions)
        return reseed(move, positions)

    monkeypatch.setattr(LowModeMove, "reseed", followed)
    for patience in (0.5, np.inf):
        seeds.clear()
        simulation = peptide("AGS", "random-coil", seed=2).simulation("Reference")
        settings = SearchSettings(patience=patience)
        result = minimize_reparam(simulation, 1, search=settings, max_force_evaluations=3000)
        restarts[patience] = result.search_record.restarts
        assert restarts[patience] <= len(seeds), "refused ones are drawn again"
        assert all(np.array_equal(positions, seeds[0]) for positions in seeds)
    assert restarts[0.5] > 2
    assert restarts[np.inf] == 0


def test_patience_is_for_lone_walkers_with_torsions():
    cluster = lennard_jones_cluster(13, seed=0).simulation("Reference")
    chain = peptide("AGS", "random-coil", seed=2).simulation("Reference")
    for simulation, walkers in ((cluster, 1), (chain, 2)):
        settings = SearchSettings(patience=0.01, walkers=walkers)
        result = minimize_reparam(simulation, 1, search=settings, max_force_evaluations=1000)
        assert result.search_record.tried > 3
        assert result.search_record.restarts == 0


@pytest.mark.parametrize(
    ("torsions", "hops"), [(6, 6), pytest.param(14, 14, marks=pytest.mark.slow), (28, 56)]
)
def test_patience_grows_with_torsions_and_then_with_their_pairs(monkeypatch, torsions, hops):
    stagnation, ends = [], []
    reseed, note = LowModeMove.reseed, Walker.note

    def begin(move, positions):
        ends.append(stagnation[-1])
        return reseed(move, positions)

    def noted(walker, energy):
        note(walker, energy)
        stagnation.append(walker.stagnation)

    monkeypatch.setattr(TorsionTopology, "num_distinct", torsions)
    monkeypatch.setattr(LowModeMove, "reseed", begin)
    monkeypatch.setattr(Walker, "note", noted)
    simulation = peptide("AGS", "random-coil", seed=2).simulation("Reference")
    settings = SearchSettings(patience=0.25, refinement=0.0)
    minimize_reparam(simulation, 1, search=settings, max_force_evaluations=4000)
    assert ends
    assert set(ends) == {hops // 4 + 1}
