"""Minimizations in two Python threads: at once, and each as if it were alone."""

import sys
import threading
from itertools import pairwise

import numpy as np
import openmm as mm
import pytest

from openmm_reparam import _core, compiled, minimize_reparam
from openmm_reparam.prepare.peptides import peptide

# However busy the machine is; nothing waits so long where runs do run at once.
PATIENCE = 120


class Meeting(mm.MinimizationReporter):
    """Waits for the other thread's run at one iteration, and keeps who reported."""

    def __init__(self, name, events, barrier=None):
        super().__init__()
        self.name, self.events, self.barrier = name, events, barrier
        self.calls = 0

    def report(self, iteration, x, grad, args):
        self.calls += 1
        self.events.append(self.name)
        if self.barrier is not None and self.calls == 3:
            # Raises where the other run does not get there: it waits for this one's end.
            self.barrier.wait(PATIENCE)
        return False


@pytest.fixture(scope="module", params=["none", "HBonds"])
def molecule(request):
    constraints = None if request.param == "none" else request.param
    return peptide("ACDEFGHIK", "random-coil", seed=2, constraints=constraints)


def in_two_threads(molecule, run):
    """Return what two runs in threads return, with a barrier between them, and their events."""
    events, results, barrier = [], [None, None], threading.Barrier(2)

    def work(k):
        try:
            results[k] = run(molecule, Meeting(k, events, barrier))
        finally:
            events.append(("end", k))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, events


def minimized(molecule, reporter, platform="Reference"):
    simulation = molecule.simulation(platform)
    result = minimize_reparam(simulation, 1.0, 60, reporter)
    state = simulation.context.getState(positions=True)
    return result, np.array(state.getPositions(asNumpy=True)._value)


@pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")
def test_two_threads_agree_bit_for_bit_with_serial_runs(molecule):
    expected, positions = minimized(molecule, Meeting(0, []))
    results, events = in_two_threads(molecule, minimized)
    for result, x in results:
        assert result.energy == expected.energy
        assert result.force_evaluations == expected.force_evaluations
        assert result.history["energy"].tolist() == expected.history["energy"].tolist()
        assert np.array_equal(x, positions)
    assert {("end", 0), ("end", 1)} <= set(events)


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
@pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")
def test_two_runs_take_turns_all_the_way(molecule, platform):
    """Threads that switch only where one gives the interpreter's lock away take turns."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        results, events = in_two_threads(molecule, lambda m, r: minimized(m, r, platform))
    finally:
        sys.setswitchinterval(before)
    first_end = min(events.index(("end", 0)), events.index(("end", 1)))
    turns = sum(a != b for a, b in pairwise(events[:first_end]))
    # The barrier makes two or three.
    assert turns > 5
    assert results[0][0].force_evaluations > 30


@pytest.mark.parametrize("call", ["evaluate", "local_minimize"])
def test_the_lock_is_free_inside_one_call(molecule, call):
    simulation = molecule.simulation("Reference")
    address = compiled.address(simulation.context)
    x = compiled.positions(address)
    calls = {
        "evaluate": lambda: compiled.evaluate(address, x, -1, False, None),
        "local_minimize": lambda: _core.local_minimize(address, 1e-3, 3),
    }
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(1e-5):
            ticks.append(1)

    before = sys.getswitchinterval()
    # So long that the other thread runs only where a call gives the lock away.
    sys.setswitchinterval(60)
    thread = threading.Thread(target=tick)
    try:
        thread.start()
        at_start = len(ticks)
        for _ in range(200):
            calls[call]()
        during = len(ticks) - at_start
    finally:
        done.set()
        sys.setswitchinterval(before)
        thread.join()
    assert during > 5
