"""The difference to a surrogate, as a Gaussian process on gradients."""

import numpy as np
import pytest

from openmm_reparam.precon.model_hessian import internal_terms
from openmm_reparam.surrogates import difference
from openmm_reparam.surrogates.difference import DifferenceModel
from openmm_reparam.surrogates.stiff_features import StiffFeatures


@pytest.fixture
def features(acetic_acid):
    numbers, positions, bonds = acetic_acid
    return StiffFeatures(internal_terms(numbers, positions, bonds), numbers, positions)


def energy_and_gradient(positions):
    """An energy that rotations and translations leave as it is: springs between all pairs."""
    vectors = positions[:, None] - positions[None]
    distances = np.sqrt((vectors**2).sum(axis=-1) + np.eye(len(positions)))
    slopes = 1e3 * (distances - 0.2) * (1 - np.eye(len(positions)))
    energy = 0.25 * 1e3 * (((distances - 0.2) ** 2) * (1 - np.eye(len(positions)))).sum()
    return energy, (slopes[..., None] * vectors / distances[..., None]).sum(axis=1)


def central(function, x, step=1e-6):
    columns = []
    for k in range(x.size):
        shift = np.zeros(x.size)
        shift[k] = step
        shift = shift.reshape(x.shape)
        columns.append((function(x + shift) - function(x - shift)) / (2 * step))
    return np.stack(columns, axis=-1)


def test_features_have_the_gradients_they_say(features, acetic_acid, rng):
    """Against central differences; and what is pulled back is their transpose."""
    x = acetic_acid[1] + 0.005 * rng.normal(size=acetic_acid[1].shape)
    jacobian = features.jacobian(features(x)[1])
    numeric = central(lambda y: features(y)[0], x)
    np.testing.assert_allclose(jacobian, numeric, atol=1e-5 * np.abs(jacobian).max())
    slopes = rng.normal(size=features.count)
    np.testing.assert_allclose(
        features.pulled_back(features(x)[1], slopes).ravel(), jacobian.T @ slopes
    )


def test_features_do_not_change_with_rigid_motions(features, acetic_acid):
    """Rotated and moved, the molecule is at the same place."""
    x = acetic_acid[1]
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    np.testing.assert_allclose(features(x @ turn.T + 0.3)[0], features(x)[0], atol=1e-9)


def test_known_gradients_come_back(features, acetic_acid, rng):
    """At every structure that was learnt, to the noise."""
    model = DifferenceModel(features)
    places = acetic_acid[1] + 0.004 * rng.normal(size=(4, *acetic_acid[1].shape))
    for x in places:
        model.add(x, energy_and_gradient(x)[1])
    for x in places:
        np.testing.assert_allclose(model(x)[1], energy_and_gradient(x)[1], atol=0.5)


def test_the_gradient_is_that_of_the_energy(features, acetic_acid, rng):
    """Against central differences, away from what was learnt."""
    model = DifferenceModel(features)
    for x in acetic_acid[1] + 0.004 * rng.normal(size=(3, *acetic_acid[1].shape)):
        model.add(x, energy_and_gradient(x)[1])
    there = acetic_acid[1] + 0.004 * rng.normal(size=acetic_acid[1].shape)
    gradient = model(there)[1]
    numeric = central(lambda y: model(y)[0], there).reshape(there.shape)
    np.testing.assert_allclose(gradient, numeric, atol=1e-4 * np.abs(gradient).max())


def test_energies_between_known_structures_are_foretold(features, acetic_acid, rng):
    """Falls of a smooth energy, from gradients alone, to a tenth."""
    model = DifferenceModel(features)
    first = acetic_acid[1]
    second = first + 0.003 * rng.normal(size=first.shape)
    for x in (first, second, (first + second) / 2):
        model.add(x, energy_and_gradient(x)[1])
    real = energy_and_gradient(second)[0] - energy_and_gradient(first)[0]
    assert model(second)[0] - model(first)[0] == pytest.approx(real, rel=0.1)


def test_the_oldest_is_forgotten_where_memory_ends(features, acetic_acid, rng, monkeypatch):
    """As if it had never been learnt."""
    places = acetic_acid[1] + 0.004 * rng.normal(size=(4, *acetic_acid[1].shape))
    short, window = DifferenceModel(features), DifferenceModel(features)
    for x in places[1:]:
        short.add(x, energy_and_gradient(x)[1])
    monkeypatch.setattr(difference, "MOST_ROWS", 3 * places[0].size)
    for x in places:
        window.add(x, energy_and_gradient(x)[1])
    np.testing.assert_allclose(window(places[0])[1], short(places[0])[1], rtol=1e-6, atol=1e-6)


def test_a_structure_learnt_twice_does_no_harm(features, acetic_acid):
    """The covariance is singular but for the noise."""
    model = DifferenceModel(features)
    x = acetic_acid[1]
    for _ in range(3):
        model.add(x, energy_and_gradient(x)[1])
    np.testing.assert_allclose(model(x)[1], energy_and_gradient(x)[1], atol=0.5)


def test_features_tell_how_a_straight_chain_bends_and_turns():
    """Propenyne: bends in the plane and the chain's ends change features to first order."""
    numbers = np.array([6, 6, 6, 6, 1, 1, 1, 1])
    ethyl = [[-0.05, 0.14, 0.0], [0.0, 0.0, 0.0], [0.12, 0.0, 0.0], [0.266, 0.0, 0.0]]
    hydrogens = [[-0.158, 0.143, 0.0], [0.302, 0.103, 0], [0.302, -0.05, 0.09]]
    x = np.array([*ethyl, [0.0, 0.2, 0.08], *hydrogens])
    bonds = np.array([[0, 1], [1, 2], [2, 3], [0, 4], [0, 5], [3, 6], [3, 7]])
    features = StiffFeatures(internal_terms(numbers, x, bonds), numbers, x)
    jacobian = features.jacobian(features(x)[1])
    # The middle atom of the chain across, in the plane of the rest.
    across = np.zeros_like(x)
    across[2, 1] = 1.0
    assert np.linalg.norm(jacobian @ across.ravel()) > 10
    # One end turned about the chain.
    turned = np.zeros_like(x)
    turned[[6, 7]] = np.cross([1.0, 0.0, 0.0], x[[6, 7]])
    assert np.linalg.norm(jacobian @ turned.ravel()) > 1


def test_places_are_features_where_something_pulls_from_outside(acetic_acid, rng):
    """A uniform field is learnt; its gradients are those of the features."""
    numbers, positions, bonds = acetic_acid
    terms = internal_terms(numbers, positions, bonds)
    features = StiffFeatures(terms, numbers, positions, placed=True)
    x = positions + 0.005 * rng.normal(size=positions.shape)
    jacobian = features.jacobian(features(x)[1])
    numeric = central(lambda y: features(y)[0], x)
    np.testing.assert_allclose(jacobian, numeric, atol=1e-5 * np.abs(jacobian).max())
    field = np.tile([30.0, -20.0, 10.0], (len(numbers), 1))
    model = DifferenceModel(features)
    model.add(positions, field)
    np.testing.assert_allclose(model(positions)[1], field, atol=0.5)
    moved = positions + [0.01, 0.0, 0.0]
    fall = model(moved)[0] - model(positions)[0]
    assert fall == pytest.approx(0.01 * field[:, 0].sum(), rel=0.01)
