"""Folders, lists and paths of structure files."""

import tracemalloc

import pytest

from openmm_reparam.distributed.structure_inputs import structure_files


def test_a_folder_gives_its_structure_files_by_name(tmp_path):
    for name in ("b.pdb", "a.CIF", "c.txt", ".hidden.pdb", "d.ent"):
        (tmp_path / name).touch()
    (tmp_path / "folder.pdb").mkdir()
    files = structure_files(tmp_path)
    assert [name for name, _ in files.named()] == ["a.CIF", "b.pdb", "d.ent"]
    assert files.total == 3


def test_a_list_names_files_of_one_name_in_different_folders(tmp_path):
    listed = tmp_path / "lists" / "some.txt"
    listed.parent.mkdir()
    listed.write_text(f"# two\n../x/model.pdb\n\n{tmp_path}/x/y/model.pdb\n")
    files = structure_files(listed)
    assert list(files.named()) == [
        ("model.pdb", tmp_path / "x" / "model.pdb"),
        ("y/model.pdb", tmp_path / "x" / "y" / "model.pdb"),
    ]


def test_a_long_list_is_never_held(tmp_path):
    listed = tmp_path / "many.txt"
    listed.write_text("".join(f"models/predicted_{number:06}.pdb\n" for number in range(20_000)))
    tracemalloc.start()
    files = structure_files(listed)
    assert files.total == sum(1 for _ in files.paths()) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300_000  # the list itself has 600 kB


def test_a_list_of_any_editor_with_a_path_twice(tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"\xef\xbb\xbfa.pdb\r\n./a.pdb\r\nb.pdb\r\nx/../a.pdb\r\ncaf\xe9.pdb\r\n")
    files = structure_files(listed)
    assert [name for name, _ in files.named()] == ["a.pdb", "b.pdb", "caf\udce9.pdb"]
    assert files.total == 3
    assert files.among({"b.pdb": "failed", "of another list.pdb": "converged"}) == {
        "b.pdb": "failed"
    }


def test_a_folder_is_the_same_for_a_worker_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.pdb").touch()
    monkeypatch.chdir(tmp_path)
    assert list(structure_files("models").named()) == [("a.pdb", tmp_path / "models" / "a.pdb")]


def test_what_names_no_structure_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match="no structure file"):
        structure_files(tmp_path / "empty.txt")
    with pytest.raises(ValueError, match=r"no \.pdb"):
        structure_files(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        structure_files(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="paths given"):
        structure_files([])
