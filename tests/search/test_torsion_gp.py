"""What is learnt of minima: closed forms, periods, draws, and minima of a real search."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr

from openmm_reparam import Potential, minimize_reparam
from openmm_reparam.potentials.bond_graph import bond_graph
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import SearchSettings
from openmm_reparam.search import torsion_gp as energy_model
from openmm_reparam.search.torsion_gp import EnergyModel
from openmm_reparam.search.torsions import Torsions


@pytest.fixture
def minima():
    rng = np.random.default_rng(3)
    angles = rng.uniform(-np.pi, np.pi, (80, 4))
    energies = 10.0 * np.cos(angles).sum(axis=1) - 500.0
    energies[::9] += 100.0
    return angles, energies


def taught(angles, energies, seed=0):
    model = EnergyModel(np.random.default_rng(seed))
    for where, energy in zip(angles, energies, strict=True):
        model.add(where, energy)
    return model


def similarity(a, b):
    apart = (1.0 - np.cos(a[:, None] - b[None])).sum(axis=-1)
    return np.exp(-apart / (a.shape[1] / 2))


def test_the_mean_is_the_closed_form(minima):
    angles, energies = minima
    new = np.random.default_rng(4).uniform(-np.pi, np.pi, (10, 4))
    heights = np.minimum(energies, 2 * np.median(energies) - energies.min())
    assert (heights < energies).any(), "the highest count as less high"
    units = (heights - heights.mean()) / heights.std()
    weights = np.linalg.solve(similarity(angles, angles) + 0.05 * np.eye(80), units)
    expected = heights.mean() + heights.std() * similarity(new, angles) @ weights
    model = taught(angles, energies)
    assert model.ready
    assert np.allclose(model.expected(new)[0], expected)
    assert np.allclose(model.expected(new + 2 * np.pi)[0], expected), "angles have a period"


def test_it_tells_nothing_of_few_minima(minima):
    angles, energies = minima
    assert not taught(angles[:19], energies[:19]).ready
    assert taught(angles[:20], energies[:20]).ready


def test_draws_scatter_about_the_mean_where_little_is_known(minima):
    angles, energies = minima
    model = taught(angles, energies)
    new = np.random.default_rng(5).uniform(-np.pi, np.pi, (30, 4))
    drawn = np.array([model.draw(new) for _ in range(1000)])
    unknown = np.isfinite(drawn[0])
    assert unknown.sum() > 10
    drawn, new = drawn[:, unknown], new[unknown]
    heights = np.minimum(energies, 2 * np.median(energies) - energies.min())
    variance = heights.var() * (
        1.0
        - np.einsum(
            "ma,ab,mb->m",
            similarity(new, angles),
            np.linalg.inv(similarity(angles, angles) + 0.05 * np.eye(80)),
            similarity(new, angles),
        )
    )
    error = drawn.std(axis=0) / np.sqrt(1000)
    assert (np.abs(drawn.mean(axis=0) - model.expected(new)[0]) < 5 * error).all()
    assert np.allclose(drawn.std(axis=0), np.sqrt(variance), rtol=0.1)


def test_what_has_been_met_is_not_drawn_again(minima):
    angles, energies = minima
    model = taught(angles, energies)
    aside = angles[:5] + 2 * np.pi + np.radians(44.0)
    assert np.isinf(model.draw(aside)).all()
    far = angles[:5].copy()
    far[:, 2] += np.radians(46.0)
    unlike = (1 - np.cos(far[:, None] - angles[None])).max(-1).min(1) > 1 - np.cos(np.radians(45))
    assert unlike.sum() >= 3
    assert np.isfinite(model.draw(far[unlike])).all()


def test_of_too_many_minima_the_lowest_and_the_latest_are_learnt(minima, monkeypatch):
    monkeypatch.setattr(energy_model, "MOST", 40)
    angles, energies = minima
    few = taught(angles, energies)
    chosen = np.union1d(np.argsort(energies)[:20], np.arange(60, 80))
    new = np.random.default_rng(6).uniform(-np.pi, np.pi, (10, 4))
    assert np.allclose(
        few.expected(new)[0], taught(angles[chosen], energies[chosen]).expected(new)[0]
    )


@pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")
def test_minima_of_a_peptide_tell_of_those_met_later():
    simulation = peptide("1PLW", "random-coil", seed=1).simulation("Reference")
    settings = SearchSettings(turns=0.5)
    result = minimize_reparam(simulation, 1, search=settings, max_force_evaluations=9000, seed=1)
    potential = Potential(simulation.context)
    torsions = Torsions(potential, bond_graph(potential))
    found = sorted(result.minima, key=lambda minimum: minimum.force_evaluations)
    angles = np.array([torsions.angles(minimum.positions) for minimum in found])
    energies = np.array([minimum.energy for minimum in found])
    half = len(found) // 2
    assert half > 25
    model = taught(angles[:half], energies[:half])
    assert spearmanr(model.expected(angles[half:])[0], energies[half:]).pvalue < 0.01
    assert spearmanr(model.expected(angles[half:])[0], energies[half:]).statistic > 0.2


def test_many_minima_are_learnt_when_they_have_grown_by_a_fiftieth(minima, monkeypatch):
    monkeypatch.setattr(energy_model, "SOON", 70)
    angles, energies = minima
    new = np.random.default_rng(7).uniform(-np.pi, np.pi, (10, 4))
    model, told = taught(angles[:60], energies[:60]), []
    for number in range(60, 80):
        told.append(model.expected(new)[0])
        model.add(angles[number], energies[number])
    changed = [not np.array_equal(a, b) for a, b in pairwise(told)]
    assert changed == [True] * 10 + [False, True] * 4 + [False]
    assert np.allclose(told[12], taught(angles[:72], energies[:72]).expected(new)[0])
