"""Fixtures that several test files share."""

import os
from pathlib import Path

import numpy as np
import openmm
import pytest
import scipy.linalg

from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.prepare.system_builder import build_system


@pytest.fixture(scope="session")
def pdb_folder() -> Path:
    """Return the folder of Protein Data Bank entries, or skip where it is missing."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "pdb"
    folder = Path(os.environ.get("OPENMM_REPARAM_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no PDB files: {folder} is missing (set OPENMM_REPARAM_DATA to their folder)")
    return folder


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
def molecule():
    """Return AGK in vacuum, extended; shared, so its System may not be changed."""
    return peptide("AGK")


@pytest.fixture(scope="session")
def solvated(molecule):
    """Return AGK in a box of TIP3P; shared, so its System may not be changed."""
    return build_system(
        molecule.topology, molecule.positions, solvent="tip3p", padding=0.8, cutoff=0.7
    )
