"""The table of many results: whole rows whatever happens, and what a later run takes up of it."""

import resource
from contextlib import contextmanager, suppress

import pytest

from openmm_reparam.distributed.files import (
    file_digest,
    read_text,
    replaced_file,
    text_digest,
    write_text,
)
from openmm_reparam.distributed.summary import Summary, read_summary

COLUMNS = {"file": str, "converged": bool, "energy": float, "atoms": int, "error": str}


def row(name, **values):
    good = {"converged": True, "energy": -0.1 - 0.2, "atoms": 22, "error": None}
    return {"file": name, **good, **values}


@contextmanager
def no_file_longer_than(size):
    """A disk that is full, as far as one process can tell: writing fails in the midst of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_rows_come_back_as_they_were(tmp_path, ending):
    path = tmp_path / "new" / f"summary{ending}"
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    rows = [row("a, b.pdb"), row("c.pdb", energy=None, error='no "atoms"', converged=False)]
    with Summary(path, COLUMNS) as summary:
        for one in rows:
            summary.append(one)
        assert list(read_summary(path, COLUMNS)) == rows  # while it grows
    assert list(read_summary(path, COLUMNS)) == rows
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_name_is_any_that_a_file_can_have(tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    names = ["a  b.pdb", " a.pdb", "new\nline.pdb", "re\rturn.pdb", "=1,'\".pdb", "no\udcff.pdb"]
    path = tmp_path / f"summary{ending}"
    with Summary(path, COLUMNS) as summary:
        for name in names:
            summary.append(row(name))
        assert [one["file"] for one in read_summary(path, COLUMNS)] == names
    if ending == ".csv":
        with Summary(path, COLUMNS, resumed=lambda row: True) as summary:
            assert list(summary.kept) == names
    assert len(list(read_summary(path, COLUMNS))) == len(names)


def test_a_long_value_is_read_again(tmp_path):
    with Summary(tmp_path / "summary.csv", COLUMNS) as summary:
        summary.append(row("a.pdb", error="x" * 200_000))
    assert len(next(read_summary(tmp_path / "summary.csv", COLUMNS))["error"]) == 200_000


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is no folder"):
        Summary(tmp_path / "file" / "summary.csv", COLUMNS).__enter__()


def test_a_file_may_have_the_longest_name_and_any_bytes(tmp_path):
    path = tmp_path / ("n" * 251 + ".pdb")
    write_text(path, "REMARK caf\udce9\n")
    assert path.read_bytes() == b"REMARK caf\xe9\n"
    assert read_text(path) == "REMARK caf\udce9\n"
    assert text_digest(read_text(path)) == file_digest(path)


def test_a_run_does_not_write_into_the_table_of_another(tmp_path):
    path = tmp_path / "summary.csv"
    with Summary(path, COLUMNS) as summary:
        summary.append(row("a.pdb"))
        with pytest.raises(FileExistsError, match="earlier run"):
            Summary(path, COLUMNS).__enter__()
        with pytest.raises(FileExistsError, match="another run is writing"):
            Summary(path, COLUMNS, resumed=lambda row: False).__enter__()
    before = path.read_text()
    with pytest.raises(FileExistsError, match="--resume"):
        Summary(path, COLUMNS).__enter__()
    with pytest.raises(ValueError, match="no summary of this command"):
        Summary(path, {"file": str}, resumed=lambda row: True).__enter__()
    assert path.read_text() == before


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_resumed_table_keeps_what_is_done(tmp_path, ending):
    path = tmp_path / f"summary{ending}"
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    with suppress(KeyboardInterrupt), Summary(path, COLUMNS) as summary:
        for name in ("a.pdb", "b.pdb", "c.pdb"):
            summary.append(row(name, error="died" if name == "b.pdb" else None))
        raise KeyboardInterrupt
    assert path.exists() == (ending == ".csv")  # a table in Parquet waits for its last row
    with Summary(path, COLUMNS, resumed=lambda row: row["error"] is None) as summary:
        assert summary.kept == {"a.pdb": "converged", "c.pdb": "converged"}
        summary.append(row("b.pdb", converged=False))
    assert [one["file"] for one in read_summary(path, COLUMNS)] == ["a.pdb", "c.pdb", "b.pdb"]
    with Summary(path, COLUMNS, resumed=lambda row: True) as summary:  # of a run that had ended
        assert summary.kept["b.pdb"] == "not converged"
    assert len(list(read_summary(path, COLUMNS))) == 3


def test_an_error_before_the_first_row_leaves_no_table(tmp_path):
    path = tmp_path / "summary.csv"
    with suppress(KeyboardInterrupt), Summary(path, COLUMNS):
        raise KeyboardInterrupt
    assert not path.exists()
    with Summary(path, COLUMNS):  # one without rows that has ended stays
        pass
    assert list(read_summary(path, COLUMNS)) == []
    with suppress(KeyboardInterrupt), Summary(path, COLUMNS, resumed=lambda row: True):
        raise KeyboardInterrupt
    assert path.exists()


def test_half_a_row_at_the_end_is_none(tmp_path):
    path = tmp_path / "summary.csv"
    with Summary(path, COLUMNS) as summary:
        summary.append(row("a.pdb"))
    with open(path, "a") as file:
        file.write("b.pdb,True,-1")
    assert [one["file"] for one in read_summary(path, COLUMNS)] == ["a.pdb"]
    with Summary(path, COLUMNS, resumed=lambda row: True) as summary:
        summary.append(row("c.pdb"))
    assert [one["file"] for one in read_summary(path, COLUMNS)] == ["a.pdb", "c.pdb"]


def test_a_full_disk_leaves_whole_rows(tmp_path):
    path = tmp_path / "summary.csv"
    with Summary(path, COLUMNS) as summary:
        summary.append(row("a.pdb"))
        with (
            no_file_longer_than(path.stat().st_size + 10),
            pytest.raises(OSError, match="run again with --resume"),
        ):
            summary.append(row("b.pdb"))
        assert path.read_text().endswith("\n")
        summary.append(row("b.pdb"))
    assert [one["file"] for one in read_summary(path, COLUMNS)] == ["a.pdb", "b.pdb"]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "model.pdb"
    write_text(path, "as it was\n")
    with no_file_longer_than(1000), pytest.raises(OSError, match="too large"):
        write_text(path, "ATOM\n" * 1000)
    with suppress(KeyboardInterrupt), replaced_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "as it was\n"
    assert [file.name for file in tmp_path.iterdir()] == ["model.pdb"]
