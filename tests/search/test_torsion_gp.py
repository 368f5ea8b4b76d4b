"""The Gaussian process over torsion angles: closed forms, periods, samples, a real search."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr

from openmm_reparam import Potential, minimize_reparam
from openmm_reparam.potentials.bond_graph import bond_graph
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import SearchSettings, torsion_gp
from openmm_reparam.search.torsion_angles import ShapeAngles
from openmm_reparam.search.torsion_gp import TorsionGP
from openmm_reparam.search.torsions import TorsionTopology


@pytest.fixture
def minima():
    rng = np.random.default_rng(3)
    angles = rng.uniform(-np.pi, np.pi, (80, 4))
    energies = 10.0 * np.cos(angles).sum(axis=1) - 500.0
    energies[::9] += 100.0
    return angles, energies


def told(angles, energies, seed=0):
    gp = TorsionGP(np.random.default_rng(seed))
    for where, energy in zip(angles, energies, strict=True):
        gp.tell(where, energy)
    return gp


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
    gp = told(angles, energies)
    assert gp.ready
    assert np.allclose(gp.predict(new)[0], expected)
    assert np.allclose(gp.predict(new + 2 * np.pi)[0], expected), "angles have a period"


def test_few_minima_are_not_enough(minima):
    angles, energies = minima
    assert not told(angles[:19], energies[:19]).ready
    assert told(angles[:20], energies[:20]).ready


def test_samples_scatter_about_the_mean_where_little_is_known(minima):
    angles, energies = minima
    gp = told(angles, energies)
    new = np.random.default_rng(5).uniform(-np.pi, np.pi, (30, 4))
    drawn = np.array([gp.thompson_sample(new) for _ in range(1000)])
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
    assert (np.abs(drawn.mean(axis=0) - gp.predict(new)[0]) < 5 * error).all()
    assert np.allclose(drawn.std(axis=0), np.sqrt(variance), rtol=0.1)


def test_known_minima_are_not_proposed_again(minima):
    angles, energies = minima
    gp = told(angles, energies)
    aside = angles[:5] + 2 * np.pi + np.radians(44.0)
    assert np.isinf(gp.thompson_sample(aside)).all()
    far = angles[:5].copy()
    far[:, 2] += np.radians(46.0)
    unlike = (1 - np.cos(far[:, None] - angles[None])).max(-1).min(1) > 1 - np.cos(np.radians(45))
    assert unlike.sum() >= 3
    assert np.isfinite(gp.thompson_sample(far[unlike])).all()


def test_of_too_many_minima_the_lowest_and_the_latest_are_fitted(minima, monkeypatch):
    monkeypatch.setattr(torsion_gp, "MAX_MINIMA", 40)
    angles, energies = minima
    few = told(angles, energies)
    chosen = np.union1d(np.argsort(energies)[:20], np.arange(60, 80))
    new = np.random.default_rng(6).uniform(-np.pi, np.pi, (10, 4))
    assert np.allclose(few.predict(new)[0], told(angles[chosen], energies[chosen]).predict(new)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")
def test_minima_of_a_peptide_predict_later_ones():
    simulation = peptide("1PLW", "random-coil", seed=1).simulation("Reference")
    settings = SearchSettings(rotamer_share=0.5)
    result = minimize_reparam(simulation, 1, search=settings, max_force_evaluations=9000, seed=1)
    potential = Potential(simulation.context)
    shape_angles = ShapeAngles(TorsionTopology(potential, bond_graph(potential)))
    found = sorted(result.minima, key=lambda minimum: minimum.force_evaluations)
    angles = np.array([shape_angles(minimum.positions) for minimum in found])
    energies = np.array([minimum.energy for minimum in found])
    half = len(found) // 2
    assert half > 25
    gp = told(angles[:half], energies[:half])
    assert spearmanr(gp.predict(angles[half:])[0], energies[half:]).pvalue < 0.01
    assert spearmanr(gp.predict(angles[half:])[0], energies[half:]).statistic > 0.2


def test_many_minima_are_fitted_again_when_they_have_grown_by_a_fiftieth(minima, monkeypatch):
    monkeypatch.setattr(torsion_gp, "REFIT_EACH_UP_TO", 70)
    angles, energies = minima
    new = np.random.default_rng(7).uniform(-np.pi, np.pi, (10, 4))
    gp, means = told(angles[:60], energies[:60]), []
    for number in range(60, 80):
        means.append(gp.predict(new)[0])
        gp.tell(angles[number], energies[number])
    changed = [not np.array_equal(a, b) for a, b in pairwise(means)]
    assert changed == [True] * 10 + [False, True] * 4 + [False]
    assert np.allclose(means[12], told(angles[:72], energies[:72]).predict(new)[0])
