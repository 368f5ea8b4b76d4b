"""Fixtures that several test files share."""

import shutil
from pathlib import Path

import numpy as np
import openmm
import pdbfixer
import pytest
import scipy.linalg
from openmm import app

from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.prepare.structure_files import fetch_pdb
from openmm_reparam.prepare.system_builder import build_system

# Entries of the Protein Data Bank that PDBFixer's tests read and its wheel holds: villin headpiece
# by NMR (1VII), the core of HIV-1 integrase (1BHL) and mTOR with a partner (4JSV) by X-rays.
ENTRIES = Path(pdbfixer.__file__).parent / "tests" / "data"


@pytest.fixture(scope="session")
def entries(tmp_path_factory) -> Path:
    """Return a folder of Protein Data Bank entries, named by their codes."""
    folder = tmp_path_factory.mktemp("entries")
    for name, code in {"test": "1VII", "1BHL": "1BHL", "4JSV": "4JSV"}.items():
        shutil.copy(ENTRIES / f"{name}.pdb", folder / f"{code}.pdb")
    return folder


@pytest.fixture(scope="session")
def villin(entries) -> Path:
    """Return the file of villin headpiece: 36 residues, 596 atoms with hydrogens, SEQRES."""
    return entries / "1VII.pdb"


@pytest.fixture(scope="session")
def crystal(entries, tmp_path_factory) -> Path:
    """Return a file of the last 18 residues of 1BHL: no hydrogens, 8 waters, a unit cell."""
    lines = (entries / "1BHL.pdb").read_text().splitlines()
    atoms = [line for line in lines if line.startswith(("ATOM", "HETATM"))]
    chain = [k for k in atoms if k.startswith("ATOM") and int(k[22:26]) >= 190]
    places = np.array([_place(line) for line in chain])
    waters = [
        line
        for line in atoms
        if line[17:20] == "HOH" and np.linalg.norm(places - _place(line), axis=1).min() < 6.0
    ]
    path = tmp_path_factory.mktemp("crystal") / "crystal.pdb"
    cell = next(line for line in lines if line.startswith("CRYST1"))
    path.write_text("\n".join([cell, *chain, *waters, "END"]))
    return path


def _place(line: str) -> np.ndarray:
    """Return the position that a PDB line holds, in angstrom."""
    return np.array([float(line[k : k + 8]) for k in (30, 38, 46)])


@pytest.fixture(scope="session")
def enkephalin(tmp_path_factory) -> str:
    """Return the path of a PDB file of Met-enkephalin, folded up at random: YGGFM, 75 atoms."""
    molecule = peptide("YGGFM", "random-coil", seed=1)
    path = tmp_path_factory.mktemp("enkephalin") / "enkephalin.pdb"
    with path.open("w") as file:
        app.PDBFile.writeFile(molecule.topology, molecule.positions, file)
    return str(path)


@pytest.fixture(params=["1PLW", "2JOF", "2WXC", "5AWL"])
def fetched_entry(request) -> tuple[str, app.PDBFile]:
    """Return a code that has a name here and its entry from the Protein Data Bank, or skip."""
    try:
        return request.param, fetch_pdb(request.param)
    except ConnectionError as error:
        pytest.skip(f"no network: {error}")


def _platforms() -> list[str]:
    there = {
        openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())
    }
    return ["Reference", "CPU", *sorted(there & {"CUDA", "OpenCL"})]


@pytest.fixture(params=_platforms())
def platform(request) -> str:
    """Return each platform's name: those that every OpenMM has, and a GPU's where there is one."""
    return request.param


@pytest.fixture(scope="session")
def tripeptide():
    """Return AAA in vacuum, extended; shared, so its System may not be changed."""
    return peptide("AAA")


@pytest.fixture
def nanometers():
    """Return a function: the positions of a Context, (N, 3) in nm."""

    def read(context):
        state = context.getState(positions=True)
        return np.array(state.getPositions(asNumpy=True)._value)

    return read


@pytest.fixture
def energy_and_forces():
    """Return a function: energy and (N, 3) forces of a Context as it stands, whole integrator."""

    def read(context):
        groups = context.getIntegrator().getIntegrationForceGroups()
        state = context.getState(energy=True, forces=True, groups=groups)
        return (
            state.getPotentialEnergy()._value,
            np.array(state.getForces(asNumpy=True)._value),
        )

    return read


@pytest.fixture
def snapshot(nanometers):
    """Return a function: everything a Context holds, exactly, as a comparable dict."""

    def take(context, positions=True):
        state = context.getState(velocities=True, parameters=True)
        held = {
            "velocities": np.array(state.getVelocities(asNumpy=True)._value).tobytes(),
            "box": np.array(state.getPeriodicBoxVectors(asNumpy=True)._value).tobytes(),
            "parameters": dict(state.getParameters()),
            "time": context.getTime()._value,
            "steps": context.getStepCount(),
            "system": openmm.XmlSerializer.serialize(context.getSystem()),
            "integrator": openmm.XmlSerializer.serialize(context.getIntegrator()),
        }
        if positions:
            held["positions"] = nanometers(context).tobytes()
        return held

    return take


@pytest.fixture
def tangent_part():
    """Return a function: vectors without their part along constraint gradients, by dense SVD."""

    def project(system, positions, vectors):
        rows = []
        for k in range(system.getNumConstraints()):
            i, j, _ = system.getConstraintParameters(k)
            row = np.zeros_like(positions)
            row[i] = positions[i] - positions[j]
            row[j] = -row[i]
            rows.append(row.ravel())
        if not rows:
            return np.array(vectors)
        basis = scipy.linalg.orth(np.array(rows).T, rcond=1e-9)
        flat = vectors.ravel()
        return (flat - basis @ (basis.T @ flat)).reshape(vectors.shape)

    return project


@pytest.fixture(scope="session")
def charmm_peptide():
    """Return AAAA of CHARMM36 in vacuum; shared, so its System may not be changed.

    OpenMM takes 10 seconds for it: most of them to match CHARMM's patches.
    """
    return peptide("AAAA", forcefield="charmm36.xml")


@pytest.fixture(scope="session")
def molecule():
    """Return AGK in vacuum, extended; shared, so its System may not be changed."""
    return peptide("AGK")


@pytest.fixture(scope="session")
def solvated(molecule):
    """Return AGK in a box of TIP3P; shared, so its System may not be changed."""
    return build_system(
        molecule.topology, molecule.positions, solvent="tip3p", padding=0.8, cutoff=0.7
    )
