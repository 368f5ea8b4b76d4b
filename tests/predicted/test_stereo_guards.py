"""Forces that hold stereocentres: silent in good structures, strong enough to turn one back."""

from copy import deepcopy

import numpy as np
import pytest

from openmm_reparam import minimize_reparam
from openmm_reparam.predicted.stereo_guards import add_stereo_guards
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.structure.stereochemistry import Stereochemistry


@pytest.fixture(scope="module")
def molecule():
    return peptide("GAPG", "random-coil", seed=3)


def guarded(molecule, start):
    """Return a Simulation of the molecule with guards for its own states, from other positions."""
    made = deepcopy(molecule.system)
    force = add_stereo_guards(made, molecule.topology, molecule.positions._value)
    force.setForceGroup(1)
    simulation = type(molecule)("guarded", molecule.topology, made, start).simulation("Reference")
    simulation.context.setPositions(start)
    return simulation


def guard_energy(simulation) -> float:
    return simulation.context.getState(energy=True, groups={1}).getPotentialEnergy()._value


def with_inverted_alanine(molecule) -> np.ndarray:
    """Reflect the side chain and HA of ALA 2 in the plane of N, CA and C."""
    x = molecule.positions._value.copy()
    atoms = {a.name: a.index for a in molecule.topology.atoms() if a.residue.name == "ALA"}
    n, ca, c = (x[atoms[name]] for name in ("N", "CA", "C"))
    normal = np.cross(n - ca, c - ca)
    normal /= np.linalg.norm(normal)
    for name in ("CB", "HA", "HB1", "HB2", "HB3"):
        height = (x[atoms[name]] - ca) @ normal
        x[atoms[name]] -= 2 * height * normal
    return x


def test_a_good_structure_does_not_feel_them(molecule):
    assert guard_energy(guarded(molecule, molecule.positions._value)) == 0.0


def test_a_mirror_image_does(molecule):
    assert guard_energy(guarded(molecule, molecule.positions._value * [-1, 1, 1])) > 1000.0


def test_an_inverted_centre_turns_back(molecule):
    stereochemistry = Stereochemistry(molecule.topology)
    start = with_inverted_alanine(molecule)
    assert stereochemistry.chirality(start)["ALA 2 CA"] == "D"
    unguarded = molecule.simulation("Reference")
    unguarded.context.setPositions(start)
    held = guarded(molecule, start)
    states = []
    for simulation in (unguarded, held):
        minimize_reparam(simulation, progress=False)
        end = simulation.context.getState(positions=True).getPositions(asNumpy=True)
        states.append(stereochemistry.chirality(end)["ALA 2 CA"])
    assert states == ["D", "L"]
    assert guard_energy(held) < 10.0  # HA, on the wrong side still, leans on it
