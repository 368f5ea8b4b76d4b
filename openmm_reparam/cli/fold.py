"""``openmm-reparam fold``: a chain from its sequence, minimized, then compared with the native.

The native structure's coordinates are read only after the minimization.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmm import app
from pdbfixer import PDBFixer
from pdbfixer.pdbfixer import substitutions

from ..prepare.peptides import peptide
from ..prepare.sequences import REFUSED_CODES, SEQUENCES
from ..prepare.structure_files import ca_only_residues, fetch_pdb, read_structure
from ..structure.measures import radius_of_gyration, rmsd
from .minimize import structure_violations, write_outputs
from .reporting import Run, describe, minimize_molecule, write_json
from .settings import Console, Outputs, RunSettings

__all__ = ["Target", "fold", "resolve_target"]

# Of the Protein Data Bank: a comparison that nobody asked for should not hold a run up.
FETCH_TIMEOUT = 5.0  # seconds
SOLVENT_WORDS = {
    "vacuum": "in vacuum",
    "gbn2": "in implicit solvent (GBn2)",
    "obc2": "in implicit solvent (OBC2)",
    "tip3p": "in water (TIP3P)",
}
PDB_CODE = re.compile(r"[0-9][A-Za-z0-9]{3}")
THREE_TO_ONE = {
    **{"ALA": "A", "ARG": "R", "ASN": "N", "ASP": "D", "CYS": "C", "GLN": "Q", "GLU": "E"},
    **{"GLY": "G", "HIS": "H", "ILE": "I", "LEU": "L", "LYS": "K", "MET": "M", "PHE": "F"},
    **{"PRO": "P", "SER": "S", "THR": "T", "TRP": "W", "TYR": "Y", "VAL": "V"},
}


@dataclass(frozen=True)
class Target:
    """What to fold.

    Attributes
    ----------
    name : str
    sequence : str
        One-letter codes.
    native : Path, str or None
        A structure file, or the code of an entry of the Protein Data Bank.
    """

    name: str
    sequence: str
    native: Path | str | None = None


def fold(
    target: str,
    settings: RunSettings,
    outputs: Outputs,
    *,
    forcefield: list[str],
    solvent: str,
    start: str = "extended",
    native: Path | None = None,
) -> int:
    """Minimize a chain grown from a sequence, report, write, and compare with the native.

    Parameters
    ----------
    target : str
        A code of the Protein Data Bank, one-letter codes, or a structure file whose sequence is
        taken.
    settings : RunSettings
    outputs : Outputs
    forcefield : list of str
    solvent : str
    start : {"extended", "random-coil"}
    native : Path or None
        Compared with after the minimization; by default the file or the entry that was named.

    Returns
    -------
    int
        Exit code: 0 converged, 1 not.
    """
    outputs.prepare()
    if native is not None and not native.is_file():
        raise FileNotFoundError(f"there is no file {native}")
    console = Console(outputs.json)
    found = resolve_target(target)
    molecule = peptide(
        found.sequence, start, forcefield=forcefield, solvent=solvent, seed=settings.seed
    )
    console.say(f"{found.name}: {found.sequence} ({len(found.sequence)} residues)")
    console.say(f"Start: {start} chain built from the sequence, {', '.join(forcefield)}, {solvent}")
    run = minimize_molecule(molecule, settings, console)

    gyration = _gyration_report(run, console)
    write_outputs(run, outputs, console, f"{found.name} from {article(start)} {start} chain")
    comparison = compare_with_native(run, found.native if native is None else native, native)
    console.say()
    console.say(native_line(comparison))
    console.say(closing_remark(run, start, solvent))
    if outputs.report is not None:
        facts = {
            "Sequence": found.sequence,
            "Start": f"{start} chain",
            "Force field": ", ".join(forcefield),
            "Solvent": solvent,
        }
        notes = (native_line(comparison), closing_remark(run, start, solvent))
        _write_report(run, outputs.report, console, found.name, facts, gyration, notes)
    described = {
        "target": target,
        "sequence": found.sequence,
        "start": start,
        "forcefield": forcefield,
        "solvent": solvent,
        **describe(molecule, run.simulation, settings),
    }
    more = {"radius_of_gyration_nm": gyration, "native": comparison}
    write_json("fold", described, run, outputs, console, **more)
    return run.exit_code


def _gyration_report(run: Run, console: Console) -> dict[str, float]:
    """Say how energy and radius of gyration changed; return the radii in nm."""
    topology = run.molecule.topology
    start, end = (radius_of_gyration(topology, x) for x in (run.molecule.positions, run.positions))
    console.say(
        f"\nEnergy:             {run.result.initial_energy:.1f} -> {run.result.energy:.1f} kJ/mol"
        f"\nRadius of gyration: {start:.2f} -> {end:.2f} nm"
    )
    return {"start": start, "end": end}


def _write_report(
    run: Run,
    path: Path,
    console: Console,
    title: str,
    facts: dict[str, Any],
    gyration: dict[str, float],
    notes: tuple[str, ...],
) -> None:
    """Write the page of a run, with the radii of gyration in nm."""
    from ..report.data import BeforeAfter
    from .report_page import write_report_page

    write_report_page(
        run,
        path,
        console,
        title=title,
        violations=structure_violations(run),
        facts=facts,
        quantities=(BeforeAfter("Radius of gyration", gyration["start"], gyration["end"], "nm"),),
        notes=notes,
    )


def closing_remark(run: Run, start: str, solvent: str) -> str:
    """Return what the structure reached is, and what it need not be."""
    chain = f"{article(start)} {start} chain"
    where = SOLVENT_WORDS[solvent]
    if run.settings.search is not None:
        return (
            f"The deepest minimum found {where} need not be the fold: a search may miss deeper "
            "ones, and the fold is lowest in free energy, not in the energy of a force field."
        )
    if not run.result.converged:
        return (
            f"This was a local minimization {where} that stopped before it reached a minimum; from "
            f"{chain} even that would be a nearby one, not the fold."
        )
    return (
        f"This was a local minimization {where}: from {chain} it ends in a nearby minimum, not in "
        "the fold. --search auto goes on to deeper ones."
    )


def article(word: str) -> str:
    """Return "a" or "an"."""
    return "an" if word[0] in "aeiou" else "a"


def resolve_target(target: str) -> Target:
    """Return the sequence that a code, a sequence or a structure file stands for.

    Parameters
    ----------
    target : str
        Four characters of which the first is a digit are a code, a name with a dot or a slash is
        a file, anything else a sequence.

    Returns
    -------
    Target

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A file or an entry does not have exactly one plain protein chain.
    ConnectionError
        The sequence of a code is needed and the Protein Data Bank cannot be reached.
    """
    path = Path(target)
    if path.suffix or len(path.parts) > 1:
        return Target(path.stem, chain_sequence(read_structure(path)[0], path.name), path)
    code = target.upper()
    if code in SEQUENCES:
        return Target(code, SEQUENCES[code], code)
    if code in REFUSED_CODES:
        raise NotImplementedError(REFUSED_CODES[code])
    if PDB_CODE.fullmatch(target):
        return Target(code, chain_sequence(fetch_pdb(code, FETCH_TIMEOUT), code), code)
    return Target("sequence", target)


def chain_sequence(fixer: PDBFixer, name: str) -> str:
    """Return the one-letter sequence of a structure's only protein chain.

    Parameters
    ----------
    fixer : pdbfixer.PDBFixer
        Residues without coordinates at the ends are left out, as in a minimization of the file.
    name : str
        What errors call the structure.

    Raises
    ------
    ValueError
        No protein chain or several, residues missing inside, or disulfide bonds.
    """
    chains = [
        (chain.index, letters)
        for chain in fixer.topology.chains()
        if len(letters := [one_letter(r.name) for r in chain.residues() if has_backbone(r)]) > 1
    ]
    traced, residues = ca_only_residues(fixer.topology)
    if 2 * traced > residues:
        raise ValueError(
            f"{name} has only the CA atoms of {traced} of its {residues} amino acids: pass its "
            "one-letter sequence to fold it"
        )
    if len(chains) != 1:
        raise ValueError(
            f"{name} has {len(chains)} protein chains: fold grows a single one, so pass the "
            "one-letter sequence of the chain you mean"
        )
    index, letters = chains[0]
    fixer.findMissingResidues()
    length = len(list(list(fixer.topology.chains())[index].residues()))
    if any(chain == index and 0 < place < length for chain, place in fixer.missingResidues):
        raise ValueError(
            f"residues are missing inside the chain of {name}: pass its one-letter sequence"
        )
    if any(a.name == b.name == "SG" for a, b in fixer.topology.bonds()):
        raise ValueError(
            f"{name} has disulfide bonds, which a chain grown residue by residue does not close: "
            "minimize the file itself (openmm-reparam minimize), or pass the one-letter sequence "
            "to start with reduced cysteines"
        )
    known = [letter for letter in letters if letter is not None]
    if len(known) < len(letters):
        raise ValueError(f"{name} has a residue that stands for no amino acid: pass a sequence")
    return "".join(known)


def has_backbone(residue: app.topology.Residue) -> bool:
    """Return whether a residue is one of a protein."""
    return {"N", "CA", "C"} <= {atom.name for atom in residue.atoms()}


def one_letter(name: str) -> str | None:
    """Return the one-letter code of a residue name, modified residues as their parents."""
    return THREE_TO_ONE.get(substitutions.get(name, name))


def compare_with_native(
    run: Run, native: Path | str | None, asked_for: Path | None
) -> dict[str, Any] | None:
    """Return the RMSD from a native structure, or why there is none.

    Parameters
    ----------
    run : Run
    native : Path, str or None
        A file, or a code to fetch.
    asked_for : Path or None
        A file the user named as the native: failing to compare with it is an error.

    Returns
    -------
    dict or None
        ``source`` with either ``rmsd_angstrom`` ({"CA", "backbone"}) or ``note``; None where
        there is no native to compare with.
    """
    if native is None:
        return None
    source = str(native) if isinstance(native, Path) else f"{native} of the Protein Data Bank"
    try:
        fixer = (
            read_structure(native)[0]
            if isinstance(native, Path)
            else fetch_pdb(native, FETCH_TIMEOUT)
        )
        fixer.findNonstandardResidues()
        fixer.replaceNonstandardResidues()
        structures = (run.molecule.topology, run.positions, fixer.topology, fixer.positions)
        values = {kind: 10 * rmsd(*structures, atoms=kind) for kind in ("CA", "backbone")}
    except ConnectionError:
        return {"source": source, "note": "the Protein Data Bank cannot be reached from here."}
    except ValueError as error:
        if asked_for is not None:
            raise
        return {"source": source, "note": " ".join(str(error).split())}
    return {"source": source, "rmsd_angstrom": values}


def native_line(comparison: dict[str, Any] | None) -> str:
    """Return the comparison with the native in words."""
    if comparison is None:
        return "No native structure to compare with: name one with --native FILE."
    if "note" in comparison:
        return (
            f"No RMSD from {comparison['source']}: {comparison['note']}\n"
            "Name a native structure of your own with --native FILE."
        )
    values = comparison["rmsd_angstrom"]
    return (
        f"RMSD from {comparison['source']}: "
        f"{values['CA']:.2f} A (CA), {values['backbone']:.2f} A (backbone)"
    )
