"""``openmm-reparam minimize``: a structure file in, a minimized structure out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from openmm import unit

from ..preparation import prepare_file
from ..restraints import restrain_heavy_atoms
from .run import Run, describe, minimize_molecule, write_json, write_plot, write_structure
from .settings import Console, Outputs, RunSettings

__all__ = ["minimize_file"]


def minimize_file(
    file: Path,
    settings: RunSettings,
    outputs: Outputs,
    *,
    forcefield: list[str],
    solvent: str,
    restraint: float | None = None,
    **preparation: Any,
) -> int:
    """Prepare a structure file, minimize it, report and write.

    Parameters
    ----------
    file : Path
    settings : RunSettings
    outputs : Outputs
    forcefield : list of str
    solvent : str
    restraint : float or None
        Force constant of heavy atoms in kcal/mol/A^2; None restrains nothing.
    **preparation
        Further arguments of `openmm_reparam.preparation.prepare_file`.

    Returns
    -------
    int
        Exit code: 0 converged, 1 not.
    """
    outputs.prepare()
    console = Console(outputs.json)
    molecule = prepare_file(
        file, forcefield=forcefield, solvent=solvent, seed=settings.seed, **preparation
    )
    console.say(f"{file}, {', '.join(forcefield)}, {solvent}")
    console.say(f"Repairs: {'; '.join(molecule.repairs) or 'none'}")
    if restraint is not None:
        constant = restraint * unit.kilocalories_per_mole / unit.angstrom**2
        force = restrain_heavy_atoms(
            molecule.system, molecule.topology, molecule.positions, constant
        )
        console.say(
            f"Restraints: {force.getNumParticles()} heavy atoms, {restraint:g} kcal/mol/A^2; "
            "energies include them"
        )
    run = minimize_molecule(molecule, settings, console)
    write_outputs(run, outputs, console, file.name)
    described = {
        "file": str(file),
        "forcefield": forcefield,
        "solvent": solvent,
        "restraint_kcal_per_mol_angstrom2": restraint,
        **describe(molecule, run.simulation, settings),
    }
    write_json("minimize", described, run, outputs, console)
    return run.exit_code


def write_outputs(run: Run, outputs: Outputs, console: Console, title: str) -> None:
    """Write the structure and the plot that were asked for."""
    if outputs.structure or outputs.plot or outputs.json not in (None, "-"):
        console.say()
    if outputs.structure is not None:
        write_structure(run, outputs.structure, console)
    if outputs.plot is not None:
        write_plot(run, outputs.plot, title, console)
