"""``openmm-reparam sample``: free energies and weighted structures of one molecule."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from openmm import app

from ..minimization.api import minimize_reparam
from ..plotting import plot_free_energy
from ..prepare.ligand_files import ligand_records, read_ligand
from ..prepare.ligands import complete_ligand, unsupported
from ..prepare.structure_files import prepare_file
from ..sampling.ensemble import WeightedEnsemble
from ..sampling.free_energy_profiles import FreeEnergySurface
from ..sampling.importance import Estimate
from ..sampling.method import BroadSamplingMethod
from ..sampling.observables import observable
from ..sampling.sampler import METHODS, boltzmann_sampler
from ..sampling.target import refuse_unsupported
from .ligands import LigandTask, ligand_simulation, require_programs
from .minimize import describe_preparation
from .reporting import write_json
from .settings import Console, Outputs, RunSettings, platform_name

__all__ = ["SamplingSettings", "sample_file"]

ENSEMBLE_ENDINGS = (".dcd",)
# RMS force of the start in kJ/mol/nm.
TOLERANCE = 1.0


@dataclass(frozen=True)
class SamplingSettings:
    """How to sample.

    Attributes
    ----------
    temperature : float
        In K.
    samples : int
    method, latents : str
    max_force_evaluations : int or None
        Of the training.
    seed : int
    platform : str or None
    threads : int or None
    surfaces : tuple of str
        Names of one or two observables each, with a comma between.
    configurations : Path or None
        Trajectory of dynamics, for the forward check.
    checkpoint : Path or None
    """

    temperature: float
    samples: int
    method: str
    latents: str
    max_force_evaluations: int | None
    seed: int = 0
    platform: str | None = None
    threads: int | None = None
    surfaces: tuple[str, ...] = ()
    configurations: Path | None = None
    checkpoint: Path | None = None


def sample_file(
    file: Path,
    settings: SamplingSettings,
    outputs: Outputs,
    *,
    small: bool,
    forcefield: list[str],
    solvent: str,
    potential: str = "mmff",
    charges: str = "bcc",
) -> int:
    """Prepare a molecule, train a sampler, draw structures, report and write.

    Parameters
    ----------
    file : Path
    settings : SamplingSettings
    outputs : Outputs
        ``structure`` is a DCD file.
    small : bool
        Whether the file holds a small molecule; then ``potential`` and ``charges`` count, else
        ``forcefield`` and ``solvent``.
    forcefield : list of str
    solvent : str
    potential : str
    charges : {"bcc", "gas"}

    Returns
    -------
    int
        Exit code: 0 done, 1 if Ctrl-C ended the training or the drawing and what there was then
        has been written.

    Raises
    ------
    ValueError
        The file holds no molecule or several, or an option is wrong.
    KeyboardInterrupt
        Before there was anything to draw from, or anything drawn.
    """
    _refuse_bad_arguments(settings, outputs)
    if not small and solvent == "tip3p":
        raise ValueError(
            "--solvent tip3p makes a periodic box of many molecules, and structures are drawn for "
            "one: choose --solvent vacuum, gbn2 or obc2"
        )
    console = Console(outputs.json)
    if small:
        simulation = _small_molecule(file, settings, potential, charges, console)
    else:
        simulation = _structure(file, settings, forcefield, solvent, console)
    refuse_unsupported(simulation)  # before it is minimized
    surfaces = [names.split(",") for names in settings.surfaces]
    for name in itertools.chain(*surfaces):  # misspelt ones are refused before the training
        observable(name, simulation.topology)
    configurations = _trajectory(settings.configurations, simulation.topology)
    console.say(f"\n{minimize_reparam(simulation, TOLERANCE, seed=settings.seed, progress=False)}")
    sampler = boltzmann_sampler(
        simulation,
        settings.temperature,
        latents="auto" if settings.latents == "auto" else settings.latents.split(","),
        method=settings.method,
        max_force_evaluations=settings.max_force_evaluations,
        seed=settings.seed,
        checkpoint=settings.checkpoint,
    )
    ensemble = sampler.sample(settings.samples, configurations=configurations)
    console.say(f"\n{sampler!r}\n\n{ensemble!r}")
    _write_structures(ensemble, outputs, console)
    broad = ensemble
    whole = len(ensemble) == settings.samples  # not after Ctrl-C
    if surfaces and whole and isinstance(sampler.method, BroadSamplingMethod):
        broad = sampler.sample(settings.samples, broad=True)
    found = [broad.free_energy(*names) for names in surfaces]
    for surface in found:
        console.say(repr(surface))
    _write_plots(found, outputs, file.name, console)
    described = {
        "file": str(file),
        **({"potential": potential} if small else {"forcefield": forcefield, "solvent": solvent}),
        **{key: _plain(value) for key, value in asdict(settings).items()},
    }
    write_json("sample", described, None, outputs, console, **_numbers(ensemble, found))
    return int(sampler.interrupted)


def _refuse_bad_arguments(settings: SamplingSettings, outputs: Outputs) -> None:
    if settings.method not in METHODS:
        raise ValueError(f"--method {settings.method}: choose one of {', '.join(METHODS)}")
    if outputs.plot is not None and not settings.surfaces:
        raise ValueError("--plot draws a free energy: add --fes phi,psi, say")
    outputs.prepare(ENSEMBLE_ENDINGS)


def _structure(
    file: Path, settings: SamplingSettings, forcefield: list[str], solvent: str, console: Console
) -> app.Simulation:
    molecule = prepare_file(
        file, forcefield=forcefield, solvent=solvent, constraints=None, seed=settings.seed
    )
    describe_preparation(file, forcefield, solvent, molecule, console)
    platform = platform_name(settings.platform, settings.threads)
    return molecule.simulation(platform, threads=settings.threads)


def _small_molecule(
    file: Path, settings: SamplingSettings, potential: str, charges: str, console: Console
) -> app.Simulation:
    records = list(itertools.islice(ligand_records(file), 2))
    if len(records) != 1:
        count = "several molecules" if records else "no molecule"
        raise ValueError(f"{file} holds {count}: pass a file of one")
    require_programs(potential)
    from rdkit import Chem

    given = read_ligand(records[0])
    parts = len(Chem.GetMolFrags(given))
    if parts > 1:
        raise ValueError(
            f"{file} holds {parts} molecules in one entry (a salt?), and structures are drawn for "
            "one: remove the others"
        )
    molecule, notes = complete_ligand(given, settings.seed)
    reason = unsupported(molecule, potential)
    if reason:
        raise ValueError(reason)
    run = RunSettings(TOLERANCE, platform=settings.platform, threads=settings.threads)
    simulation, more = ligand_simulation(
        molecule, LigandTask(records[0], run, potential, charges, surrogate=False)
    )
    console.say(f"{file}, {potential}\nPrepared: {'; '.join([*notes, *more]) or 'nothing'}")
    return simulation


def _trajectory(path: Path | None, topology: app.Topology) -> mdtraj.Trajectory | None:
    if path is None:
        return None
    atoms = mdtraj.Topology.from_openmm(topology)
    trajectory = mdtraj.load(str(path), top=atoms)
    if trajectory.n_atoms != atoms.n_atoms:
        raise ValueError(
            f"--configurations {path} has {trajectory.n_atoms} atoms, and the molecule "
            f"{atoms.n_atoms}"
        )
    return trajectory


def _write_structures(ensemble: WeightedEnsemble, outputs: Outputs, console: Console) -> None:
    if outputs.structure is None:
        return
    ensemble.save(outputs.structure)
    ensemble.to_mdtraj()[0].save_pdb(str(outputs.structure.with_suffix(".pdb")))
    console.say(f"Wrote the structures: {outputs.structure}, .npz, .csv, .pdb")


def _write_plots(
    surfaces: list[FreeEnergySurface], outputs: Outputs, title: str, console: Console
) -> None:
    if outputs.plot is None:
        return
    for number, surface in enumerate(surfaces, start=1):
        path = outputs.plot
        if len(surfaces) > 1:
            path = path.with_stem(f"{path.stem}-{number}")
        heading = f"{title}, {surface.temperature:g} K"
        plot_free_energy(surface, path, title=heading)
        console.say(f"Wrote the plot: {path}")


def _numbers(ensemble: WeightedEnsemble, surfaces: list[FreeEnergySurface]) -> dict[str, Any]:
    check = ensemble.check
    return {
        "structures": len(ensemble),
        "force_evaluations": ensemble.evaluations,
        "effective_sample_size": ensemble.effective_sample_size,
        "pareto_k": _plain(ensemble.pareto_k),
        "log_z": _plain(ensemble.log_z),
        "forward_check": None
        if check is None
        else {
            "effective_sample_size": check.effective_sample_size,
            "log_z": _plain(check.log_z),
            "unseen": check.unseen,
            "missing": _plain(check.missing),
            "lost_mode": check.lost_mode,
        },
        "free_energies": [
            {
                "names": list(surface.names),
                "edges": [edges.tolist() for edges in surface.edges],
                "values": _plain(surface.values),
                "errors": _plain(surface.errors),
            }
            for surface in surfaces
        ],
    }


def _plain(value: Any) -> Any:
    """Return what JSON can hold: null where a number is not finite."""
    if isinstance(value, Estimate):
        return {"value": _plain(value.value), "error": _plain(value.error)}
    if isinstance(value, np.ndarray):
        return [_plain(entry) for entry in value.tolist()] if value.ndim else _plain(value.item())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value
