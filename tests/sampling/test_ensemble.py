"""Weighted structures: averages, free energies, files, biases."""

import dataclasses

import mdtraj
import numpy as np
import openmm as mm
import pytest
import torch
from openmm import unit
from scipy.special import i0

from openmm_reparam.constants import BOLTZMANN
from openmm_reparam.plotting import plot_free_energy
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.sampling.bias import bias_force, surface_on_nodes
from openmm_reparam.sampling.ensemble import WeightedEnsemble
from openmm_reparam.sampling.importance import Estimate, ForwardCheck
from openmm_reparam.sampling.internal_map import InternalMap
from openmm_reparam.sampling.observables import observable
from openmm_reparam.sampling.target import boltzmann_target

KT = BOLTZMANN * 300
STRENGTH = 2.0


@pytest.fixture(scope="module")
def turned(dipeptide):
    """Dipeptides with uniform phi and psi, weighted to exp(2 cos(phi)) exp(2 cos(psi))."""
    target = boltzmann_target(dipeptide.simulation("Reference"), 300)
    q, _ = target.internal.coordinates(torch.as_tensor(target.reference)[None])
    columns = target.internal.columns["torsions"].start + target.internal.free
    q = q.repeat(8000, 1)
    drawn = torch.rand(8000, 2, generator=torch.Generator().manual_seed(0)).double()
    q[:, columns] = 2 * torch.pi * drawn - torch.pi
    x = target.internal.positions(q)[0].numpy()
    logs = STRENGTH * q[:, columns].cos().sum(1).numpy()
    return WeightedEnsemble(dipeptide.topology, x, logs, -KT * logs, 300.0, evaluations=5)


def test_profile_is_the_weighted_distribution(turned):
    profile = turned.free_energy("phi", bins=20)
    # Averages over the bins of the closed form.
    fine = np.linspace(-np.pi, np.pi, 20 * 200 + 1)[:-1].reshape(20, 200) + np.pi / 4000
    exact = np.exp(STRENGTH * np.cos(fine)).mean(axis=1) / i0(STRENGTH) / 20
    deviations = (profile.probability - exact) / exact * KT / profile.errors
    assert np.abs(deviations).max() < 4
    assert deviations.std() == pytest.approx(1, abs=0.5)
    assert profile.values.min() == 0


def test_surface_of_independent_torsions_is_the_product(turned):
    surface = turned.free_energy("phi", "psi", bins=8)
    first, second = turned.free_energy("phi", bins=8), turned.free_energy("psi", bins=8)
    product = np.outer(first.probability, second.probability)
    np.testing.assert_allclose(surface.probability, product, rtol=0.4)
    assert surface.probability.sum() == pytest.approx(1)
    np.testing.assert_allclose(surface.probability.sum(axis=1), first.probability)


def test_free_energy_difference_has_an_honest_error(turned):
    phi = turned.measure("phi")
    positive = np.cos(phi) > 0
    grid = np.cos(np.linspace(-np.pi, np.pi, 100001)[:-1])
    ratio = np.exp(STRENGTH * grid[grid > 0]).sum() / np.exp(STRENGTH * grid[grid <= 0]).sum()
    found = turned.free_energy_difference(positive, ~positive)
    assert abs(found.value + KT * np.log(ratio)) < 4 * found.error < 0.5
    assert turned.probability(lambda x: np.ones(len(x), dtype=bool)).value == pytest.approx(1)
    with pytest.raises(ValueError, match="a region is a boolean"):
        turned.probability(np.ones(3))


def test_resampled_structures_need_no_weights(turned):
    drawn = turned.resample(4000, seed=1)
    phi = observable("phi", turned.topology)(drawn)
    expected = np.average(np.cos(turned.measure("phi")), weights=turned.weights)
    assert np.cos(phi).mean() == pytest.approx(expected, abs=0.03)


def test_written_and_read(turned, tmp_path):
    turned.save(tmp_path / "out.dcd")
    back = WeightedEnsemble.load(tmp_path / "out.dcd", turned.topology)
    np.testing.assert_allclose(back.positions, turned.positions, atol=1e-6)
    np.testing.assert_array_equal(back.log_weights, turned.log_weights)
    assert back.temperature == 300
    assert back.evaluations == 5
    table = np.loadtxt(tmp_path / "out.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(table[:, 0], turned.weights, rtol=1e-6)
    with pytest.raises(ValueError, match="ends in .dcd"):
        turned.save(tmp_path / "out.xtc")


def test_to_and_from_mdtraj(turned):
    trajectory = turned.to_mdtraj()
    assert isinstance(trajectory, mdtraj.Trajectory)
    back = WeightedEnsemble.from_mdtraj(trajectory, 300.0, turned.log_weights)
    np.testing.assert_allclose(back.measure("psi"), turned.measure("psi"), atol=1e-4)


def test_sample_size_is_never_shown_alone(turned):
    text = repr(turned)
    assert "effective sample size" in text
    assert "Pareto k" in text
    assert "no forward check" in text
    lost = ForwardCheck(0.001, Estimate(1.0, 0.01), Estimate(0.0, 0.01), 0.0, 100)
    assert "A MODE IS LOST: 63%" in repr(turned.checked(lost))


def test_weights_that_cannot_be_relied_on_are_told(turned):
    """By the tail of the weights, or by how few structures have them all, whatever the tail."""
    size = len(turned)
    heavy = np.random.default_rng(0).exponential(size=size)
    for logs, words in (
        (turned.log_weights, ""),
        (heavy, "too large: a few structures decide"),
        (np.where(np.arange(size) < 20, 0.0, -np.inf), "the weights are worth 20 structures"),
    ):
        ensemble = dataclasses.replace(turned, log_weights=logs)
        assert words in ensemble.doubts
        assert bool(ensemble.doubts) == bool(words)
        assert f"({ensemble.doubts})" in repr(ensemble) or not words


def test_gyration_radius_and_distances_are_those_of_mdtraj(turned):
    few = turned.positions[:50]
    trajectory = mdtraj.Trajectory(few, None)
    rg = observable("rg", turned.topology)(few)
    equal = mdtraj.compute_rg(trajectory, masses=np.ones(few.shape[1]))
    np.testing.assert_allclose(rg, equal, rtol=1e-5)
    distance = observable("distance 0 10", turned.topology)(few)
    np.testing.assert_allclose(distance, np.linalg.norm(few[:, 0] - few[:, 10], axis=1), rtol=1e-5)


def test_named_torsions_are_those_of_mdtraj():
    topology = peptide("KWE").topology
    theirs = mdtraj.Trajectory(
        np.zeros((1, topology.getNumAtoms(), 3)), mdtraj.Topology.from_openmm(topology)
    )
    for name, residue, atoms in (
        ("phi", 2, mdtraj.compute_phi(theirs)[0][0]),
        ("psi", 1, mdtraj.compute_psi(theirs)[0][0]),
        ("omega", 2, mdtraj.compute_omega(theirs)[0][1]),
        ("chi1", 2, mdtraj.compute_chi1(theirs)[0][1]),
        ("chi4", 1, mdtraj.compute_chi4(theirs)[0][0]),
    ):
        assert observable(f"{name} {residue}", topology).atoms == tuple(atoms)
    with pytest.raises(ValueError, match='name one of "phi 2" .TRP., "phi 3"'):
        observable("phi", topology)


@pytest.mark.parametrize("name", ["phi 7", "zeta", "distance 1", "distance 0 22", "chi1", "phi a"])
def test_unknown_observables_are_refused(turned, name):
    with pytest.raises(ValueError, match="pass|atoms are|name one"):
        turned.measure(name)


def test_functions_have_to_give_a_number_each(turned):
    assert turned.mean(lambda x: x[:, 0, 0]).error > 0
    with pytest.raises(ValueError, match="one number each"):
        turned.measure(lambda x: x[:, 0])


@pytest.mark.parametrize("measures", [("phi",), ("phi", "psi")])
def test_bias_is_minus_the_surface(turned, dipeptide, measures):
    surface = turned.free_energy(*measures, bins=24)
    nodes = surface_on_nodes(surface, ceiling=15.0)
    system = mm.System()
    for _ in range(dipeptide.topology.getNumAtoms()):
        system.addParticle(1.0)
    system.addForce(bias_force(surface, ceiling=15.0))
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    values = [turned.measure(measure) for measure in measures]
    for k in range(5):
        context.setPositions(turned.positions[k])
        state = context.getState(energy=True, forces=True)
        places = [value[k] / (2 * np.pi) * 24 for value in values]
        near = nodes[tuple(int(np.round(place)) % 24 for place in places)]
        assert state.getPotentialEnergy()._value == pytest.approx(15.0 - near, abs=2.0)
        direction = np.random.default_rng(k).normal(size=turned.positions[k].shape)
        ends = []
        for sign in (1, -1):
            context.setPositions(turned.positions[k] + sign * 1e-5 * direction)
            ends.append(context.getState(energy=True).getPotentialEnergy()._value)
        slope = (state.getForces(asNumpy=True)._value * direction).sum()
        assert slope == pytest.approx(-(ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-4)


def test_bias_passes_through_the_nodes(turned, dipeptide):
    """At a node exactly the tabulated energy, for each torsion on its own."""
    surface = turned.free_energy("phi", "psi", bins=24)
    nodes = surface_on_nodes(surface, ceiling=15.0)
    target = boltzmann_target(dipeptide.simulation("Reference"), 300)
    internal: InternalMap = target.internal
    q, _ = internal.coordinates(torch.as_tensor(target.reference)[None])
    columns = internal.columns["torsions"].start + internal.free
    system = mm.System()
    for _ in range(22):
        system.addParticle(1.0)
    system.addForce(bias_force(surface, ceiling=15.0))
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    phi, psi = (observable(name, dipeptide.topology) for name in ("phi", "psi"))
    for angles in ((-90.0, 150.0), (60.0, -45.0)):
        q[0, columns] = torch.tensor(np.radians(angles))
        x = internal.positions(q)[0].numpy()
        places = [round(float(np.degrees(found(x)[0])) / 15) % 24 for found in (phi, psi)]
        context.setPositions(x[0] * unit.nanometer)
        energy = context.getState(energy=True).getPotentialEnergy()._value
        assert energy == pytest.approx(15.0 - nodes[places[0], places[1]], abs=1e-3)


def test_biases_are_along_torsions_all_around(turned):
    with pytest.raises(ValueError, match="is none"):
        bias_force(turned.free_energy("rg"))
    with pytest.raises(ValueError, match="even"):
        bias_force(turned.free_energy("phi", bins=25))


@pytest.mark.parametrize("measures", [("rg",), ("phi", "psi"), ("phi", "distance 0 10")])
def test_surfaces_are_drawn(turned, tmp_path, measures):
    plot_free_energy(turned.free_energy(*measures), tmp_path / "fes.png")
    assert (tmp_path / "fes.png").stat().st_size > 5000
    assert "typical error" in repr(turned.free_energy(*measures))


def test_averages_where_few_weights_count(turned):
    logs = np.full(20, -2000.0)
    logs[3] = 0.0
    few = WeightedEnsemble(turned.topology, turned.positions[:20], logs, np.zeros(20), 300.0)
    assert few.mean("rg").value == pytest.approx(few.measure("rg")[3])
    assert np.isfinite(few.free_energy("phi").values).sum() == 1
    nothing = WeightedEnsemble(
        turned.topology, turned.positions[:20], np.full(20, -np.inf), np.zeros(20), 300.0
    )
    assert "effective sample size 0.0%" in repr(nothing)
    for use in (lambda: nothing.mean("rg"), lambda: nothing.free_energy("phi"), nothing.resample):
        with pytest.raises(ValueError, match="all weights are zero"):
            use()


@pytest.mark.parametrize(
    "bins", [0, -1, [[3.0, -3.0]], [[-3.0, 3.0]] * 2, [[5.0, 6.0]], np.linspace(-3, 3, 5)]
)
def test_bad_bins_are_refused(turned, bins):
    with pytest.raises(ValueError, match="bins"):
        turned.free_energy("phi", bins=bins)


def test_bins_may_be_a_numpy_number(turned):
    assert turned.free_energy("phi", bins=np.int64(10)).values.shape == (10,)


def test_negative_atoms_are_refused(turned):
    with pytest.raises(ValueError, match="nothing that can be measured"):
        turned.measure("distance -1 2")
    assert observable("distance 0-2", turned.topology).atoms == (0, 2)


def test_ceilings_are_energies(turned):
    surface = turned.free_energy("phi", bins=24)
    assert bias_force(surface, 5 * unit.kilocalories_per_mole).getNumBonds() == 1
    with pytest.raises(ValueError, match="not negative"):
        bias_force(surface, -1)
