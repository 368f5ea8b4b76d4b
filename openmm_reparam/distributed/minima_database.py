"""Distinct minima of a search in one SQLite file.

One process writes, any number read meanwhile. What is written together is there together or not at
all, whenever the process ends. The file keeps a rollback journal in place of a write-ahead log: it
so needs no second file to be read, and works in folders that are read-only or on another machine.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from ..search.minima import SAME_ENERGY, ShapeComparison
from .context_recipe import ContextRecipe
from .sqlite_errors import explained_errors

__all__ = ["FoundMinimum", "MinimaFile", "StoredMinimum"]

APPLICATION = 0x4D494E49  # "MINI": tells these files from other SQLite files
FORMAT = 1
MEMORY = ":memory:"
# Seconds to wait for another process that reads or writes.
TIMEOUT = 30.0
STORED = np.dtype("<f8")
SCHEMA = """
CREATE TABLE header (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE minima (
    id INTEGER PRIMARY KEY,
    energy REAL NOT NULL,
    rms_force REAL NOT NULL,
    force_evaluations INTEGER NOT NULL,
    visits INTEGER NOT NULL,
    island INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    round INTEGER NOT NULL,
    positions BLOB NOT NULL
);
CREATE INDEX minima_by_energy ON minima (energy);
CREATE TABLE rounds (
    round INTEGER NOT NULL,
    island INTEGER NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (round, island)
);
"""
COLUMNS = "id, energy, rms_force, force_evaluations, visits, island, seed, round, positions"


@dataclass(frozen=True)
class FoundMinimum:
    """A minimum that a search has found, known already or not.

    Attributes
    ----------
    energy : float
        In kJ/mol.
    positions : (N, 3) array
        In nm.
    rms_force : float
        In kJ/mol/nm.
    force_evaluations : int
        Of the whole search when it was found.
    island, seed, round : int
        Who found it.
    """

    energy: float
    positions: np.ndarray = field(repr=False)
    rms_force: float
    force_evaluations: int
    island: int = 0
    seed: int = 0
    round: int = 0


@dataclass(frozen=True)
class StoredMinimum(FoundMinimum):
    """A distinct minimum: found by whoever found it first, with the lowest energy of all visits.

    Attributes
    ----------
    id : int
        Its number, from 1, in the order in which minima were found.
    visits : int
        How often the search came to it.
    """

    id: int = 0
    visits: int = 1


class MinimaFile:
    """Distinct minima of one molecule, found by a search, in one file.

    Use `create` or `open`; a context manager closes it. ``len()`` is the number of minima.

    Parameters
    ----------
    connection : sqlite3.Connection
    path : str or Path
        What errors call the file.

    Examples
    --------
    >>> import numpy as np
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> simulation = peptide("AG").simulation("Reference")
    >>> recipe = ContextRecipe.of(simulation.context, simulation.topology)
    >>> x = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value
    >>> with MinimaFile.create(":memory:", recipe) as minima:
    ...     for energy in (-1.0, -1.5):  # one shape: one minimum
    ...         minima.add([FoundMinimum(energy, x, 0.5, 100)], ShapeComparison(np.arange(20)))
    ...     [(one.energy, one.visits) for one in minima.lowest()]
    [1]
    [1]
    [(-1.5, 2)]
    """

    def __init__(self, connection: sqlite3.Connection, path: str | Path) -> None:
        self._connection, self.path = connection, path

    @classmethod
    def create(cls, path: str | Path, molecule: ContextRecipe) -> MinimaFile:
        """Make a new file, or a database in memory (``":memory:"``).

        Parameters
        ----------
        path : str or Path
        molecule : ContextRecipe
            Whose minima these are.

        Raises
        ------
        FileExistsError
            There is such a file, and it is not empty.
        OSError
            It cannot be written there.
        """
        if _has_content(path):
            raise FileExistsError(f"{path} is there already")
        if str(path) != MEMORY:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with explained_errors(path):
            minima = cls(_connect(path, "rwc"), path)
            with minima.transaction() as write:
                for statement in SCHEMA.split(";"):
                    write(statement)
                write(f"PRAGMA application_id = {APPLICATION}")
                write(f"PRAGMA user_version = {FORMAT}")
                minima.set_header("format", str(FORMAT))
                minima.set_header("molecule", molecule.to_json())
                minima.set_header("topology_hash", molecule.topology_hash)
                minima.set_header("force_field_hash", molecule.force_field_hash)
        return minima

    @classmethod
    def open(cls, path: str | Path, *, write: bool = False) -> MinimaFile:
        """Open a file.

        Parameters
        ----------
        path : str or Path
        write : bool
            Whether minima will be added. The whole file is then checked first.

        Raises
        ------
        FileNotFoundError
            There is none.
        ValueError
            It is no such file, damaged, or of a newer version of this package.
        OSError
            It cannot be read or written, or another process has locked it.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path}")
        with explained_errors(path):
            minima = cls(_connect(path, "rw" if write or _may_write(path) else "ro"), path)
            try:
                minima._check_format()
                if write:
                    minima._check_writing()
                else:
                    minima._connection.execute("PRAGMA query_only = ON")
            except BaseException:
                minima.close()
                raise
        return minima

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> MinimaFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._value("SELECT COUNT(*) FROM minima")

    @property
    def molecule(self) -> ContextRecipe:
        """Whose minima these are."""
        return ContextRecipe.from_json(self.header("molecule") or "")

    def refuse_other_molecule(self, molecule: ContextRecipe) -> None:
        """Raise ValueError where the minima are not of this molecule with this force field."""
        known = self.molecule
        what = None
        if known.num_atoms != molecule.num_atoms:
            what = f"a molecule of {known.num_atoms} atoms, and this one has {molecule.num_atoms}"
        elif self.header("topology_hash") != molecule.topology_hash:
            what = "another molecule: its atoms, residues or bonds differ from those here"
        elif self.header("force_field_hash") != molecule.force_field_hash:
            what = "the same molecule with another force field, solvent, box or other restraints"
        if what is not None:
            raise ValueError(f"{self.path} holds minima of {what}. Name another file.")

    def header(self, key: str) -> str | None:
        """Return what was noted under a key; None where nothing was."""
        with explained_errors(self.path):
            query = self._connection.execute("SELECT value FROM header WHERE key = ?", (key,))
            row = query.fetchone()
        return None if row is None else row[0]

    def set_header(self, key: str, value: str) -> None:
        """Note a text under a key."""
        with explained_errors(self.path):
            self._connection.execute("INSERT OR REPLACE INTO header VALUES (?, ?)", (key, value))

    @contextmanager
    def transaction(self) -> Iterator:
        """Write all that is written in the block, or, if it raises, nothing.

        Yields
        ------
        callable
            Executes a statement.
        """
        with explained_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def add(self, found: Sequence[FoundMinimum], comparison: ShapeComparison) -> list[int]:
        """Keep minima, or count visits to those that are known.

        Parameters
        ----------
        found : sequence of FoundMinimum
            In the order in which they count as found.
        comparison : ShapeComparison
            When two structures are one minimum.

        Returns
        -------
        list of int
            The number of each.
        """
        if self._connection.in_transaction:
            return [self._add(minimum, comparison) for minimum in found]
        with self.transaction():
            return [self._add(minimum, comparison) for minimum in found]

    def _add(self, found: FoundMinimum, comparison: ShapeComparison) -> int:
        near = self._select(
            "WHERE energy > ? AND energy < ? ORDER BY id",
            found.energy - SAME_ENERGY,
            found.energy + SAME_ENERGY,
        )
        known = next((m for m in near if comparison.same(m.positions, found.positions)), None)
        if known is None:
            return self._insert(found)
        execute = self._connection.execute
        execute("UPDATE minima SET visits = visits + 1 WHERE id = ?", (known.id,))
        if found.energy < known.energy:
            execute(
                "UPDATE minima SET energy = ?, rms_force = ?, positions = ? WHERE id = ?",
                (found.energy, found.rms_force, _blob(found.positions), known.id),
            )
        return known.id

    def _insert(self, found: FoundMinimum) -> int:
        return self._connection.execute(
            f"INSERT INTO minima ({COLUMNS}) VALUES (NULL, ?, ?, ?, 1, ?, ?, ?, ?)",
            (
                *(found.energy, found.rms_force, found.force_evaluations),
                *(found.island, found.seed, found.round, _blob(found.positions)),
            ),
        ).lastrowid  # type: ignore[return-value] # an INSERT always has one

    def lowest(
        self, count: int | None = None, within: float | None = None
    ) -> tuple[StoredMinimum, ...]:
        """Return minima, lowest first.

        Parameters
        ----------
        count : int, optional
            At most so many.
        within : float, optional
            No higher than this above the lowest, in kJ/mol.
        """
        condition = "ORDER BY energy, id LIMIT ?"
        values: tuple[float, ...] = (-1 if count is None else count,)
        if within is not None:
            condition = f"WHERE energy <= (SELECT MIN(energy) FROM minima) + ? {condition}"
            values = (within, *values)
        return tuple(self._select(condition, *values))

    def __iter__(self) -> Iterator[StoredMinimum]:
        """Go through all minima in the order in which they were found."""
        return iter(self._select("ORDER BY id"))

    def add_round(self, number: int, island: int, content: str) -> None:
        """Note what else an island has come to in a round.

        Raises
        ------
        ValueError
            It is noted already: another process goes on with the same search.
        """
        try:
            with explained_errors(self.path):
                values = (number, island, content)
                self._connection.execute("INSERT INTO rounds VALUES (?, ?, ?)", values)
        except sqlite3.IntegrityError:
            raise ValueError(
                f"{self.path}: another process has written round {number} meanwhile. End one of "
                "the two searches, then go on with the same command."
            ) from None

    @property
    def num_rounds(self) -> int:
        """Rounds that are done."""
        return self._value("SELECT COALESCE(MAX(round), 0) FROM rounds")

    def round(self, number: int) -> list[str]:
        """Return what the islands had come to after a round, in their order."""
        with explained_errors(self.path):
            rows = self._connection.execute(
                "SELECT content FROM rounds WHERE round = ? ORDER BY island", (number,)
            )
            return [content for (content,) in rows]

    def _value(self, query: str) -> int:
        with explained_errors(self.path):
            return self._connection.execute(query).fetchone()[0]

    def _select(self, condition: str, *values: float) -> list[StoredMinimum]:
        with explained_errors(self.path):
            rows = self._connection.execute(f"SELECT {COLUMNS} FROM minima {condition}", values)
            return [self._minimum(row) for row in rows]

    def _minimum(self, row: tuple) -> StoredMinimum:
        number, energy, rms_force, evaluations, visits, island, seed, found_in, blob = row
        positions = np.frombuffer(blob, STORED)
        if positions.size % 3:
            raise ValueError(f"{self.path} is damaged: minimum {number} has no whole positions")
        return StoredMinimum(
            energy=energy,
            positions=positions.reshape(-1, 3).astype(float),
            rms_force=rms_force,
            force_evaluations=evaluations,
            island=island,
            seed=seed,
            round=found_in,
            id=number,
            visits=visits,
        )

    def _check_format(self) -> None:
        """Raise ValueError where this is not a file of minima that can be read."""
        application = self._value("PRAGMA application_id")
        written = self._value("PRAGMA user_version")
        if application != APPLICATION:
            raise ValueError(f"{self.path} is no database of minima. Name another file.")
        if written > FORMAT:
            raise ValueError(
                f"{self.path} was written by a newer version of openmm-reparam (format {written}; "
                f"this one reads {FORMAT}). Update: pip install -U openmm-reparam"
            )

    def _check_writing(self) -> None:
        """Raise where the file is damaged, or cannot be written."""
        with explained_errors(self.path):
            (state,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(f"malformed: {state}")
        with self.transaction():
            self.set_header("format", str(FORMAT))


def _has_content(path: str | Path) -> bool:
    """Say whether there is a file that holds something; a killed process may leave an empty one."""
    return Path(path).is_file() and Path(path).stat().st_size > 0


def _may_write(path: str | Path) -> bool:
    """Say whether a reader may clean up what a killed writer has left, which takes writing."""
    return os.access(path, os.W_OK) and os.access(Path(path).resolve().parent, os.W_OK)


def _connect(path: str | Path, mode: str) -> sqlite3.Connection:
    """Open a connection that begins no transaction of its own accord."""
    address = (
        "file::memory:" if str(path) == MEMORY else f"{Path(path).resolve().as_uri()}?mode={mode}"
    )
    connection = sqlite3.connect(address, timeout=TIMEOUT, isolation_level=None, uri=True)
    connection.execute("PRAGMA synchronous = FULL")
    # Nothing goes to the file, and no reader waits, before all of a round is there.
    connection.execute("PRAGMA cache_spill = OFF")
    return connection


def _blob(positions: np.ndarray) -> bytes:
    return np.ascontiguousarray(positions, STORED).tobytes()
