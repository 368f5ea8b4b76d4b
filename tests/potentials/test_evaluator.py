"""Evaluations on the constraint manifold: what holds at every point."""

import numpy as np
import openmm as mm
import pytest
from openmm import app

from openmm_reparam import Potential
from openmm_reparam.potentials.evaluator import Evaluator
from openmm_reparam.prepare.peptides import peptide


def evaluator_of(sequence="AGS", **settings):
    simulation = peptide(sequence, **settings).simulation("Reference")
    return Evaluator(Potential(simulation.context, simulation.topology))


def test_constraints_hold_and_forces_are_tangent():
    evaluator = evaluator_of(constraints=app.HBonds)
    x = evaluator.potential.positions()
    distorted = x + np.random.default_rng(0).normal(0, 0.005, x.shape)
    assert evaluator.constraint_error(distorted) > 1e-2
    point = evaluator.evaluate(distorted)
    assert evaluator.constraint_error(point.positions) <= evaluator.manifold.tolerance
    i, j = evaluator.manifold.pairs.T
    along = point.positions[i] - point.positions[j]
    assert np.abs(np.einsum("ij,ij->i", along, point.forces[i] - point.forces[j])).max() < 1e-6
    projected = evaluator.project(point.positions, point.forces)
    assert np.allclose(projected, point.forces, atol=1e-6)


def test_tangent_forces_are_the_slope_along_the_manifold():
    evaluator = evaluator_of(constraints=app.HBonds)
    point = evaluator.evaluate(evaluator.potential.positions())
    rng = np.random.default_rng(1)
    way = evaluator.project(point.positions, rng.normal(size=point.positions.shape))
    step = 1e-5
    ahead, behind = (evaluator.evaluate(point.positions + s * step * way) for s in (1, -1))
    slope = (ahead.energy - behind.energy) / (2 * step)
    assert slope == pytest.approx(-np.vdot(point.forces, way), rel=1e-4)


def test_an_unconstrained_system_is_evaluated_as_it_is():
    evaluator = evaluator_of(constraints=None)
    x = evaluator.potential.positions()
    point = evaluator.evaluate(x)
    assert evaluator.project is None
    assert evaluator.constraint_error(x) == 0.0
    assert np.array_equal(point.positions, x)
    assert evaluator.potential.counter.total == 1
    assert point.energy == evaluator.potential.evaluate(x)[0]


def system_of_a_fixed_atom_and_a_site():
    """Return a System of two atoms, one fixed and one free, and a site halfway between them."""
    system, bond = mm.System(), mm.HarmonicBondForce()
    for mass in (0.0, 1.0, 0.0):
        system.addParticle(mass)
    system.setVirtualSite(2, mm.TwoParticleAverageSite(0, 1, 0.5, 0.5))
    bond.addBond(0, 1, 0.1, 1000.0)
    system.addForce(bond)
    return system


def test_fixed_atoms_do_not_count_and_sites_follow_their_parents():
    context = mm.Context(system_of_a_fixed_atom_and_a_site(), mm.VerletIntegrator(0.001))
    evaluator = Evaluator(Potential(context))
    point = evaluator.evaluate(np.array([[0.0, 0, 0], [0.3, 0, 0], [9.0, 9, 9]]))
    assert evaluator.num_moving == 1
    assert evaluator.rms(point) == pytest.approx(200.0)
    assert np.allclose(point.positions[2], [0.15, 0, 0])


def test_a_system_in_which_nothing_can_move_is_refused():
    system = mm.System()
    system.addParticle(0.0)
    context = mm.Context(system, mm.VerletIntegrator(0.001))
    with pytest.raises(ValueError, match="nothing can move"):
        Evaluator(Potential(context))
