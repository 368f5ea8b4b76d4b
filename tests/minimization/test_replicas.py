"""Replicas: many starts minimized together, the best written back, all of them in the result."""

import json
import threading
import time

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import app, unit
from scipy.spatial.transform import Rotation

from openmm_reparam import NonFiniteError, Potential, minimize_reparam
from openmm_reparam.constants import BOLTZMANN
from openmm_reparam.geometry.superposition import rmsd_clusters, rmsd_matrix
from openmm_reparam.minimization.replica_run import replica_starts
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide

SMALL = {"hidden": (8,), "count": 6, "latents": 4, "dtype": torch.float64}


def starts_of(simulation, count, spread=0.01, seed=0):
    x = Potential(simulation.context).positions()
    return x + np.random.default_rng(seed).normal(0, spread, (count, *x.shape))


@pytest.mark.parametrize("constraints", [None, app.HBonds])
def test_the_best_is_written_back_and_all_are_told(platform, constraints, energy_and_forces):
    molecule = peptide("AGS", constraints=constraints)
    simulation = molecule.simulation(platform)
    result = minimize_reparam(simulation, 1, replicas=4)
    found = result.replicas
    assert len(found) == 4
    assert result.converged
    assert found.positions.shape == (4, simulation.topology.getNumAtoms(), 3)
    assert result.energy == found.energies.min() == found.energies[found.best]
    energy, _ = energy_and_forces(simulation.context)
    assert energy == pytest.approx(result.energy, abs=0.01)
    for k, one in enumerate(found.results):
        assert one.converged
        simulation.context.setPositions(found.positions[k])
        energy, _ = energy_and_forces(simulation.context)
        assert energy == pytest.approx(one.energy, abs=0.01)
    assert result.force_evaluations == sum(one.force_evaluations for one in found.results)
    assert "4 replicas" in repr(result)
    plain = json.loads(json.dumps(result.to_dict()))
    assert plain["replicas"]["energies"] == pytest.approx(found.energies.tolist())


def test_each_goes_the_way_it_would_go_alone():
    simulation = peptide("AGS").simulation("Reference")
    starts = starts_of(simulation, 3)
    together = minimize_reparam(simulation, 1, replicas=starts).replicas
    for k, start in enumerate(starts):
        simulation.context.setPositions(start)
        alone = minimize_reparam(simulation, 1)
        assert np.array_equal(alone.history["energy"], together.results[k].history["energy"])
        assert alone.force_evaluations == together.results[k].force_evaluations


@pytest.mark.parametrize("constraints", [None, app.HBonds])
@pytest.mark.parametrize(
    ("reparametrization", "settings"), [("gcn", SMALL), ("linear", {"count": 6}), ("cartesian", {})]
)
def test_batched_latents_take_the_steps_of_single_ones(reparametrization, settings, constraints):
    simulation = peptide("AGS", constraints=constraints).simulation("Reference")
    starts = starts_of(simulation, 3)
    settings = {"reparametrization": reparametrization, "latent_iterations": 20, **settings}
    together = minimize_reparam(simulation, 5, replicas=starts, **settings).replicas
    for k, start in enumerate(starts):
        simulation.context.setPositions(start)
        alone = minimize_reparam(simulation, 5, seed=k, **settings)
        one = together.results[k]
        assert [stage.name for stage in one.stages] == [stage.name for stage in alone.stages]
        assert one.initial_energy == pytest.approx(alone.initial_energy, rel=1e-9)
        latent, theirs = (r.history[r.history["stage"] == 0] for r in (one, alone))
        assert np.allclose(latent["energy"], theirs["energy"], rtol=1e-7)
        assert np.allclose(latent["rms_force"], theirs["rms_force"], rtol=1e-5)
        assert np.array_equal(latent["force_evaluations"], theirs["force_evaluations"])
        # The last stage starts from the best latent point, which is not evaluated again.
        assert one.stages[0].force_evaluations == alone.stages[0].force_evaluations + (
            alone.force_evaluations - sum(s.force_evaluations for s in alone.stages)
        )


def test_a_replica_stops_early_where_it_would_alone():
    """Falls that are too small one by one, and large enough two by two."""
    simulation = peptide("AGS").simulation("Reference")
    settings = {"reparametrization": "linear", "count": 6, "latent_iterations": 60}
    settings |= {"schedule": "constant", "patience": 3, "relative_energy": 0.1}
    starts = starts_of(simulation, 3)
    together = minimize_reparam(simulation, 5, replicas=starts, **settings).replicas
    for k, start in enumerate(starts):
        simulation.context.setPositions(start)
        alone = minimize_reparam(simulation, 5, seed=k, **settings).stages[0]
        stage = together.results[k].stages[0]
        assert "in 3 iterations" in stage.message
        assert (stage.message, stage.iterations) == (alone.message, alone.iterations)


class Shifts(torch.nn.Module):
    """A user's module."""

    def __init__(self, atoms):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(atoms, 3, dtype=torch.float64))

    def forward(self):
        return 0.1 * torch.tanh(self.shift)


class Unbatchable(Shifts):
    """A module whose values decide what it does."""

    def forward(self):
        return self.shift * 2 if self.shift.sum() > 1 else self.shift


def test_a_module_of_the_users_own():
    simulation = peptide("AAA", constraints=None).simulation("CPU")
    module = Shifts(simulation.topology.getNumAtoms())
    result = minimize_reparam(
        simulation, 10, replicas=3, reparametrization=module, latent_iterations=10
    )
    assert result.converged
    assert len(result.replicas) == 3
    assert not module.shift.any()
    with pytest.raises(ValueError, match="cannot be batched"):
        minimize_reparam(
            simulation, 1e-3, replicas=3, reparametrization=Unbatchable(len(module.shift))
        )


def test_starts_are_drawn_from_the_thermal_distribution_of_the_preconditioner():
    simulation = peptide("AA", constraints=None).simulation("Reference")
    potential = Potential(simulation.context)
    x = potential.positions()
    starts = replica_starts(potential, x, 400, 300.0, 0)
    assert np.array_equal(starts[0], x)
    preconditioner = Preconditioner(potential)
    preconditioner.update(x)
    shifts = (starts[1:] - x).reshape(399, -1)
    energies = 0.5 * np.einsum("ri,ri->r", shifts, (preconditioner.matrix() @ shifts.T).T)
    # Equipartition: kT/2 for each of 3N directions.
    assert energies.mean() == pytest.approx(0.5 * BOLTZMANN * 300 * x.size, rel=0.03)
    assert np.array_equal(starts, replica_starts(potential, x, 400, 300.0, 0))
    assert not np.array_equal(starts[1], replica_starts(potential, x, 2, 300.0, 1)[1])


def test_fixed_atoms_are_not_perturbed(nanometers):
    molecule = peptide("AA", constraints=None)
    system = mm.XmlSerializer.clone(molecule.system)
    system.setParticleMass(5, 0.0)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(molecule.positions)
    before = nanometers(context)
    result = minimize_reparam(
        context, 10, replicas=3, reparametrization="linear", count=6, latent_iterations=5
    )
    assert (result.replicas.positions[:, 5] == before[5]).all()
    assert np.array_equal(nanometers(context)[5], before[5])


def test_rmsds_are_scipys_and_clusters_are_ordered_by_energy():
    rng = np.random.default_rng(0)
    shapes = rng.normal(0, 0.3, (3, 20, 3))
    structures = np.concatenate([shapes[[k]] + rng.normal(0, 0.01, (2, 20, 3)) for k in range(3)])
    turned = np.array(
        [Rotation.random(random_state=k).apply(x) + k for k, x in enumerate(structures)]
    )
    matrix = rmsd_matrix(turned)
    for i in range(6):
        for j in range(6):
            a, b = (x - x.mean(axis=0) for x in (structures[i], structures[j]))
            expected = Rotation.align_vectors(a, b)[1] / np.sqrt(20) if i != j else 0
            assert matrix[i, j] == pytest.approx(expected, abs=1e-5)
    energies = np.array([3.0, 2.0, 0.0, 1.0, 9.0, 1.5])
    assert rmsd_clusters(matrix, energies).tolist() == [2, 2, 0, 0, 1, 1]


def test_a_budget_is_that_of_all_together():
    simulation = peptide("AGS").simulation("Reference")
    with pytest.warns(match="above the tolerance"):
        result = minimize_reparam(simulation, 1e-3, replicas=3, max_force_evaluations=60)
    assert result.force_evaluations <= 60
    assert all(one.force_evaluations <= 20 for one in result.replicas.results)
    with pytest.warns(match="above the tolerance"):
        result = minimize_reparam(
            simulation,
            1e-3,
            replicas=2,
            max_force_evaluations=100,
            reparametrization="gcn",
            **SMALL,
            source="full",
        )
    assert result.force_evaluations <= 100
    assert "needed" in result.replicas.results[0].stages[0].message


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (0, ValueError, "at least 1"),
        (np.zeros((2, 5, 3)), ValueError, r"shape \(2, 5, 3\)"),
        ("many", TypeError, "whole number"),
        (object(), TypeError, "whole number"),
    ],
)
def test_wrong_replicas_are_refused(wrong, error, message, nanometers):
    simulation = peptide("AAA").simulation("Reference")
    before = nanometers(simulation.context)
    with pytest.raises(error, match=message):
        minimize_reparam(simulation, replicas=wrong)
    assert np.array_equal(nanometers(simulation.context), before)


def test_what_does_not_go_over_replicas_is_refused():
    simulation = peptide("AAA").simulation("Reference")
    with pytest.raises(ValueError, match="reporter"):
        minimize_reparam(simulation, replicas=2, reporter=mm.MinimizationReporter())
    with pytest.raises(ValueError, match="adam"):
        minimize_reparam(
            simulation, replicas=2, reparametrization="linear", count=6, optimizer="lbfgs"
        )
    with pytest.raises(ValueError, match="replica_temperature"):
        minimize_reparam(simulation, replicas=2, replica_temperature=-1)
    with pytest.raises(ValueError, match="less than one for each"):
        minimize_reparam(simulation, replicas=9, max_force_evaluations=5)


def test_a_bad_start_is_named_and_nothing_is_changed(nanometers):
    simulation = peptide("AAA").simulation("Reference")
    before = nanometers(simulation.context)
    starts = starts_of(simulation, 3)
    starts[1, 4] = np.nan
    with pytest.raises(NonFiniteError, match="replica 1: .*CA of ALA 1"):
        minimize_reparam(simulation, replicas=starts)
    assert np.array_equal(nanometers(simulation.context), before)


def test_quantities_are_starts_too():
    simulation = peptide("AAA").simulation("Reference")
    starts = starts_of(simulation, 2)
    one = minimize_reparam(simulation, replicas=starts)
    angstrom = unit.Quantity(10 * starts, unit.angstrom)
    other = minimize_reparam(simulation, replicas=angstrom)
    assert np.allclose(one.replicas.energies, other.replicas.energies, atol=1e-3)


def test_no_starts_are_drawn_around_a_bad_one(nanometers):
    simulation = peptide("AG").simulation("Reference")
    before = nanometers(simulation.context)
    before[4] = np.nan
    simulation.context.setPositions(before)
    with pytest.raises(NonFiniteError, match="CA of ALA 1") as refused:
        minimize_reparam(simulation, replicas=2)
    assert refused.value.atoms == (4,)
    assert np.array_equal(nanometers(simulation.context), before, equal_nan=True)


def test_an_interrupt_ends_all_and_leaves_the_context(nanometers, monkeypatch):
    simulation = peptide("NLYIQWLKDGG").simulation("Reference")
    before = nanometers(simulation.context)
    evaluated = []
    original = Potential.evaluate

    def counted(self, positions):
        evaluated.append(threading.current_thread())
        if len(evaluated) == 60:
            raise KeyboardInterrupt
        return original(self, positions)

    monkeypatch.setattr(Potential, "evaluate", counted)
    with pytest.raises(KeyboardInterrupt):
        minimize_reparam(simulation, 1e-3, replicas=4)
    done = len(evaluated)
    assert done < 120
    time.sleep(0.1)
    assert len(evaluated) == done
    assert np.array_equal(nanometers(simulation.context), before)
