"""A search that goes on in another process, from its state and the minima found."""

import itertools

import numpy as np
import pytest

from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import (
    BasinHopping,
    Explorer,
    MinimaDatabase,
    SearchRecord,
    SearchSettings,
    SearchState,
    WalkerState,
)

ENDLESS = SearchSettings(patience=np.inf, refinement=0.0)


class Told:
    """A move that notes what it is told, and proposes as another one does."""

    def __init__(self, move):
        self.move, self.energies = move, []

    def propose(self, situation):
        return self.move.propose(situation)

    def tell(self, positions, energy):
        self.energies.append(energy)
        self.move.tell(positions, energy)


@pytest.fixture
def begin(make_context):
    """Return what makes a search of a dipeptide, with its database and record."""

    def make(settings=ENDLESS, database=None, seed=0, **others):
        simulation = peptide("AG").simulation("Reference")
        context = make_context(simulation.context, settings, seed=seed)
        start = context.evaluator.evaluate(context.potential.positions())
        database = database or MinimaDatabase(np.arange(20), context.topology.symmetry_classes)
        record = SearchRecord()
        return BasinHopping(context, start, database, record, **others), database, record

    return make


def test_a_search_goes_on_where_its_state_says(begin):
    first, database, _ = begin()
    list(itertools.islice(first.points(), 6))
    state = first.state
    hops = len(state.rises)
    second, known, _ = begin(database=database, seed=1, state=state)
    told = Told(second.explorer.move)
    second.explorer = Explorer(told, second.explorer.num_torsions)
    before = [minimum.energy for minimum in known.minima]
    found = next(second.points())
    after, walker = second.state, state.current
    assert told.energies == [*before, found.energy]
    lower = found.energy < walker.lowest - 0.01
    assert after.current.stagnation == (0 if lower else walker.stagnation + 1)
    assert after.lowest == min(walker.lowest, found.energy)
    assert after.rises[:hops] == state.rises


def test_a_minimum_that_the_state_names_need_not_be_known(begin):
    first, _, _ = begin()
    found = next(first.points())
    walker = WalkerState(found.positions, found.energy, 0.1, 3.0, found.energy, 4)
    second, database, _ = begin(state=SearchState((walker,)))
    next(second.points())
    assert database.find(found.energy, found.positions) == 0


def test_the_first_hop_restarts_from_another_fold_if_asked_to(begin):
    for restart_first, restarts in ((True, 1), (False, 0)):
        search, _, record = begin(restart_first=restart_first)
        list(itertools.islice(search.points(), 3))
        assert record.restarts == restarts
