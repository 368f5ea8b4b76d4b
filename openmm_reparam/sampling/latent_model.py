"""The published generative model: normal latents, a decoder, an encoder."""

from __future__ import annotations

import math
from typing import Protocol

import torch

from .gaussians import standard_normal_log_density
from .internal_map import wrap

__all__ = ["LatentModel", "TemperedDensity"]

DECODER, ENCODER = (100, 100, 100), (150, 150)
# Logarithms of the standard deviations of the decoder, before training and at least.
FIRST_SCALE, LEAST_SCALE = 0.0, -8.0
# Turns of a wrapped normal distribution that count.
TURNS = 2
# Samples of the encoder for the density of a structure.
ENCODED = 64


class TemperedDensity(Protocol):
    """A density p0^(1 - t) p1^t of vectors x, from an easy one to the one that is wanted.

    Attributes
    ----------
    periodic : (D,) bool tensor
        Which numbers of x are angles in radians.
    """

    periodic: torch.Tensor

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log p0 and log p1, (B,), of vectors (B, D); -inf where x is nothing.

        Neither is normalized; log p1 is about zero where it is largest.
        """
        ...


class LatentModel(torch.nn.Module):
    """q(x, z) = N(z; 0, I) N(x; mu(z), sigma(z)^2), with an encoder r(z | x).

    Angles are normal about their mean and wrapped round the circle. The decoder gives their means
    as directions, the encoder sees their cosines and sines.

    Parameters
    ----------
    periodic : (D,) bool tensor
        Which numbers of x are angles in radians.
    num_latents : int

    References
    ----------
    Schöberl, Zabaras, Koutsourelakis, arXiv:2002.10148 (2020).

    Examples
    --------
    >>> model = LatentModel(torch.tensor([False, True]), num_latents=1)
    >>> x, z, log_q = model.sample(5, torch.Generator().manual_seed(0))
    >>> x.shape, z.shape, log_q.shape
    (torch.Size([5, 2]), torch.Size([5, 1]), torch.Size([5]))
    """

    periodic: torch.Tensor

    def __init__(self, periodic: torch.Tensor, num_latents: int) -> None:
        super().__init__()
        self.register_buffer("periodic", periodic.clone())
        self.num_latents = num_latents
        size, angles = len(periodic), int(periodic.sum())
        self.decoder = _network(num_latents, DECODER, 2 * size + angles, torch.nn.Tanh)
        self.encoder = _network(size + angles, ENCODER, 2 * num_latents, torch.nn.SELU)

    def sample(
        self, count: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return x (count, D), z (count, K) and log q(x, z) - log r(z | x), (count,).

        The latter is the log density that weights want: over z its mean of 1 / density is that of
        q(x) alone.
        """
        z = torch.randn(count, self.num_latents, generator=generator, dtype=torch.float64)
        mean, log_scale = self._decoded(z)
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        x = mean + log_scale.exp() * noise
        x = torch.where(self.periodic, wrap(x), x)
        log_joint = standard_normal_log_density(z) + self._log_normal(x, mean, log_scale)
        return x, z, log_joint - self.encoder_log_density(z, x)

    def encoder_log_density(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return log r(z | x), (B,)."""
        mean, log_scale = self._encoded(x)
        return standard_normal_log_density((z - mean) / log_scale.exp()) - log_scale.sum(-1)

    def log_density(
        self, x: torch.Tensor, generator: torch.Generator, encoded: int = ENCODED
    ) -> torch.Tensor:
        """Return an estimate of log q(x), (B,), from so many samples of the encoder.

        References
        ----------
        Burda, Grosse, Salakhutdinov, Importance weighted autoencoders, ICLR 2016.
        """
        repeated = x.repeat(encoded, 1)
        mean, log_scale = self._encoded(repeated)
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        z = mean + log_scale.exp() * noise
        log_r = standard_normal_log_density(noise) - log_scale.sum(-1)
        log_joint = standard_normal_log_density(z)
        log_joint = log_joint + self._log_normal(repeated, *self._decoded(z))
        logs = (log_joint - log_r).view(encoded, len(x))
        return torch.logsumexp(logs, 0) - math.log(encoded)

    def _decoded(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.decoder(z.float()).double()
        size = len(self.periodic)
        mean, log_scale, cosines = found[:, :size], found[:, size : 2 * size], found[:, 2 * size :]
        angles = torch.atan2(mean[:, self.periodic], cosines)
        mean = mean.masked_scatter(self.periodic.expand_as(mean), angles)
        return mean, (log_scale + FIRST_SCALE).clamp_min(LEAST_SCALE)

    def _encoded(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = x[:, self.periodic]
        features = torch.cat([x[:, ~self.periodic], angles.cos(), angles.sin()], dim=1)
        mean, log_scale = self.encoder(features.float()).double().chunk(2, dim=1)
        return mean, log_scale.clamp_min(LEAST_SCALE)

    def _log_normal(
        self, x: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor
    ) -> torch.Tensor:
        turns = 2 * math.pi * torch.arange(-TURNS, TURNS + 1, dtype=torch.float64)[:, None, None]
        off = torch.where(self.periodic, wrap(x - mean), x - mean) + turns * self.periodic
        logs = -0.5 * (off / log_scale.exp()).square() - log_scale - 0.5 * math.log(2 * math.pi)
        wrapped = torch.logsumexp(logs, 0)
        return torch.where(self.periodic, wrapped, logs[TURNS]).sum(-1)


def _network(
    inputs: int, hidden: tuple[int, ...], outputs: int, activation: type[torch.nn.Module]
) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for size in hidden:
        layers += [torch.nn.Linear(inputs, size), activation()]
        inputs = size
    return torch.nn.Sequential(*layers, torch.nn.Linear(inputs, outputs))
