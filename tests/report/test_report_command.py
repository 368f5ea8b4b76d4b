"""``--report`` of the command line."""

import json
import re

import pytest

from openmm_reparam.cli.app import main
from openmm_reparam.cli.folder_page import write_folder_page
from openmm_reparam.distributed.structure_task import COLUMNS, VIOLATION_KINDS, StructureSettings


def data_of(path):
    """Return what the page's scripts are given."""
    text = path.read_text("utf-8")
    return json.loads(re.search(r'id="data">(.*)</script>', text)[1])


def test_minimize_writes_a_page(enkephalin, tmp_path, capsys):
    page = tmp_path / "new" / "page.html"
    code = main(["minimize", enkephalin, "--report", str(page), "--threads", "1", "--compare"])
    assert code == 0
    assert f"Wrote the report: {page}" in capsys.readouterr().out
    data = data_of(page)
    assert [c["label"] for c in data["molecule"]["conformations"]] == ["before", "after"]
    assert len(data["molecule"]["names"]) == 75
    assert len(data["curves"]) == 2
    text = page.read_text("utf-8")
    for fact in ("enkephalin.pdb", "amber14-all.xml", "vacuum", "CPU", "OpenMM"):
        assert fact in text


def test_fold_writes_its_minima(tmp_path, capsys):
    page = tmp_path / "page.html"
    search = ("--search", "auto", "--max-force-evaluations", "400", "--temperature", "300")
    assert main(["fold", "AGA", *search, "--report", str(page), "--threads", "1"]) == 0
    data = data_of(page)
    labels = [c["label"] for c in data["molecule"]["conformations"]]
    assert labels[:3] == ["before", "after", "minimum 2"]
    assert [curve["dots"] for curve in data["curves"]] == [False, True]
    text = page.read_text("utf-8")
    assert "What the search found" in text
    assert "population" in text
    assert "Radius of gyration" in text


def test_other_endings_are_refused(enkephalin, tmp_path, capsys):
    with_ending = str(tmp_path / "page.txt")
    assert main(["minimize", enkephalin, "--report", with_ending]) == 2
    assert "--report" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["minimize", "fold"])
def test_help_names_the_page(command, capsys):
    main([command, "--help"])
    assert "--report" in capsys.readouterr().out


def test_a_folder_page_has_a_row_for_each_of_the_summary(tmp_path):
    page = tmp_path / "all.html"
    (tmp_path / "good.html").write_text("its own page")
    counts = {f"{kind}_{when}": 2 for kind in VIOLATION_KINDS for when in ("before", "after")}
    empty = dict.fromkeys(COLUMNS)
    good = {**empty, **counts, "file": "good.pdb", "converged": True, "atoms": 75, "seconds": 1.5}
    bad = {**empty, "file": "bad.pdb", "converged": False, "error": "no template"}
    settings = StructureSettings(preparation={"forcefield": ["amber14-all.xml"]})
    write_folder_page([good, bad], page, "models", settings)
    data = data_of(page)
    rows = {row[0]: row for row in data["rows"]}
    values = dict(zip(data["columns"], rows["good.pdb"][2:], strict=False))
    assert (values["atoms"], values["seconds"]) == (75, 1.5)
    # Cis prolines do not count.
    assert values["violations after"] == 2 * (len(VIOLATION_KINDS) - 1)
    assert rows["bad.pdb"][1] == "failed"
    assert rows["bad.pdb"][-2] == "no template"
    # Only one has a page of its own.
    assert (rows["good.pdb"][-1], rows["bad.pdb"][-1]) == ("good.html", None)
    assert "amber14-all.xml" in page.read_text("utf-8")
