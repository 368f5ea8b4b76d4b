"""The network: symmetries, gradients, batches, scripting."""

import numpy as np
import pytest
import torch

from openmm_reparam.surrogates.golf.network import (
    MOST_CHARGE,
    NetworkSettings,
    PaiNN,
    energy_and_forces,
)

SMALL = NetworkSettings(features=16, interactions=2, bessel=8, rank=4)


@pytest.fixture(params=[4, 0], ids=["rank 4", "published filters"])
def network(request):
    torch.manual_seed(1)
    settings = NetworkSettings(features=16, interactions=2, bessel=8, rank=request.param)
    network = PaiNN(settings).double()
    torch.nn.init.normal_(network.charges.weight)
    return network


@pytest.fixture
def batch():
    """Molecules of 5, 12, 1, 7 and 30 atoms: numbers, positions, molecule, count, charges."""
    rng = np.random.default_rng(2)
    sizes = [5, 12, 1, 7, 30]
    positions = np.concatenate([0.12 * rng.normal(size=(n, 3)) * n ** (1 / 3) for n in sizes])
    return (
        torch.tensor(rng.choice([1, 6, 7, 8, 16], sum(sizes))),
        torch.tensor(positions),
        torch.repeat_interleave(torch.arange(5), torch.tensor(sizes)),
        5,
        torch.tensor([0, -1, 2, 0, 1]),
    )


def alone(batch, k):
    """One molecule of a batch."""
    numbers, positions, molecule, _, charges = batch
    own = molecule == k
    return numbers[own], positions[own], torch.zeros_like(molecule[own]), 1, charges[k : k + 1]


def test_batched_equals_single(network, batch):
    energies, forces = energy_and_forces(network, *batch)
    for k in range(5):
        energy, force = energy_and_forces(network, *alone(batch, k))
        assert energies[k].item() == pytest.approx(energy.item(), abs=1e-9)
        np.testing.assert_allclose(forces[batch[2] == k], force, atol=1e-8)


def test_energies_are_invariant_and_forces_turn(network, batch):
    """Under an improper rotation and another translation of each molecule."""
    numbers, positions, molecule, count, charges = batch
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.double))
    turn = turn * -torch.sign(torch.linalg.det(turn))
    moved = positions @ turn + torch.randn(count, 3, dtype=torch.double)[molecule]
    energies, forces = energy_and_forces(network, *batch)
    others, turned = energy_and_forces(network, numbers, moved, molecule, count, charges)
    np.testing.assert_allclose(others, energies, atol=1e-8)
    np.testing.assert_allclose(turned, forces @ turn, atol=1e-7)


def test_exchanged_atoms(network, batch):
    one = alone(batch, 4)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    energy, forces = energy_and_forces(network, *one)
    exchanged, permuted = energy_and_forces(network, one[0][order], one[1][order], *one[2:])
    assert exchanged.item() == pytest.approx(energy.item(), abs=1e-9)
    np.testing.assert_allclose(permuted, forces[order], atol=1e-8)


def test_forces_are_finite_differences(network, batch):
    numbers, positions, molecule, count, charges = batch
    forces = energy_and_forces(network, *batch)[1]
    step = 1e-6
    for atom in (0, 9, 20, 40):
        for axis in range(3):
            shift = torch.zeros_like(positions)
            shift[atom, axis] = step
            up = network(numbers, positions + shift, molecule, count, charges).sum()
            down = network(numbers, positions - shift, molecule, count, charges).sum()
            slope = (up - down).item() / (2 * step)
            assert -slope == pytest.approx(forces[atom, axis].item(), abs=1e-4)


def test_it_is_smooth_at_the_cutoff(network):
    """Energy, force and its slope as an atom leaves: all go to zero."""
    numbers, zeros = torch.tensor([6, 8]), torch.zeros(2, dtype=torch.long)

    def of(distance):
        place = torch.tensor([[0.0, 0, 0], [distance, 0, 0]], dtype=torch.double)
        energy, forces = energy_and_forces(network, numbers, place, zeros, 1)
        return energy.item(), forces[1, 0].item()

    apart = of(0.6)[0]
    assert of(0.3)[0] != pytest.approx(apart, abs=1e-3)
    for gap in (1e-3, 1e-4):
        energy, force = of(0.5 - gap)
        # The envelope falls like the cube of the gap, over the cutoff.
        assert abs(energy - apart) < 1e4 * (gap / 0.5) ** 3
        assert abs(force) < 1e5 * (gap / 0.5) ** 2


def test_charges_tell_molecules_apart(network, batch):
    numbers, positions, molecule, count, _ = batch
    charges = torch.tensor([MOST_CHARGE, 0, 0, 0, 0])
    first = network(numbers, positions, molecule, count)
    second = network(numbers, positions, molecule, count, charges)
    assert first[0].item() != pytest.approx(second[0].item(), abs=1e-3)
    np.testing.assert_allclose(first[1:].detach(), second[1:].detach(), atol=1e-12)


def test_losses_of_forces_reach_all_weights(network, batch):
    """Finite differences of a loss of forces along a random direction of the weights."""

    def loss():
        return energy_and_forces(network, *batch, create_graph=True)[1].square().sum()

    weights = list(network.parameters())
    gradients = torch.autograd.grad(loss(), weights, allow_unused=True)
    # The last bias shifts all energies: no force depends on it.
    used = [(w, g) for w, g in zip(weights, gradients, strict=True) if g is not None]
    assert len(used) >= len(weights) - 1
    directions = [torch.randn_like(w) for w, _ in used]
    expected = sum((g * d).sum() for (_, g), d in zip(used, directions, strict=True)).item()

    def shifted(step):
        with torch.no_grad():
            for (w, _), d in zip(used, directions, strict=True):
                w += step * d
        value = loss().item()
        with torch.no_grad():
            for (w, _), d in zip(used, directions, strict=True):
                w -= step * d
        return value

    slope = (shifted(1e-6) - shifted(-1e-6)) / 2e-6
    assert slope == pytest.approx(expected, rel=1e-4)


def test_scripted_equals_eager(network, batch):
    scripted = torch.jit.script(network)
    np.testing.assert_allclose(scripted(*batch).detach(), network(*batch).detach(), atol=1e-9)


def test_float32_is_near_double(network, batch):
    """Even far from the origin, where float32 does not resolve a bond."""
    numbers, positions, molecule, count, charges = batch
    energies = network(*batch).detach()
    single = PaiNN(network.settings)
    single.load_state_dict(network.state_dict())
    far = single(numbers, positions + 1000.0, molecule, count, charges).detach()
    assert far.dtype == torch.float32
    np.testing.assert_allclose(far, energies, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("bad", [{"features": 0}, {"cutoff": -0.5}, {"rank": -1}])
def test_sizes_that_cannot_be(bad):
    with pytest.raises(ValueError, match="must be"):
        NetworkSettings(**bad)
