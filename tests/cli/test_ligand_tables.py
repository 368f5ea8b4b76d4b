"""A file of molecules that grows, and what a later run takes up of it and of its table."""

from contextlib import suppress

import pytest

from openmm_reparam.cli.ligand_tables import DIGESTS, MoleculeFiles, with_digests
from openmm_reparam.distributed.summary import read_summary

COLUMNS = {"number": int, "converged": bool, "error": str, **DIGESTS}
TASKS = ("one", "two", "three", "four")


def text(task):
    return f"{task}\n\n\n  0  0\nM  END\n> <Energy>\n-1\n\n$$$$\n"


def row(task):
    good = task != "two"
    values = {"number": TASKS.index(task), "converged": good, "error": None if good else "no"}
    return with_digests(values, text(task) if good else "", f"digest of {task}")


def files(folder, **settings):
    return MoleculeFiles(
        *(folder / "out.sdf", folder / "out.csv", COLUMNS, iter(TASKS), "digest of {}".format),
        **settings,
    )


def run(folder, count=99, **settings):
    """Do so many of the tasks that are left, as one that is interrupted then."""
    done = []
    with suppress(KeyboardInterrupt), files(folder, **settings) as opened:
        for task in opened.tasks:
            if len(done) == count:
                raise KeyboardInterrupt
            done.append(task)
            opened.write(row(task), text(task) if task != "two" else "")
    return done


@pytest.mark.parametrize("damage", ["none", "half a molecule", "molecule lost", "another molecule"])
def test_a_resumed_run_ends_with_the_files_of_one_that_was_not_interrupted(tmp_path, damage):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    assert run(whole) == list(TASKS)
    assert run(broken, 3) == ["one", "two", "three"]
    growing = broken / "out.sdf.part"
    assert not (broken / "out.sdf").exists()
    left = {"none": ["four"], "half a molecule": ["four"]}.get(damage, ["three", "four"])
    if damage == "half a molecule":
        growing.write_text(growing.read_text() + "four\n\n")
    elif damage == "molecule lost":
        growing.write_text(text("one"))
    elif damage == "another molecule":
        growing.write_text(text("one") + text("four"))
    assert run(broken, resume=True) == left
    for name in ("out.sdf", "out.csv"):
        assert (broken / name).read_text() == (whole / name).read_text()
    assert not growing.exists()


def test_files_of_another_run_are_left_alone(tmp_path):
    run(tmp_path, 2)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match="--resume"):
        files(tmp_path).__enter__()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    with pytest.raises(ValueError, match="--csv"):
        MoleculeFiles(tmp_path / "out.sdf", None, COLUMNS, iter(TASKS), str, resume=True)


def test_a_run_that_had_ended_is_verified_and_goes_on(tmp_path):
    run(tmp_path)
    assert run(tmp_path, resume=True) == []
    assert (tmp_path / "out.sdf").read_text() == "".join(
        text(task) for task in TASKS if task != "two"
    )
    rows = list(read_summary(tmp_path / "out.csv", COLUMNS))
    assert [one["number"] for one in rows] == [0, 1, 2, 3]


def test_what_is_there_without_a_table_is_left_alone(tmp_path):
    for name in ("out.sdf", "out.sdf.part"):
        (tmp_path / name).write_text(text("another"))
    with pytest.raises(FileExistsError, match="delete it"):
        files(tmp_path, resume=True).__enter__()
    assert (tmp_path / "out.sdf.part").read_text() == text("another")
    assert not (tmp_path / "out.csv").exists()
    (tmp_path / "out.sdf.part").unlink()
    run(tmp_path, 1, resume=True)
    assert (tmp_path / "out.sdf").read_text() == text("another")
    assert (tmp_path / "out.sdf.part").read_text() == text("one")


def test_a_run_without_a_molecule_leaves_nothing(tmp_path):
    run(tmp_path, 0)
    assert not list(tmp_path.iterdir())
    (tmp_path / "out.csv").write_text("a table of another run")
    with pytest.raises(FileExistsError, match="--resume"):
        files(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
