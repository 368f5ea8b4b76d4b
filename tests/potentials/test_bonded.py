"""Which atoms the bonded terms couple, and the System that holds them alone."""

import copy

import numpy as np
import openmm as mm
import pytest

from openmm_reparam import Potential
from openmm_reparam.potentials.bonded import bonded_potential, bonded_terms, coupling_pattern
from openmm_reparam.potentials.potential import constraints_of
from openmm_reparam.prepare.peptides import peptide


def test_terms_of_every_bonded_kind():
    external = mm.CustomExternalForce("x")
    external.addParticle(5, [])
    compound = mm.CustomCompoundBondForce(3, "distance(p1,p2)*x3")
    compound.addBond([4, 2, 7], [])
    bond = mm.CustomBondForce("r")
    bond.addBond(1, 3, [])
    angle = mm.HarmonicAngleForce()
    angle.addAngle(0, 4, 2, 1.0, 1.0)
    torsion = mm.PeriodicTorsionForce()
    torsion.addTorsion(3, 1, 4, 2, 1, 0.0, 1.0)
    cmap = mm.CMAPTorsionForce()
    cmap.addMap(2, [0.0] * 4)
    cmap.addTorsion(0, 1, 2, 3, 4, 5, 6, 7, 8)
    expected = [
        (external, [[5]]),
        (compound, [[4, 2, 7]]),
        (bond, [[1, 3]]),
        (angle, [[0, 4, 2]]),
        (torsion, [[3, 1, 4, 2]]),
        (cmap, [[1, 2, 3, 4, 5, 6, 7, 8]]),
    ]
    for force, terms in expected:
        assert bonded_terms(force).tolist() == terms
    assert bonded_terms(mm.HarmonicBondForce()).shape[0] == 0


@pytest.mark.parametrize("kind", [mm.NonbondedForce, mm.GBSAOBCForce, mm.CMMotionRemover])
def test_forces_that_are_not_bonded_have_no_terms(kind):
    assert bonded_terms(kind()) is None


def test_pattern_of_a_bond_an_angle_a_constraint_and_a_fixed_atom():
    system = mm.System()
    for mass in (1, 1, 1, 1, 0, 1):
        system.addParticle(mass)
    bond, angle = mm.HarmonicBondForce(), mm.HarmonicAngleForce()
    bond.addBond(0, 4, 0.1, 1.0)
    angle.addAngle(0, 1, 2, 1.0, 1.0)
    angle.setForceGroup(3)
    system.addForce(bond)
    system.addForce(angle)
    system.addConstraint(2, 3, 0.1)
    moves = np.array([True] * 4 + [False, True])
    expected = np.diag(moves.astype(int))
    expected[2, 3] = expected[3, 2] = 1
    without = coupling_pattern(system, moves, groups=1).toarray()
    assert np.array_equal(without.astype(int), expected)
    expected[:3, :3] = 1
    assert np.array_equal(coupling_pattern(system, moves).toarray().astype(int), expected)


def test_constraints_of_a_system():
    molecule = peptide("GG", constraints="HBonds")
    pairs, lengths = constraints_of(molecule.system)
    assert len(pairs) == len(lengths) == molecule.system.getNumConstraints() > 0
    i, j, length = molecule.system.getConstraintParameters(3)
    assert pairs[3].tolist() == [i, j]
    assert lengths[3] == length._value


def test_bonded_energy_is_that_of_its_force_groups(tripeptide):
    system = copy.deepcopy(tripeptide.system)
    for force in system.getForces():
        if bonded_terms(force) is not None:
            force.setForceGroup(1)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(tripeptide.positions)
    state = context.getState(energy=True, forces=True, groups={1})
    potential = Potential(context)
    energy, forces = bonded_potential(potential).evaluate(potential.positions())
    assert energy == pytest.approx(state.getPotentialEnergy()._value, rel=1e-12)
    assert np.allclose(forces, state.getForces(asNumpy=True)._value, rtol=1e-10, atol=1e-8)
    assert (potential.counter.bonded, potential.counter.context) == (1, 0)


def test_the_users_system_is_not_changed(tripeptide):
    before = mm.XmlSerializer.serialize(tripeptide.system)
    potential = Potential(tripeptide.simulation("Reference").context)
    bonded_potential(potential).evaluate(potential.positions())
    assert mm.XmlSerializer.serialize(tripeptide.system) == before
