"""Settings of a minimization: one frozen object, its checks, and the shares of its stages."""

import dataclasses

import pytest
import torch

from openmm_reparam import ReparamMinimizer
from openmm_reparam.minimization.settings import MinimizationSettings
from openmm_reparam.optimizers.latent_settings import LatentSettings
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import SearchSettings


def with_latents(iterations=200, **settings):
    latent = LatentSettings(iterations=iterations)
    return MinimizationSettings("gcn", latent=latent, latents_are_fine=False, **settings)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"fine_stage": False}, "no stage is left"),
        ({"engine": "openmm-torch"}, "of the latent stage, and there is none"),
        ({"engine": "jax"}, "must be one of"),
        (
            {"fine_stage": False, "search": SearchSettings(), "latent": LatentSettings()},
            "a search needs the fine-grained stage",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        MinimizationSettings(**wrong)


def test_nothing_changes_them():
    settings = MinimizationSettings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 1
    limited = settings.limited(2.0, 7, 9)
    assert (limited.tolerance, limited.max_iterations, limited.max_force_evaluations) == (2.0, 7, 9)
    assert settings == MinimizationSettings()


def test_limits_are_those_of_one_call():
    minimizer = ReparamMinimizer(peptide("AG").simulation("Reference"))
    with pytest.warns(UserWarning, match="maxIterations = 2"):
        minimizer.minimize(1.0, 2, max_force_evaluations=50)
    result = minimizer.minimize(5.0)
    assert result.converged
    assert result.tolerance == 5.0
    assert result.iterations > 2


@pytest.mark.parametrize(
    ("budget", "fine_stage", "share"),
    [(None, True, None), (90, True, 30), (1, True, 1), (2, True, 1), (90, False, 90)],
)
def test_the_last_stage_keeps_its_share_of_a_budget(budget, fine_stage, share):
    settings = with_latents(max_force_evaluations=budget, fine_stage=fine_stage)
    assert settings.latent_force_evaluations == share


@pytest.mark.parametrize(
    ("most", "fine_stage", "iterations"),
    [(0, True, 200), (90, True, 30), (2, True, 1), (90, False, 90), (900, False, 200)],
)
def test_the_last_stage_keeps_its_share_of_the_iterations(most, fine_stage, iterations):
    settings = with_latents(max_iterations=most, fine_stage=fine_stage)
    assert settings.latent_iterations == iterations


@pytest.mark.parametrize(("budget", "share"), [(None, None), (3, 3), (100, 90), (20_000, 19_400)])
def test_a_search_leaves_evaluations_to_the_last_stage(budget, share):
    assert MinimizationSettings(max_force_evaluations=budget).search_force_evaluations == share


def own(start):
    """Stand for a user's builder."""


@pytest.mark.parametrize(
    ("spec", "name"), [("gcn", "gcn"), (own, "own"), (torch.nn.Linear(1, 1), "Linear")]
)
def test_a_latent_stage_is_called_by_its_reparametrization(spec, name):
    assert MinimizationSettings(spec).reparametrization_name == name


def test_the_preconditioner_takes_the_settings_of_spectral_only():
    settings = {"shift": 500.0}
    assert MinimizationSettings("spectral", settings).preconditioner_settings == settings
    adam = MinimizationSettings("spectral", settings, LatentSettings(), latents_are_fine=False)
    assert adam.preconditioner_settings == {}
