"""Records of runs, their summaries, and the tables made from these."""

from importlib import import_module

import pytest


@pytest.fixture(scope="module")
def report():
    return import_module("benchmarks.report")


def run_of(report, start, *, energy, version="abc", method="openmm-reparam", **more):
    run = report.record("CPU", case="a case", method=method, start=start, energy=energy)
    return run | {"version": version} | more


def test_a_record_says_where_it_comes_from(report, tmp_path):
    run = run_of(report, 0, energy=-1.0)
    report.append(tmp_path / "runs.jsonl", run)
    report.append(tmp_path / "runs.jsonl", run | {"start": 1})
    read = report.read_runs(tmp_path / "runs.jsonl")
    assert [r["start"] for r in read] == [0, 1]
    for name in ("commit", "date", *report.PROVENANCE):
        assert read[0][name], name
    assert report.record("CPU", "openmm")["version"].startswith("openmm 8")


def test_versions_are_never_in_one_group(report):
    runs = [run_of(report, start, energy=-1.0) for start in range(3)]
    runs += [run_of(report, start, energy=-2.0, version="def") for start in range(2)]
    groups = report.grouped(runs, ("case", "method"))
    assert [(told["version"], told["starts"]) for told, _ in groups] == [("abc", 3), ("def", 2)]
    for changed in ({"processor": "another"}, {"openmm": "9"}, {"platform": "CUDA"}):
        both = [run_of(report, 0, energy=-1.0), run_of(report, 1, energy=-1.0, **changed)]
        assert len(report.grouped(both, ("case", "method"))) == 2


def test_of_a_start_run_twice_the_last_run_counts(report):
    runs = [run_of(report, 0, energy=-1.0), run_of(report, 0, energy=-3.0)]
    ((told, members),) = report.grouped(runs, ("case",))
    assert told["starts"] == 1
    assert members[0]["energy"] == -3.0


def test_a_summary_survives_its_file_and_is_merged_by_keys(report, tmp_path):
    def summary(runs):
        return [
            told | report.quartiles("energy", [r["energy"] for r in members])
            for told, members in report.grouped(runs, ("case", "method", "tolerance"))
        ]

    old = summary(
        [run_of(report, s, energy=-float(s), tolerance=10.0, version="12e7") for s in range(3)]
    )
    report.write_csv(tmp_path / "x.csv", old)
    read = report.read_csv(tmp_path / "x.csv")
    # A commit that looks like a number stays a name.
    assert read[0]["version"] == "12e7"
    assert report.cell(read[0], "energy") == "-1.00 (-1.50..-0.50)"
    fewer = summary([run_of(report, 0, energy=-9.0, tolerance=10.0, version="12e7")])
    assert report.merged(read, fewer, ("case", "method", "tolerance")) == read
    more = summary(
        [run_of(report, s, energy=-9.0, tolerance=10.0, version="12e7") for s in range(4)]
    )
    assert [r["energy"] for r in report.merged(read, more, ("case", "method", "tolerance"))] == [-9]
    other = summary([run_of(report, 0, energy=-9.0, tolerance=1.0, version="12e7")])
    assert len(report.merged(read, other, ("case", "method", "tolerance"))) == 2


def test_ratios_compare_runs_from_the_same_start_and_machine(report):
    local = import_module("benchmarks.local")
    common = {"tolerance": 1.0, "atoms": 10, "rms_force": 1.0, "bonded_evaluations": 0}
    common |= {"converged": True, "stereo_changes": [], "to_baseline_continued": False}
    ways = {"evaluations_to_baseline": 50, "seconds_to_baseline": 1.0}
    runs = []
    for start, factor in ((0, 10), (1, 30)):
        baseline = {"force_evaluations": 100 * factor, "seconds": factor / 1.0}
        runs.append(
            run_of(report, start, energy=-1.0, method=local.BASELINE, **common, **baseline)
            | dict.fromkeys(ways)
        )
        own = {"force_evaluations": 100, "seconds": 1.0}
        runs.append(run_of(report, start, energy=-1.0, **common, **own, **ways))
    summary = local.summarize(runs)["local"]
    row = next(row for row in summary if row["method"] == local.OWN)
    assert (row["fewer"], row["faster"], row["fewer_to_baseline"]) == (20.0, 20.0, 40.0)
    assert (
        "| a case | 2 | 1 | 20.0x | 20.0x | 40.0x | 20.0x |"
        in local.tables({"local": summary})["local"]
    )
    elsewhere = [run | {"processor": "x"} if run["method"] == local.OWN else run for run in runs]
    row = next(r for r in local.summarize(elsewhere)["local"] if r["method"] == local.OWN)
    assert row["pairs"] == 0
    assert row["fewer"] is None


def test_a_small_case_from_run_to_table(report, tmp_path, capsys, monkeypatch):
    local = import_module("benchmarks.local")
    output = tmp_path / "local.jsonl"
    monkeypatch.setattr(local, "RESULTS", tmp_path)
    options = ["--cases", "1PLW vacuum coil", "--starts", "1", "--tolerances", "10"]
    options += ["--methods", "LocalEnergyMinimizer", "openmm-reparam"]
    monkeypatch.setattr("sys.argv", ["local", *options, "--output", str(output)])
    local.main()
    runs = report.read_runs(output)
    assert [run["method"] for run in runs] == ["LocalEnergyMinimizer", "openmm-reparam"]
    assert runs[0]["version"].startswith("openmm ")
    assert all(run["trace"] for run in runs)
    assert "| 1PLW vacuum coil | 10 | openmm-reparam |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        *("local", "search", "scaling", "replicas", "costs"),
        *("figure4", "figure5", "figure6", "coils", "expensive", "mixed"),
    ],
)
def test_tables_follow_from_the_committed_summaries(report, name, tmp_path):
    module = import_module(report.BENCHMARKS[name])
    found = report.summaries(name)
    for table, keys in module.SUMMARIES.items():
        rows = found[table]
        # All methods may end in the same basins.
        assert rows or table == "expensive-basins", table
        lines = [tuple(str(row[key]) for key in (*keys, *report.PROVENANCE)) for row in rows]
        assert len(set(lines)) == len(lines), table
        assert all(row["commit"] and row["date"] for row in rows)
    report.write_tables(name, found, tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_text().startswith("<!-- Made from")
        committed = report.GENERATED / path.name
        assert path.read_text() == committed.read_text(), "run python -m benchmarks.report"
        assert "nan" not in path.read_text()
    if hasattr(module, "plot_summary"):
        module.plot_summary(found, tmp_path)
        assert list(tmp_path.glob("*.png"))


def test_committed_results_are_small(report):
    for path in report.RESULTS.glob("*.csv"):
        assert path.stat().st_size < 150_000, path
    assert not list(report.RESULTS.glob("*.json"))
