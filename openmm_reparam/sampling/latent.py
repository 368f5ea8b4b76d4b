"""Sampling with latents that are found: the published generative model of a molecule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy

from .harmonic_frame import HarmonicFrame, internal_hessian, relaxed
from .latent_densities import InternalDensity, PinnedDensity
from .latent_model import LatentModel
from .method import TrainingStep
from .rungs import Rungs
from .target import Target
from .tempered_training import TemperedTraining

__all__ = ["LatentSampler", "latent_information"]

NUM_LATENTS = 2
# Exponents at which tempering begins. Internal coordinates begin with a harmonic density.
FIRST_EXPONENTS = {"internal": 1e-3, "cartesian": 1e-10}
# Bins of a latent (by its normal distribution) and of a torsion.
LATENT_BINS, TORSION_BINS = 12, 24


class LatentSampler:
    """q(X) = integral of N(z; 0, I) q(X | z) over a few latents z, which are found by training.

    Parameters
    ----------
    target : Target
    generator : torch.Generator
    coordinates : {"internal", "cartesian"}
        Internal: torsions round their circles, all others whitened about a minimum. Cartesian: as
        published, with six numbers pinned; mirror images are not told apart.
    num_latents : int

    Notes
    -----
    Weights are those of structures with their latents, so that the density of a structure alone is
    not needed: see `LatentModel.sample`. Models from along the tempering are drawn from, too, for
    basins that the last one lost: see `Rungs`.

    References
    ----------
    Schöberl, Zabaras, Koutsourelakis, arXiv:2002.10148 (2020).

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> from openmm_reparam.sampling.target import boltzmann_target
    >>> molecule = peptide("A", capped=True, constraints=None)
    >>> target = boltzmann_target(molecule.simulation("Reference"), 300)
    >>> sampler = LatentSampler(target, torch.Generator().manual_seed(0))
    >>> x, log_q = sampler.sample(3, torch.Generator().manual_seed(1))
    >>> x.shape, log_q.shape
    (torch.Size([3, 22, 3]), torch.Size([3]))
    """

    def __init__(
        self,
        target: Target,
        generator: torch.Generator,
        coordinates: str = "internal",
        num_latents: int = NUM_LATENTS,
    ) -> None:
        if coordinates not in FIRST_EXPONENTS:
            raise ValueError(
                f"coordinates {coordinates!r} are unknown: choose one of "
                f"{', '.join(FIRST_EXPONENTS)}"
            )
        self._target, self._generator = target, generator
        internal = target.internal
        start, _ = internal.coordinates(torch.as_tensor(target.reference)[None])
        minimum = relaxed(internal, self._minus_log_boltzmann, start[0])
        self._frame: HarmonicFrame | None = None
        if coordinates == "internal":
            hessian = internal_hessian(internal, self._minus_log_boltzmann, minimum)
            self._frame = HarmonicFrame(internal, minimum, hessian)
            self._density: Any = InternalDensity(self._frame, self._log_boltzmann)
        else:
            self._density = self._pinned_density(minimum)
        self._rungs = Rungs(LatentModel(self._density.periodic, num_latents))
        self._training = TemperedTraining(
            self._rungs, self._density, generator, FIRST_EXPONENTS[coordinates]
        )

    def training_steps(self, evaluations: int) -> Iterator[TrainingStep]:
        """Train with at most so many more evaluations; yield after each step."""
        return self._training.steps(evaluations)

    def sample(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions (count, N, 3) in nm and log q, (count,), per nm^(3N - 6)."""
        with torch.no_grad():
            x, _, log_q = self._rungs.sample(count, generator)
            positions, log_jacobian = self._density.decode(x)
        return positions, log_q - log_jacobian

    def sample_with_latents(
        self, count: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return positions (count, N, 3) in nm, their latents (count, K), and log q, (count,).

        Of the last model alone: latents of models from smaller exponents mean other structures.
        """
        with torch.no_grad():
            x, z, log_q = self._rungs.model.sample(count, generator)
            positions, log_jacobian = self._density.decode(x)
        return positions, z, log_q - log_jacobian

    def log_density(self, positions: torch.Tensor) -> torch.Tensor:
        """Return an estimate of log q, (B,), of any positions (B, N, 3) in nm."""
        with torch.no_grad():
            x, log_jacobian = self._density.encode(positions)
            return self._rungs.log_density(x, self._generator) - log_jacobian

    def state_dict(self) -> dict[str, Any]:
        """Return what is trained, and all that its training needs to go on."""
        frame = {} if self._frame is None else self._frame.state_dict()
        return {
            "frame": frame,
            "rungs": self._rungs.state_dict(),
            "training": self._training.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        if self._frame is not None:
            self._frame.load_state_dict(state["frame"])
        self._rungs.load_state_dict(state["rungs"])
        self._training.load_state_dict(state["training"])

    def _pinned_density(self, minimum: torch.Tensor) -> PinnedDensity:
        positions, _ = self._target.internal.positions(minimum[None])
        order = torch.as_tensor(self._target.internal.zmatrix.order[:3])
        lowest = float(self._log_boltzmann(positions)[0])
        return PinnedDensity(order, positions.shape[1], self._log_boltzmann, lowest)

    def _minus_log_boltzmann(self, positions: torch.Tensor) -> torch.Tensor:
        return -self._log_boltzmann(positions)

    def _log_boltzmann(self, positions: torch.Tensor) -> torch.Tensor:
        return -self._target.beta * self._target.energy.energy(positions)


def latent_information(latents: torch.Tensor, torsions: torch.Tensor) -> list[float]:
    """Return how much of each torsion latents tell: mutual information over its entropy, 0 to 1.

    Torsions that are latents themselves have one.

    Parameters
    ----------
    latents : (n, K) tensor
        Standard normal; K is one or two.
    torsions : (n, T) tensor
        In radians.

    Examples
    --------
    >>> z = torch.randn(5000, 1, generator=torch.Generator().manual_seed(0))
    >>> step = torch.where(z > 0, 1.0, -1.0)
    >>> [round(share, 2) for share in latent_information(z, torch.cat([step, 0 * step], dim=1))]
    [1.0, 0.0]
    """
    places = (torch.special.ndtr(latents) * LATENT_BINS).long().clamp_max(LATENT_BINS - 1)
    powers = LATENT_BINS ** torch.arange(latents.shape[1])
    labels = (places * powers).sum(1).numpy()
    bins = ((torsions / (2 * torch.pi)) % 1.0 * TORSION_BINS).long().clamp_max(TORSION_BINS - 1)
    shares = []
    for column in bins.T.numpy():
        own, joint = _entropy(column), _entropy(labels * TORSION_BINS + column)
        shares.append((_entropy(labels) + own - joint) / own if own > 0 else 0.0)
    return shares


def _entropy(labels: np.ndarray) -> float:
    return float(entropy(np.unique(labels, return_counts=True)[1]))
