"""``openmm-reparam modes``: the slow modes of a structure as a table, a plot and an animation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from openmm import app, unit
from tqdm import tqdm

from ..deprecated import forward_renamed
from ..modes.analysis import EIGENVALUE_UNITS, ModeTable, coupling_graph_modes, mode_displacements
from ..modes.low_frequency_modes import low_frequency_modes
from ..modes.slow_modes import SlowModes
from ..potentials.potential import Potential
from ..prepare.structure_files import prepare_file
from ..structure.residues import residue_label
from .minimize import describe_preparation
from .reporting import describe, minimize_molecule, write_json
from .settings import Console, Outputs, RunSettings, platform_name

__all__ = ["animate", "modes_of_file"]

ANIMATION_ENDINGS = (".pdb", ".dcd")
FRAME_INTERVAL = 1.0  # ps, in a DCD file

# Names of the first version; removed in the version after the next.
__getattr__ = forward_renamed(
    __name__,
    {
        "backbone_modes": "modes.analysis.coupling_graph_modes",
        "collectivity": "modes.analysis.collectivity",
        "displacement": "modes.analysis.mode_displacements",
    },
)


def modes_of_file(
    file: Path,
    settings: RunSettings,
    outputs: Outputs,
    *,
    forcefield: list[str],
    solvent: str,
    kind: str = "hessian",
    source: str | None = None,
    count: int = 20,
    minimize: bool = True,
    mode: int = 1,
    amplitude: float = 0.1,
    frames: int = 20,
) -> int:
    """Compute the slow modes of a structure file, report and write.

    Parameters
    ----------
    file : Path
    settings : RunSettings
    outputs : Outputs
    forcefield : list of str
    solvent : str
    kind : {"hessian", "coupling-graph"}
        Modes of the 3N x 3N Hessian, or of the N x N Laplacian of its coupling graph.
    source : {"full", "bonded"}, optional
        Hessian of the whole force field (the default of "hessian"), or of the bonded terms and
        constraints alone (the default of "coupling-graph").
    count : int
    minimize : bool
        Minimize first.
    mode : int
        Which one to animate, from 1.
    amplitude : float
        Largest displacement of an atom in the animation, in nm.
    frames : int
        Of one period.

    Returns
    -------
    int
        Exit code: 1 if the minimization did not converge, else 0.

    Raises
    ------
    ValueError
        Arguments out of range, or a Hessian of a System whose bonds are constrained.
    """
    outputs.prepare(ANIMATION_ENDINGS)
    source = source or ("full" if kind == "hessian" else "bonded")
    _check_arguments(solvent, kind, source, count, mode, amplitude)
    console = Console(outputs.json)
    molecule = prepare_file(file, forcefield=forcefield, solvent=solvent, seed=settings.seed)
    describe_preparation(file, forcefield, solvent, molecule, console)
    run = minimize_molecule(molecule, settings, console) if minimize else None
    chosen = platform_name(settings.platform, settings.threads)
    simulation = run.simulation if run else molecule.simulation(chosen, threads=settings.threads)
    potential = Potential(simulation.context, molecule.topology)
    positions = potential.positions()
    table = ModeTable(kind, _modes(potential, positions, kind, source, count), molecule.topology)
    converged = None if run is None else run.result.converged
    console.say(f"\n{headline(kind, source, converged, potential.counter.total)}\n\n{table}")
    if kind == "hessian" and table.modes.eigenvalues.min() < 0:
        console.say(f"\n{negative_remark(source)}")
    title = f"Slow modes of {file.name} ({kind})"
    _write_pictures(table, positions, outputs, (mode, amplitude, frames), title, console)
    described = {
        "file": str(file),
        "forcefield": forcefield,
        "solvent": solvent,
        **describe(molecule, simulation, settings),
    }
    modes = {"kind": kind, "source": source, "unit": EIGENVALUE_UNITS[kind], "table": table.rows()}
    write_json("modes", described, run, outputs, console, modes=modes)
    return 0 if run is None else run.exit_code


def _check_arguments(
    solvent: str, kind: str, source: str, count: int, mode: int, amplitude: float
) -> None:
    if not 1 <= mode <= count:
        raise ValueError(f"--mode {mode}: pick one of the {count} modes computed (--count)")
    if not (np.isfinite(amplitude) and amplitude > 0):
        raise ValueError(f"--amplitude {amplitude}: it has to be above 0 nm")
    if solvent == "tip3p" and (kind, source) != ("coupling-graph", "bonded"):
        # Terms of constrained bonds are left out of a System: its Hessian lacks their stiffness.
        raise ValueError(
            "--solvent tip3p constrains bonds, which a Hessian does not see: use --kind "
            "coupling-graph --source bonded, or an implicit solvent"
        )


def _modes(
    potential: Potential, positions: np.ndarray, kind: str, source: str, count: int
) -> SlowModes:
    """Compute the modes of a kind, with a bar while a dense Hessian is made."""
    potential.refuse_non_finite(positions)
    if kind == "coupling-graph":
        return coupling_graph_modes(potential, positions, count, source)
    with tqdm(total=100, desc="Hessian", unit="%", leave=False, disable=None) as bar:
        return low_frequency_modes(
            potential,
            positions,
            count,
            source=source,
            progress=lambda share: bar.update(int(100 * share) - bar.n),
        )


def _write_pictures(
    table: ModeTable,
    positions: np.ndarray,
    outputs: Outputs,
    animated: tuple[int, float, int],
    title: str,
    console: Console,
) -> None:
    """Write the animation and the plot that were asked for."""
    if outputs.structure or outputs.plot:
        console.say()
    if outputs.structure is not None:
        mode, amplitude, frames = animated
        displacements = mode_displacements(table, positions, mode)
        path = outputs.structure
        animate(table.topology, positions, displacements, amplitude, frames, path)
        console.say(f"Wrote mode {mode} as {frames} frames: {path}")
        if path.suffix.lower() == ".dcd":
            console.say(f"Wrote its topology: {path.with_suffix('.pdb')}")
    if outputs.plot is not None:
        _write_plot(table, outputs.plot, title, console)


def _write_plot(table: ModeTable, path: Path, title: str, console: Console) -> None:
    from ..plotting import plot_modes

    amplitudes = table.residue_weights**0.5
    moving = amplitudes.max(axis=0) > 0  # waters have no slow modes of their own
    labels = [residue_label(residue) for residue in table.topology.residues()]
    plot_modes(
        table.modes.eigenvalues,
        amplitudes[:, moving],
        path,
        labels=[label for label, moves in zip(labels, moving, strict=True) if moves],
        units=EIGENVALUE_UNITS[table.kind],
        title=title,
    )
    console.say(f"Wrote the plot: {path}")


def animate(
    topology: app.Topology,
    positions: np.ndarray,
    displacements: np.ndarray,
    amplitude: float,
    frames: int,
    path: Path,
) -> None:
    """Write X0 + a sin(phase) v over one period, as a PDB of many models or a DCD and its PDB.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions, displacements : (N, 3) arrays
    amplitude : float
        Largest displacement of an atom, in nm.
    frames : int
    path : Path
        Ending in .pdb or .dcd.
    """
    step = amplitude * displacements / np.linalg.norm(displacements, axis=1).max()
    phases = 2 * np.pi * np.arange(frames) / frames
    snapshots = [(positions + np.sin(phase) * step) * unit.nanometer for phase in phases]
    if path.suffix.lower() == ".dcd":
        with open(path, "wb") as file:
            trajectory = app.DCDFile(file, topology, FRAME_INTERVAL * unit.picosecond)
            for snapshot in snapshots:
                trajectory.writeModel(snapshot)
        with open(path.with_suffix(".pdb"), "w") as file:
            app.PDBFile.writeFile(topology, snapshots[0], file, keepIds=True)
        return
    with open(path, "w") as file:
        app.PDBFile.writeHeader(topology, file)
        for number, snapshot in enumerate(snapshots, start=1):
            app.PDBFile.writeModel(topology, snapshot, file, modelIndex=number, keepIds=True)
        app.PDBFile.writeFooter(topology, file)


def negative_remark(source: str) -> str:
    """Return what negative eigenvalues of a Hessian tell."""
    if source == "bonded":
        return (
            "Negative eigenvalues: the bonded terms alone push along these modes. That says "
            "nothing about the whole force field: --source full is its Hessian."
        )
    return "Negative eigenvalues: the structure is no minimum along these modes."


def headline(kind: str, source: str, converged: bool | None, evaluations: int) -> str:
    """Return what the table is of; ``converged`` is None without a minimization."""
    terms = "the whole force field" if source == "full" else "the bonded terms alone"
    what = {
        "hessian": f"Slowest modes of the Hessian of {terms}, rigid motions left out, no masses",
        "coupling-graph": f"Slowest modes of the coupling graph's Laplacian ({terms}), translation "
        "left out",
    }[kind]
    where = {
        None: "at the structure as prepared",
        True: "at the minimum reached",
        False: "at the structure reached, which is no minimum yet",
    }[converged]
    return f"{what};\n{where}; {evaluations} force evaluations:"
