"""The benchmark of trained networks: molecules apart, and what its summary says of given runs."""

from importlib import import_module

import pytest

pytest.importorskip("rdkit")
pytest.importorskip("tblite")

from rdkit import Chem


@pytest.fixture(scope="module")
def golf():
    return import_module("benchmarks.golf")


def flat(smiles):
    return Chem.MolToSmiles(Chem.MolFromSmiles(smiles), isomericSmiles=False)


def test_molecules_of_training_validation_and_test_are_apart(golf):
    names = ("train", "mutated", "enumerated", "validation")
    lists = [{flat(s) for s in golf.smiles(name)} for name in names]
    judged = [
        {flat(molecules[name]) for name in golf.test_names(subset)}
        for subset, molecules in golf.TESTS.items()
    ]
    sizes = [len(found) for found in lists + judged]
    assert sizes == [310, 890, 2800, 16, 30, 30, 30]
    assert len(set.union(*lists, *judged)) == sum(sizes)


def run(method, start, end, own, calls=5):
    energies = {f"energy_{level}": end for level in (10, 50, 100)}
    return {
        **{"kind": "test", "oracle": "x", "subset": "report", "method": method, "start": start},
        **{"date": "2026-11-28", "commit": "x", "start_energy": 100.0, "verified_energy": own},
        **{"converged": True, "calls_10": calls, "calls_1": None, **energies},
    }


def test_summary_counts_failures_and_compares_pairs(golf):
    starts = [f"m {k}" for k in range(6)]
    runs = [run("mmff", start, 20.0, 0.0) for start in starts]
    runs += [run("trajectories-1000", start, 10.0, 0.0) for start in starts]
    runs += [run("golf-1000", start, 2.0, 0.0) for start in starts[:4]]
    runs += [run("golf-1000", starts[4], None, 0.0), run("golf-1000", starts[5], 14.0, 12.0)]
    rows = {row["method"]: row for row in golf.summarize(runs)["golf"]}
    own = rows["golf-1000"]
    assert own["pct_100"] == pytest.approx((4 * 98 + 0 + 86) / 6)
    assert own["divergence"] == pytest.approx(100 / 6)
    assert own["success"] == pytest.approx(400 / 6)
    assert own["own_success"] == pytest.approx(500 / 6)
    assert (own["calls_10"], own["calls_1"]) == (5, golf.MOST_CALLS)
    assert own["trajectories_worse"] == pytest.approx(8)
    assert own["p_success"] == pytest.approx(2 / 2**4)
    assert rows["mmff"]["p_residual"] is None
    assert "GOLF, 1000 labels" in golf.tables({"golf": list(rows.values())})["golf"]
