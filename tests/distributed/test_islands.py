import _thread
import contextlib
import dataclasses
import json
import sqlite3
import threading
import time

import numpy as np
import psutil
import pytest

from openmm_reparam.distributed.cluster import ClusterSettings
from openmm_reparam.distributed.island_round import IslandRound
from openmm_reparam.distributed.islands import search_islands
from openmm_reparam.distributed.migration import counted_stagnation, migrated
from openmm_reparam.distributed.minima_database import MinimaFile, StoredMinimum
from openmm_reparam.distributed.round_budget import next_round
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import (
    SearchRecord,
    SearchSettings,
    SearchState,
    ShapeComparison,
    WalkerState,
)

ISLANDS, BUDGET, ROUND = 2, 1100, 150


def search(database, cluster=None, **changes):
    simulation = peptide("AAA").simulation("Reference")
    arguments = {"round_evaluations": ROUND, "progress": False} | changes
    budget = arguments.pop("max_force_evaluations", BUDGET)
    islands = arguments.pop("islands", ISLANDS)
    result = search_islands(
        simulation, islands, budget, database=database, cluster=cluster, **arguments
    )
    state = simulation.context.getState(positions=True)
    return result, state.getPositions(asNumpy=True)._value


def content(path):
    """All that a file holds, but for when it was opened."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("minima", "rounds", "header")
        ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("islands") / "whole.db"
    return path, *search(path)


@contextlib.contextmanager
def after_rounds(path, rounds, act):
    """Do something in another thread as soon as a file holds so many rounds."""
    over = threading.Event()

    def watch():
        while not over.is_set():
            with contextlib.suppress(ValueError, OSError), MinimaFile.open(path) as file:
                if file.num_rounds >= rounds:
                    act()
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_every_evaluation_counts_and_the_best_of_all_islands_is_kept(uninterrupted):
    path, result, _ = uninterrupted
    assert result.converged
    assert result.force_evaluations <= BUDGET
    assert result.force_evaluations == sum(result.evaluations.values())
    with MinimaFile.open(path) as file:
        minima = file.lowest()
        rounds = [
            IslandRound.from_json(text)
            for number in range(1, file.num_rounds + 1)
            for text in file.round(number)
        ]
        begun = json.loads(file.header("begin"))["force_evaluations"]
    stage = next(stage for stage in result.stages if stage.name == "islands")
    spent = sum(one.force_evaluations for one in rounds)
    assert stage.force_evaluations == spent
    assert {one.island for one in minima} == {0, 1}
    assert max(one.force_evaluations for one in minima) <= begun + spent
    # Never above the best island: relaxing goes on from it.
    assert result.energy <= minima[0].energy
    assert [one.energy for one in result.minima] == [one.energy for one in minima]
    assert result.search_record.tried == sum(one.record.tried for one in rounds)


def test_an_interrupted_search_goes_on_to_the_same_minima(uninterrupted, tmp_path):
    whole, result, positions = uninterrupted
    path = tmp_path / "interrupted.db"
    with after_rounds(path, 1, _thread.interrupt_main):
        stopped, _ = search(path)
    assert "Ctrl-C" in stopped.message
    with MinimaFile.open(path) as file:
        assert 1 <= file.num_rounds < MinimaFile.open(whole).num_rounds
    resumed, again = search(path)
    assert content(path) == content(whole)
    assert np.array_equal(positions, again)
    assert resumed.energy == result.energy


def test_workers_that_are_killed_change_nothing(uninterrupted, tmp_path):
    whole, result, positions = uninterrupted
    path, killed = tmp_path / "workers.db", []

    def kill_a_worker():
        workers = [p for p in psutil.Process().children(recursive=True) if "spawn" in _line(p)]
        busiest = max(workers, key=lambda p: p.cpu_times().user)
        busiest.kill()
        killed.append(busiest.pid)

    with after_rounds(path, 1, kill_a_worker):
        elsewhere, there = search(path, ClusterSettings(workers=2))
    assert len(killed) == 1
    assert content(path) == content(whole)
    assert np.array_equal(positions, there)
    assert elsewhere.energy == result.energy


def _line(process):
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def test_a_database_goes_on_with_its_own_search_only(uninterrupted):
    path, _, _ = uninterrupted
    for changes, said in (
        ({"seed": 1}, "seed = 0, and here it is 1"),
        ({"islands": 3}, "islands = 2, and here it is 3"),
        ({"search": "population"}, "search = "),
        ({"tolerance": 1.0}, "tolerance = 10.0"),
    ):
        with pytest.raises(ValueError, match=said):
            search(path, **changes)
    other = peptide("GGG").simulation("Reference")
    with pytest.raises(ValueError, match="holds minima of a molecule of 33 atoms"):
        search_islands(other, ISLANDS, BUDGET, database=path, round_evaluations=ROUND)


def test_a_search_without_a_name_is_refused():
    with pytest.raises(ValueError, match="search is None"):
        search(None, search=None)


@pytest.mark.parametrize("islands", [1, 3])
def test_rounds_share_the_whole_budget_and_refine_its_last_share(islands):
    settings = SearchSettings(refinement=0.25, quench_evaluations=70)
    rng = np.random.default_rng(0)
    total, spent, refined, rounds = 10_000, 0, 0, 0
    while budget := next_round(total, spent, islands, 500, settings):
        assert budget.force_evaluations <= budget.limit
        each = rng.integers(budget.force_evaluations, budget.limit + 1, islands)
        spent += int(each.sum())
        assert spent <= total
        assert budget.refines or not refined
        refined += int(each.sum()) * budget.refines
        rounds += budget.refines
    assert total - spent < islands * 20
    assert 0.22 * total <= refined <= 0.25 * total
    assert rounds >= 4


def test_a_search_that_does_not_refine_explores_to_the_end():
    budget = next_round(1000, 900, 2, 500, SearchSettings(refinement=0.0))
    assert (budget.force_evaluations, budget.limit, budget.refines) == (50, 50, False)


def island(energy, positions, stagnant, lowest=None, restarts=0):
    walker = WalkerState(positions, energy, 0.3, 2.0, lowest or energy, 7)
    state = SearchState((walker,), (1.5, 2.5))
    record = SearchRecord("slow-modes", restarts=restarts)
    return IslandRound(state, {"context": 5, "side": 1, "bonded": 0}, record, stagnant)


def line(length):
    """Three atoms, the last one at a distance."""
    return np.array([[0.0, 0, 0], [0.1, 0.1, 0], [length, 0, 0]])


def stored(number, energy, positions):
    return StoredMinimum(energy, positions, 0.1, 1, id=number)


def test_the_island_that_lags_most_goes_to_the_low_minimum_far_from_all():
    comparison = ShapeComparison(np.arange(3))
    rounds = [
        island(-10.0, line(1.0), stagnant=9),  # the lowest: it stays
        island(-5.0, line(1.1), stagnant=2),
        island(-3.0, line(1.2), stagnant=3),  # the highest of those that lag
        island(-1.0, line(1.3), stagnant=1),  # higher, but its time is not up
    ]
    candidates = [
        stored(4, -10.0, line(1.0)),
        stored(8, -9.0, line(3.0)),
        stored(6, -8.0, line(2.0)),
    ]
    moved = migrated(rounds, candidates, {8}, comparison, 0.2)
    assert [one.sent_to for one in moved] == [None, None, 6, None]
    walker = moved[2].state.current
    assert (walker.energy, walker.lowest, walker.amplitude) == (-8.0, -8.0, 0.2)
    assert np.array_equal(walker.positions, line(2.0))
    assert moved[2].stagnant_rounds == 0
    assert [moved[k] for k in (0, 1, 3)] == [rounds[k] for k in (0, 1, 3)]
    # With nowhere left to go, it stays.
    assert migrated(rounds, candidates[:2], {4, 8}, comparison, 0.2) == rounds


def test_rounds_without_a_lower_minimum_or_a_restart_are_counted():
    x = line(1.0)
    before = [island(-5.0, x, 1) for _ in range(3)]
    after = [island(-5.0, x, 0), island(-6.0, x, 0), island(-4.0, x, 0, restarts=1)]
    assert [one.stagnant_rounds for one in counted_stagnation(after, before)] == [2, 0, 0]


def test_what_an_island_has_come_to_is_read_as_it_was_written():
    positions = np.random.default_rng(0).standard_normal((3, 3))
    written = dataclasses.replace(island(-1 / 3, positions, 2), sent_to=5)
    read = IslandRound.from_json(written.to_json())
    assert np.array_equal(read.state.current.positions, positions)
    assert read.to_json() == written.to_json()
    assert (read.state.lowest, read.record, read.evaluations, read.sent_to) == (
        written.state.lowest,
        written.record,
        written.evaluations,
        5,
    )
