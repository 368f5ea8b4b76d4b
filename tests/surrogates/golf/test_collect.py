"""Walks: where they end, what is sent to the genuine oracle, and what never is."""

import numpy as np
import pytest
import torch
from morse_training import acid, genuine, surrogate, trained

from openmm_reparam.surrogates.golf.buffer import Label
from openmm_reparam.surrogates.golf.collect import (
    MOST_ENERGY,
    Trajectories,
    Walks,
    WalkSettings,
    displacement,
)
from openmm_reparam.surrogates.golf.descents import rms


def walks(predict, settings, oracle=None, **changes):
    return Walks([acid()], [oracle or surrogate(None)], settings, 1, predict, **changes)


def requests_of(source, rounds):
    return [request for _ in range(rounds) for request in source.advance()]


def nothing(places, positions):
    return np.zeros(len(places)), [np.zeros_like(x) for x in positions]


def outwards(places, positions):
    """A network that has gone wrong: it pulls the molecule apart, ever more."""
    away = [x - x.mean(0) for x in positions]
    energies = np.array([-3e4 * (x**2).sum() for x in away])
    return energies, [6e4 * x for x in away]


def test_walks_of_a_right_network_end_at_its_minimum():
    found = requests_of(walks(nothing, WalkSettings(2, 60, converged=5.0)), 60)
    assert len(found) >= 2
    for request in found:
        assert rms(surrogate(None)(request.positions)[1]) < 5


@pytest.mark.parametrize("rise", [0.0, 2.0])
def test_walks_of_a_wrong_network_end_before_the_surrogate_has_risen_further(rise):
    oracle, heard = surrogate(None), []

    def listening(positions):
        heard.append(oracle(positions)[0])
        return oracle(positions)

    source = walks(outwards, WalkSettings(1, 40, rise=rise, converged=0.0), listening)
    seen, found = [], []
    for _ in range(60):
        heard.clear()
        ended = source.advance()
        seen.append(heard[0])
        if ended:
            found.append((seen[:-1], ended[0].positions))
            seen = []
    assert found
    for energies, end in found:
        assert oracle(end)[0] <= min(energies) + rise * 8 + 1e-9


def test_changed_bonds_are_not_sound():
    molecule = acid()
    start = molecule.starts[0]
    torn, fused = start.copy(), start.copy()
    torn[7] += [0.2, 0.2, 0.0]
    fused[4] = start[5] + [0.01, 0.0, 0.0]
    assert molecule.keeps_bonds(start)
    assert not molecule.keeps_bonds(torn)
    assert not molecule.keeps_bonds(fused)


def test_absurd_ends_are_refused():
    calls = []

    def absurd(positions):
        """Looks good on the way, and absurd when the end is looked at again."""
        calls.append(1)
        energy, forces = surrogate(None)(positions)
        return energy + (MOST_ENERGY + 1 if len(calls) > 3 else 0.0), forces

    source = walks(nothing, WalkSettings(1, 3), absurd)
    assert not requests_of(source, 3)
    assert source.refused == 1


def test_a_surrogate_that_always_fails_ends_the_training_in_words():
    def failing(molecule):
        def evaluate(positions):
            raise RuntimeError("no parameters")

        return evaluate

    with pytest.raises(RuntimeError, match="does the surrogate fail"):
        trained(5, surrogate=failing, validation=[], genuine=genuine)


@pytest.mark.parametrize("kind", ["first", "network", "trajectories"])
def test_a_state_goes_on_bit_by_bit(kind):
    def made():
        settings = WalkSettings(3, 8)
        if kind == "trajectories":
            return Trajectories([acid()], settings, 1)
        return walks(nothing if kind == "network" else None, settings)

    def advanced(source, rounds):
        found = []
        for _ in range(rounds):
            asked = source.advance()
            source.tell(
                [Label("", r.molecule, r.positions, *genuine(None)(r.positions)) for r in asked]
            )
            found += asked
        return [request.positions for request in found]

    source, other = made(), made()
    advanced(source, 5)
    other.load_state_dict(source.state_dict())
    one, two = advanced(source, 9), advanced(other, 9)
    assert len(one) == len(two) > 0
    assert all(map(np.array_equal, one, two))


def test_displacements_have_the_energy_of_their_temperature():
    molecule, rng = acid(), np.random.default_rng(1)
    start = molecule.starts[0]
    hessian = torch.linalg.inv(torch.from_numpy(molecule.inverse_hessian(start))).numpy()
    moves = [displacement(molecule, start, rng).ravel() for _ in range(300)]
    energies = [0.5 * x @ hessian @ x for x in moves]
    # kT / 2 for each of 24 coordinates, kT uniform between 0 and 0.8.
    assert np.mean(energies) == pytest.approx(24 * 0.2, rel=0.15)
