"""Minima of a database as a table, and as structure files."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from openmm import app, unit
from pdbfixer.pdbfixer import proteinResidues

from ..distributed.minima_database import MinimaFile, StoredMinimum
from ..geometry.superposition import superposed
from ..sampling.superposition import HarmonicSuperposition, harmonic_superposition
from .settings import Console

__all__ = ["export_minima", "show_minima"]

FRAME_INTERVAL = 1.0  # ps, in a DCD file: frames are no times
REBUILT_ON = "Reference"


def show_minima(
    path: Path,
    lowest: int | None,
    within: float | None,
    temperature: float | None,
    json_file: str | None,
) -> int:
    """Print a table of minima, with free energies if a temperature is given.

    Parameters
    ----------
    path : Path
        Of the database.
    lowest : int or None
        How many at most.
    within : float or None
        Above the lowest, in kJ/mol.
    temperature : float or None
        In K.
    json_file : str or None
        Where the same goes as JSON; "-" is the standard output.

    Returns
    -------
    int
        Exit code: 0.
    """
    if temperature is not None and not 0 < temperature < math.inf:
        raise ValueError(f"--temperature {temperature:g}: it must be above zero, in K")
    console = Console(json_file)
    with MinimaFile.open(path) as file:
        minima = file.lowest(lowest, within)
        console.say(_heading(file))
        console.say(_table(minima))
        superposition = None
        if temperature is not None and minima:
            superposition = _superposition(file, minima, temperature)
            console.say(f"\nFree energies; minimum 0 is the first row above.\n{superposition}")
        document = _document(file, minima, superposition)
    if json_file is not None:
        _write_json(document, json_file, console)
    return 0


def _heading(file: MinimaFile) -> str:
    found = f"{len(file)} distinct minima of {file.molecule.num_atoms} atoms"
    search = json.loads(file.header("search") or "{}")
    if not search:
        return f"{file.path}: {found}"
    return (
        f"{file.path}: {found}, found by {search['islands']} islands in {file.num_rounds} rounds, "
        f"seed {search['seed']}"
    )


def _table(minima: Sequence[StoredMinimum]) -> str:
    """Return a row for each minimum; empty where there is none."""
    if not minima:
        return "No minimum has been kept yet."
    rows = [
        "minimum     energy, kJ/mol  above lowest  RMS force, kJ/mol/nm  visits  found by  after"
    ]
    for one in minima:
        who = "start" if one.round == 0 else f"island {one.island}"
        rows.append(
            f"{one.id:7d}{one.energy:19.3f}{one.energy - minima[0].energy:14.3f}"
            f"{one.rms_force:22.3g}{one.visits:8d}  {who:>8s}  {one.force_evaluations}"
        )
    return "\n".join(rows)


def _superposition(
    file: MinimaFile, minima: Sequence[StoredMinimum], temperature: float
) -> HarmonicSuperposition:
    """Return free energies of minima, of a System made from what the file holds."""
    molecule = file.molecule
    try:
        context = molecule.make_context(REBUILT_ON)
    except Exception as error:
        raise ValueError(
            f"the System of {file.path} cannot be made here ({error}). In Python, make it as for "
            "the search, then: harmonic_superposition(simulation, MinimaFile.open(...).lowest(20), "
            f"{temperature:g})"
        ) from error
    context.setPositions(minima[0].positions)
    simulation = SimpleNamespace(context=context, topology=molecule.make_topology())
    return harmonic_superposition(simulation, minima, temperature)


def _document(
    file: MinimaFile, minima: Sequence[StoredMinimum], superposition: HarmonicSuperposition | None
) -> dict[str, Any]:
    """Return what JSON says."""
    document: dict[str, Any] = {
        "command": "minima show",
        "database": str(file.path),
        "atoms": file.molecule.num_atoms,
        "distinct_minima": len(file),
        "search": json.loads(file.header("search") or "null"),
        "rounds": file.num_rounds,
        "minima": [
            {
                "minimum": one.id,
                "energy": one.energy,
                "rms_force": one.rms_force,
                "visits": one.visits,
                "force_evaluations": one.force_evaluations,
                "island": one.island,
                "seed": one.seed,
                "round": one.round,
            }
            for one in minima
        ],
    }
    if superposition is not None:
        document["harmonic_superposition"] = superposition.to_dict()
    return document


def _write_json(document: dict[str, Any], file: str, console: Console) -> None:
    text = json.dumps(document, indent=1)
    if file == "-":
        print(text)
        return
    Path(file).write_text(text + "\n")
    console.say(f"Wrote the numbers: {file}")


def export_minima(path: Path, output: Path, lowest: int | None, within: float | None) -> int:
    """Write minima to a structure file.

    Parameters
    ----------
    path : Path
        Of the database.
    output : Path
        A .pdb, .dcd or .sdf file.
    lowest : int or None
        How many at most.
    within : float or None
        Above the lowest, in kJ/mol.

    Returns
    -------
    int
        Exit code: 0.

    Raises
    ------
    ValueError
        Another ending, no minima, a database without atom names, or bond orders that nobody knows.
    """
    writer = WRITERS.get(output.suffix.lower())
    if writer is None:
        raise ValueError(f"-o {output}: the file name must end in {' or '.join(WRITERS)}")
    with MinimaFile.open(path) as file:
        minima, molecule = file.lowest(lowest, within), file.molecule
    topology = molecule.make_topology()
    if topology is None:
        raise ValueError(
            f"{path} was made from a Context, without the names of atoms: read it in Python, by "
            "MinimaFile.open(...).lowest()"
        )
    if not minima:
        raise ValueError(f"{path} holds no minimum yet: wait for the first round of the search")
    output.parent.mkdir(parents=True, exist_ok=True)
    frames = [superposed(one.positions, minima[0].positions) * unit.nanometer for one in minima]
    writer(output, topology, minima, frames)
    print(f"Wrote {len(minima)} minima: {output}")
    return 0


def _write_pdb(
    path: Path,
    topology: app.Topology,
    minima: Sequence[StoredMinimum],
    frames: Sequence[unit.Quantity],
) -> None:
    """Write a model for each minimum, its number that of the row of the table."""
    with open(path, "w") as file:
        app.PDBFile.writeHeader(topology, file)
        for k, (one, frame) in enumerate(zip(minima, frames, strict=True), start=1):
            file.write(f"REMARK   1 MODEL {k}: MINIMUM {one.id}, {one.energy:.3f} KJ/MOL\n")
            app.PDBFile.writeModel(topology, frame, file, k, keepIds=True)
        app.PDBFile.writeFooter(topology, file)


def _write_dcd(
    path: Path,
    topology: app.Topology,
    minima: Sequence[StoredMinimum],
    frames: Sequence[unit.Quantity],
) -> None:
    """Write a frame for each minimum, and the lowest as a PDB beside them."""
    with open(path, "wb") as binary:
        trajectory = app.DCDFile(binary, topology, FRAME_INTERVAL * unit.picosecond)
        for frame in frames:
            trajectory.writeModel(frame)
    _write_pdb(path.with_suffix(".pdb"), topology, minima[:1], frames[:1])


def _write_sdf(
    path: Path,
    topology: app.Topology,
    minima: Sequence[StoredMinimum],
    frames: Sequence[unit.Quantity],
) -> None:
    """Write a record for each minimum, with bond orders from RDKit's residue templates."""
    try:
        from rdkit import Chem
        from rdkit.Geometry import Point3D
    except ImportError:
        raise ValueError(f"-o {path}: .sdf needs RDKit: pip install 'openmm-reparam[qm]'") from None
    strange = {residue.name for residue in topology.residues()} - set(proteinResidues)
    if strange:
        raise ValueError(
            f"-o {path}: the bond orders of {', '.join(sorted(strange))} are not known; export a "
            ".pdb file"
        )
    text = io.StringIO()
    app.PDBFile.writeFile(topology, frames[0], text, keepIds=True)
    molecule = Chem.MolFromPDBBlock(text.getvalue(), removeHs=False)
    with Chem.SDWriter(str(path)) as writer:
        for one, frame in zip(minima, frames, strict=True):
            conformer = molecule.GetConformer()
            for atom, place in enumerate(frame.value_in_unit(unit.angstrom)):
                conformer.SetAtomPosition(atom, Point3D(*place.tolist()))
            molecule.SetProp("_Name", f"minimum {one.id}")
            molecule.SetProp("energy_kJ_per_mol", repr(one.energy))
            writer.write(molecule)


Writer = Callable[
    [Path, app.Topology, Sequence[StoredMinimum], Sequence[unit.Quantity]],
    None,
]
WRITERS: dict[str, Writer] = {".pdb": _write_pdb, ".dcd": _write_dcd, ".sdf": _write_sdf}
