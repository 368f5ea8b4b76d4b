"""Runs of the sampling benchmark, their summary and their tables."""

from importlib import import_module

import numpy as np
import pytest
import torch

from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.sampling.target import boltzmann_target


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
    assert "15.00 (15.00..15.00) never in 1" in table
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


def test_hydrogens_in_another_order_are_relabelled(sampling):
    """Two of a methyl group exchanged are the mirror image; exchanged in turn, a rotation."""
    molecule = peptide("A", capped=True, constraints=None)
    target = boltzmann_target(molecule.simulation("Reference"), 300)
    internal = target.internal
    rng = np.random.default_rng(0)
    right = target.reference + rng.normal(0, 0.003, (40, 22, 3))
    graph = {}
    for i, j in internal.zmatrix.bonds:
        graph.setdefault(int(j), []).append(int(i))
    methyls = [
        g for g in map(sorted, graph.values()) if len(g) == 3 and _are_hydrogens(g, molecule)
    ]
    assert len(methyls) == 3
    mixed = right.copy()
    odd = np.zeros((40, 3), dtype=bool)
    for frame in range(40):
        for k, methyl in enumerate(methyls):
            order = rng.permutation(3)
            mixed[frame, methyl] = right[frame, np.array(methyl)[order]]
            odd[frame, k] = np.linalg.det(np.eye(3)[order]) < 0
    assert 0.2 < odd.mean() < 0.8
    found = sampling.relabelled(internal, mixed)
    density = [internal.coordinates(torch.as_tensor(x))[1] for x in (right, found)]
    torch.testing.assert_close(*density)
    wrapped = [_relatives(internal, x) for x in (right, mixed, found)]
    assert np.abs(wrapped[0]).max() < 0.4
    assert np.abs(wrapped[1]).max() > 1
    assert np.abs(wrapped[2]).max() < 0.4
    for methyl in methyls:  # the same atoms in the same places
        places = [np.sort(x[:, methyl], axis=1) for x in (right, found)]
        np.testing.assert_array_equal(*places)
    others = np.setdiff1d(np.arange(22), np.concatenate(methyls))
    np.testing.assert_array_equal(found[:, others], right[:, others])


def _are_hydrogens(atoms, molecule):
    every = list(molecule.topology.atoms())
    return all(every[i].element.symbol == "H" for i in atoms)


def _relatives(internal, positions):
    """Return the relative torsions less those of the reference, within half a turn."""
    values, _ = internal.coordinates(torch.as_tensor(positions))
    off = values[:, internal.columns["torsions"]] - internal.torsion_centres
    off = off[:, torch.as_tensor(internal.zmatrix.classes == "relative")].numpy()
    return np.angle(np.exp(1j * off))
