import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openmm_reparam.distributed import minima_database
from openmm_reparam.distributed.context_recipe import ContextRecipe
from openmm_reparam.distributed.minima_database import FoundMinimum, MinimaFile
from openmm_reparam.geometry.superposition import superposed_rmsd
from openmm_reparam.potentials.bond_graph import bond_graph
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search.minima import MinimaDatabase, ShapeComparison
from openmm_reparam.search.torsions import TorsionTopology


def recipe_of(molecule):
    return ContextRecipe.of(molecule.simulation("Reference").context, molecule.topology)


@pytest.fixture(scope="module")
def molecule():
    return peptide("AG")


@pytest.fixture(scope="module")
def recipe(molecule):
    return recipe_of(molecule)


@pytest.fixture(scope="module")
def structure(molecule):
    return np.array(molecule.positions._value)


@pytest.fixture(scope="module")
def comparison(molecule):
    potential = Potential(molecule.simulation("Reference").context, molecule.topology)
    classes = TorsionTopology(potential, bond_graph(potential)).symmetry_classes
    return ShapeComparison(np.arange(len(classes)), classes)


@pytest.fixture
def path(tmp_path, recipe):
    path = tmp_path / "minima.db"
    MinimaFile.create(path, recipe).close()
    return path


def found(energy, positions, evaluations=10, island=0):
    return FoundMinimum(energy, positions, 0.25, evaluations, island, seed=3, round=2)


def rotated(positions):
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    return positions @ (turn * np.sign(np.linalg.det(turn))) + [1.0, 2.0, 3.0]


def stretched(positions, factor):
    return positions * [factor, 1.0, 1.0]


def test_minima_come_back_to_the_last_digit_lowest_first(path, comparison, structure):
    high, low = found(-1.1, structure / 3), found(-7.3, stretched(structure, 2.0), 20, island=1)
    with MinimaFile.open(path, write=True) as file:
        assert file.add([high, low], comparison) == [1, 2]
    with MinimaFile.open(path) as file:
        first, second = file.lowest()
        assert [one.id for one in file] == [1, 2]
        assert [one.id for one in file.lowest(1)] == [2]
        assert [one.id for one in file.lowest(within=6.0)] == [2]
    for stored, given in ((first, low), (second, high)):
        assert np.array_equal(stored.positions, given.positions)
        for name in ("energy", "rms_force", "force_evaluations", "island", "seed", "round"):
            assert getattr(stored, name) == getattr(given, name)


def test_a_moved_structure_with_hydrogens_exchanged_is_the_same_minimum(
    path, comparison, structure
):
    classes = comparison.symmetry_classes
    hydrogens = next(
        same for k in np.unique(classes) if len(same := np.flatnonzero(classes == k)) == 3
    )
    order = np.arange(len(structure))
    order[hydrogens] = np.roll(hydrogens, 1)
    isomer = rotated(structure[order])
    assert superposed_rmsd(isomer, structure) > 0.02
    with MinimaFile.open(path, write=True) as file:
        numbers = file.add(
            [
                found(-5.0, structure),
                found(-5.5, isomer, 99),
                found(-2.0, structure),
                found(-5.0, stretched(structure, 1.2)),
            ],
            comparison,
        )
        known = file.lowest(1)[0]
    assert numbers == [1, 1, 2, 3]
    assert (known.energy, known.visits, known.force_evaluations) == (-5.5, 2, 10)
    assert np.array_equal(known.positions, isomer)


def test_the_file_tells_minima_apart_as_the_database_in_memory_does(path, comparison, structure):
    rng = np.random.default_rng(1)
    kept = MinimaDatabase(comparison.compared, comparison.symmetry_classes)
    shapes = [stretched(structure, factor) for factor in (1.0, 1.1, 1.3)]
    visits = [(rng.uniform(-6, 0), shapes[rng.integers(3)]) for _ in range(40)]
    with MinimaFile.open(path, write=True) as file:
        file.add([found(energy, x) for energy, x in visits], comparison)
        for energy, x in visits:
            kept.add(energy, x, 10)
        assert [(m.energy, m.visits) for m in file] == [(m.energy, m.visits) for m in kept.minima]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: peptide("AGG"), "has 27"),
        (lambda: peptide("GA"), "another molecule"),
        (lambda: peptide("AG", solvent="gbn2"), "another force field"),
    ],
)
def test_minima_of_another_molecule_are_refused(path, other, said):
    with MinimaFile.open(path) as file, pytest.raises(ValueError, match=said):
        file.refuse_other_molecule(recipe_of(other()))


def test_a_recipe_makes_the_same_context_after_it_was_written(recipe, molecule, structure):
    again = ContextRecipe.from_json(recipe.to_json())
    here, there = (
        Potential(one).evaluate(structure)
        for one in (molecule.simulation("Reference").context, again.make_context())
    )
    assert here[0] == there[0]
    assert np.array_equal(here[1], there[1])
    assert ContextRecipe.of(again.make_context(), again.make_topology()) == recipe


def test_a_round_is_there_as_a_whole_or_not_at_all(path, comparison, structure):
    def write_and_fail(file):
        with file.transaction():
            file.add([found(-1.0, structure)], comparison)
            file.add_round(1, 0, "{}")
            raise KeyboardInterrupt

    with MinimaFile.open(path, write=True) as file:
        with pytest.raises(KeyboardInterrupt):
            write_and_fail(file)
        assert (len(file), file.num_rounds) == (0, 0)


def test_two_searches_do_not_write_the_same_round(path):
    with MinimaFile.open(path, write=True) as one, MinimaFile.open(path, write=True) as other:
        one.add_round(1, 0, "{}")
        with pytest.raises(ValueError, match="another process has written round 1"):
            other.add_round(1, 0, "{}")


def test_readers_see_the_last_round_while_the_next_is_written(path, comparison, structure):
    with MinimaFile.open(path, write=True) as writer, MinimaFile.open(path) as reader:
        writer.add([found(-1.0, structure)], comparison)
        many = [found(-10.0 * k, np.tile(structure, (200, 1))) for k in range(2, 12)]
        with writer.transaction():
            writer.add(many, comparison)
            assert len(reader) == 1
        assert len(reader) == 11


# Writes a round, then is killed in the middle of another one that is in the file already.
KILLED = """
import sqlite3, sys, time
from openmm_reparam.distributed.minima_database import MinimaFile
file = MinimaFile.open(sys.argv[1], write=True)
file.add_round(1, 0, "kept")
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM header")
for island in range(200):
    connection.execute("INSERT INTO rounds VALUES (2, ?, ?)", (island, "x" * 10000))
print("writing", flush=True)
time.sleep(60)
"""


def test_a_process_killed_while_it_writes_leaves_a_valid_file(path, tmp_path, recipe):
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "writing\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    copy = tmp_path / "copy.db"
    for ending in ("", "-journal"):
        shutil.copy(f"{path}{ending}", f"{copy}{ending}")
    assert Path(f"{copy}-journal").stat().st_size > 0
    for left, write in ((path, True), (copy, False)):
        with MinimaFile.open(left, write=write) as file:
            assert file.num_rounds == 1
            assert file.round(1) == ["kept"]
            assert file.molecule == recipe


def test_a_full_disk_is_named_and_what_was_there_stays(path, comparison, structure):
    large = found(-1.0, np.tile(structure, (1000, 1)))
    with MinimaFile.open(path, write=True) as file:
        file.add([found(-9.0, structure)], comparison)
        with file.transaction() as write:
            write("PRAGMA max_page_count = 20")  # SQLite then says what it says of a full disk
        with pytest.raises(OSError, match="disk is full. What it held before is safe"):
            file.add([large], comparison)
        assert [one.energy for one in file] == [-9.0]


def test_an_empty_file_of_a_process_killed_early_is_taken(tmp_path, recipe):
    path = tmp_path / "minima.db"
    path.touch()
    with MinimaFile.create(path, recipe) as file:
        assert len(file) == 0
    with pytest.raises(FileExistsError, match="there already"):
        MinimaFile.create(path, recipe)


def test_a_locked_file_is_said_to_be_locked(path, monkeypatch):
    monkeypatch.setattr(minima_database, "TIMEOUT", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TimeoutError, match=r"minima.db is locked by another process. Wait"):
        MinimaFile.open(path)
    other.close()


def test_damaged_and_foreign_files_are_refused_with_what_to_do(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        MinimaFile.open(tmp_path / "none.db")
    text = tmp_path / "text.db"
    text.write_text("no database " * 200)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE header (a)")
    for foreign in (text, other):
        with pytest.raises(ValueError, match=r"no database of minima. Name another file"):
            MinimaFile.open(foreign)
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged. .*\.recover"):
        MinimaFile.open(path, write=True)


def test_a_file_of_a_newer_version_asks_for_an_update(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ValueError, match=r"format 2; this one reads 1\)\. Update"):
        MinimaFile.open(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_can_be_read_and_says_why_it_is_not_written(path):
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with MinimaFile.open(path) as file:
            assert len(file) == 0
        with pytest.raises(PermissionError, match="read-only"):
            MinimaFile.open(path, write=True)
    finally:
        path.parent.chmod(0o755)
