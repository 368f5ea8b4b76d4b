"""A folder of structures, minimized in worker processes for real."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
from openmm import app, unit

from openmm_reparam.cli import batch
from openmm_reparam.cli.app import main
from openmm_reparam.distributed.file_work import FileTask, done_file
from openmm_reparam.distributed.structure_task import (
    COLUMNS,
    StructureSettings,
    minimized_file,
)
from openmm_reparam.prepare.peptides import peptide

SETTINGS = StructureSettings(platform="Reference")


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def write_heavy_atoms(sequence, path):
    """Write a peptide as a prediction comes: no hydrogens, atoms a little off."""
    molecule = peptide(sequence)
    noise = np.random.default_rng(0).normal(0.0, 0.01, (molecule.topology.getNumAtoms(), 3))
    modeller = app.Modeller(molecule.topology, molecule.positions + noise * unit.nanometer)
    modeller.delete([a for a in modeller.topology.atoms() if a.element is app.element.hydrogen])
    writer = app.PDBxFile if path.suffix in (".cif", ".mmcif") else app.PDBFile
    with open(path, "w") as file:
        writer.writeFile(modeller.topology, modeller.positions, file)


@pytest.fixture
def folder(tmp_path):
    """Two structures that can be read, one that cannot, and things that are none."""
    folder = tmp_path / "models"
    (folder / "older.pdb").mkdir(parents=True)
    write_heavy_atoms("AGA", folder / "rank_2.pdb")
    write_heavy_atoms("GAS", folder / "rank_3.cif")
    (folder / "rank_1.pdb").write_text("this is no structure\n")
    (folder / ".hidden.pdb").write_text("nor this\n")
    (folder / "scores.json").write_text("{}")
    return folder


def heavy_positions(path):
    structure = (app.PDBxFile if path.suffix == ".cif" else app.PDBFile)(str(path))
    x = structure.getPositions(asNumpy=True)._value
    return {
        (atom.residue.index, atom.name): x[atom.index]
        for atom in structure.topology.atoms()
        if atom.element is not app.element.hydrogen
    }


def test_a_folder_is_minimized_and_its_broken_file_reported(run, folder, tmp_path):
    output = tmp_path / "new" / "relaxed"
    code, out, err = run(*("minimize", folder, "--restrain", "heavy", "--workers", 2, "-o", output))
    assert (code, err) == (1, "")
    assert "2 worker processes" in out
    # Without bokeh the page at its address is empty.
    assert ("dashboard" in out) == (find_spec("bokeh") is not None)
    assert "2 of 3 converged, 0 did not, 1 failed: rank_1.pdb" in out
    assert {path.name for path in output.iterdir()} == {"rank_2.pdb", "rank_3.cif", "summary.csv"}

    with open(output / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rows.sort(key=lambda row: row["file"])
    assert [row["file"] for row in rows] == ["rank_1.pdb", "rank_2.pdb", "rank_3.cif"]
    assert list(rows[0]) == list(COLUMNS)
    assert rows[0]["converged"] == "False"
    assert "could not read" in rows[0]["error"]
    for row in rows[1:]:
        assert (row["converged"], row["error"]) == ("True", "")
        assert float(row["final_energy"]) < float(row["initial_energy"])
        assert 0 < float(row["rms_force"]) <= 10
        assert int(row["force_evaluations"]) > 0
        assert row["clashes_after"] == row["bonds_after"] == row["chirality_after"] == "0"
        assert "hydrogens" in row["repairs"]
        # Atoms 0.17 A off their places, held by springs, move about as far.
        assert 0 < float(row["rmsd_superposed_angstrom"]) <= float(row["rmsd_angstrom"]) < 0.4
        source = heavy_positions(folder / row["file"])
        relaxed = heavy_positions(output / row["file"])
        moved = [np.linalg.norm(relaxed[atom] - x) for atom, x in source.items()]
        assert max(moved) < 0.05
        rms = 10 * np.sqrt(np.mean(np.square(moved)))
        assert rms == pytest.approx(float(row["rmsd_angstrom"]), abs=2e-3)


def test_not_converged_is_exit_code_1(run, folder, tmp_path):
    (folder / "rank_1.pdb").unlink()
    summary, page = tmp_path / "tables" / "all.csv", tmp_path / "pages" / "all.html"
    code, out, _ = run(
        *("minimize", folder, "--workers", 1, "--csv", summary, "--max-iterations", 2),
        *("--report", page),
    )
    assert code == 1
    assert "2 not converged" in page.read_text("utf-8")
    assert "0 of 2 converged, 2 did not, 0 failed" in out
    with open(summary, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["converged"] for row in rows] == ["False", "False"]
    assert all("maxIterations" in row["message"] and row["error"] == "" for row in rows)


def test_an_ent_file_is_written_as_pdb(tmp_path):
    source, output = tmp_path / "pdb1abc.ent", tmp_path / "out.ent"
    write_heavy_atoms("AG", source)
    row = done_file(FileTask("pdb1abc.ent", source, output, minimized_file, SETTINGS, "digest"))
    assert row["error"] is None
    assert row["converged"]
    assert app.PDBFile(str(output)).topology.getNumAtoms() == row["atoms"] == 20


def test_the_table_has_units_and_lines_up_with_its_headings():
    row = dict.fromkeys(COLUMNS, 0) | {"converged": True, "error": None}
    row |= {"file": "a.pdb", "atoms": 27, "final_energy": -12.34, "rmsd_angstrom": 0.5}
    row |= {"clashes_before": 3, "hydrogen_clashes_before": 4, "bonds_before": 5}
    row |= {"angles_after": 6, "cis_prolines_before": 7, "seconds": 1.25}
    note, above, headings = batch.table_head(len("longer_name.pdb"))
    line = batch.table_line(row, len("longer_name.pdb"))
    assert "before > after" in note
    assert {"kJ/mol", "angstrom", "seconds", "converged"} < set(headings.split())
    assert above.split() == ["energy", "heavy-atom", "hydrogen", "other", "RMSD", "time"]
    assert len(line) == len(headings) == len(above)
    assert " ".join(line.split()) == "a.pdb 27 yes -12.3 3 > 0 4 > 0 5 > 6 0.500 1.2"
    failed = batch.table_line(row | {"error": "no such thing"}, 15)
    assert failed == "a.pdb            FAILED: no such thing"


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as POSIX does")
def test_ctrl_c_ends_the_workers_and_keeps_what_is_done(folder, tmp_path):
    # Enough of them that they are not done before the signal, however busy the machine.
    write_heavy_atoms("A" * 12, folder / "slow.pdb")
    for count in range(30):
        shutil.copy(folder / "slow.pdb", folder / f"slow_{count}.pdb")
    output = tmp_path / "out"
    process = subprocess.Popen(
        [
            *(sys.executable, "-u", "-m", "openmm_reparam.cli", "minimize", str(folder)),
            *("--workers", "2", "-o", str(output), "--tolerance", "1e-6"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What is started in the background of a script ignores it, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    for line in process.stdout:
        if line.startswith("rank_1.pdb"):
            break
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err == "openmm-reparam: interrupted\n"
    with open(output / "summary.csv", newline="") as file:
        assert "rank_1.pdb" in [row["file"] for row in csv.DictReader(file)]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("worker processes are left over")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--plot", "out.png"), ("--plot", "--csv")),
        (("--json", "-"), ("--json", "--csv")),
        (("--compare",), ("--compare",)),
        (("--report", "all.html"), ("--report all.html", "--csv")),
        (("-o", "out.pdb"), ("-o out.pdb", "name a folder")),
        (("-o", "FOLDER"), ("overwrite",)),
        (("--keep-water",), ("--solvent tip3p",)),
        (("--forcefield", "nope.xml"), ("nope.xml",)),
        (("--platform", "Warp"), ("Warp",)),
        (("--platform", "Reference", "--threads", "2"), ("--platform CPU",)),
        (("--tolerance", "-1"), ("tolerance",)),
        (("--workers", "0"), ("--workers",)),
        (("--restrain", "light"), ("light", "heavy")),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(run, folder, arguments, words):
    code, _, err = run("minimize", folder, *(folder if a == "FOLDER" else a for a in arguments))
    assert code == 2
    assert err.count("\n") == 1
    assert all(word in err for word in words)


def test_an_empty_folder_is_exit_code_2(run, tmp_path):
    code, _, err = run("minimize", tmp_path)
    assert code == 2
    assert f"no .pdb, .ent, .cif or .mmcif file in {tmp_path}" in err


def test_options_of_folders_are_refused_for_a_file(run, folder):
    code, _, err = run("minimize", folder / "rank_2.pdb", "--workers", 2)
    assert code == 2
    assert "for a folder" in err
