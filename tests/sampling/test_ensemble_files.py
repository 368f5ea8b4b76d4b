"""Ensembles in files: all of them comes back, and what is none is refused in words."""

import dataclasses

import numpy as np
import pytest

from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.sampling.ensemble import WeightedEnsemble
from openmm_reparam.sampling.importance import forward_check


@pytest.fixture(scope="module")
def ensemble(dipeptide):
    rng = np.random.default_rng(0)
    x = dipeptide.positions._value + rng.normal(0, 0.01, (60, 22, 3))
    logs = rng.normal(size=60)
    logs[3] = -np.inf
    check = forward_check(logs, 3 + rng.normal(size=40))
    return WeightedEnsemble(dipeptide.topology, x, logs, rng.normal(size=60), 310.0, 7, check=check)


@pytest.fixture
def written(ensemble, tmp_path):
    path = tmp_path / "new" / "folder" / "e.dcd"
    ensemble.save(path)
    return path


def test_everything_comes_back(ensemble, written):
    back = WeightedEnsemble.load(written, ensemble.topology)
    np.testing.assert_array_equal(back.log_weights, ensemble.log_weights)
    np.testing.assert_array_equal(back.energies, ensemble.energies)
    np.testing.assert_allclose(back.positions, ensemble.positions, atol=1e-6)
    assert (back.temperature, back.evaluations) == (310.0, 7)
    assert ensemble.check.lost_mode
    assert back.check == ensemble.check
    assert repr(back) == repr(ensemble)


def test_without_a_check_there_is_none(ensemble, tmp_path):
    dataclasses.replace(ensemble, check=None).save(tmp_path / "e.dcd")
    assert WeightedEnsemble.load(tmp_path / "e.dcd", ensemble.topology).check is None


def test_a_missing_file_is_named(ensemble, written):
    with pytest.raises(FileNotFoundError, match=r"there is no none\.npz: the weights lie beside"):
        WeightedEnsemble.load("none.dcd", ensemble.topology)
    written.unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*e\.dcd$"):
        WeightedEnsemble.load(written, ensemble.topology)


def _nonsense(path):
    path.write_bytes(b"nonsense " * 40)


@pytest.mark.parametrize(
    ("ending", "spoil", "words"),
    [
        (".npz", _nonsense, "cannot be read as weights"),
        (".npz", lambda path: np.savez(path, weights=np.ones(3)), "lacks check, energies, evalu"),
        (".dcd", _nonsense, "cannot be read as DCD"),
    ],
)
def test_files_of_others_are_refused(ensemble, written, ending, spoil, words):
    spoil(written.with_suffix(ending))
    with pytest.raises(ValueError, match=words):
        WeightedEnsemble.load(written, ensemble.topology)


def test_structures_and_weights_of_two_ensembles_are_refused(ensemble, written, tmp_path):
    half = WeightedEnsemble(
        ensemble.topology,
        ensemble.positions[:30],
        np.zeros(30),
        np.zeros(30),
        300.0,
    )
    half.save(tmp_path / "half.dcd")
    (tmp_path / "half.dcd").replace(written)
    with pytest.raises(ValueError, match="with 60 weights and 22 atoms they need"):
        WeightedEnsemble.load(written, ensemble.topology)


def test_the_topology_of_another_molecule_is_refused(written):
    with pytest.raises(ValueError, match="has 22 atoms, and the topology 33"):
        WeightedEnsemble.load(written, peptide("AAA").topology)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(ensemble, bad):
    logs = np.zeros(60)
    logs[[4, 9]] = bad
    with pytest.raises(ValueError, match=r"log_weights of 2 structures are NaN .*\(4 first\)"):
        dataclasses.replace(ensemble, log_weights=logs)


@pytest.mark.parametrize("kelvin", [0.0, np.nan, -3.0])
def test_temperatures_are_above_zero(ensemble, kelvin):
    with pytest.raises(ValueError, match="temperature is"):
        dataclasses.replace(ensemble, temperature=kelvin)


def test_weights_that_are_all_zero_leave_no_half_written_files(ensemble, tmp_path):
    empty = dataclasses.replace(ensemble, log_weights=np.full(60, -np.inf))
    with pytest.raises(ValueError, match="all weights are zero"):
        empty.save(tmp_path / "e.dcd")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [0, -1, 1.5, "all"])
def test_structures_are_drawn_in_whole_numbers(ensemble, count):
    with pytest.raises((ValueError, TypeError), match=f"count is {count!r}: (it must|pass a)"):
        ensemble.resample(count)


def test_surfaces_say_what_they_resolve(ensemble):
    """One structure of hardly any weight makes a bin, and no free energy."""
    x = np.repeat(ensemble.positions[:1], 500, axis=0)
    logs = np.zeros(500)
    logs[-1] = -700.0
    few = WeightedEnsemble(ensemble.topology, x, logs, np.zeros(500), 300.0)
    profile = few.free_energy(lambda x: np.arange(500.0), bins=[np.array([0, 300, 490, 499, 500])])
    assert profile.values[-1] > 1700
    assert profile.resolved.tolist() == [True, True, True, False]
    assert "3 of 4 bins are known to better than 1.25 kJ/mol, up to 8.7 kJ/mol" in repr(profile)
