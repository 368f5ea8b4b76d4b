"""Batched L-BFGS: against closed forms, and each molecule as if it were alone."""

import numpy as np
import pytest
import torch

from openmm_reparam.surrogates.golf.batched_lbfgs import BatchedLBFGS


def wells(seed, sizes):
    """Anharmonic wells about centres: energies and forces of padded positions."""
    rng = np.random.default_rng(seed)
    made = []
    for size in sizes:
        root = rng.standard_normal((3 * size, 3 * size))
        hessian = 500 * (root @ root.T + 3 * np.eye(3 * size))
        made.append((torch.from_numpy(hessian), torch.from_numpy(rng.standard_normal(3 * size))))
    return made


def evaluate(made, trials):
    energies, forces = [], torch.zeros_like(trials)
    for slot, (hessian, centre) in enumerate(made):
        n = len(centre) // 3
        off = trials[slot, :n].flatten() - centre
        pull = hessian @ off
        energies.append(0.5 * off @ pull + 1e4 * (off**4).sum())
        forces[slot, :n] = -(pull + 4e4 * off**3).reshape(n, 3)
    return torch.stack(energies), forces


def begun(made, sizes, slots=None):
    descent = BatchedLBFGS(len(sizes), max(sizes), memory=10)
    for slot, size in enumerate(sizes):
        start = made[slot][1].reshape(size, 3) + 0.05
        descent.begin(slot, start)
    return descent


def run(descent, made, steps):
    for _ in range(steps):
        descent.tell(*evaluate(made, descent.trials))
    return descent


def test_minima_are_found_and_accepted_energies_fall():
    sizes = [2, 5, 3]
    made = wells(1, sizes)
    descent = begun(made, sizes)
    before = torch.full((3,), torch.inf, dtype=torch.float64)
    for _ in range(150):
        descent.tell(*evaluate(made, descent.trials))
        assert (descent.energies <= before + 2e-3).all()
        before = descent.energies.clone()
    for slot, (_, centre) in enumerate(made):
        n = sizes[slot]
        assert torch.allclose(descent.positions[slot, :n].flatten(), centre, atol=1e-5)
        assert (descent.positions[slot, n:] == 0).all()


def test_a_batch_moves_each_molecule_as_if_it_were_alone():
    sizes = [2, 5, 3]
    made = wells(2, sizes)
    together = run(begun(made, sizes), made, 25)
    for slot, size in enumerate(sizes):
        alone = run(begun(made[slot : slot + 1], [size]), made[slot : slot + 1], 25)
        assert torch.allclose(alone.positions[0], together.positions[slot, :size], atol=1e-10)


def test_the_exact_inverse_hessian_is_newtons_step():
    hessian = torch.diag(torch.tensor([1e3, 1e4, 1e5], dtype=torch.float64))
    made = [(hessian, torch.zeros(3, dtype=torch.float64))]
    descent = BatchedLBFGS(1, 1, longest=1.0)
    descent.begin(0, torch.full((1, 3), 1e-4, dtype=torch.float64), torch.linalg.inv(hessian))
    run(descent, made, 2)
    assert descent.positions.abs().max() < 1e-8


def test_what_is_not_finite_is_a_step_too_long():
    descent = BatchedLBFGS(1, 1, longest=0.05)
    descent.begin(0, torch.full((1, 3), 0.05, dtype=torch.float64))
    for _ in range(60):
        x = descent.trials
        # Beyond this wall there is no energy.
        energies = torch.where((x < 0.04).any(2)[:, 0], torch.nan, 500 * (x**2).sum((1, 2)))
        descent.tell(energies, -1000 * x)
        assert torch.isfinite(descent.positions).all()
        assert (descent.positions >= 0.04).all()
    assert descent.positions.max() < 0.045


def test_a_slot_that_begins_anew_forgets():
    sizes = [3, 3]
    made = wells(3, sizes)
    used = run(begun(made, sizes), made, 20)
    start = made[0][1].reshape(3, 3) + 0.05
    used.begin(0, start)
    fresh = run(begun(made, sizes), made, 12)
    run(used, made, 12)
    assert torch.equal(used.positions[0], fresh.positions[0])


@pytest.mark.parametrize("steps", [0, 7])
def test_a_state_goes_on_bit_by_bit(steps):
    sizes = [2, 4]
    made = wells(4, sizes)
    first = run(begun(made, sizes), made, steps)
    second = BatchedLBFGS(2, 4, memory=10)
    second.load_state_dict(first.state_dict())
    for descent in (first, second):
        run(descent, made, 9)
    assert torch.equal(first.positions, second.positions)
