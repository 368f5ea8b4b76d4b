"""Training: a closed form is learnt, and a killed training goes on to the same labels."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from morse_training import acid, genuine, slow, surrogate, trained

from openmm_reparam.surrogates.golf.buffer import LabelFile
from openmm_reparam.surrogates.golf.collect import evaluate_each
from openmm_reparam.surrogates.golf.descents import descend
from openmm_reparam.surrogates.golf.molecules import embedded, training_molecules
from openmm_reparam.surrogates.golf.network_force import NetworkOracle
from openmm_reparam.surrogates.golf.train import Schedule, held_out

PROGRAM = Path(__file__).with_name("morse_training.py")


def relaxed_energy(oracle):
    """Descend on an oracle; return the genuine energy of the end."""
    molecule = acid(1)

    def evaluate(places, positions):
        return evaluate_each([oracle], places, positions)

    for descents in descend([molecule], [molecule.starts[0]], evaluate, 60):
        end = descents.positions()[0]
    return genuine(molecule)(end)[0]


def test_a_morse_molecule_is_learnt():
    made = trained(60, schedule=Schedule(updates=5.0, checks=2))
    network = NetworkOracle(made.network, acid().numbers, 0, surrogate(None))
    # With all its terms at rest the genuine energy is zero.
    before, after = relaxed_energy(surrogate(None)), relaxed_energy(network)
    assert before > 20
    assert after < 0.2
    assert made.trained_on.labels == 60
    assert made.failures == 0
    assert made.checks[-1].quality.success == 100


@pytest.mark.parametrize(("checks", "early"), [(1, False), (4, True)])
def test_a_training_ends_early_only_if_updates_are_left(checks, early):
    made = trained(10, schedule=Schedule(updates=1.0, checks=checks, patience=0))
    assert (len(made.checks), made.stopped_early) == (1, early)


def labels_of(path):
    """Read labels whatever training they belong to."""
    import json

    raw = path.read_bytes()
    size = int.from_bytes(raw[8:12], "little")
    description = json.loads(raw[16 : 16 + size])
    with LabelFile(path, description) as file:
        return file.labels


def same(one, other):
    return len(one) == len(other) and all(
        (a.purpose, a.molecule, a.message) == (b.purpose, b.molecule, b.message)
        and np.array_equal(a.positions, b.positions)
        and np.array_equal(a.forces, b.forces)
        for a, b in zip(one, other, strict=True)
    )


def test_a_killed_training_goes_on_to_the_same_labels(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = trained(40, whole, slow, checkpoint=15)
    for share in (0.4, 0.8):
        process = subprocess.Popen([sys.executable, str(PROGRAM), str(broken), "40"])
        while process.poll() is None and not (
            broken.exists() and broken.stat().st_size > share * whole.stat().st_size
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = labels_of(broken)
        assert 0 < len(there) < len(labels_of(whole))
    assert broken.with_name("broken.state").exists()
    found = trained(40, broken, slow, checkpoint=15)
    assert same(labels_of(broken), labels_of(whole))
    for a, b in zip(expected.network.parameters(), found.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_labels_of_another_way_are_refused(tmp_path):
    path = tmp_path / "labels"
    trained(10, path, schedule=Schedule(updates=1.0))
    raw = bytearray(path.read_bytes())
    (tmp_path / "labels.state").unlink()
    path.write_bytes(bytes(raw))
    with pytest.raises(ValueError, match="another training"):
        trained(11, path, schedule=Schedule(updates=1.0))


def test_failures_are_counted_and_training_goes_on():
    calls = []

    def sometimes(molecule):
        oracle = genuine(molecule)

        def evaluate(positions):
            calls.append(1)
            if len(calls) % 5 == 0:
                raise RuntimeError("no convergence")
            return oracle(positions)

        return evaluate

    made = trained(20, oracle=sometimes, validation=[], schedule=Schedule(updates=1.0))
    assert made.trained_on.labels == len(calls) == 20
    assert made.failures == 4
    assert made.validation_calls == 0


def test_trajectories_and_whole_energies_are_learnt():
    made = trained(30, trajectories=True, difference=False, schedule=Schedule(updates=1.0))
    assert made.trained_on.surrogate == ""
    assert made.trained_on.labels == 30


def test_global_random_states_are_left_alone():
    torch.manual_seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    trained(6, validation=[], schedule=Schedule(updates=1.0))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_a_tenth_is_held_out():
    kept, held = held_out(list(range(40)), seed=1)
    assert len(held) == 4
    assert sorted(kept + held) == list(range(40))
    assert held_out(list(range(5)), seed=1) == (list(range(5)), [])


def failing(molecule):
    def evaluate(positions):
        raise RuntimeError("no convergence")

    return evaluate


def test_an_oracle_that_always_fails_ends_the_training():
    with pytest.raises(ValueError, match="RuntimeError: no convergence"):
        trained(8, oracle=failing, validation=[])


def test_a_state_without_its_labels_is_of_no_use(tmp_path):
    path = tmp_path / "labels"
    trained(12, path, schedule=Schedule(updates=1.0))
    path.unlink()
    found = trained(8, path, schedule=Schedule(updates=1.0))
    assert found.trained_on.labels == 8
    path.with_name("labels.state").write_bytes(b"PK cut off")
    with pytest.warns(UserWarning, match="cannot be read"):
        again = trained(8, path, schedule=Schedule(updates=1.0))
    for a, b in zip(found.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_start_that_cannot_be_evaluated_has_diverged():
    asked = []

    def first_fails(molecule):
        oracle = genuine(molecule)

        def evaluate(positions):
            asked.append(1)
            if len(asked) == 1:
                raise RuntimeError("no convergence")
            energy, forces = oracle(positions)
            return energy - 1e5, forces

        return evaluate

    made = trained(8, oracle=first_fails, schedule=Schedule(updates=1.0, checks=1))
    (check,) = made.checks
    assert (check.score, check.quality.divergence, check.quality.success) == (100, 100, 0)
    assert len(asked) == made.trained_on.labels + made.validation_calls == 10


def test_absurd_labels_are_not_learnt():
    asked = []

    def absurd(molecule):
        oracle = genuine(molecule)

        def evaluate(positions):
            asked.append(1)
            energy, forces = oracle(positions)
            return (1e30, 1e25 * forces) if len(asked) % 4 == 0 else (energy, forces)

        return evaluate

    made = trained(20, oracle=absurd, validation=[], schedule=Schedule(updates=1.0))
    assert all(torch.isfinite(w).all() and w.abs().max() < 10 for w in made.network.parameters())
    assert all(abs(e) < 1e5 for e in made.trained_on.references.values())


def test_parts_of_a_salt_begin_apart():
    pytest.importorskip("rdkit")
    (molecule,) = training_molecules(embedded(["O.O"], conformers=2, seed=0))
    assert all(molecule.keeps_bonds(start) for start in molecule.starts)
