"""Slopes, curvatures and wells of custom bonds against closed forms."""

import numpy as np
import openmm as mm
import pytest

from openmm_reparam import Potential
from openmm_reparam.precon.custom_bonds import BondCurves
from openmm_reparam.testsystems import coil


def curves_of(energy, parameters, names=(), periodic=False):
    """Curves of one bond for each tuple of parameters, all between the same two particles."""
    system, force = mm.System(), mm.CustomBondForce(energy)
    force.addGlobalParameter("scale", 1.0)
    for name in names:
        force.addPerBondParameter(name)
    for values in parameters:
        force.addBond(0, 1, values)
    force.setUsesPeriodicBoundaryConditions(periodic)
    for _ in range(2):
        system.addParticle(1.0)
    system.addForce(force)
    potential = Potential(mm.Context(system, mm.VerletIntegrator(0.001)))
    return potential, BondCurves(potential, force)


def test_slopes_and_curvatures_are_those_of_the_formula():
    # Longer than half of the default box: the periodic image must not come in.
    parameters = [(3.0, 0.2), (5.0, 1.7), (0.5, 0.9)]
    potential, curves = curves_of(
        "scale*a*(r-b)^4+a*r", parameters, names=("a", "b"), periodic=True
    )
    potential.context.setParameter("scale", 2.0)
    a, b = np.array(parameters).T
    r = np.array([0.4, 1.9, 0.01])
    assert np.allclose(curves.slopes(r), 8 * a * (r - b) ** 3 + a, rtol=1e-12)
    assert np.allclose(curves.curvatures(r), 24 * a * (r - b) ** 2, rtol=1e-5)


def test_wells_are_the_deepest_minima():
    # Minima at r = b and, higher up, at r = 3 b.
    energy = "a*(r-b)^2*(r-3*b)^2+a*b^3*r/10"
    parameters = [(1e5, 0.1), (2e4, 0.3), (40.0, 1.1)]
    length, curvature = curves_of(energy, parameters, names=("a", "b"))[1].wells()
    for (a, b), r, k in zip(parameters, length, curvature, strict=True):
        slope = np.polynomial.Polynomial.fromroots([b, b, 3 * b, 3 * b]).deriv() * a
        slope += a * b**3 / 10
        minimum = slope.roots().real.min()
        assert r == pytest.approx(minimum, rel=1e-5)
        assert k == pytest.approx(slope.deriv()(minimum), rel=1e-3)


def test_the_soft_core_of_a_coil_is_no_well():
    """Its false minimum at r = 0 lies 83 above."""
    system = coil(40)
    potential = Potential(system.simulation("Reference").context)
    length, curvature = BondCurves(potential, system.system.getForce(1)).wells()
    assert np.allclose(length, 0.113217, atol=1e-6)
    assert (curvature > 0).all()
    assert potential.counter.total == potential.counter.bonded > 0


@pytest.mark.parametrize("energy", ["1/r", "r", "step(r-1)*(r-1)^2+step(0.3-r)*(r-0.3)^2"])
def test_repulsion_attraction_and_flat_bottoms_have_no_well(energy):
    assert np.isnan(curves_of(energy, [()])[1].wells()[1]).all()


def test_lengths_with_infinite_energies_are_left_out():
    """A FENE bond ends at 0.5 nm."""
    length, _ = curves_of("-1000*log(1-(r/0.5)^2)+1e-3*(0.2/r)^12", [()])[1].wells()
    assert 0.02 < length[0] < 0.2


def test_which_bonds_hold_two_atoms_on_one_spot():
    """FENE bonds of two lengths, flat bottoms, a spring, a soft core and a Morse bond."""
    pulling = ["a*r^2", "a*step(r-0.4)*(r-0.4)^2", "-a*log(1-(r/0.5)^2)", "-a*log(1-(r/0.05)^2)"]
    pushing = ["a*(r-0.15)^2", "a*(1-exp(-20*(r-0.15)))^2", "-a*r^2", "a/(r^12+1e-9)-a/(r^6+6e-5)"]
    for energy in pulling + pushing:
        potential, curves = curves_of(energy, [(3.0,), (5.0,)], names=("a",))
        assert curves.hold_on_one_spot().tolist() == [energy in pulling] * 2
        assert potential.counter.bonded <= 4
    potential, curves = curves_of("a*r^2*(1-2*b)+b*(r-0.2)^2", [(3.0, 0), (3.0, 1)], ("a", "b"))
    assert curves.hold_on_one_spot().tolist() == [True, False]
