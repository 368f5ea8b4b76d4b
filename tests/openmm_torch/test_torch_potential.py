"""The C++ plugin from Python: torch_potential against the Context it copies."""

import sys
import threading

import numpy as np
import openmm as mm
import pytest
import torch

from openmm_reparam import PluginUnavailableError, Potential, torch_potential
from openmm_reparam.openmm_torch import torch_potential as plugin
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.testsystems import lennard_jones_cluster


def context_of(molecule, platform):
    return molecule.simulation(platform).context


@pytest.mark.parametrize("solvent", ["vacuum", "gbn2"])
def test_it_evaluates_what_the_context_evaluates(solvent, platform):
    context = context_of(peptide("AGS", solvent=solvent), platform)
    potential = Potential(context)
    x = potential.positions()
    batch = x + np.random.default_rng(0).normal(0, 0.003, (4, *x.shape))
    copied = torch_potential(context, replicas=4)
    energies, forces = copied.evaluate(torch.from_numpy(batch))
    for k, configuration in enumerate(batch):
        energy, force = potential.evaluate(configuration)
        assert energies[k].item() == pytest.approx(energy, rel=1e-6, abs=1e-3)
        assert np.allclose(forces[k].numpy(), force, rtol=1e-4, atol=0.05)
    assert copied.num_evaluations() == 4
    assert copied.num_particles() == len(x)
    assert copied.platform() == platform


def test_a_batch_is_single_evaluations_bit_for_bit():
    context = context_of(lennard_jones_cluster(38, seed=0), "Reference")
    x = torch.from_numpy(Potential(context).positions())
    batch = x + 0.01 * torch.randn((5, *x.shape), dtype=torch.float64)
    together, alone = torch_potential(context, replicas=5), torch_potential(context)
    energies, forces = together.evaluate(batch)
    for k in range(5):
        energy, force = alone.evaluate(batch[k : k + 1])
        assert torch.equal(energies[k : k + 1], energy)
        assert torch.equal(forces[k : k + 1], force)


def test_box_parameters_and_force_groups_are_the_contexts():
    system = mm.System()
    for _ in range(2):
        system.addParticle(12.0)
    spring = mm.CustomCompoundBondForce(2, "strength*distance(p1,p2)^2")
    spring.addGlobalParameter("strength", 1.0)
    spring.addBond([0, 1], [])
    spring.setUsesPeriodicBoundaryConditions(True)
    other = mm.CustomExternalForce("1000")
    other.addParticle(0)
    other.setForceGroup(3)
    for force in (spring, other):
        system.addForce(force)
    integrator = mm.VerletIntegrator(0.001)
    integrator.setIntegrationForceGroups({0})
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
    context.setParameter("strength", 7.0)
    context.setPeriodicBoxVectors([3, 0, 0], [0, 3, 0], [0, 0, 3])
    x = torch.tensor([[[0.0, 0, 0], [2.5, 0, 0]]], dtype=torch.float64)
    energies, _ = torch_potential(context).evaluate(x)
    assert energies.item() == pytest.approx(7.0 * 0.5**2)


def test_the_gradient_is_checked_by_torch():
    context = context_of(lennard_jones_cluster(4, seed=0), "Reference")
    copied = torch_potential(context)
    x = torch.from_numpy(Potential(context).positions())[None].requires_grad_(True)
    assert torch.autograd.gradcheck(copied.energy, x, eps=1e-6, atol=1e-4, nondet_tol=0)


def test_messages_reach_python_whole():
    context = context_of(peptide("AA"), "Reference")
    copied = torch_potential(context, replicas=2)
    count = copied.num_particles()
    nan = torch.full((1, count, 3), torch.nan, dtype=torch.float64)
    cases = [
        (nan, "position of particle 0 is NaN or infinite"),
        (torch.zeros(count, 3), rf"needs \(batch, {count}, 3\)"),
        (torch.zeros(1, count, 3, dtype=torch.int64), "float32 or float64"),
        (torch.zeros(3, count, 3, dtype=torch.float64), "3 configurations .* 2 replicas"),
    ]
    for wrong, message in cases:
        with pytest.raises((RuntimeError, ValueError, TypeError), match=message):
            copied.evaluate(wrong)
    made = torch.classes.openmm_reparam.Potential
    xml = mm.XmlSerializer.serialize(context.getSystem())
    with pytest.raises(ValueError, match="XML is empty"):
        made("", "Reference", {}, 1, {}, [], -1)
    with pytest.raises(RuntimeError, match="no registered Platform called"):
        made(xml, "Abacus", {}, 1, {}, [], -1)
    with pytest.raises(ValueError, match="replicas is 0"):
        made(xml, "Reference", {}, 0, {}, [], -1)
    with pytest.raises(ValueError, match="box has 3 numbers"):
        made(xml, "Reference", {}, 1, {}, [1.0, 1.0, 1.0], -1)


def test_other_python_threads_run_while_it_evaluates():
    """No lock of the interpreter is held: two threads make progress at once."""
    context = context_of(peptide("NLYIQWLKDGG"), "Reference")
    copied = torch_potential(context, replicas=8)
    x = torch.from_numpy(Potential(context).positions()).expand(8, -1, -1)
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(1e-4):
            ticks.append(copied.num_replicas())

    before = sys.getswitchinterval()
    # With an interval this long, a thread runs only where the other gives the lock away.
    sys.setswitchinterval(60)
    try:
        thread = threading.Thread(target=tick)
        thread.start()
        at_start = len(ticks)
        for _ in range(20):
            copied.evaluate(x)
        during = len(ticks) - at_start
    finally:
        done.set()
        sys.setswitchinterval(before)
        thread.join()
    assert during > 5


def test_a_missing_plugin_is_said_in_words(monkeypatch, tmp_path):
    monkeypatch.setattr(plugin, "library_path", lambda: tmp_path / plugin.LIBRARY)
    monkeypatch.setattr(plugin, "_registered", lambda: False)
    with pytest.raises(PluginUnavailableError, match=r"OPENMM_REPARAM_PLUGIN=require"):
        plugin.load_plugin()
    (tmp_path / plugin.LIBRARY).write_text("not a library")
    with pytest.raises(PluginUnavailableError, match="cannot be loaded"):
        plugin.load_plugin()


def test_systems_that_cannot_be_written_are_refused():
    system = mm.System()
    system.addParticle(1.0)
    system.addForce(mm.PythonForce(lambda state: (0.0, np.zeros((1, 3)))))
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="cannot be written as XML"):
        torch_potential(context)


def test_python_forces_are_refused_that_could_be_written():
    """The plugin's threads do not hold the interpreter: loading one was the end of the process."""
    system = mm.System()
    system.addParticle(1.0)
    system.addForce(mm.PythonForce(np.sum))
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    with pytest.raises(ValueError, match="PythonForce"):
        torch_potential(context)
