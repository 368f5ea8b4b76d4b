"""Energies of batches: those of the Context, whatever single structures do."""

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import unit

from openmm_reparam.errors import BudgetExhausted
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.sampling.batch_energy import BatchEnergy


@pytest.fixture
def context(dipeptide):
    return dipeptide.simulation("Reference").context


@pytest.fixture
def batch(dipeptide):
    noise = np.random.default_rng(0).normal(0, 0.002, (5, 22, 3))
    return dipeptide.positions.value_in_unit(unit.nanometer) + noise


def failing_context():
    """One particle on a spring, whose energy raises beyond 1 nm; no XML can be written of it."""

    def compute(state):
        x = state.getPositions(asNumpy=True)._value
        if x[0, 0] > 1:
            raise ValueError("too far out")
        return (x**2).sum() * unit.kilojoule_per_mole, -2 * x

    system = mm.System()
    system.addParticle(1.0)
    system.addForce(mm.PythonForce(compute))
    reference = mm.Platform.getPlatformByName("Reference")
    return mm.Context(system, mm.VerletIntegrator(0.001), reference)


def test_energies_and_forces_are_those_of_the_context(context, batch):
    before = context.getState(positions=True, velocities=True, parameters=True)
    energy = BatchEnergy(context, replicas=2)
    energies, forces = energy(batch)
    assert energy.pooled
    after = context.getState(positions=True, velocities=True, parameters=True)
    assert mm.XmlSerializer.serialize(after) == mm.XmlSerializer.serialize(before)
    assert energy.evaluations == 5
    potential = Potential(context)
    for x, e, f in zip(batch, energies, forces, strict=True):
        expected, its_forces = potential.evaluate(x)
        assert e == pytest.approx(expected)
        np.testing.assert_allclose(f, its_forces, atol=1e-6)


def test_gradient_is_that_of_finite_differences(context, batch):
    x = torch.from_numpy(batch[:2]).requires_grad_()
    energy = BatchEnergy(context)
    weights = torch.tensor([1.0, 2.0]).double()
    (weights * energy.energy(x)).sum().backward()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    step = 1e-6
    with torch.no_grad():
        ends = [energy.energy(x + sign * step * direction) @ weights for sign in (1, -1)]
    slope = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close((x.grad * direction).sum(), slope, rtol=1e-6, atol=0)


def test_structures_without_an_energy_weigh_nothing_and_harm_no_others(context, batch):
    energy = BatchEnergy(context, replicas=4)
    expected, _ = energy(batch)
    spoilt = batch.copy()
    spoilt[1, 3] = np.nan
    spoilt[2, 4] = spoilt[2, 5]
    energies, forces = energy(spoilt)
    assert energy.evaluations == 5 + 4
    assert np.isinf(energies[1])
    assert energies[2] > 1e6
    assert not forces[1].any()
    np.testing.assert_allclose(energies[[0, 3, 4]], expected[[0, 3, 4]])


def test_without_the_plugin_and_past_exceptions():
    energy = BatchEnergy(failing_context())
    assert not energy.pooled
    energies, forces = energy(np.array([[[0.5, 0, 0]], [[2.0, 0, 0]], [[0.1, 0, 0]]]))
    np.testing.assert_allclose(energies, [0.25, np.inf, 0.01])
    np.testing.assert_allclose(forces[:, 0, 0], [-1, 0, -0.2])


def test_no_more_evaluations_than_allowed(context, batch):
    energy = BatchEnergy(context, limit=8)
    energy(batch)
    with pytest.raises(BudgetExhausted, match="3 are left"):
        energy(batch)
    assert energy.evaluations == 5


def test_wrong_shapes_are_refused(context, batch):
    with pytest.raises(ValueError, match=r"\(B, 22, 3\)"):
        BatchEnergy(context)(batch[0])
