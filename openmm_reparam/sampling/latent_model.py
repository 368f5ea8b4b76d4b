"""The published generative model: normal latents, a decoder, an encoder, tempered training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from .gaussians import standard_normal_log_density
from .internal_map import wrap
from .method import TrainingStep
from .training import guard, learning_rate_factor, next_exponent

__all__ = ["LatentModel", "TemperedDensity", "TemperedTraining"]

DECODER, ENCODER = (100, 100, 100), (150, 150)
# Logarithms of the standard deviations of the decoder, before training and at least.
FIRST_SCALE, LEAST_SCALE = 0.0, -8.0
# Turns of a wrapped normal distribution that count.
TURNS = 2
BATCH, RATE, LARGEST_NORM = 256, 1e-3, 100.0
FIRST_EXPONENT = 1e-10
# The exponent may grow so often in a training, and is one when this share of it is done.
STAGES, TEMPERED = 100, 0.7
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

    def log_density(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return an estimate of log q(x), (B,), from samples of the encoder.

        References
        ----------
        Burda, Grosse, Salakhutdinov, Importance weighted autoencoders, ICLR 2016.
        """
        repeated = x.repeat(ENCODED, 1)
        mean, log_scale = self._encoded(repeated)
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        z = mean + log_scale.exp() * noise
        log_r = standard_normal_log_density(noise) - log_scale.sum(-1)
        log_joint = standard_normal_log_density(z)
        log_joint = log_joint + self._log_normal(repeated, *self._decoded(z))
        logs = (log_joint - log_r).view(ENCODED, len(x))
        return torch.logsumexp(logs, 0) - math.log(ENCODED)

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


class TemperedTraining:
    """Reverse Kullback-Leibler training of a latent model towards a density that is tempered.

    Minimizes E_q[log q(x | z) + log q(z) - log r(z | x) - log p_t(x)], a bound of KL(q(x) || p_t).
    The exponent t grows when the model has followed: see `next_exponent`.

    Parameters
    ----------
    model : LatentModel
    density : TemperedDensity
    generator : torch.Generator
    first_exponent : float
        One trains without tempering.
    """

    def __init__(
        self,
        model: LatentModel,
        density: TemperedDensity,
        generator: torch.Generator,
        first_exponent: float = FIRST_EXPONENT,
    ) -> None:
        self.model, self.density = model, density
        self.exponent = self._first = first_exponent
        self._generator, self._spent, self._count = generator, 0, 0
        self._optimizer = torch.optim.Adam(model.parameters(), RATE)

    def steps(self, evaluations: int) -> Iterator[TrainingStep]:
        """Train with at most so many more evaluations; yield after each step."""
        total = self._spent + evaluations
        length = max(1, total // (BATCH * STAGES))
        while self._spent < total:
            size = min(BATCH, total - self._spent)
            done = self._spent / total
            log_ratio, log_weights, loss = self._step(size, done)
            self._spent += size
            self._count += 1
            if self.exponent < 1 and self._count % length == 0:
                following = next_exponent(self.exponent, log_ratio, log_weights)
                self.exponent = max(following, min(1.0, self._first ** (1 - done / TEMPERED)))
            share = torch.softmax(log_weights, 0).square().sum().reciprocal() / size
            yield TrainingStep(f"training, exponent {self.exponent:.2g}", loss, float(share))

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to go on, the model apart."""
        return {
            "exponent": self.exponent,
            "spent": self._spent,
            "count": self._count,
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.exponent, self._spent, self._count = state["exponent"], state["spent"], state["count"]
        self._optimizer.load_state_dict(state["optimizer"])

    def _step(self, size: int, done: float) -> tuple[torch.Tensor, torch.Tensor, float]:
        x, _, log_q = self.model.sample(size, self._generator)
        easy, wanted = self.density(x)
        sound = torch.isfinite(wanted) & torch.isfinite(easy)
        easy, wanted = torch.where(sound, easy, 0.0), torch.where(sound, wanted, 0.0)
        log_p = (1 - self.exponent) * easy + self.exponent * wanted
        factors = guard(-log_p, torch.where(sound, 0.0, -torch.inf))
        loss = (factors * (log_q - log_p)).mean()
        self._optimizer.zero_grad()
        self._optimizer.param_groups[0]["lr"] = RATE * learning_rate_factor(done)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_NORM)
        self._optimizer.step()
        log_weights = torch.where(sound, log_p - log_q, -torch.inf).detach()
        return (wanted - easy).detach(), log_weights, float(loss.detach())


def _network(
    inputs: int, hidden: tuple[int, ...], outputs: int, activation: type[torch.nn.Module]
) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for size in hidden:
        layers += [torch.nn.Linear(inputs, size), activation()]
        inputs = size
    return torch.nn.Sequential(*layers, torch.nn.Linear(inputs, outputs))
