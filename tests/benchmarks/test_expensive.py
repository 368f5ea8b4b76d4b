"""The benchmark of expensive potentials: molecules, counting, optimizers, and its summary."""

from importlib import import_module

import numpy as np
import pytest

Chem = pytest.importorskip("rdkit.Chem", reason="rdkit is not installed")
pytest.importorskip("tblite.interface", reason="tblite is not installed")

LIBRARIES = {
    **{"ASE BFGS": "ase", "ASE PreconLBFGS": "ase", "ASE FIRE": "ase"},
    **{"geomeTRIC": "geometric", "Sella": "sella"},
}


@pytest.fixture(scope="module")
def molecules():
    return import_module("benchmarks.molecules")


@pytest.fixture(scope="module")
def optimizers():
    return import_module("benchmarks.optimizers_qm")


@pytest.fixture(scope="module")
def expensive():
    return import_module("benchmarks.expensive")


@pytest.fixture(scope="module")
def start(molecules):
    """Return paracetamol where MMFF94 has large forces, as a start of a run on MMFF94 itself."""
    return molecules.start_of("paracetamol", 1, "etkdg")


# --- Molecules ---


def test_molecules_are_many_of_drug_size_and_split_once(molecules):
    assert len(molecules.TUNING) == 10
    assert len(molecules.REPORT) == 32
    assert not set(molecules.TUNING) & set(molecules.REPORT)
    shapes = {Chem.CanonSmiles(smiles) for smiles in molecules.MOLECULES.values()}
    assert len(molecules.UNSEEN) == len(molecules.FRESH) == 30
    assert len(shapes) == 102
    for name, smiles in molecules.MOLECULES.items():
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        least = 14 if name in molecules.FRESH else 19  # these are for networks alone
        assert least <= molecule.GetNumAtoms() <= 70, name
        assert len(Chem.GetMolFrags(molecule)) == 1, name


def test_molecules_cover_what_optimizers_stumble_over(molecules):
    every = [Chem.MolFromSmiles(smiles) for smiles in molecules.REPORT.values()]
    motifs = {
        **{"amide": "C(=O)N", "sulfonamide": "S(=O)(=O)N", "phosphate": "P(=O)(O)O"},
        **{"nitrile": "C#N", "alkyne": "C#C", "azide": "N=[N+]=[N-]", "peroxide": "OO"},
        **{"zwitterion": "[N+].[O-]", "macrocycle": "[r12,r13,r14]", "iodine": "I"},
    }
    for name, pattern in motifs.items():
        query = Chem.MolFromSmarts(pattern)
        assert any(molecule.HasSubstructMatch(query) for molecule in every), name


def test_starts_are_the_same_each_time_and_differ_by_conformer(molecules):
    first = molecules.start_of("captopril", 1, "etkdg")
    molecules.conformers.cache_clear()
    np.testing.assert_array_equal(
        molecules.start_of("captopril", 1, "etkdg").positions, first.positions
    )
    other = molecules.start_of("captopril", 2, "etkdg")
    assert np.abs(other.positions - first.positions).max() > 0.1
    assert first.molecule.GetNumConformers() == 1
    np.testing.assert_allclose(0.1 * first.molecule.GetConformer().GetPositions(), first.positions)


def test_the_start_named_mmff_is_a_minimum_of_mmff(molecules, optimizers):
    minimum = molecules.start_of("captopril", 1, "mmff")
    _, forces = optimizers.mmff_of(minimum)(minimum.positions)
    assert np.sqrt(np.sum(forces**2) / len(forces)) < 1.0


# --- Counting ---


def harmonic(positions):
    """Energy and forces of springs to the origin."""
    return 0.5 * float(np.sum(positions**2)), -positions


def test_an_oracle_counts_remembers_and_ends(optimizers):
    counted = optimizers.CountedOracle(harmonic, tolerance=1.0)
    counted(np.full((2, 3), 40.0))
    counted(np.full((2, 3), 5.0))
    with pytest.raises(optimizers.Reached):
        counted(np.full((2, 3), 0.5))
    # RMS force in OpenMM's convention: per atom, not per coordinate.
    assert [row[3] for row in counted.trace] == pytest.approx([40 * 3**0.5, 5 * 3**0.5, 0.75**0.5])
    ways = [counted.evaluations_to(force) for force in (70.0, 10.0, 1.0, 0.1)]
    assert ways == [1, 2, 3, None]
    assert counted.lowest() == pytest.approx((0.75, 0.75**0.5))
    np.testing.assert_array_equal(counted.best, np.full((2, 3), 0.5))


def test_an_oracle_counts_failures_and_refuses_beyond_the_limit(optimizers):
    def fails(positions):
        raise RuntimeError("SCF not converged")

    counted = optimizers.CountedOracle(fails, tolerance=1.0)
    for _ in range(optimizers.MAX_EVALUATIONS):
        with pytest.raises(RuntimeError, match="SCF"):
            counted(np.zeros((2, 3)))
    assert counted.failures == optimizers.MAX_EVALUATIONS
    with pytest.raises(optimizers.Reached):
        counted(np.zeros((2, 3)))
    assert len(counted.trace) == optimizers.MAX_EVALUATIONS


# --- Optimizers ---


@pytest.mark.parametrize(
    "method",
    [
        *("LocalEnergyMinimizer", "scipy L-BFGS-B", "ASE BFGS", "ASE PreconLBFGS", "ASE FIRE"),
        *("geomeTRIC", "Sella", "openmm-reparam"),
    ],
)
def test_every_method_goes_down_by_the_oracle_that_counts(optimizers, start, method):
    if method in LIBRARIES:
        pytest.importorskip(LIBRARIES[method], reason=f"{LIBRARIES[method]} is not installed")
    asked = []
    field = optimizers.mmff_of(start)

    def oracle(positions):
        asked.append(np.array(positions))
        return field(positions)

    found = optimizers.run_method(method, start, oracle, tolerance=10.0)
    assert found["converged"], found["stopped"]
    assert found["evaluations"] == len(asked)
    np.testing.assert_allclose(asked[0], start.positions, atol=1e-9)
    energy, forces = field(np.array(found["positions"]))
    assert energy == pytest.approx(found["energy"], abs=0.01)
    assert np.sqrt(np.sum(forces**2) / len(forces)) == pytest.approx(found["rms_force"], abs=0.5)
    assert found["energy"] < found["initial_energy"] - 10
    assert found["evaluations_50"] <= found["evaluations_10"] <= found["evaluations"]
    assert found["evaluations_1"] is None or found["rms_force"] <= 1


def test_a_run_that_ends_early_has_failed_and_says_why(optimizers, start):
    field = optimizers.mmff_of(start)
    calls = []

    def oracle(positions):
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("SCF not converged in 250 cycles")
        return field(positions)

    found = optimizers.run_method("scipy L-BFGS-B", start, oracle, tolerance=1.0)
    assert not found["converged"]
    assert "SCF not converged" in found["stopped"]
    assert (found["evaluations"], found["failures"], found["evaluations_1"]) == (5, 1, None)


# --- Records and summary ---


def test_an_interrupted_benchmark_goes_on_where_it_stopped(
    expensive, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "runs.jsonl"
    options = ["--molecules", "metformin", "--conformers", "1", "--tolerance", "200"]
    options += ["--output", str(output), "--methods", "scipy L-BFGS-B"]
    monkeypatch.setattr("sys.argv", ["expensive", *options])
    expensive.main()
    monkeypatch.setattr("sys.argv", ["expensive", *options, "openmm-reparam"])
    expensive.main()
    assert capsys.readouterr().out.count("1 runs to do") == 2
    runs = expensive.read_runs(output)
    assert [run["method"] for run in runs] == ["scipy L-BFGS-B", "openmm-reparam"]
    assert runs[0]["version"].startswith("scipy ")
    assert runs[0]["oracle_version"].startswith("tblite ")
    assert all(run["subset"] == "report" and run["start"] == "metformin 1" for run in runs)
    assert all(0 < run["oracle_seconds"] <= run["seconds"] for run in runs)
    text = expensive.tables(expensive.summarize(runs))["expensive"]
    assert "| gfn2 | mmff | report | scipy L-BFGS-B | 1 |" in text


def test_the_network_is_asked_only_for_elements_that_it_knows(expensive, molecules):
    known = [n for n in molecules.REPORT if expensive.knows("ani1ccx", _start(molecules, n))]
    assert "aspirin" in known
    assert "celecoxib" not in known
    assert 10 <= len(known) < 32


def _start(molecules, name):
    return molecules.start_of(name, 1, "etkdg")


def test_ratios_are_of_runs_from_the_same_start(expensive):
    report = import_module("benchmarks.report")
    positions = np.random.default_rng(0).normal(size=(5, 3))

    def run_of(method, number, ways, energy=-5.0, shift=0.0):
        common = {"oracle": "gfn2", "oracle_version": "x", "subset": "report", "tolerance": 1.0}
        moved = positions + shift * np.arange(15).reshape(5, 3) ** 2
        return report.record(
            "Reference",
            "scipy",
            **common,
            **{"start_kind": "mmff", "start": f"a {number}", "molecule": "a", "conformer": number},
            **{"method": method, "energy": energy, "converged": ways is not None},
            **{"evaluations_50": 2, "evaluations_10": 3, "evaluations_1": ways, "atoms": 5},
            **{"failures": 0, "evaluations": ways or 300, "seconds": 2.0, "oracle_seconds": 1.0},
            positions=moved.tolist(),
        )

    runs = [run_of("Sella", 1, 10), run_of("Sella", 2, 20), run_of("Sella", 3, 10)]
    runs += [run_of("geomeTRIC", 1, 20), run_of("geomeTRIC", 2, 10), run_of("geomeTRIC", 3, 10)]
    runs += [run_of("openmm-reparam", 1, 5), run_of("openmm-reparam", 2, 15)]
    runs += [run_of("openmm-reparam", 3, None)]
    row = next(r for r in expensive.summarize(runs)["expensive"] if r["method"] == "openmm-reparam")
    assert row["against_Sella"] == 0.75
    assert row["against_geomeTRIC"] == 1.5
    # What did not get there counts as the limit.
    assert row["worst_against_better"] == 30.0
    assert (row["converged"], row["evaluations_1"]) == (2, 15)
    runs[7] = run_of("openmm-reparam", 2, 15, energy=-4.0, shift=0.01)
    (basin,) = expensive.summarize(runs)["expensive-basins"]
    assert (basin["molecule"], basin["conformer"], basin["above"]) == ("a", 2, 1.0)
    assert basin["rmsd"] > 0.01
