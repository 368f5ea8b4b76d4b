"""Minimizations by the thousand leave nothing behind, by malloc's own count."""

import ctypes
import gc
import sys
import warnings

import numpy as np
import pytest
from openmm import unit

from openmm_reparam import minimize_reparam
from openmm_reparam.prepare.peptides import peptide

FIELDS = [
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
]


class MallocInfo(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in FIELDS)


@pytest.fixture
def bytes_in_use():
    library = ctypes.CDLL(None)
    if sys.platform != "linux" or not hasattr(library, "mallinfo2"):
        pytest.skip("only glibc counts what malloc has given out")
    library.mallinfo2.restype = MallocInfo

    def count():
        gc.collect()
        found = library.mallinfo2()
        return found.uordblks + found.hblkhd

    return count


@pytest.mark.slow
@pytest.mark.parametrize("leak", [0, 600])
def test_no_growth_over_thousands_of_calls(bytes_in_use, leak):
    """An array of 600 bytes that each call left behind would be seen."""
    simulation = peptide("AG").simulation("Reference")
    x = np.array(simulation.context.getState(positions=True).getPositions(asNumpy=True)._value)
    rng = np.random.default_rng(0)
    starts = [x + rng.normal(0, 0.003, x.shape) for _ in range(8)]
    kept = []

    def minimized(calls):
        for k in range(calls):
            simulation.context.setPositions(starts[k % 8] * unit.nanometer)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                minimize_reparam(simulation, 10)
            if leak:
                kept.append(np.ones(leak, dtype=np.uint8))

    minimized(500)
    before = bytes_in_use()
    minimized(1000)
    growth = bytes_in_use() - before
    assert (growth > 1000 * leak) if leak else (growth < 50_000)
