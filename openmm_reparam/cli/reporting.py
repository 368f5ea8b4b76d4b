"""What the commands share: minimize, report, write."""

from __future__ import annotations

import json
import platform
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openmm as mm
import torch
from openmm import app

from ..errors import ConvergenceWarning
from ..minimization.api import minimize_reparam
from ..minimization.baseline import BASELINE, BaselineResult, run_baseline
from ..minimization.result import MinimizationResult
from ..prepare.molecular_system import MolecularSystem
from ..sampling.superposition import HarmonicSuperposition, harmonic_superposition
from ..version import __version__
from .comparison import comparison
from .settings import Console, IslandSettings, Outputs, RunSettings, platform_name

__all__ = ["Run", "describe", "minimize_molecule", "write_json", "write_plot", "write_structure"]

# Free energies are for so many minima, the lowest: each costs a Hessian.
LOWEST_MINIMA = 20


@dataclass(frozen=True)
class Run:
    """A minimized molecule.

    Attributes
    ----------
    molecule : MolecularSystem
        With the positions of the start.
    simulation : openmm.app.Simulation
        With the positions of the minimum.
    result : MinimizationResult
    baseline : BaselineResult or None
        Of OpenMM's own minimizer, where it was run.
    settings : RunSettings
    superposition : HarmonicSuperposition or None
        Free energies of the minima of a search, where a temperature was given.
    """

    molecule: MolecularSystem
    simulation: app.Simulation
    result: MinimizationResult
    baseline: BaselineResult | None
    settings: RunSettings
    superposition: HarmonicSuperposition | None = None

    @property
    def positions(self):
        """Positions of the minimum, a Quantity."""
        return self.simulation.context.getState(positions=True).getPositions(asNumpy=True)

    @property
    def exit_code(self) -> int:
        """0 if the minimization converged, 1 if not."""
        return 0 if self.result.converged else 1


def minimize_molecule(molecule: MolecularSystem, settings: RunSettings, console: Console) -> Run:
    """Minimize, with OpenMM's own minimizer beside it if asked, and report.

    Parameters
    ----------
    molecule : MolecularSystem
    settings : RunSettings
    console : Console

    Returns
    -------
    Run
    """
    chosen = platform_name(settings.platform, settings.threads)
    simulation = molecule.simulation(chosen, threads=settings.threads)
    used = simulation.context.getPlatform().getName()
    console.say(f"Minimizing {molecule.topology.getNumAtoms()} atoms on the {used} platform ...")
    with warnings.catch_warnings():
        # The report says so in its first line.
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = _minimized(simulation, settings)
    console.say(f"\n{result}")
    baseline = None
    if settings.compare:
        console.say(f"\nNow OpenMM's {BASELINE}, from the same start to the same tolerance ...\n")
        simulated = molecule.simulation(chosen, threads=settings.threads)
        baseline = run_baseline(simulated, settings.tolerance, settings.max_iterations)
        console.say(comparison(result, baseline))
    superposition = _superposition(simulation, result, settings, console)
    return Run(molecule, simulation, result, baseline, settings, superposition)


def _minimized(simulation: app.Simulation, settings: RunSettings) -> MinimizationResult:
    if settings.islands is not None:
        return _searched_on_islands(simulation, settings, settings.islands)
    return minimize_reparam(
        simulation,
        settings.tolerance,
        settings.max_iterations,
        reparametrization=settings.reparametrization,
        max_force_evaluations=settings.max_force_evaluations,
        search=settings.search,
        seed=settings.seed,
    )


def _searched_on_islands(
    simulation: app.Simulation, settings: RunSettings, islands: IslandSettings
) -> MinimizationResult:
    # Dask takes long to import, and only islands need it.
    from ..distributed.cluster import cluster_settings, default_workers
    from ..distributed.islands import search_islands

    workers = islands.workers
    if islands.cluster is None:
        workers = min(islands.count, workers or default_workers())
    return search_islands(
        simulation,
        islands.count,
        settings.max_force_evaluations or 0,
        database=islands.database,
        cluster=cluster_settings(islands.cluster, workers) if islands.count > 1 else None,
        search=settings.search or "auto",
        tolerance=settings.tolerance,
        seed=settings.seed,
        reparametrization=settings.reparametrization,
    )


def _superposition(
    simulation: app.Simulation, result: MinimizationResult, settings: RunSettings, console: Console
) -> HarmonicSuperposition | None:
    """Return free energies of the lowest minima of a search, and show them."""
    if settings.temperature is None or not result.minima:
        return None
    lowest = result.minima[:LOWEST_MINIMA]
    console.say(f"\nHessians of the {len(lowest)} lowest of {len(result.minima)} minima ...")
    superposition = harmonic_superposition(simulation, lowest, settings.temperature)
    console.say(f"\n{superposition}")
    return superposition


def write_structure(run: Run, path: Path, console: Console) -> None:
    """Write the minimum as a PDB or mmCIF file, whichever the ending says."""
    writer = app.PDBFile if path.suffix.lower() == ".pdb" else app.PDBxFile
    with open(path, "w") as file:
        writer.writeFile(run.simulation.topology, run.positions, file, keepIds=True)
    console.say(f"Wrote the minimized structure: {path}")


def write_plot(run: Run, path: Path, title: str, console: Console) -> None:
    """Plot energy and RMS force against force evaluations, the baseline's beside it if it ran.

    Of a search, its best energy and its minima.
    """
    from ..plotting import plot_history, plot_search

    if run.result.minima is not None:
        plot_search({"openmm-reparam": run.result}, path, title=title)
        console.say(f"Wrote the plot: {path}")
        return
    results: dict[str, Any] = {"openmm-reparam": run.result}
    if run.baseline is not None:
        results[f"{BASELINE}, by iterations"] = run.baseline
    plot_history(results, path, title=title)
    console.say(f"Wrote the plot: {path}")


def write_json(
    command: str,
    described: dict[str, Any],
    run: Run | None,
    outputs: Outputs,
    console: Console,
    **more: Any,
) -> None:
    """Write what was asked and what came of it as JSON.

    Parameters
    ----------
    command : str
    described : dict
        The input: file or sequence, force field, solvent, ...
    run : Run or None
    outputs : Outputs
    console : Console
    **more
        Further entries, as plain Python values.
    """
    if outputs.json is None:
        return
    document = {
        "command": command,
        "versions": {
            "openmm_reparam": __version__,
            "openmm": mm.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "input": described,
        **more,
    }
    if run is not None:
        document["result"] = run.result.to_dict()
        if run.baseline is not None:
            document["local_energy_minimizer"] = run.baseline.to_dict()
        if run.superposition is not None:
            document["harmonic_superposition"] = run.superposition.to_dict()
    text = json.dumps(document, indent=1)
    if outputs.json == "-":
        print(text)
        return
    Path(outputs.json).write_text(text + "\n")
    console.say(f"Wrote the numbers: {outputs.json}")


def describe(
    molecule: MolecularSystem, simulation: app.Simulation, settings: RunSettings
) -> dict[str, Any]:
    """Return what a JSON document says of its input."""
    return {
        "name": molecule.name,
        "atoms": molecule.topology.getNumAtoms(),
        "residues": molecule.topology.getNumResidues(),
        "repairs": list(molecule.repairs),
        **asdict(settings),
        "platform": simulation.context.getPlatform().getName(),
    }
