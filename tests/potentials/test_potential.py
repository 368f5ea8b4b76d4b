"""The only module that evaluates OpenMM: energies, counts, refusals and names."""

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import app, unit

from openmm_reparam import BudgetExhausted, NonFiniteError, Potential
from openmm_reparam.potentials.potential import EvaluationCounter
from openmm_reparam.testsystems import lennard_jones_cluster


def bare_context(system, positions, platform="Reference", integrator=None):
    integrator = integrator or mm.VerletIntegrator(0.001)
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName(platform))
    context.setPositions(positions)
    return context


def test_energy_and_forces_are_those_of_the_context(tripeptide, platform, energy_and_forces):
    simulation = tripeptide.simulation(platform)
    energy, forces = energy_and_forces(simulation.context)
    potential = Potential(simulation.context)
    got_energy, got_forces = potential.evaluate(potential.positions())
    assert got_energy == pytest.approx(energy, rel=1e-6)
    assert np.allclose(got_forces, forces, rtol=1e-5, atol=1e-3)


def test_forces_that_a_gpu_cannot_hold_come_from_the_cpu(monkeypatch):
    """They are cut at 2^31 there; here the Reference platform plays the GPU."""
    cluster = lennard_jones_cluster(13, seed=0)
    monkeypatch.setattr("openmm_reparam.potentials.potential.UNBOUNDED", ("CPU",))
    potential = Potential(cluster.simulation("Reference").context)
    judge = Potential(cluster.simulation("CPU").context)
    x = potential.positions()
    small = potential.evaluate(x)
    assert np.abs(small[1]).max() < 2e9
    assert potential.counter.context == potential.counter.total == 1
    x[1] = x[0] + [0.05, 0, 0]
    energy, forces = potential.evaluate(x)
    assert np.abs(forces).max() > 2e9
    assert potential.counter.context == 2
    assert potential.counter.side == 1
    expected = judge.evaluate(x)
    assert energy == pytest.approx(expected[0], rel=1e-6)
    assert np.allclose(forces, expected[1], rtol=1e-5, atol=1e-3)
    x[1] = x[0]
    with pytest.raises(NonFiniteError, match="atom 0.*atom 1"):
        potential.evaluate(x)


def test_gradient_of_the_torch_energy_is_that_of_finite_differences(tripeptide):
    potential = Potential(tripeptide.simulation("Reference").context)
    start = torch.from_numpy(potential.positions()).requires_grad_()
    energy = potential.energy(start)
    (3.0 * energy).backward()
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.standard_normal(start.shape)
        step = 1e-6
        x = start.detach().numpy()
        rise = potential.evaluate(x + step * direction)[0]
        fall = potential.evaluate(x - step * direction)[0]
        slope = (rise - fall) / (2 * step)
        assert 3 * slope == pytest.approx(float((start.grad.numpy() * direction).sum()), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_energy_is_one_evaluation_in_double_precision(tripeptide, dtype):
    potential = Potential(tripeptide.simulation("Reference").context)
    positions = torch.from_numpy(potential.positions()).to(dtype).requires_grad_()
    energy = potential.energy(positions)
    energy.backward()
    assert energy.dtype == torch.float64
    assert positions.grad.dtype == dtype
    assert potential.counter.total == 1


def test_every_kind_of_evaluation_is_counted_in_one_counter(tripeptide):
    potential = Potential(tripeptide.simulation("Reference").context)
    side = potential.side_potential()
    x = potential.positions()
    potential.evaluate(x)
    side.evaluate(x)
    side.evaluate(x)
    counter = potential.counter
    assert (counter.context, counter.side, counter.bonded, counter.total) == (1, 2, 0, 3)


def test_the_evaluation_past_the_limit_is_not_made(tripeptide):
    counter = EvaluationCounter(limit=2)
    potential = Potential(tripeptide.simulation("Reference").context, counter=counter)
    x = potential.positions()
    potential.evaluate(x)
    potential.evaluate(x)
    with pytest.raises(BudgetExhausted, match="2"):
        potential.evaluate(x + 0.1)
    assert counter.total == 2
    assert np.array_equal(potential.positions(), x)


def test_wrong_shapes_are_refused_in_words(tripeptide):
    potential = Potential(tripeptide.simulation("Reference").context)
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(33, 3\)"):
        potential.evaluate(np.zeros((2, 3)))
    assert potential.counter.total == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_positions_name_the_atoms(tripeptide, bad):
    simulation = tripeptide.simulation("Reference")
    potential = Potential(simulation.context, simulation.topology)
    x = potential.positions()
    before = x.copy()
    x[12, 1] = bad
    atom = list(simulation.topology.atoms())[12]
    with pytest.raises(NonFiniteError, match=rf"{atom.name} of ALA {atom.residue.id}") as caught:
        potential.evaluate(x)
    assert caught.value.atoms == (12,)
    assert potential.counter.total == 0
    assert np.array_equal(potential.positions(), before)


def test_a_clash_names_the_clashing_atoms_first(platform):
    cluster = lennard_jones_cluster(13, seed=0)
    simulation = cluster.simulation(platform)
    potential = Potential(simulation.context, simulation.topology)
    x = potential.positions()
    x[7] = x[3]
    with pytest.raises(NonFiniteError, match="AR 4.*AR 8|AR 8.*AR 4") as caught:
        potential.evaluate(x)
    assert set(caught.value.atoms[:2]) == {3, 7}


def test_massless_atoms_and_virtual_sites_do_not_move():
    system = mm.System()
    for mass in (16.0, 1.0, 0.0, 0.0):
        system.addParticle(mass)
    system.setVirtualSite(3, mm.TwoParticleAverageSite(0, 1, 0.5, 0.5))
    force = mm.CustomExternalForce("10*(x^2+y^2+z^2)")
    for i in range(4):
        force.addParticle(i, [])
    system.addForce(force)
    potential = Potential(bare_context(system, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [5, 5, 5]]))
    assert potential.moves.tolist() == [True, True, False, False]
    assert potential.virtual_sites.tolist() == [False, False, False, True]
    energy, forces = potential.evaluate(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [9, 9, 9]]))
    # The site stands half way, whatever was passed, and hands its force on.
    assert energy == pytest.approx(10 * (3 + 0.5))
    assert np.array_equal(forces[2:], np.zeros((2, 3)))
    assert np.allclose(forces[0], [-20 - 5, -5, 0])
    assert np.allclose(potential.positions()[3], [0.5, 0.5, 0])


def test_only_the_integrators_force_groups_count():
    system = mm.System()
    system.addParticle(1.0)
    for group, k in ((0, 1.0), (3, 10.0)):
        force = mm.CustomExternalForce(f"{k}*x^2")
        force.addParticle(0, [])
        force.setForceGroup(group)
        system.addForce(force)
    integrator = mm.VerletIntegrator(0.001)
    integrator.setIntegrationForceGroups({3})
    potential = Potential(bare_context(system, [[1, 0, 0]], integrator=integrator))
    assert potential.evaluate(np.array([[1.0, 0, 0]]))[0] == pytest.approx(10)
    assert potential.side_potential().evaluate(np.array([[1.0, 0, 0]]))[0] == pytest.approx(10)


def test_the_side_potential_has_the_box_and_the_global_parameters(platform):
    system = mm.System()
    for _ in range(2):
        system.addParticle(1.0)
    force = mm.CustomBondForce("k*r")
    force.addGlobalParameter("k", 1.0)
    force.addBond(0, 1)
    force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)
    x = np.array([[0.1, 0, 0], [2.9, 0, 0]])
    context = bare_context(system, x, platform)
    context.setParameter("k", 7.0)
    context.setPeriodicBoxVectors([3, 0, 0], [0, 3, 0], [0, 0, 3])
    potential = Potential(context)
    assert potential.evaluate(x)[0] == pytest.approx(7 * 0.2)
    assert potential.side_potential().evaluate(x)[0] == pytest.approx(7 * 0.2)


def test_molecules_are_not_wrapped_into_the_box():
    system = mm.System()
    system.addParticle(1.0)
    force = mm.NonbondedForce()
    force.setNonbondedMethod(mm.NonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(0.5)
    force.addParticle(0, 0.3, 0)
    system.addForce(force)
    x = np.array([[17.3, -8.1, 44.0]])
    potential = Potential(bare_context(system, x))
    potential.evaluate(x)
    assert np.array_equal(potential.positions(), x)


def test_labels_name_residues_and_chains(tripeptide):
    simulation = tripeptide.simulation("Reference")
    assert Potential(simulation.context, simulation.topology).label(4) == "CA of ALA 1 (atom 4)"
    assert Potential(simulation.context).label(4) == "atom 4"
    topology = app.Topology()
    for name in "XY":
        residue = topology.addResidue("ARG", topology.addChain(name))
        topology.addAtom("CA", app.element.carbon, residue)
    potential = Potential(lennard_jones_cluster(3).simulation("Reference").context, topology)
    assert "chain Y" in potential.label(1)
    assert potential.label(2) == "atom 2"


def test_side_forces_are_in_double_precision(tripeptide):
    """Central differences of the energy agree to what single precision never reaches."""
    potential = Potential(tripeptide.simulation("CPU").context).side_potential()
    x = tripeptide.positions.value_in_unit(unit.nanometer)
    forces = potential.evaluate(x)[1]
    step = 1e-5
    for atom, axis in ((0, 0), (8, 2), (20, 1)):
        there, back = x.copy(), x.copy()
        there[atom, axis] += step
        back[atom, axis] -= step
        slope = (potential.evaluate(there)[0] - potential.evaluate(back)[0]) / (2 * step)
        assert slope == pytest.approx(-forces[atom, axis], rel=5e-6, abs=1e-4)
