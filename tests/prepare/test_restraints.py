"""Restraints on heavy atoms against their formula."""

import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmm_reparam.prepare.restraints import restrain_heavy_atoms
from openmm_reparam.prepare.system_builder import build_system
from openmm_reparam.testsystems import lennard_jones_cluster


def test_restraint_energy_is_half_k_d_squared(molecule):
    built = build_system(molecule.topology, molecule.positions)
    force = restrain_heavy_atoms(built.system, built.topology, built.positions, 500.0)
    force.setForceGroup(5)
    heavy = [a for a in built.topology.atoms() if a.element is not app.element.hydrogen]
    assert force.getNumParticles() == len(heavy)
    context = built.simulation("Reference").context
    state = context.getState(energy=True, forces=True, groups={5})
    assert state.getPotentialEnergy()._value == 0.0
    assert np.isfinite(state.getForces(asNumpy=True)._value).all()

    shift = np.array([0.1, -0.2, 0.2])
    context.setPositions(built.positions._value + shift)
    moved = context.getState(energy=True, groups={5}).getPotentialEnergy()._value
    assert moved == pytest.approx(0.5 * 500.0 * 0.09 * len(heavy))
    context.setParameter("restraint_k", 100.0)
    softer = context.getState(energy=True, groups={5}).getPotentialEnergy()._value
    assert softer == pytest.approx(moved / 5)


def test_restraint_default_is_ten_kilocalories_per_square_angstrom(molecule):
    built = build_system(molecule.topology, molecule.positions)
    force = restrain_heavy_atoms(built.system, built.topology, built.positions)
    assert force.getGlobalParameterDefaultValue(0) == pytest.approx(4184.0)


def test_restraint_in_a_box_holds_to_the_nearest_image_and_spares_water(molecule, solvated):
    system = openmm.XmlSerializer.clone(solvated.system)
    force = restrain_heavy_atoms(system, solvated.topology, solvated.positions)
    force.setForceGroup(5)
    heavy = [a for a in molecule.topology.atoms() if a.element is not app.element.hydrogen]
    assert force.getNumParticles() == len(heavy)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    box = np.diag(solvated.topology.getPeriodicBoxVectors()._value)
    context.setPositions(solvated.positions._value + box)
    state = context.getState(energy=True, forces=True, groups={5})
    assert state.getPotentialEnergy()._value == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(state.getForces(asNumpy=True)._value).all()


def test_bad_restraints_are_refused(molecule):
    built = build_system(molecule.topology, molecule.positions)
    with pytest.raises(TypeError, match="force_constant"):
        restrain_heavy_atoms(built.system, built.topology, built.positions, 1 * unit.kelvin)
    with pytest.raises(ValueError, match="negative"):
        restrain_heavy_atoms(built.system, built.topology, built.positions, -1.0)
    with pytest.raises(ValueError, match="particles"):
        restrain_heavy_atoms(openmm.System(), built.topology, built.positions)
    argon = lennard_jones_cluster(3)
    with pytest.raises(ValueError, match="no heavy atom"):
        restrain_heavy_atoms(argon.system, argon.topology, argon.positions)
