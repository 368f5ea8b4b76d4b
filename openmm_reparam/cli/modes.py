"""``openmm-reparam modes``: the slow modes of a structure as a table, a plot and an animation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from openmm import app, unit
from tqdm import tqdm

from ..modes.low_frequency_modes import low_frequency_modes
from ..modes.slow_modes import SlowModes, molecular_slow_modes
from ..potentials.potential import Potential
from ..prepare.structure_files import prepare_file
from ..structure.residues import residue_label
from .reporting import describe, minimize_molecule, write_json
from .settings import Console, Outputs, RunSettings, platform_name

__all__ = [
    "ModeTable",
    "animate",
    "backbone_modes",
    "collectivity",
    "modes_of_file",
]

# Relative to the fastest mode asked for: below this a Laplacian's eigenvalue is zero.
ZERO = 1e-9
UNITS = {"hessian": "kJ/mol/nm^2", "backbone": "(kJ/mol/nm^2)^2"}
ANIMATIONS = (".pdb", ".dcd")


@dataclass(frozen=True)
class ModeTable:
    """Slow modes and what people ask of them.

    Attributes
    ----------
    kind : {"hessian", "backbone"}
    modes : SlowModes
        Without rigid motions; vectors are (3N, k) or, for a backbone, (N, k).
    topology : openmm.app.Topology
    """

    kind: str
    modes: SlowModes
    topology: app.Topology

    @property
    def atom_weights(self) -> np.ndarray:
        """Each atom's share of each mode's squared length, (k, N)."""
        vectors = self.modes.vectors.T
        squares = vectors**2
        if self.kind == "hessian":
            squares = squares.reshape(len(vectors), -1, 3).sum(axis=2)
        return squares / squares.sum(axis=1, keepdims=True)

    @property
    def residue_weights(self) -> np.ndarray:
        """Each residue's share of each mode's squared length, (k, residues)."""
        residues = [atom.residue.index for atom in self.topology.atoms()]
        weights = np.zeros((len(self.modes), self.topology.getNumResidues()))
        np.add.at(weights.T, residues, self.atom_weights.T)
        return weights

    def rows(self, residues: int = 3) -> list[dict[str, Any]]:
        """Return for each mode its number, eigenvalue, collectivity and top residues."""
        labels = [residue_label(residue) for residue in self.topology.residues()]
        rows = []
        for k, (weights, shares) in enumerate(
            zip(self.atom_weights, self.residue_weights, strict=True)
        ):
            top = np.argsort(-shares, kind="stable")[:residues]
            rows.append(
                {
                    "mode": k + 1,
                    "eigenvalue": float(self.modes.eigenvalues[k]),
                    "collectivity": collectivity(weights),
                    "residues": {labels[r]: float(shares[r]) for r in top},
                }
            )
        return rows

    def __str__(self) -> str:
        lines = [f"mode  eigenvalue, {UNITS[self.kind]:<17}collectivity  moves most"]
        for row in self.rows():
            shares = ", ".join(f"{name} {100 * w:.0f} %" for name, w in row["residues"].items())
            lines.append(
                f"{row['mode']:4d}  {row['eigenvalue']:<29.5g}{row['collectivity']:<14.2f}{shares}"
            )
        return "\n".join(lines)


def collectivity(weights: np.ndarray) -> float:
    """Return the share of atoms that take part in a mode, 1/N to 1.

    Parameters
    ----------
    weights : (N,) array
        Squared displacements, which sum to one.

    References
    ----------
    Brueschweiler, R. Collective protein dynamics and nuclear spin relaxation. J. Chem. Phys.
    1995, 102, 3396.

    Examples
    --------
    >>> round(collectivity(np.full(10, 0.1)), 6), round(collectivity(np.eye(10)[3]), 6)
    (1.0, 0.1)
    """
    present = weights[weights > 0]
    return float(np.exp(-(present * np.log(present)).sum()) / len(weights))


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
    kind : {"hessian", "backbone"}
        Modes of the 3N x 3N Hessian, or of the N x N Laplacian of its backbone.
    source : {"full", "bonded"}, optional
        Hessian of the whole force field (the default of "hessian"), or of the bonded terms and
        constraints alone (the default of "backbone").
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
    """
    outputs.prepare(ANIMATIONS)
    if not 1 <= mode <= count:
        raise ValueError(f"--mode {mode}: pick one of the {count} modes computed (--count)")
    if not (np.isfinite(amplitude) and amplitude > 0):
        raise ValueError(f"--amplitude {amplitude}: it has to be above 0 nm")
    source = source or ("full" if kind == "hessian" else "bonded")
    if solvent == "tip3p" and (kind, source) != ("backbone", "bonded"):
        # Terms of constrained bonds are left out of a System: its Hessian lacks their stiffness.
        raise ValueError(
            "--solvent tip3p constrains bonds, which a Hessian does not see: use --kind backbone "
            "--source bonded, or an implicit solvent"
        )
    console = Console(outputs.json)
    molecule = prepare_file(file, forcefield=forcefield, solvent=solvent, seed=settings.seed)
    console.say(f"{file}, {', '.join(forcefield)}, {solvent}")
    console.say(f"Repairs: {'; '.join(molecule.repairs) or 'none'}")
    run = minimize_molecule(molecule, settings, console) if minimize else None
    if run is not None:
        simulation = run.simulation
    else:
        chosen = platform_name(settings.platform, settings.threads)
        simulation = molecule.simulation(chosen, threads=settings.threads)

    potential = Potential(simulation.context, molecule.topology)
    positions = potential.positions()
    potential.refuse_non_finite(positions)
    if kind == "hessian":
        with tqdm(total=100, desc="Hessian", unit="%", leave=False, disable=None) as bar:
            modes = low_frequency_modes(
                potential,
                positions,
                count,
                source=source,
                progress=lambda share: bar.update(int(100 * share) - bar.n),
            )
    else:
        modes = backbone_modes(potential, positions, count, source)
    table = ModeTable(kind, modes, molecule.topology)
    converged = None if run is None else run.result.converged
    console.say(f"\n{headline(kind, source, converged, potential.counter.total)}\n\n{table}")
    if kind == "hessian" and modes.eigenvalues.min() < 0:
        console.say(f"\n{negative_remark(source)}")
    if outputs.structure or outputs.plot:
        console.say()
    if outputs.structure is not None:
        displacements = displacement(table, positions, mode)
        animate(molecule.topology, positions, displacements, amplitude, frames, outputs.structure)
        console.say(f"Wrote mode {mode} as {frames} frames: {outputs.structure}")
        if outputs.structure.suffix.lower() == ".dcd":
            console.say(f"Wrote its topology: {outputs.structure.with_suffix('.pdb')}")
    if outputs.plot is not None:
        from ..plotting import plot_modes

        amplitudes = table.residue_weights**0.5
        moving = amplitudes.max(axis=0) > 0  # waters have no slow modes of their own
        labels = [residue_label(residue) for residue in molecule.topology.residues()]
        plot_modes(
            modes.eigenvalues,
            amplitudes[:, moving],
            outputs.plot,
            labels=[label for label, moves in zip(labels, moving, strict=True) if moves],
            units=UNITS[kind],
            title=f"Slow modes of {file.name} ({kind})",
        )
        console.say(f"Wrote the plot: {outputs.plot}")
    described = {
        "file": str(file),
        "forcefield": forcefield,
        "solvent": solvent,
        **describe(molecule, simulation, settings),
    }
    write_json(
        "modes",
        described,
        run,
        outputs,
        console,
        modes={"kind": kind, "source": source, "unit": UNITS[kind], "table": table.rows()},
    )
    return 0 if run is None else run.exit_code


def backbone_modes(
    potential: Potential, positions: np.ndarray, count: int, source: str = "bonded"
) -> SlowModes:
    """Slow modes of the backbone's Laplacian, the uniform translation taken out.

    Parameters
    ----------
    potential : Potential
    positions : (N, 3) array
        In nm.
    count : int
    source : {"bonded", "full"}

    Returns
    -------
    SlowModes
        Vectors of shape (N, k).
    """
    modes = molecular_slow_modes(
        potential, positions, min(count + 1, len(positions)), source=source
    )
    largest = max(abs(modes.next_eigenvalue), np.abs(modes.eigenvalues).max())
    zero = np.abs(modes.eigenvalues) < ZERO * largest
    if not zero.any():
        return SlowModes(modes.eigenvalues[:count], modes.vectors[:, :count], modes.next_eigenvalue)
    # Every separate chain has a null vector; what all of them share is the translation.
    uniform = (np.abs(modes.vectors).max(axis=1) > 0) / 1.0
    uniform /= np.linalg.norm(uniform)
    null = modes.vectors[:, zero]
    null = null - np.outer(uniform, uniform @ null)
    null = np.linalg.svd(null, full_matrices=False)[0][:, : zero.sum() - 1]
    vectors = np.hstack([null, modes.vectors[:, ~zero]])
    values = np.concatenate([np.zeros(null.shape[1]), modes.eigenvalues[~zero]])
    return SlowModes(values[:count], vectors[:, :count], modes.next_eigenvalue)


def displacement(table: ModeTable, positions: np.ndarray, mode: int) -> np.ndarray:
    """Return mode number ``mode`` (from 1) as displacements, (N, 3).

    A backbone's mode has one number for each atom and no direction: it is shown along the
    molecule's long axis.
    """
    vector = table.modes.vectors[:, mode - 1]
    if table.kind == "hessian":
        return vector.reshape(-1, 3)
    centred = positions - positions.mean(axis=0)
    long_axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    return np.outer(vector, long_axis)


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
            trajectory = app.DCDFile(file, topology, 1.0 * unit.picosecond)
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
            "Negative eigenvalues: the bonded terms alone push along these modes. It says nothing "
            "of the whole force field, for which there is --source full."
        )
    return "Negative eigenvalues: the structure is no minimum along these modes."


def headline(kind: str, source: str, converged: bool | None, evaluations: int) -> str:
    """Return what the table is of; ``converged`` is None without a minimization."""
    terms = "the whole force field" if source == "full" else "the bonded terms alone"
    what = {
        "hessian": f"Slowest modes of the Hessian of {terms}, rigid motions left out, no masses",
        "backbone": f"Slowest modes of the backbone's graph Laplacian ({terms}), translation "
        "left out",
    }[kind]
    where = {
        None: "at the structure as prepared",
        True: "at the minimum reached",
        False: "at the structure reached, which is no minimum yet",
    }[converged]
    return f"{what};\n{where}; {evaluations} force evaluations:"
