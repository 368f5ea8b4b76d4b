"""Slopes and curvatures of custom bonds, angles and torsions against closed forms."""

import numpy as np
import openmm as mm
import pytest

from openmm_reparam import Potential
from openmm_reparam.errors import BudgetExhausted
from openmm_reparam.precon.term_curves import TermCurves

KINDS = {
    "bond": (mm.CustomBondForce, "r", (0, 1)),
    "angle": (mm.CustomAngleForce, "theta", (0, 1, 2)),
    "torsion": (mm.CustomTorsionForce, "theta", (0, 1, 2, 3)),
}


def curves_of(kind, energy, parameters=((),), names=()):
    """Curves of one term for each tuple of parameters; q in the energy is its coordinate."""
    force_class, variable, atoms = KINDS[kind]
    force = force_class(f"{energy}; q={variable}")
    force.addGlobalParameter("scale", 1.0)
    for name in names:
        getattr(force, f"addPer{kind.capitalize()}Parameter")(name)
    for values in parameters:
        getattr(force, f"add{kind.capitalize()}")(*atoms, values)
    force.setUsesPeriodicBoundaryConditions(True)
    system = mm.System()
    for _ in range(4):
        system.addParticle(1.0)
    system.addForce(force)
    platform = mm.Platform.getPlatformByName("Reference")
    potential = Potential(mm.Context(system, mm.VerletIntegrator(0.001), platform))
    return potential, TermCurves(potential, force)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_those_of_the_formula(kind):
    """Each term has its own parameters, and all follow a global one that the user changes."""
    parameters = [(3.0, 0.2), (5.0, 1.7), (-0.5, 0.9), (2.0, -1.0)]
    potential, curves = curves_of(kind, "scale*a*(sin(q)+(q-b)^3)", parameters, ("a", "b"))
    potential.context.setParameter("scale", 2.0)
    a, b = np.array(parameters).T
    q = np.array([0.4, 1.9, 3.1, 0.02])
    if kind == "torsion":
        q[1:3] *= -1
    slopes, curvatures = curves.derivatives(q)
    assert (potential.counter.bonded, potential.counter.total) == (2, 2)
    assert np.allclose(slopes, 2 * a * (np.cos(q) + 3 * (q - b) ** 2), rtol=1e-6)
    assert np.allclose(curvatures, 2 * a * (-np.sin(q) + 6 * (q - b)), rtol=1e-5)


@pytest.mark.parametrize("turn", [-2 * np.pi, 0.0, 2 * np.pi])
@pytest.mark.parametrize("dihedral", [-np.pi, 0.0, np.pi])
def test_torsions_are_periodic(dihedral, turn):
    curves = curves_of("torsion", "cos(2*q)")[1]
    slope, curvature = curves.derivatives([dihedral + turn])
    assert np.allclose([slope, curvature], [[0.0], [-4.0]], atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, np.pi])
def test_straight_angles_have_the_curvature_nearby(angle):
    """OpenMM's forces have no direction there."""
    curves = curves_of("angle", "1+cos(q)")[1]
    assert np.allclose(curves.curvatures([angle]), -np.cos(angle), rtol=1e-3)


def test_a_bond_of_length_zero_has_the_curvature_nearby():
    curves = curves_of("bond", "7*q^2+q^4")[1]
    assert np.allclose(curves.curvatures([0.0]), 14.0, rtol=1e-4)


def test_no_evaluation_is_wasted_on_a_budget_that_is_too_small():
    potential, curves = curves_of("angle", "q^2")
    potential.counter.limit = 1
    with pytest.raises(BudgetExhausted):
        curves.derivatives([1.0])
    assert potential.counter.total == 0
