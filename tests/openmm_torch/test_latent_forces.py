"""A latent System's TorchForce and PythonForce are one potential; where one is not available."""

import sys

import numpy as np
import openmm as mm
import pytest
import torch

from openmm_reparam import PluginUnavailableError, latent_system
from openmm_reparam.openmm_torch import latent_forces
from openmm_reparam.openmm_torch.latent_gradients import torchforce_gradients
from openmm_reparam.optimizers.latents import trained
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.reparametrizations import Start, build

REFERENCE = mm.Platform.getPlatformByName("Reference")


class Branching(torch.nn.Module):
    """A module whose Python asks for the latents' values, which a trace freezes."""

    def __init__(self, positions):
        super().__init__()
        self.register_buffer("start", torch.tensor(positions))
        self.latents = torch.nn.Parameter(torch.zeros(len(positions), 3, dtype=torch.float64))

    def forward(self):
        if self.latents.abs().max() > 0.5e-3:
            return self.start + 2 * self.latents
        return self.start + self.latents


def molecule():
    return peptide("AAA", constraints=None).simulation("Reference")


def evaluated(latent, latents=None):
    """Energy and forces of a latent System."""
    context = mm.Context(latent.system, mm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(latent.positions if latents is None else latents)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, np.array(state.getForces(asNumpy=True)._value)


def compared(simulation, *arguments, **settings):
    """Evaluate the latents at random places with both forces; return how far energies spread."""
    both = [
        latent_system(simulation, *arguments, force=force, **settings)
        for force in ("torchforce", "python")
    ]
    rng = np.random.default_rng(0)
    start = np.array(both[0].positions._value)
    assert np.array_equal(start, both[1].positions._value)
    energies = []
    for scale in (0.0, 1e-4, 1e-2):
        latents = start + scale * rng.normal(size=start.shape)
        (one, forces), (other, same) = (evaluated(latent, latents) for latent in both)
        assert one == pytest.approx(other, rel=1e-12, abs=1e-9)
        assert np.abs(forces - same).max() <= 1e-11 * np.abs(forces).max()
        energies.append(one)
        decoded = [latent.decode(latents) for latent in both]
        assert np.allclose(*decoded, rtol=0, atol=1e-14)
    return np.ptp(energies)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("linear", {"count": 10}),
        ("gcn", {"hidden": (16,), "dtype": torch.float64}),
        ("spectral", {}),
        ("cartesian", {}),
    ],
)
def test_both_forces_are_one_to_double_precision(name, settings, weights):
    pytest.importorskip("openmmtorch")
    assert compared(molecule(), name, weights=weights, **settings) > 1e-3


def water_with_a_site():
    """A bent molecule with a charged virtual site, a fixed ion and a global parameter, in a box."""
    system = mm.System()
    for mass in (16.0, 1.0, 1.0, 0.0, 0.0):
        system.addParticle(mass)
    system.setVirtualSite(3, mm.ThreeParticleAverageSite(0, 1, 2, 0.6, 0.2, 0.2))
    system.setDefaultPeriodicBoxVectors([2, 0, 0], [0, 2, 0], [0, 0, 2])
    bonds = mm.HarmonicBondForce()
    for pair in ((0, 1), (0, 2), (1, 2)):
        bonds.addBond(*pair, 0.1, 2e5)
    nonbonded = mm.NonbondedForce()
    nonbonded.setNonbondedMethod(mm.NonbondedForce.PME)
    nonbonded.setCutoffDistance(0.9)
    for charge in (0.0, 0.5, 0.5, -1.0, 0.3):
        nonbonded.addParticle(charge, 0.3, 0.5)
    for i in range(4):
        for j in range(i):
            nonbonded.addException(i, j, 0.0, 1.0, 0.0)
    pull = mm.CustomExternalForce("strength*x^2")
    pull.addGlobalParameter("strength", 1.0)
    pull.addParticle(0, [])
    ignored = mm.CustomExternalForce("1e6*y")
    ignored.addParticle(0, [])
    ignored.setForceGroup(3)
    for force in (bonds, nonbonded, pull, ignored):
        system.addForce(force)
    integrator = mm.VerletIntegrator(0.001)
    integrator.setIntegrationForceGroups({0})
    context = mm.Context(system, integrator, REFERENCE)
    context.setPeriodicBoxVectors([2.2, 0, 0], [0, 2.2, 0], [0, 0, 2.2])
    context.setParameter("strength", 50.0)
    context.setPositions([[0.3, 0, 0], [0.4, 0, 0], [0.34, 0.09, 0], [0, 0, 0], [0.7, 0.1, 0.2]])
    context.computeVirtualSites()
    return context


def test_virtual_sites_fixed_atoms_box_parameters_and_groups(force, nanometers, energy_and_forces):
    context = water_with_a_site()
    before = nanometers(context)
    latent = latent_system(context, "cartesian", force=force)
    inner = mm.Context(latent.system, mm.VerletIntegrator(0.001), REFERENCE)
    latents = np.array(latent.positions._value)
    latents += np.random.default_rng(1).normal(0, 0.01, latents.shape)
    inner.setPositions(latents)
    state = inner.getState(energy=True, forces=True)
    latent.write_back(inner)
    energy, forces = energy_and_forces(context)
    assert state.getPotentialEnergy()._value == pytest.approx(energy, rel=1e-12)
    found = np.array(state.getForces(asNumpy=True)._value)
    assert np.allclose(found[:3], forces[:3], rtol=1e-10)
    assert not found[3:].any()
    after = nanometers(context)
    assert np.array_equal(after[4], before[4])
    assert np.allclose(after[3], [0.6, 0.2, 0.2] @ after[:3], atol=1e-12)


def test_both_forces_are_one_with_virtual_sites_in_a_box():
    pytest.importorskip("openmmtorch")
    assert compared(water_with_a_site(), "cartesian") > 1e-3


def test_a_pythonforce_runs_the_module_as_it_is():
    simulation = molecule()
    potential = Potential(simulation.context)
    start = potential.positions()
    latent = latent_system(simulation, Branching(start), force="python")
    for size, factor in ((2e-4, 1), (1e-3, 2)):
        latents = np.zeros((33, 3))
        latents[0] = size
        x = start.copy()
        x[0] += factor * size
        energy, forces = potential.evaluate(x)
        found, pulled = evaluated(latent, latents)
        assert found == pytest.approx(energy, rel=1e-12)
        assert np.allclose(pulled, factor * forces, rtol=1e-10)


def test_what_cannot_be_pickled_works_and_is_not_written():
    class Local(Branching):
        pass

    simulation = molecule()
    latent = latent_system(
        simulation, Local(Potential(simulation.context).positions()), force="python"
    )
    expected = simulation.context.getState(energy=True).getPotentialEnergy()._value
    assert evaluated(latent)[0] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(mm.OpenMMException, match="could not be pickled"):
        mm.XmlSerializer.serialize(latent.system)


def test_a_molecule_that_cannot_be_written_as_xml_works():
    system = mm.System()
    for _ in range(3):
        system.addParticle(12.0)

    def bowl(state):
        x = state.getPositions(asNumpy=True)._value
        return np.sum(x**2), -2 * x

    system.addForce(mm.PythonForce(bowl))
    context = mm.Context(system, mm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(np.eye(3))
    latent = latent_system(context, "cartesian", force="python")
    assert evaluated(latent)[0] == pytest.approx(3.0, rel=1e-12)


def test_copies_of_the_system_are_independent_of_the_molecule():
    simulation = molecule()
    latent = latent_system(simulation, "linear", count=10, force="python")
    expected = evaluated(latent)
    copied = mm.XmlSerializer.clone(latent.system)
    positions = latent.positions
    del latent, simulation
    context = mm.Context(copied, mm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    assert state.getPotentialEnergy()._value == expected[0]
    assert np.array_equal(state.getForces(asNumpy=True)._value, expected[1])


def test_evaluations_of_the_molecule_are_counted(force):
    latent = latent_system(molecule(), "linear", count=10, force=force)
    assert latent.evaluations == 0
    integrator = mm.VerletIntegrator(0.0001)
    context = mm.Context(latent.system, integrator, REFERENCE)
    context.setPositions(latent.positions)
    context.getState(energy=True, forces=True)
    assert latent.evaluations == 1
    integrator.step(10)
    assert 10 <= latent.evaluations <= 12
    evaluated(latent)
    assert 11 <= latent.evaluations <= 13


def test_openmms_minimizer_takes_a_reporter_with_a_pythonforce():
    class Counting(mm.MinimizationReporter):
        calls = 0

        def report(self, iteration, x, grad, args):
            self.calls += 1
            return False

    latent = latent_system(molecule(), "spectral", force="python")
    context = mm.Context(latent.system, mm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(latent.positions)
    reporter = Counting()
    mm.LocalEnergyMinimizer.minimize(context, 0.1, 20, reporter)
    assert reporter.calls > 5


def test_errors_of_a_module_arrive_in_its_words():
    class Failing(Branching):
        def forward(self):
            if self.latents.abs().max() > 0:
                raise RuntimeError("this module fails away from zero")
            return super().forward()

    simulation = molecule()
    module = Failing(Potential(simulation.context).positions())
    latent = latent_system(simulation, module, force="python")
    with pytest.raises(mm.OpenMMException, match="fails away from zero"):
        evaluated(latent, np.ones((33, 3)))
    with pytest.raises(mm.OpenMMException, match="NaN"):
        evaluated(
            latent_system(simulation, "linear", count=8, force="python"), np.full((8, 3), np.inf)
        )


def test_without_openmmtorch_the_error_says_what_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "openmmtorch", None)
    for force in ("auto", None, "torchforce", "pythontorchforce"):
        with pytest.raises(ImportError, match='force="python"'):
            latent_system(molecule(), "linear", count=8, force=force)
    assert np.isfinite(evaluated(latent_system(molecule(), "linear", count=8, force="python"))[0])


def test_without_the_plugin_the_error_says_what_works(monkeypatch):
    pytest.importorskip("openmmtorch")

    def missing(context):
        raise PluginUnavailableError("the C++ plugin is not installed.")

    monkeypatch.setattr(latent_forces, "torch_potential", missing)
    with pytest.raises(PluginUnavailableError, match='not installed. force="python"'):
        latent_system(molecule(), "linear", count=8, force="torchforce")


def test_a_plugin_of_another_torch_is_said_to_be_one(monkeypatch):
    pytest.importorskip("openmmtorch")

    def potential(*arguments):
        raise RuntimeError("isGenericDict() INTERNAL ASSERT FAILED at ivalue_inl.h")

    latent_system(molecule(), "linear", count=8, force="torchforce")
    monkeypatch.setattr(torch.classes.openmm_reparam, "Potential", potential)
    with pytest.raises(PluginUnavailableError, match='another torch.* force="python"'):
        latent_system(molecule(), "linear", count=8, force="torchforce")


def test_wrong_forces_are_refused():
    with pytest.raises(ValueError, match="pythontorchforce"):
        latent_system(molecule(), "linear", count=8, force="jax")


def test_auto_takes_torchforce_of_openmmtorch_1_5():
    module = pytest.importorskip("openmmtorch")
    if hasattr(module, "PythonTorchForce"):
        pytest.skip("this openmmtorch has PythonTorchForce")
    assert latent_forces.chosen_force("auto") == latent_forces.chosen_force(None) == "torchforce"
    with pytest.raises(ImportError, match="no PythonTorchForce"):
        latent_forces.chosen_force("pythontorchforce")


@pytest.mark.usefixtures("newer_openmmtorch")
def test_auto_takes_pythontorchforce_where_openmmtorch_has_it():
    assert latent_forces.chosen_force("auto") == latent_forces.chosen_force(None)
    simulation = molecule()
    latent = latent_system(simulation, "gcn", hidden=(8,), weights=True)
    same = latent_system(simulation, "gcn", hidden=(8,), weights=True, force="python")
    for one, other in zip(evaluated(latent), evaluated(same), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("force", ["torchforce", "python"])
def test_gradients_of_a_latent_stage(force):
    if force == "torchforce":
        pytest.importorskip("openmmtorch")
    potential = Potential(molecule().context)
    x = potential.positions()
    module = build("cartesian", Start(potential, x))
    point = torchforce_gradients(module, potential, force)()
    energy, forces = potential.evaluate(x)
    assert point.energy == pytest.approx(energy, rel=1e-12)
    assert np.allclose(point.forces, forces, rtol=1e-10)
    (latents,) = trained(module)
    assert np.allclose(latents.grad.numpy(), -forces, rtol=1e-10)
