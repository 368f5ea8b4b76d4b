"""Many structures on a scheduler and workers that run as processes of their own."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from openmm import app, unit

from openmm_reparam import minimize_many, relax_many
from openmm_reparam.distributed.file_work import FileTask, done_file
from openmm_reparam.distributed.structure_task import (
    COLUMNS,
    StructureSettings,
    minimized_file,
)
from openmm_reparam.distributed.summary import read_summary
from openmm_reparam.prepare.peptides import peptide

SETTINGS = {"platform": "Reference", "tolerance": 1.0, "forcefield": ("amber14-all.xml",)}
# Columns that are of the run and not of the result.
OF_THE_RUN = {"seconds"}


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """A scheduler and two workers, started by Dask's own commands: its file, their processes."""
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    here = ("--host", "127.0.0.1")
    commands = [
        [
            *("scheduler", *here, "--port", "0", "--dashboard-address", "127.0.0.1:0"),
            *("--scheduler-file", str(file)),
        ],
        *[
            [
                *("worker", *here, "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny"),
                *("--no-dashboard", "--local-directory", str(folder)),
            ]
        ]
        * 2,
    ]
    with open(folder / "log", "w") as log:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{command}", *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for command, *arguments in commands
        ]
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield file, processes[1:]
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Ten structures in two folders, one of which is corrupt, and a list of them."""
    folder = tmp_path_factory.mktemp("models")
    for number in range(10):
        path = folder / f"run_{number % 2}" / f"model_{number // 2}.pdb"
        path.parent.mkdir(exist_ok=True)
        molecule = peptide("AGSA"[number % 4 :] + "G")
        noise = np.random.default_rng(number).normal(0, 0.005, (molecule.topology.getNumAtoms(), 3))
        with open(path, "w") as file:
            app.PDBFile.writeFile(
                molecule.topology, molecule.positions + noise * unit.nanometer, file
            )
    (folder / "run_1" / "model_2.pdb").write_text("ATOM      1  N   ALA A   1     nowhere\n")
    paths = sorted(path.relative_to(folder) for path in folder.glob("*/*.pdb"))
    (folder / "list.txt").write_text("".join(f"{path}\n" for path in paths))
    return folder


@pytest.fixture(scope="module")
def done(workers, models):
    """The rows of a run whose first worker was killed in the midst."""
    file, (victim, _) = workers
    rows = []
    for row in minimize_many(
        models / "list.txt", models / "out", cluster=file, progress=False, **SETTINGS
    ):
        rows.append(row)
        if len(rows) == 2:
            victim.send_signal(signal.SIGKILL)
    return {row["file"]: row for row in rows}, len(rows)


def test_every_good_structure_is_done_once_and_the_corrupt_one_named(done, models):
    rows, count = done
    assert count == len(rows) == 10
    assert [name for name, row in rows.items() if row["error"]] == ["run_1/model_2.pdb"]
    assert "could not read" in rows["run_1/model_2.pdb"]["error"]
    assert {row["converged"] for row in rows.values() if not row["error"]} == {True}
    written = {path.relative_to(models / "out").as_posix() for path in _files(models / "out")}
    assert written == {"summary.csv", *rows} - {"run_1/model_2.pdb"}
    assert {
        row["file"]: row for row in read_summary(models / "out" / "summary.csv", COLUMNS)
    } == rows


def _files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_workers_elsewhere_find_files_by_relative_paths(workers, tmp_path, monkeypatch):
    file, _ = workers
    monkeypatch.chdir(tmp_path)
    own = Path(app.__file__).parent / "data" / "amber14" / "protein.ff14SB.xml"
    Path("own.xml").write_bytes(own.read_bytes())
    molecule = peptide("AG")
    Path("models").mkdir()
    for name in ("models/a.pdb", "models/b.pdb"):
        with open(name, "w") as model:
            app.PDBFile.writeFile(molecule.topology, molecule.positions, model)
    options = {"cluster": file, "progress": False, "platform": "Reference", "forcefield": "own.xml"}
    for many, folder in ((minimize_many, "minimized"), (relax_many, "relaxed")):
        rows = list(many("models", folder, **options))
        assert [row["error"] for row in rows] == [None, None]
        assert sorted(Path(folder).glob("*.pdb")) == [Path(folder, n) for n in ("a.pdb", "b.pdb")]


def test_results_are_those_of_one_process_bit_by_bit(done, models, tmp_path):
    rows, _ = done
    settings = StructureSettings(
        platform="Reference", tolerance=1.0, preparation={"forcefield": ("amber14-all.xml",)}
    )
    for name in ("run_0/model_0.pdb", "run_1/model_0.pdb"):
        output = tmp_path / name
        digest = rows[name]["settings_digest"]
        alone = done_file(FileTask(name, models / name, output, minimized_file, settings, digest))
        assert output.read_bytes() == (models / "out" / name).read_bytes()
        assert {k: v for k, v in alone.items() if k not in OF_THE_RUN} == {
            k: v for k, v in rows[name].items() if k not in OF_THE_RUN
        }


def test_a_second_run_is_refused_or_completes_the_first(done, workers, models):
    rows, _ = done
    summary = models / "out" / "summary.csv"
    before = summary.read_text()
    with pytest.raises(FileExistsError, match="resume=True"):
        next(minimize_many(models / "list.txt", models / "out", **SETTINGS))
    assert summary.read_text() == before
    (models / "out" / "run_0" / "model_1.pdb").unlink()
    with open(models / "out" / "run_0" / "model_2.pdb", "a") as file:
        file.write("REMARK damaged\n")
    source = models / "run_0" / "model_3.pdb"
    source.write_text(source.read_text().replace("END\n", "REMARK another\nEND\n"))
    with open(summary, "a") as file:
        file.write("run_9/half a row,True")
    again = {
        row["file"]: row
        for row in minimize_many(
            *(models / "list.txt", models / "out"),
            **{"resume": True, "cluster": workers[0], "progress": False, **SETTINGS},
        )
    }
    assert sorted(again) == [f"run_0/model_{k}.pdb" for k in (1, 2, 3)] + ["run_1/model_2.pdb"]
    for name in ("run_0/model_1.pdb", "run_0/model_2.pdb"):
        assert again[name]["output_digest"] == rows[name]["output_digest"]
    assert sorted(row["file"] for row in read_summary(summary, COLUMNS)) == sorted(rows)


def test_other_settings_are_another_run(done, models, tmp_path):
    """One structure, done in this process: to another tolerance it is done again."""
    (tmp_path / "model.pdb").write_text((models / "run_0" / "model_0.pdb").read_text())
    for tolerance, count in ((1.0, 1), (1.0, 0), (0.5, 1)):
        settings = {**SETTINGS, "tolerance": tolerance, "progress": False}
        rows = minimize_many(
            tmp_path / "model.pdb", tmp_path / "out", resume=count != 1 or tolerance < 1, **settings
        )
        assert len(list(rows)) == count


def test_a_full_disk_is_a_row_and_no_file(models, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    task = FileTask(
        *("model_0.pdb", models / "run_0" / "model_0.pdb", tmp_path / "out" / "model_0.pdb"),
        *(minimized_file, StructureSettings(platform="Reference"), "digest"),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        row = done_file(task)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in row["error"]
    assert _files(tmp_path) == []


def test_bad_arguments_are_refused_before_any_structure_is_read(models, tmp_path):
    for arguments, error, words in (
        ({"tolerence": 1.0}, TypeError, "tolerence"),
        ({"tolerance": 0}, ValueError, "tolerance is 0"),
        ({"platform": "Warp"}, ValueError, "Warp"),
        ({"resume": True}, ValueError, "summary of the earlier run"),
    ):
        with pytest.raises(error, match=words):
            next(minimize_many(models / "list.txt", progress=False, **arguments))
