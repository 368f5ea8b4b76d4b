"""Predicted structures relaxed in an hour: this package beside AlphaFold's protocol with OpenMM's.

    python -m benchmarks.throughput make structures --count 24
    python -m benchmarks.throughput run structures --methods openmm-reparam --workers 1 2
    python -m benchmarks.throughput run structures --methods openmm-reparam --workers 2 --kill 20

Structures are chains of random sequences, compacted by a short search from a random coil, with
hydrogens left out and all other atoms moved by N(0, 0.01 nm) along each axis, which bends bonds and
angles more than most predictions do. LocalEnergyMinimizer runs AlphaFold's rounds as its code does
them: hydrogens by PDBFixer's Modeller in the first, harmonic restraints on heavy atoms, and
residues with violations released in the next. Both judge violations by the same rules, and run one
process of one thread a worker.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm as mm
from distributed import Client
from openmm import app, unit
from pdbfixer import PDBFixer
from tqdm import tqdm

from openmm_reparam import minimize_reparam
from openmm_reparam.distributed.cluster import ClusterSettings, open_cluster
from openmm_reparam.distributed.engine import unordered_results
from openmm_reparam.predicted.api import relax_prediction
from openmm_reparam.predicted.violating_residues import violating_residues
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.prepare.restraints import restrain_heavy_atoms

from .report import PACKAGE, append, cell, grouped, markdown, origin, quartiles, record, runs_of

SUMMARIES = {"throughput": ("folder", "tolerance", "workers", "method", "kill")}
OWN, PEER = "openmm-reparam", "LocalEnergyMinimizer"
LIBRARIES = {OWN: PACKAGE, PEER: "openmm"}
# Of all proteins (UniProt): residues as often as there.
FREQUENCIES = dict(
    zip(
        "ALGVESIKRDTPNQFYMHCW",
        [8.3, 9.7, 7.1, 6.9, 6.7, 6.6, 5.9, 5.8, 5.5, 5.5, 5.3, 4.7, 4.1, 3.9, 3.9, 2.9, 2.4, 2.3]
        + [1.4, 1.1],
        strict=True,
    )
)
SHORTEST, LONGEST, SEARCHED, SIGMA = 50, 250, 300, 0.01
RESTRAINT = 10.0 * unit.kilocalories_per_mole / unit.angstrom**2
MAX_ROUNDS = 3  # of AlphaFold's and ColabFold's pipelines


# --- Structures ---


def make(folder: Path, count: int, seed: int) -> None:
    """Write structures as PDB files without hydrogens; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = np.geomspace(SHORTEST, LONGEST, count).astype(int)
    for number, length in enumerate(tqdm(lengths, desc="structures")):
        path = folder / f"chain-{number:03d}-{length}.pdb"
        if not path.exists():
            write_structure(path, int(length), np.random.default_rng([seed, number]))


def write_structure(path: Path, length: int, rng: np.random.Generator) -> None:
    """Build, compact, perturb and write one chain."""
    shares = np.array(list(FREQUENCIES.values()))
    sequence = "".join(rng.choice(list(FREQUENCIES), length, p=shares / shares.sum()))
    built = peptide(sequence, "random-coil", seed=int(rng.integers(2**31)))
    simulation = built.simulation("CPU", threads=1)
    minimize_reparam(
        simulation, search="auto", max_force_evaluations=SEARCHED, seed=0, progress=False
    )
    positions = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value
    positions = positions + rng.normal(0.0, SIGMA, positions.shape)
    modeller = app.Modeller(built.topology, positions * unit.nanometer)
    modeller.delete([a for a in modeller.topology.atoms() if a.element is app.element.hydrogen])
    part = path.with_suffix(".part")
    with open(part, "w") as file:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
    part.rename(path)


# --- Methods ---


@dataclass(frozen=True)
class Task:
    """One structure to relax with a method."""

    path: Path
    method: str
    tolerance: float


def relaxed(task: Task) -> dict:
    """Relax a structure in whatever process this is, and say what came of it."""
    began = time.perf_counter()
    found = {OWN: relaxed_by_us, PEER: relaxed_by_openmm}[task.method](task)
    return {"start": task.path.stem, "seconds": time.perf_counter() - began, **found}


def failed(task: Task, message: str) -> dict:
    """Return the row of a structure that could not be relaxed."""
    return {"start": task.path.stem, "error": message}


def relaxed_by_us(task: Task) -> dict:
    """Relax with `relax_prediction`."""
    text, report = relax_prediction(
        task.path.read_text(),
        tolerance=task.tolerance,
        max_rounds=MAX_ROUNDS,
        platform="CPU",
        threads=1,
    )
    return {
        "violating": report.rounds[-1].violating,
        "rounds": len(report.rounds),
        "force_evaluations": sum(entry.force_evaluations for entry in report.rounds),
        "minimization_seconds": report.seconds["minimization"],
        "digest": hashlib.sha256(text.encode()).hexdigest()[:12],
    }


def relaxed_by_openmm(task: Task) -> dict:
    """Do AlphaFold's rounds with OpenMM's LocalEnergyMinimizer."""
    fixer = PDBFixer(str(task.path))
    fixer.findMissingResidues()
    fixer.missingResidues = {}
    fixer.findMissingAtoms()
    fixer.addMissingAtoms(seed=0)
    fixer.addMissingHydrogens(7.0)
    topology = fixer.topology
    field = app.ForceField("amber99sb.xml")
    system = field.createSystem(topology, constraints=app.HBonds)
    positions = np.array(fixer.positions.value_in_unit(unit.nanometer))
    released: frozenset[int] = frozenset()
    seconds, rounds = 0.0, 0
    while rounds < MAX_ROUNDS:
        began = time.perf_counter()
        positions = minimized_by_openmm(topology, system, positions, released, task.tolerance)
        seconds += time.perf_counter() - began
        rounds += 1
        violating = violating_residues(topology, system, positions)
        if not violating:
            break
        released |= violating
    return {"violating": len(violating), "rounds": rounds, "minimization_seconds": seconds}


def minimized_by_openmm(topology, system, positions, released, tolerance: float) -> np.ndarray:
    """Minimize with heavy atoms of residues that were not released restrained to their places."""
    copied = mm.XmlSerializer.clone(system)
    held = [
        atom.index
        for atom in topology.atoms()
        if atom.element is not app.element.hydrogen and atom.residue.index not in released
    ]
    restrain_heavy_atoms(copied, topology, positions, RESTRAINT, atoms=np.array(held))
    context = mm.Context(
        copied,
        mm.VerletIntegrator(0.001),
        mm.Platform.getPlatformByName("CPU"),
        {"Threads": "1"},
    )
    context.setPositions(positions)
    mm.LocalEnergyMinimizer.minimize(context, tolerance)
    return context.getState(positions=True).getPositions(asNumpy=True)._value


# --- Runs ---


def run(folder: Path, method: str, workers: int, tolerance: float, kill: float) -> None:
    """Relax all structures of a folder with workers, and record each, and the whole."""
    tasks = [Task(path, method, tolerance) for path in sorted(folder.glob("*.pdb"))]
    told = {"folder": folder.name, "tolerance": tolerance, "workers": workers, "method": method}
    told["kill"] = kill
    with open_cluster(ClusterSettings(workers=workers)) as client:
        list(unordered_results(client, relaxed, failed, tasks[:workers]))  # imports are done, then
        began = time.perf_counter()
        with workers_killed(client, kill) as killed:
            bar = tqdm(total=len(tasks), desc=f"{method}, {workers} workers")
            for row in unordered_results(client, relaxed, failed, tasks):
                append(runs_of("throughput"), record("CPU", LIBRARIES[method], **told, **row))
                bar.update()
        wall = time.perf_counter() - began
    whole = {"start": "all", "wall_seconds": wall, "killed": len(killed)}
    append(runs_of("throughput"), record("CPU", LIBRARIES[method], **told, **whole))
    print(f"{method}, {workers} workers: {len(tasks)} in {wall:.0f} s, {len(killed)} killed")


@contextmanager
def workers_killed(client: Client, every: float) -> Iterator[list[int]]:
    """Kill a worker process every so many seconds while a block runs; never if that is 0."""
    ended, killed = threading.Event(), []
    rng = random.Random(0)

    def kill() -> None:
        while not ended.wait(every):
            processes = list(client.run(os.getpid).values())
            if processes:
                killed.append(rng.choice(processes))
                os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    if every > 0:
        thread.start()
    try:
        yield killed
    finally:
        ended.set()
        if every > 0:
            thread.join()


# --- Summary and tables ---


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Group runs: structures an hour, seconds and violations."""
    rows = []
    for told, members in grouped(runs, SUMMARIES["throughput"]):
        singles = [run for run in members if run["start"] != "all"]
        whole = [run for run in members if run["start"] == "all"]
        if not whole:
            continue
        done = [run for run in singles if "error" not in run]
        row = dict(told) | {"starts": len(singles), "failed": len(singles) - len(done)}
        row["an_hour"] = 3600 * len(singles) / whole[-1]["wall_seconds"]
        row["killed"] = whole[-1]["killed"]
        row["violating"] = sum(run["violating"] for run in done)
        for name in ("seconds", "minimization_seconds", "rounds"):
            row |= quartiles(name, [run[name] for run in done])
        row["digest"] = _digest(done)
        rows.append(row)
    return {"throughput": rows}


def _digest(runs: list[dict]) -> str:
    """Return what is the same where all structures came out bit for bit the same."""
    parts = sorted(f"{run['start']} {run.get('digest')}" for run in runs)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return one table."""
    header = ["method", "tolerance", "workers", "killed", "structures", "failed", "an hour"]
    header += ["seconds a structure", "of these minimizing", "rounds", "violating residues"]
    header += ["results", "version"]
    rows = sorted(
        found["throughput"], key=lambda r: (r["tolerance"], r["method"], r["workers"], r["kill"])
    )
    lines = [
        [
            *(row["method"], row["tolerance"], row["workers"], row["killed"], row["starts"]),
            *(row["failed"], f"{row['an_hour']:.0f}", cell(row, "seconds")),
            *(cell(row, "minimization_seconds"), cell(row, "rounds"), row["violating"]),
            row["digest"] if row["method"] == OWN else "",
            origin(row),
        ]
        for row in rows
    ]
    return {"throughput": markdown(header, lines)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="build structures")
    making.add_argument("folder", type=Path)
    making.add_argument("--count", type=int, default=24)
    making.add_argument("--seed", type=int, default=1)
    running = commands.add_parser("run", help="relax them")
    running.add_argument("folder", type=Path)
    running.add_argument("--methods", nargs="+", choices=list(LIBRARIES), default=list(LIBRARIES))
    running.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    running.add_argument("--tolerance", type=float, default=10.0, help="RMS force, kJ/mol/nm")
    running.add_argument("--kill", type=float, default=0.0, help="a worker every so many seconds")
    given = parser.parse_args()
    if given.command == "make":
        make(given.folder, given.count, given.seed)
        return
    for workers in given.workers:
        for method in given.methods:
            run(given.folder, method, workers, given.tolerance, given.kill)


if __name__ == "__main__":
    main()
