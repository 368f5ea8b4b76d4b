"""Runs of the sampling benchmark, their summary and their tables."""

from importlib import import_module

import pytest


@pytest.fixture(scope="module")
def sampling():
    return import_module("benchmarks.sampling")


def run_of(start, **more):
    record = import_module("benchmarks.report").record
    run = {"case": "dipeptide-ff96-obc2-300K", "budget": 1000, "method": "conditional"}
    run |= {"start": start, "kld": 0.02, "left-handed": 15.0, "alpha": 5.0, "stereo_changed": 0}
    run |= {"ess": 0.5, "log_z": -182.7, "evaluations": 1000, "seconds": 1.0, "cpu_seconds": 1.0}
    return record("Reference", **(run | more))


def test_a_basin_that_was_never_visited_is_told(sampling):
    runs = [run_of(1), run_of(2, **{"left-handed": None}), run_of(3, method="molecular dynamics")]
    found = sampling.summarize(runs)
    conditional, dynamics = found["sampling"]
    assert (conditional["starts"], conditional["never left-handed"]) == (2, 1)
    assert dynamics["never left-handed"] == 0
    table = sampling.tables(found)["sampling-dipeptide-ff96-obc2-300K"]
    assert "15 (15..15) never in 1" in table
    # Methods stand in one order, baselines first.
    assert table.index("molecular dynamics") < table.index("conditional")


def test_a_lost_well_is_told(sampling):
    record = import_module("benchmarks.report").record
    runs = [
        record(
            "none",
            case="double-well",
            budget=9,
            method="untempered",
            start=k,
            ess=0.9,
            seconds=1.0,
            difference=None,
        )
        for k in range(3)
    ]
    found = sampling.summarize(runs)
    assert found["double-well"][0]["lost"] == 3
    assert "untempered" in sampling.tables(found)["sampling-double-well"]
