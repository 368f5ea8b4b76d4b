"""``openmm-reparam relax``, and predictions one after the other with a summary."""

import json

import pytest

from openmm_reparam import relax_prediction
from openmm_reparam.cli.app import main
from openmm_reparam.cli.relaxation_page import write_relaxations_page
from openmm_reparam.distributed.file_work import file_rows, file_summary
from openmm_reparam.distributed.prediction_task import RELAXATION_COLUMNS
from openmm_reparam.distributed.relax_many import relaxation_work
from openmm_reparam.distributed.structure_inputs import structure_files
from openmm_reparam.distributed.summary import read_summary
from openmm_reparam.predicted.protocol import RelaxationSettings

SETTINGS = RelaxationSettings(platform="Reference", tolerance=100.0)


@pytest.fixture
def folder(predicted, as_mmcif, tmp_path):
    made = tmp_path / "predictions"
    made.mkdir()
    text = predicted().chain("GASG").text()
    (made / "good.pdb").write_text(text)
    (made / "good.cif").write_text(as_mmcif(text))
    (made / "bad.pdb").write_text("no structure\n")
    return made


def relaxed_rows(folder, output, resume=False):
    files = structure_files(folder)
    path = output / "summary.csv"
    work = relaxation_work(SETTINGS, 1, None)
    with file_summary(files, work, output, path, resume) as table:
        return list(file_rows(None, files, work, output, table))


def test_every_good_file_is_relaxed_and_the_bad_one_named(folder, tmp_path):
    output = tmp_path / "relaxed"
    rows = {row["file"]: row for row in relaxed_rows(folder, output)}
    assert rows["bad.pdb"]["error"] == "there is no atom (no ATOM or HETATM record)"
    assert rows["good.pdb"]["converged"]
    assert rows["good.pdb"]["clashes_after"] == 0
    assert sorted(path.name for path in output.iterdir()) == ["good.cif", "good.pdb", "summary.csv"]
    expected, report = relax_prediction(
        (folder / "good.pdb").read_text(), platform="Reference", tolerance=100.0
    )
    assert (output / "good.pdb").read_text() == expected
    assert rows["good.pdb"]["energy_after"] == pytest.approx(report.after.energy, abs=1e-3)
    table = {row["file"]: row for row in read_summary(output / "summary.csv", RELAXATION_COLUMNS)}
    assert table == rows


def test_a_resumed_run_does_what_is_missing_or_changed(folder, tmp_path):
    output = tmp_path / "relaxed"
    relaxed_rows(folder, output)
    assert [row["file"] for row in relaxed_rows(folder, output, resume=True)] == ["bad.pdb"]
    (output / "good.pdb").write_text("cut off")
    again = [row["file"] for row in relaxed_rows(folder, output, resume=True)]
    assert sorted(again) == ["bad.pdb", "good.pdb"]


def test_one_file_is_written_and_reported(folder, tmp_path, capsys):
    output, report, page = (tmp_path / name for name in ("out.pdb", "report.json", "page.html"))
    code = main(
        ["relax", str(folder / "good.pdb"), "-o", str(output), "--json", str(report)]
        + ["--platform", "reference", "--tolerance", "100", "--report", str(page)]
    )
    assert code == 0
    assert "MolProbity-like score" in capsys.readouterr().out
    assert json.loads(report.read_text())["settings"]["tolerance"] == 100.0
    assert output.read_text().count(" CA ") == 4
    assert "MolProbity-like score" in page.read_text()


def test_a_page_of_many_has_a_row_for_each(folder, tmp_path):
    rows = relaxed_rows(folder, tmp_path / "relaxed")
    write_relaxations_page(rows, tmp_path / "pages" / "all.html", "predictions")
    page = (tmp_path / "pages" / "all.html").read_text()
    assert all(row["file"] in page for row in rows)
    assert "no ATOM or HETATM record" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bad.pdb"], "bad.pdb: there is no atom"),
        (["nowhere.pdb"], "there is no file"),
        (["good.pdb", "-o", "out.cif"], "kept in the format of the input, name a .pdb file"),
        (["good.pdb", "-o", "good.pdb"], "would overwrite the input"),
        ([".", "-o", "."], "would overwrite the input"),
        (["good.pdb", "--resume"], "--resume is for a folder or a list of files"),
        (["good.pdb", "--forcefield", "none.xml"], "could not load the force field none.xml"),
    ],
)
def test_what_cannot_be_done_is_said(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    assert main(["relax", *arguments]) == 2
    assert message in capsys.readouterr().err
