"""The latent stage: Adam and L-BFGS on Z and theta, early stopping, recovery."""

import itertools

import numpy as np
import pytest
import torch

from openmm_reparam import NonFiniteError
from openmm_reparam.optimizers.latent_settings import LatentSettings
from openmm_reparam.optimizers.latents import descend_latents, eager_gradients
from openmm_reparam.optimizers.stage_end import StageEnd
from openmm_reparam.optimizers.torch_threads import torch_threads_for
from openmm_reparam.potentials.point import Point
from openmm_reparam.reparametrizations import Cartesian

X0 = np.arange(12.0).reshape(4, 3) / 10
EVERYWHERE = np.ones(4, dtype=bool)


def bowl(x, minimum=0.5, k=10.0):
    """Return the Point of a harmonic bowl."""
    return Point(x, 0.5 * k * float(((x - minimum) ** 2).sum()), -k * (x - minimum))


def run(settings, evaluate=bowl, module=None, moves=EVERYWHERE):
    """Return the points of a stage and why it ended."""
    module = module if module is not None else Cartesian(X0)
    start = evaluate(X0)
    gradients = eager_gradients(module, evaluate, start, moves)
    points = descend_latents(module, gradients, start, settings)
    taken = []
    try:
        for point in points:
            taken.append(point)
    except StageEnd as end:
        return taken, str(end)
    raise AssertionError("the stage ended without saying why")


@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential"])
def test_adam_goes_downhill_under_every_schedule(schedule):
    settings = LatentSettings("adam", 0.02, schedule, 150, patience=1000)
    taken, _ = run(settings)
    assert len(taken) == 150
    assert min(p.energy for p in taken) < 1e-2 * bowl(X0).energy


def test_adam_is_torchs_own_with_the_same_gradients():
    """The trusted peer: torch.optim.Adam on the same bowl."""
    taken, _ = run(LatentSettings("adam", 0.03, "constant", 40, patience=1000))
    x = torch.tensor(X0, requires_grad=True)
    peer = torch.optim.Adam([x], lr=0.03)
    for point in taken:
        peer.zero_grad()
        (5 * ((x - 0.5) ** 2).sum()).backward()
        peer.step()
        assert np.allclose(point.positions, x.detach().numpy(), atol=1e-10)


def test_lbfgs_reaches_the_minimum():
    taken, message = run(LatentSettings("lbfgs", iterations=50))
    assert taken[-1].energy < 1e-12
    assert message


def test_points_are_evaluated_configurations():
    for optimizer in ("adam", "lbfgs"):
        taken, _ = run(LatentSettings(optimizer, iterations=8))
        for point in taken:
            assert point.energy == bowl(point.positions).energy


def test_it_stops_early_where_the_energy_stays():
    taken, message = run(
        LatentSettings("adam", 1e-9, "constant", 500, patience=7, relative_energy=1e-3)
    )
    assert len(taken) == 7
    assert "7 iterations" in message


def test_the_iterations_are_capped():
    taken, message = run(LatentSettings("adam", 1e-3, "constant", 5))
    assert len(taken) == 5
    assert "5 iterations" in message


class Together(torch.nn.Module):
    """One shift for all atoms, so that what moves one would move the others."""

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self):
        return torch.from_numpy(X0) + self.shift


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_other_atoms_keep_their_bits(optimizer):
    seen = []

    def evaluate(x):
        seen.append(np.array(x))
        point = bowl(x)
        return Point(point.positions, point.energy, point.forces * moves[:, None])

    moves = np.array([True, False, True, False])
    run(LatentSettings(optimizer, iterations=10), evaluate, Together(), moves)
    assert len(seen) > 3
    for x in seen:
        assert np.array_equal(x[~moves], X0[~moves])
    assert not np.array_equal(seen[-1][moves], X0[moves])


def walled(x):
    if np.abs(x - X0).max() > 0.05:
        raise NonFiniteError("beyond the wall")
    return bowl(x, minimum=0.53)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_non_finite_energies_are_survived(optimizer):
    taken, _ = run(LatentSettings(optimizer, 0.1, "constant", 30), walled)
    assert taken
    assert all(np.isfinite(p.energy) for p in taken)
    assert min(p.energy for p in taken) < walled(X0).energy


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_nowhere_finite_ends_the_stage(optimizer):
    def evaluate(x):
        if not np.array_equal(x, X0):
            raise NonFiniteError("nowhere")
        return bowl(x)

    taken, message = run(LatentSettings(optimizer, 0.1, "constant", 30), evaluate)
    assert not taken
    assert message


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_errors_of_other_kinds_pass_through(optimizer):
    calls = itertools.count()

    def evaluate(x):
        if next(calls) > 1:
            raise KeyboardInterrupt
        return bowl(x)

    module = Cartesian(X0)
    gradients = eager_gradients(module, evaluate, bowl(X0), EVERYWHERE)
    points = descend_latents(module, gradients, bowl(X0), LatentSettings(optimizer, iterations=30))
    with pytest.raises(KeyboardInterrupt):
        list(points)


class Unused(torch.nn.Module):
    """A parameter that no output depends on, one that is frozen, and single precision."""

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(4, 3))
        self.idle = torch.nn.Parameter(torch.ones(2))
        self.frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self):
        return torch.from_numpy(X0) + self.frozen * self.shift


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_idle_and_frozen_parameters_do_no_harm(optimizer):
    module = Unused()
    taken, _ = run(LatentSettings(optimizer, 0.05, iterations=100), module=module)
    assert taken[-1].energy < 0.2 * bowl(X0).energy
    assert torch.equal(module.frozen.detach(), torch.ones(1))
    assert torch.equal(module.idle.detach(), torch.ones(2))


def test_gradients_are_clipped():
    """With one huge and rising force, plain momentum would be lost for many steps."""
    taken, _ = run(
        LatentSettings("adam", 0.01, "constant", 3, max_gradient_norm=1e-3, patience=100)
    )
    assert np.abs(taken[0].positions - X0).max() <= 0.01 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"optimizer": "sgd"}, "adam"),
        ({"schedule": "linear"}, "cosine"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"patience": 0}, "patience"),
        ({"relative_energy": -1.0}, "relative_energy"),
        ({"max_gradient_norm": float("inf")}, "max_gradient_norm"),
        ({"iterations": -1}, "iterations"),
    ],
)
def test_wrong_settings_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        LatentSettings(**settings)


@pytest.mark.parametrize(("size", "inside"), [(10, 1), (10**6, 2)])
def test_torch_threads_are_put_back(size, inside):
    def fail():
        with torch_threads_for(size):
            assert torch.get_num_threads() == inside
            raise KeyError

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(KeyError):
            fail()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
