"""What every command is told: how to run, where to write, where to talk."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import openmm as mm

from ..minimization.api import AUTO
from ..reparametrizations import available
from ..search import search_settings

__all__ = ["Console", "Outputs", "RunSettings", "platform_name", "run_settings"]

STRUCTURE_ENDINGS = (".pdb", ".cif")
PICTURE_ENDINGS = (".png", ".pdf", ".svg")
PAGE_ENDINGS = (".html", ".htm")


@dataclass(frozen=True)
class IslandSettings:
    """How a search goes on islands.

    Attributes
    ----------
    count : int
    database : str or None
        File that keeps the minima.
    workers : int or None
        Processes; None is half of the cores of this machine, or those of the cluster.
    cluster : str or None
        Workers elsewhere, see `distributed.cluster.cluster_settings`.
    """

    count: int
    database: str | None = None
    workers: int | None = None
    cluster: str | None = None


@dataclass(frozen=True)
class RunSettings:
    """How to minimize.

    Attributes
    ----------
    tolerance : float
        RMS force in kJ/mol/nm.
    max_iterations : int
        0 for no limit.
    max_force_evaluations : int or None
    reparametrization : str
    seed : int
    platform : str or None
        None lets OpenMM choose.
    threads : int or None
        Of the CPU platform.
    compare : bool
        Run OpenMM's LocalEnergyMinimizer too.
    search : str or None
        For deeper minima.
    temperature : float or None
        Of their free energies, in K.
    islands : IslandSettings or None
        Of a search in rounds; None is a search of one piece.
    """

    tolerance: float
    max_iterations: int = 0
    max_force_evaluations: int | None = None
    reparametrization: str = "auto"
    seed: int = 0
    platform: str | None = None
    threads: int | None = None
    compare: bool = False
    search: str | None = None
    temperature: float | None = None
    islands: IslandSettings | None = None


def run_settings(options: Mapping[str, Any]) -> RunSettings:
    """Take the settings of a run out of a command's options.

    Parameters
    ----------
    options : mapping of str to object
        Those named as an attribute of `RunSettings` are taken; a command need not have them all.

    Returns
    -------
    RunSettings

    Raises
    ------
    ValueError
        No such reparametrization or search, a search without a limit of force evaluations, islands
        or a database without a search, or a temperature that is not above zero, has no search, or
        goes with a box of water.
    """
    names = {field.name for field in fields(RunSettings)}
    given = {name: options[name] for name in options if name in names}
    settings = RunSettings(**given | {"islands": _island_settings(options)})
    known = [AUTO, *available()]
    if settings.reparametrization not in known:
        raise ValueError(
            f"--reparametrization {settings.reparametrization}: choose one of {', '.join(known)}"
        )
    if settings.search is not None:
        search_settings(settings.search)
        if settings.max_force_evaluations is None:
            raise ValueError(
                f"--search {settings.search} needs --max-force-evaluations: 20000, say, is a "
                "minute for a small protein in vacuum"
            )
    if settings.temperature is not None:
        _check_temperature(settings, options.get("solvent"))
    return settings


def _island_settings(options: Mapping[str, Any]) -> IslandSettings | None:
    """Return how a search goes on islands; None where neither islands nor a database are named."""
    count, database = options.get("islands"), options.get("database")
    if count is None and database is None:
        return None
    if options.get("search") is None or options.get("max_iterations"):
        named = f"--database {database}" if count is None else f"--islands {count}"
        raise ValueError(f"{named} is for a search: add --search auto, and no --max-iterations")
    return IslandSettings(count or 1, database, options.get("workers"), options.get("cluster"))


def _check_temperature(settings: RunSettings, solvent: Any) -> None:
    option = f"--temperature {settings.temperature:g}"
    if not 0 < (settings.temperature or 0) < math.inf:
        raise ValueError(f"{option}: it must be above zero, in K")
    if settings.search is None:
        raise ValueError(f"{option} is for the minima of a search: add --search auto")
    if getattr(solvent, "value", solvent) == "tip3p":
        raise ValueError(
            f"{option} needs Hessians of all atoms, and a box of water has too many: choose "
            "--solvent vacuum, gbn2 or obc2"
        )


@dataclass(frozen=True)
class Outputs:
    """Files to write.

    Attributes
    ----------
    structure, plot : Path or None
    json : str or None
        A path, or "-" for the standard output.
    report : Path or None
        A page in HTML.
    """

    structure: Path | None = None
    plot: Path | None = None
    json: str | None = None
    report: Path | None = None

    def prepare(self, structures: tuple[str, ...] = STRUCTURE_ENDINGS) -> None:
        """Make the folders, so that no finished run is lost for want of one.

        Raises
        ------
        ValueError
            A file name's ending is none that can be written.
        OSError
            A folder cannot be made, or not be written to.
        """
        _check_ending(self.structure, structures, "-o")
        _check_ending(self.plot, PICTURE_ENDINGS, "--plot")
        self.prepare_report()
        to_file = None if self.json in (None, "-") else Path(self.json)
        for path in (self.structure, self.plot, to_file):
            _make_folder(path)

    def prepare_report(self) -> None:
        """Make the folder of the page, as `prepare` does those of all files."""
        _check_ending(self.report, PAGE_ENDINGS, "--report")
        _make_folder(self.report)


def _check_ending(path: Path | None, endings: tuple[str, ...], option: str) -> None:
    if path is not None and path.suffix.lower() not in endings:
        raise ValueError(f"{option} {path}: the file name must end in {' or '.join(endings)}")


def _make_folder(path: Path | None) -> None:
    """Make the folder of a file to be written; OSError where no file can be."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{path}: no file can be written in {path.parent} ({reason})") from error


class Console:
    """The report for people: standard output, or standard error where JSON takes that place."""

    def __init__(self, json: str | None) -> None:
        self._stream = sys.stderr if json == "-" else sys.stdout

    def say(self, text: str = "") -> None:
        """Print a line at once, so that it comes before a long computation."""
        print(text, file=self._stream, flush=True)


def platform_name(name: str | None, threads: int | None = None) -> str | None:
    """Return OpenMM's spelling of a platform's name; threads without a platform mean the CPU."""
    if name is None:
        return None if threads is None else "CPU"
    known = [mm.Platform.getPlatform(i).getName() for i in range(mm.Platform.getNumPlatforms())]
    return next((spelled for spelled in known if spelled.lower() == name.lower()), name)
