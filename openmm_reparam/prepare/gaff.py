"""GAFF2 parameters of small molecules, by AmberTools' programs.

antechamber gives atom types and charges, parmchk2 the parameters that GAFF2 lacks, tleap a
parameter file that OpenMM reads. For a System with a protein the parameters are written as an
OpenMM force field, in which every atom of the molecule is a type of its own.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
import openmm as mm
from openmm import app, unit

from ..structure.molecule_topology import molecule_topology
from .ligand_files import sdf_text
from .ligands import positions_of, unsupported

__all__ = ["CHARGE_METHODS", "GaffLigand", "amber_program", "gaff_ligand", "join_ligands"]

PROGRAMS = ("antechamber", "parmchk2", "tleap")
INSTALL = (
    "pip install 'openmm-reparam[ligands]' brings AmberTools' programs (Linux), "
    "conda install -c conda-forge ambertools does on other machines"
)
# Of electrostatic and Lennard-Jones interactions of atoms three bonds apart, in all Amber fields.
COULOMB_14, LENNARD_JONES_14 = 1 / 1.2, 0.5
CHARGE_NAMES = {"bcc": "AM1-BCC", "gas": "Gasteiger"}
CHARGE_METHODS = tuple(CHARGE_NAMES)
_LEAP = """source leaprc.gaff2
loadamberparams ligand.frcmod
{name} = loadmol2 ligand.mol2
saveamberparm {name} ligand.prmtop ligand.inpcrd
quit
"""


@dataclass(frozen=True, eq=False)
class GaffLigand:
    """A molecule with its GAFF2 parameters.

    Attributes
    ----------
    name : str
        Of its residue.
    topology : openmm.app.Topology
        One residue.
    positions : (N, 3) array
        In nm.
    system : openmm.System
        In vacuum, without constraints.
    charges : {"bcc", "gas"}
        Where its charges come from.
    notes : tuple of str
        What was out of the ordinary.
    """

    name: str
    topology: app.Topology
    positions: np.ndarray
    system: mm.System
    charges: str
    notes: tuple[str, ...] = ()

    def forcefield_xml(self) -> str:
        """Return the parameters as an OpenMM force field file.

        It can be loaded beside any Amber force field. The types' names begin with the residue's.

        Returns
        -------
        str
        """
        root = ET.Element("ForceField")
        _write_types(root, self)
        _write_residue(root, self)
        _write_bonds_and_angles(root, self)
        _write_torsions(root, self)
        _write_nonbonded(root, self)
        ET.indent(root)
        return ET.tostring(root, encoding="unicode")


def amber_program(name: str) -> Path:
    """Return the path of one of AmberTools' programs.

    Looked for beside this Python, in ``$AMBERHOME/bin`` and on the PATH.

    Parameters
    ----------
    name : str
        Such as "antechamber".

    Returns
    -------
    Path

    Raises
    ------
    FileNotFoundError
        It is not installed; the message says how to install it.
    """
    home = os.environ.get("AMBERHOME")
    folders = [str(Path(sys.executable).parent), *([f"{home}/bin"] if home else [])]
    found = shutil.which(name, path=os.pathsep.join(folders)) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"GAFF2 parameters need AmberTools' {name}: {INSTALL}")
    return Path(found)


def gaff_ligand(molecule: Any, name: str = "LIG", charges: str = "bcc") -> GaffLigand:
    """Return GAFF2 parameters of a molecule.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        One molecule with all hydrogens and a conformer.
    name : str
        Of its residue: three letters or digits at most, a letter first.
    charges : {"bcc", "gas"}
        "bcc" is AM1-BCC, by semi-empirical quantum chemistry (seconds to minutes); where that
        fails, and for "gas", Gasteiger charges are taken (at once).

    Returns
    -------
    GaffLigand

    Raises
    ------
    FileNotFoundError
        AmberTools is not installed.
    ValueError
        GAFF2 has no parameters for the molecule.

    References
    ----------
    Wang et al., J. Comput. Chem. 2004, 25, 1157 (GAFF); Jakalian, Jack and Bayly, J. Comput. Chem.
    2002, 23, 1623 (AM1-BCC).

    Examples
    --------
    >>> from rdkit import Chem
    >>> from openmm_reparam.prepare.ligands import complete_ligand
    >>> ethanol, _ = complete_ligand(Chem.MolFromSmiles("CCO"))
    >>> gaff_ligand(ethanol).system.getNumParticles()
    9
    """
    if charges not in CHARGE_METHODS:
        raise ValueError(f"charges {charges!r} are unknown: choose {' or '.join(CHARGE_METHODS)}")
    programs = {program: amber_program(program) for program in PROGRAMS}
    reason = unsupported(molecule, "gaff")
    if reason:
        raise ValueError(reason)
    notes: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "ligand.sdf").write_text(sdf_text(molecule))
        if not _typed(programs, molecule, name, charges, place):
            if charges == "gas" or not _typed(programs, molecule, name, "gas", place):
                raise ValueError(
                    f"antechamber found no GAFF2 types: {_last_line(place)}; take --potential mmff"
                )
            charges, notes = "gas", ("AM1-BCC charges failed: Gasteiger charges were taken",)
        # By number: with "gaff2", AmberTools 26 reads GAFF's file in some runs, GAFF2's in others.
        _run(programs["parmchk2"], "-i ligand.mol2 -f mol2 -o ligand.frcmod -s 2", place)
        (place / "leap.in").write_text(_LEAP.format(name=name))
        _run(programs["tleap"], "-f leap.in", place)
        if not (place / "ligand.prmtop").is_file():
            raise ValueError(f"tleap made no parameters: {_last_line(place)}")
        amber = app.AmberPrmtopFile(str(place / "ligand.prmtop"))
    topology = molecule_topology(molecule, name)
    expected, found = ([a.element for a in t.atoms()] for t in (topology, amber.topology))
    if expected != found:
        raise ValueError("AmberTools returned the atoms in another order")
    system = amber.createSystem(nonbondedMethod=app.NoCutoff, removeCMMotion=False)
    return GaffLigand(name, topology, positions_of(molecule), system, charges, notes)


def _typed(programs: dict, molecule: Any, name: str, charges: str, place: Path) -> bool:
    """Run antechamber; return whether it made atom types and charges."""
    net = sum(atom.GetFormalCharge() for atom in molecule.GetAtoms())
    result = place / "ligand.mol2"
    _run(
        programs["antechamber"],
        "-i ligand.sdf -fi sdf -o ligand.mol2 -fo mol2 -at gaff2 -pf y -dr n "
        f"-c {charges} -nc {net} -rn {name}",
        place,
    )
    return result.is_file() and " DU " not in result.read_text()


def _run(program: Path, arguments: str, place: Path) -> None:
    """Run a program in a folder; what it prints goes to the file "log"."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # Their own wrappers set it; programs in other places need it said.
    environment.setdefault("AMBERHOME", str(program.resolve().parent.parent))
    with open(place / "log", "w") as log:
        subprocess.run(
            [str(program), *arguments.split()],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A worker process that ignores Ctrl-C hands that on, and sqm would go on for minutes.
            preexec_fn=_heed_interrupts if os.name == "posix" else None,
            check=False,
        )


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _last_line(place: Path) -> str:
    """Return what a program said last of its trouble."""
    lines = [line.strip() for line in (place / "log").read_text().splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line and not line.startswith("Exiting")]
    return (errors or lines or ["it says nothing"])[-1]


# --- An OpenMM force field ---


def _types(ligand: GaffLigand, atoms: Sequence[int]) -> dict[str, str]:
    """Return the attributes that name the types of some atoms."""
    return {f"type{k}": f"{ligand.name}-{atom}" for k, atom in enumerate(atoms, 1)}


def _force(ligand: GaffLigand, kind: type) -> Any:
    return next(force for force in ligand.system.getForces() if isinstance(force, kind))


def _write_types(root: ET.Element, ligand: GaffLigand) -> None:
    types = ET.SubElement(root, "AtomTypes")
    for atom in ligand.topology.atoms():
        name = f"{ligand.name}-{atom.index}"
        mass = ligand.system.getParticleMass(atom.index)._value
        attributes = {"name": name, "class": name, "element": atom.element.symbol}
        ET.SubElement(types, "Type", {**attributes, "mass": repr(mass)})


def _write_residue(root: ET.Element, ligand: GaffLigand) -> None:
    residue = ET.SubElement(ET.SubElement(root, "Residues"), "Residue", {"name": ligand.name})
    for atom in ligand.topology.atoms():
        ET.SubElement(residue, "Atom", {"name": atom.name, "type": f"{ligand.name}-{atom.index}"})
    for first, second in ligand.topology.bonds():
        ET.SubElement(residue, "Bond", {"atomName1": first.name, "atomName2": second.name})


def _write_bonds_and_angles(root: ET.Element, ligand: GaffLigand) -> None:
    bonds = _force(ligand, mm.HarmonicBondForce)
    element = ET.SubElement(root, "HarmonicBondForce")
    for k in range(bonds.getNumBonds()):
        *atoms, length, constant = bonds.getBondParameters(k)
        values = {"length": repr(length._value), "k": repr(constant._value)}
        ET.SubElement(element, "Bond", {**_types(ligand, atoms), **values})
    angles = _force(ligand, mm.HarmonicAngleForce)
    element = ET.SubElement(root, "HarmonicAngleForce")
    for k in range(angles.getNumAngles()):
        *atoms, angle, constant = angles.getAngleParameters(k)
        values = {"angle": repr(angle._value), "k": repr(constant._value)}
        ET.SubElement(element, "Angle", {**_types(ligand, atoms), **values})


def _write_torsions(root: ET.Element, ligand: GaffLigand) -> None:
    """Write proper and improper torsions; one of several terms is one entry."""
    bonded = {frozenset((a.index, b.index)) for a, b in ligand.topology.bonds()}
    torsions = _force(ligand, mm.PeriodicTorsionForce)
    terms: dict[tuple[int, ...], list] = defaultdict(list)
    for k in range(torsions.getNumTorsions()):
        *atoms, periodicity, phase, constant = torsions.getTorsionParameters(k)
        key = tuple(atoms) if tuple(atoms[::-1]) not in terms else tuple(atoms[::-1])
        terms[key].append((periodicity, phase._value, constant._value))
    # With one type for each atom this ordering keeps the atoms as Amber has them.
    element = ET.SubElement(root, "PeriodicTorsionForce", {"ordering": "amber"})
    for (i, j, k, m), series in terms.items():
        is_proper = all(frozenset(pair) in bonded for pair in ((i, j), (j, k), (k, m)))
        if not is_proper and all(frozenset((j, other)) in bonded for other in (i, k, m)):
            i, j, k, m = m, k, j, i  # Amber's files turn an improper around whose centre is atom 0
        # OpenMM's files name the central atom of an improper first, Amber's third.
        attributes = _types(ligand, (i, j, k, m) if is_proper else (k, i, j, m))
        for number, (periodicity, phase, constant) in enumerate(series, 1):
            attributes[f"periodicity{number}"] = str(periodicity)
            attributes[f"phase{number}"] = repr(phase)
            attributes[f"k{number}"] = repr(constant)
        ET.SubElement(element, "Proper" if is_proper else "Improper", attributes)


def _write_nonbonded(root: ET.Element, ligand: GaffLigand) -> None:
    scales = {"coulomb14scale": repr(COULOMB_14), "lj14scale": repr(LENNARD_JONES_14)}
    element = ET.SubElement(root, "NonbondedForce", scales)
    force = _force(ligand, mm.NonbondedForce)
    for atom in range(force.getNumParticles()):
        values = (repr(value._value) for value in force.getParticleParameters(atom))
        attributes = dict(zip(("charge", "sigma", "epsilon"), values, strict=True))
        ET.SubElement(element, "Atom", {"type": f"{ligand.name}-{atom}", **attributes})


# --- With a protein ---


def join_ligands(
    modeller: app.Modeller, forcefield: app.ForceField, ligands: Sequence[GaffLigand]
) -> list[str]:
    """Add molecules to a structure, and their parameters to its force field.

    Parameters
    ----------
    modeller : openmm.app.Modeller
        Changed in place: each molecule becomes a chain of one residue.
    forcefield : openmm.app.ForceField
        An Amber one; changed in place.
    ligands : sequence of GaffLigand
        Those of one name share the parameters of the first.

    Returns
    -------
    list of str
        What was done.

    Raises
    ------
    ValueError
        The force field is not one of Amber's.
    """
    _refuse_other_fields(forcefield)
    known: set[str] = set()
    lines = []
    for ligand in ligands:
        if ligand.name not in known:
            forcefield.loadFile(io.StringIO(ligand.forcefield_xml()))
            known.add(ligand.name)
        taken = {chain.id for chain in modeller.topology.chains()}
        modeller.add(ligand.topology, ligand.positions * unit.nanometer)
        *_, chain = modeller.topology.chains()
        chain.id = next((letter for letter in ascii_uppercase if letter not in taken), "L")
        lines.append(
            f"added {ligand.name} of chain {chain.id}: {len(ligand.positions)} atoms, GAFF2, "
            f"{CHARGE_NAMES[ligand.charges]} charges"
        )
    return lines


def _refuse_other_fields(forcefield: app.ForceField) -> None:
    """Raise unless a force field's nonbonded interactions are scaled as GAFF2's are."""
    for generator in forcefield.getGenerators():
        scales = getattr(generator, "coulomb14scale", 0.0), getattr(generator, "lj14scale", 0.0)
        if np.allclose(scales, (COULOMB_14, LENNARD_JONES_14), atol=1e-3):
            return
    raise ValueError(
        "GAFF2 goes with Amber's force fields only: choose --forcefield amber14-all.xml or "
        "amber19-all.xml"
    )
