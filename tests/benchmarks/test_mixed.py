"""The mixed System: which atoms are xTB's, what is counted, and how a run is judged."""

from importlib import import_module

import numpy as np
import pytest

for library in ("rdkit", "tblite", "openmmml"):
    pytest.importorskip(library, reason=f"{library} is not installed")


@pytest.fixture(scope="module")
def mixed():
    return import_module("benchmarks.mixed")


@pytest.fixture(scope="module")
def classical(mixed):
    return mixed.in_water(0)


def test_the_dipeptide_is_that_of_amber_in_300_waters(mixed, classical):
    molecule, atoms = classical
    assert len(atoms) == 22
    assert molecule.topology.getNumAtoms() == 22 + 3 * mixed.WATERS
    names = [residue.name for residue in molecule.topology.residues()]
    assert names[:3] == ["ACE", "ALA", "NME"]
    assert set(names[3:]) == {"HOH"}


def test_the_dipeptide_is_xtb_and_water_is_not(mixed, classical):
    molecule, atoms = classical
    system = mixed.mixed(molecule, atoms)[0].system
    # Rigid waters keep their constraints, the dipeptide has none.
    assert system.getNumConstraints() == 3 * mixed.WATERS
    (force,) = [f for f in system.getForces() if type(f).__name__ == "PythonForce"]
    assert list(force.getParticles()) == atoms


def test_the_dipeptide_alone_has_the_forces_of_xtb(mixed, classical):
    molecule, atoms = classical
    made, oracle = mixed.mixed(molecule, atoms)
    context = made.simulation("CPU").context
    place = np.array(molecule.positions._value)
    energy = context.getState(energy=True).getPotentialEnergy()._value
    assert len(oracle.trace) == 1
    assert oracle.trace[0][2] == pytest.approx(oracle.oracle(place[atoms])[0], abs=1e-3)
    # The rest is water's: some -40 kJ/mol each, unrelaxed.
    assert abs(energy - oracle.trace[0][2]) < 60 * mixed.WATERS


def test_a_run_is_counted_and_judged(mixed):
    found = mixed.run_method("openmm-reparam", 0, 50.0, "CPU")
    assert found["converged"]
    assert found["rms_force"] <= 50.5
    assert 5 < found["force_evaluations"] < 500
    assert 0 < found["oracle_seconds"] < found["seconds"]
    report = import_module("benchmarks.report")
    run = report.record("CPU", **found)
    text = mixed.tables(mixed.summarize([run]))["mixed"]
    assert f"| {mixed.CASE} | 50 | openmm-reparam | " in text
