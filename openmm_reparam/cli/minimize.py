"""``openmm-reparam minimize``: a structure file in, a minimized structure out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..prepare.molecular_system import MolecularSystem
from ..prepare.restraints import restrained_molecule
from ..structure.measures import heavy_atom_shifts
from ..structure.violations import Violations, find_violations
from .placed_ligands import ligand_report, placed_ligands
from .reporting import Run, describe, minimize_molecule, write_json, write_plot, write_structure
from .settings import Console, Outputs, RunSettings

__all__ = ["minimize_file", "structure_violations"]


def minimize_file(
    file: Path,
    settings: RunSettings,
    outputs: Outputs,
    *,
    forcefield: list[str],
    solvent: str,
    restraint: float | None = None,
    ligands: Sequence[Path] = (),
    charges: str = "bcc",
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
    ligands : sequence of Path
        Small molecules to put into the structure.
    charges : {"bcc", "gas"}
        Of their GAFF2 parameters.
    **preparation
        Further arguments of `prepare.structure_files.prepare_file`.

    Returns
    -------
    int
        Exit code: 0 converged, 1 not.
    """
    outputs.prepare()
    console = Console(outputs.json)
    placed = placed_ligands(ligands, charges, settings.seed, console) if ligands else []
    molecule, restrained = restrained_molecule(
        file,
        restraint,
        forcefield=forcefield,
        solvent=solvent,
        seed=settings.seed,
        ligands=[ligand.parameters for ligand in placed],
        **preparation,
    )
    describe_preparation(file, forcefield, solvent, molecule, console)
    if restraint is not None:
        console.say(
            f"Restraints: {restrained} heavy atoms, {restraint:g} kcal/mol/A^2; "
            "energies include them"
        )
    run = minimize_molecule(molecule, settings, console)
    violations = structure_violations(run)
    found = _structure_report(run, violations, console)
    kept = ligand_report(placed, molecule.topology, run.positions._value)
    for line in kept:
        console.say(line)
    write_outputs(run, outputs, console, file.name)
    if outputs.report is not None:
        from .report_page import write_report_page

        write_report_page(
            run,
            outputs.report,
            console,
            title=file.name,
            violations=violations,
            facts={
                "File": file,
                "Force field": ", ".join(forcefield),
                "Solvent": solvent,
                "Restraints of heavy atoms": restraint and f"{restraint:g} kcal/mol/Å²",
                "Ligands": ", ".join(str(path) for path in ligands),
            },
            notes=tuple(kept),
        )
    described = {
        "file": str(file),
        "forcefield": forcefield,
        "solvent": solvent,
        "ligands": [str(path) for path in ligands],
        "restraint_kcal_per_mol_angstrom2": restraint,
        **describe(molecule, run.simulation, settings),
    }
    write_json("minimize", described, run, outputs, console, ligands=kept, **found)
    return run.exit_code


def describe_preparation(
    file: Path, forcefield: list[str], solvent: str, molecule: MolecularSystem, console: Console
) -> None:
    """Say what was read, with which force field, and how it was repaired."""
    console.say(f"{file}, {', '.join(forcefield)}, {solvent}")
    console.say(f"Repairs: {'; '.join(molecule.repairs) or 'none'}")


def structure_violations(run: Run) -> tuple[Violations, Violations]:
    """Return the violations before and after."""
    molecule = run.molecule
    start, end = molecule.positions, run.positions
    before, after = (find_violations(molecule.topology, x, molecule.system) for x in (start, end))
    return before, after


def _structure_report(
    run: Run, violations: tuple[Violations, Violations], console: Console
) -> dict[str, Any]:
    """Say what violations there are, before and after, and how far atoms moved; return it."""
    molecule = run.molecule
    before, after = violations
    console.say(f"\n{before.table(after)}")
    shift, aligned = heavy_atom_shifts(molecule.topology, molecule.positions, run.positions)
    moved = not np.isnan(shift)
    if moved:
        console.say(
            f"Heavy atoms moved by an RMSD of {shift:.3f} A, {aligned:.3f} A after superposition."
        )
    return {
        "violations": {"before": before.to_dict(), "after": after.to_dict()},
        "heavy_atom_rmsd_angstrom": {"as_it_stands": shift, "superposed": aligned}
        if moved
        else None,
    }


def write_outputs(run: Run, outputs: Outputs, console: Console, title: str) -> None:
    """Write the structure and the plot that were asked for."""
    files = (outputs.structure, outputs.plot, outputs.report)
    if any(files) or outputs.json not in (None, "-"):
        console.say()
    if outputs.structure is not None:
        write_structure(run, outputs.structure, console)
    if outputs.plot is not None:
        write_plot(run, outputs.plot, title, console)
