"""Moves, acceptance rules and validity checks of one's own, and names of the first version."""

import contextlib
import dataclasses

import numpy as np
import pytest

import openmm_reparam.search
from openmm_reparam.errors import BudgetExhausted
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import (
    BasinHopping,
    Explorer,
    MinimaDatabase,
    Proposal,
    SearchRecord,
    SearchSettings,
    isomer_points,
)
from openmm_reparam.testsystems import lennard_jones_cluster


class Shake:
    """Displaces every atom at random."""

    def __init__(self, rng):
        self.rng, self.told = rng, []

    def propose(self, situation):
        shape = situation.positions.shape
        return Proposal((situation.positions + self.rng.normal(0.0, situation.amplitude, shape),))

    def tell(self, positions, energy):
        self.told.append(energy)


class Downhill:
    """Accepts what is lower."""

    def accepts(self, walker, energy, visits):
        return energy < walker.current.energy

    def adapt(self, walker, accepted, refining):
        pass

    def scale(self, walker, factor):
        pass

    def reset(self):
        pass


class TooHigh:
    """Refuses minima above an energy that the potential tells."""

    name = "too high"

    def __init__(self, potential, highest):
        self.potential, self.highest = potential, highest

    def violated(self, positions):
        return self.potential.evaluate(positions)[0] > self.highest


@pytest.fixture
def search(make_context):
    simulation = lennard_jones_cluster(8, seed=0).simulation("Reference")
    context = make_context(simulation.context, SearchSettings(amplitude=0.1))
    context.potential.counter.limit = 1500
    start = context.evaluator.evaluate(context.potential.positions())
    return context, BasinHopping(context, start, MinimaDatabase(np.arange(8)), SearchRecord())


def energies(search):
    """Return the energies of all minima until the budget is used up."""
    found = []
    with contextlib.suppress(BudgetExhausted):
        for point in search.points():
            found.append(point.energy)
    return found


def test_a_move_and_a_rule_of_ones_own(search):
    context, hopping = search
    move = Shake(context.rng)
    hopping.explorer, hopping.acceptance = Explorer(move), Downhill()
    found = energies(hopping)
    assert len(found) > 5
    # The start is told first, and every minimum after it.
    assert move.told[1:] == found


def test_without_anywhere_to_restart_from_a_search_goes_on(make_context):
    """Torsions to be patient for, and nothing that leads to another fold."""
    simulation = lennard_jones_cluster(8, seed=0).simulation("Reference")
    context = make_context(simulation.context, SearchSettings(amplitude=0.1, patience=0.01))
    context.potential.counter.limit = 800
    start = context.evaluator.evaluate(context.potential.positions())
    record = SearchRecord()
    hopping = BasinHopping(context, start, MinimaDatabase(np.arange(8)), record)
    hopping.explorer = Explorer(Shake(context.rng), num_torsions=1)
    assert len(energies(hopping)) > 5
    assert record.restarts == 0


def test_a_check_of_ones_own(search):
    context, hopping = search
    highest = context.evaluator.evaluate(context.potential.positions()).energy
    hopping.checks = (*hopping.checks, TooHigh(context.potential, highest - 1e9))
    assert energies(hopping) == []


def test_a_context_is_frozen(search):
    with pytest.raises(dataclasses.FrozenInstanceError):
        search[0].tolerance = 1.0


def test_old_names_of_settings_warn():
    with pytest.warns(DeprecationWarning, match="rotamer_share"):
        settings = SearchSettings(turns=0.25)
    assert settings == SearchSettings(rotamer_share=0.25)
    with pytest.warns(DeprecationWarning, match="rotamer_share"):
        assert settings.turns == 0.25
    with pytest.warns(DeprecationWarning, match="rotamer_share"):
        assert dataclasses.replace(settings, turns=0.75).rotamer_share == 0.75
    with pytest.raises(AttributeError, match="twists"):
        _ = settings.twists
    with pytest.raises(TypeError, match="twists"):
        SearchSettings(twists=1)


def test_old_functions_warn_and_work(make_context):
    with pytest.warns(DeprecationWarning, match="BasinHopping"):
        hop = openmm_reparam.search.hop
    with pytest.warns(DeprecationWarning, match="SearchRecord"):
        hops_class = openmm_reparam.search.Hops
    with pytest.warns(DeprecationWarning, match="isomer_points"):
        exchanged_points = openmm_reparam.search.exchanged_points
    with pytest.warns(DeprecationWarning, match="LOOSE_FORCE"):
        assert openmm_reparam.search.LOOSE == 10.0
    molecule = peptide("AGS", "random-coil", seed=2)
    context = make_context(molecule.simulation("Reference").context, topology=molecule.topology)
    context.potential.counter.limit = 400
    start, hops = (
        context.evaluator.evaluate(context.potential.positions()),
        hops_class(np.arange(4)),
    )
    points = hop(
        context.potential,
        context.evaluator.evaluate,
        start,
        SearchSettings(),
        np.random.default_rng(0),
        hops,
        rms=context.evaluator.rms,
    )
    next(points)
    assert hops.tried >= 1
    assert hops.rejected == hops.record.refusals
    assert "hops" in str(hops)
    old = [p.energy for p in exchanged_points(context.potential, context.evaluator.evaluate, start)]
    new = [p.energy for p in isomer_points(context.topology, context.evaluator.evaluate, start)]
    assert old == new
