"""Sampling with torsions as latents and a Gaussian given them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from .conditional import ConditionalGaussian
from .harmonic_frame import HarmonicFrame, internal_hessian, relaxed
from .marginal import TorsionMarginal
from .method import TrainingStep
from .target import Target
from .training import guard, learning_rate_factor, tempered_weights

__all__ = ["ConditionalSampler"]

BATCH = 256
# Learning rates and largest norms of gradients of p(z), and of q(u | z).
MARGINAL_RATE, MARGINAL_NORM = 5e-3, 1.0
CONDITIONAL_RATE, CONDITIONAL_NORM = 3e-3, 100.0
# Shares of torsions drawn from p(z), from a broader one and uniformly: when training begins and
# ends, and to sample with.
FIRST_SHARES, LAST_SHARES = (0.4, 0.2, 0.4), (0.7, 0.2, 0.1)
SAMPLING_SHARES = (0.94, 0.05, 0.01)
BROAD_SHARES = (0.4, 0.3, 0.3)
BROADER = 0.5  # exponent of p(z)
# Effective sample size, of a batch, that p(z) learns from; the target is tempered until it is met.
LEAST_SIZE = 0.15


class ConditionalSampler:
    """q(X) = q(z) q(u | z): torsions z, and all other internal coordinates u Gaussian given them.

    q(u | z) learns by reverse Kullback-Leibler divergence given z, with z drawn from p(z), from a
    broader one and uniformly: torsions cannot collapse into one basin. p(z) learns by maximum
    likelihood from the importance weights of the same samples, tempered for as long as few samples
    have all the weight. Structures are drawn from the same defensive mixture.

    Parameters
    ----------
    target : Target
    generator : torch.Generator
        Of the noise of training.

    References
    ----------
    Schöberl, Zabaras, Koutsourelakis, arXiv:2002.10148 (2020), for learning a generative map by
    the energy alone. Owen, Zhou, J. Am. Stat. Assoc. 2000, 95, 135, for defensive mixtures.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> from openmm_reparam.sampling.target import boltzmann_target
    >>> molecule = peptide("A", capped=True, constraints=None)
    >>> target = boltzmann_target(molecule.simulation("Reference"), 300)
    >>> sampler = ConditionalSampler(target, torch.Generator().manual_seed(0))
    >>> steps = list(sampler.training_steps(512))
    >>> x, log_q = sampler.sample(3, torch.Generator().manual_seed(1))
    >>> bool(torch.allclose(sampler.log_density(x), log_q, atol=1e-3))
    True
    """

    def __init__(self, target: Target, generator: torch.Generator) -> None:
        self._target, self._generator = target, generator
        internal = target.internal
        start, _ = internal.coordinates(torch.as_tensor(target.reference)[None])
        minimum = relaxed(internal, self._scaled_energy, start[0])
        positions, _ = internal.positions(minimum[None])
        self._lowest = float(target.energy(positions)[0])
        hessian = internal_hessian(internal, self._scaled_energy, minimum)
        self.frame = HarmonicFrame(internal, minimum, hessian)
        self.conditional = ConditionalGaussian(self.frame.folds, self.frame.num_others)
        self.marginal = TorsionMarginal(self.frame.folds)
        self._optimizers = [
            torch.optim.Adam(self.conditional.parameters(), CONDITIONAL_RATE),
            torch.optim.Adam(self.marginal.parameters(), MARGINAL_RATE),
        ]
        self._spent = 0

    def training_steps(self, evaluations: int) -> Iterator[TrainingStep]:
        """Train with at most so many more evaluations; yield after each step."""
        total = self._spent + evaluations
        while self._spent < total:
            count = min(BATCH, total - self._spent)
            step = self._step(count, self._spent / total)
            self._spent += count
            yield step

    def sample(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions (count, N, 3) in nm and log q, (count,), per nm^(3N - 6)."""
        return self._draw(count, SAMPLING_SHARES, generator)

    def sample_broadly(
        self, count: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the same as `sample`, with more in rare basins and on barriers of the torsions."""
        return self._draw(count, BROAD_SHARES, generator)

    def _draw(
        self, count: int, shares: tuple[float, float, float], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            z, log_p = self._torsions(count, _shares(shares), generator)
            u, log_q = self.conditional(z, self._noise(count, generator))
            # A rotor may be at any of its turns, which are alike.
            turns = torch.rand(z.shape, generator=generator, dtype=torch.float64)
            turned = z + (turns * self.frame.folds).floor() * 2 * math.pi / self.frame.folds
            positions, log_jacobian = self.frame.decode(turned, u)
        return positions, log_p + log_q - log_jacobian - self._log_turns()

    def log_density(self, positions: torch.Tensor) -> torch.Tensor:
        """Return log q, (B,), of any positions (B, N, 3) in nm, up to rigid motion."""
        with torch.no_grad():
            z, u, log_jacobian = self.frame.encode(positions)
            log_q = self.conditional.log_density(z, u) - log_jacobian - self._log_turns()
            return log_q + self._mixture_log_density(z, _shares(SAMPLING_SHARES))

    def state_dict(self) -> dict[str, Any]:
        """Return what is trained, and all that its training needs to go on."""
        return {
            "frame": self.frame.state_dict(),
            "conditional": self.conditional.state_dict(),
            "marginal": self.marginal.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "lowest": self._lowest,
            "spent": self._spent,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for name in ("frame", "conditional", "marginal"):
            getattr(self, name).load_state_dict(state[name])
        for optimizer, stored in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self._lowest, self._spent = state["lowest"], state["spent"]

    def _step(self, count: int, done: float) -> TrainingStep:
        shares = (1 - done) * _shares(FIRST_SHARES) + done * _shares(LAST_SHARES)
        with torch.no_grad():
            z, log_p = self._torsions(count, shares, self._generator)
        noise = self._noise(count, self._generator)
        u, log_q, gradient = self.conditional.path_samples(z, noise)
        positions, log_jacobian = self.frame.decode(z, u)
        energies = self._scaled_energy(positions) - self._scaled(self._lowest)
        losses = (gradient * u).sum(1) + energies - log_jacobian
        factors = guard(energies, log_jacobian)
        loss = torch.where(factors > 0, factors * losses, 0.0).mean()
        log_weights = (log_jacobian - energies).detach() - log_q
        weights, exponent = tempered_weights(log_weights, log_p, LEAST_SIZE)
        loss = loss - (weights * self.marginal.log_density(z)).sum()
        self._descend(loss, learning_rate_factor(done))
        logs = torch.nan_to_num(log_weights - log_p, nan=-torch.inf)
        size = torch.softmax(logs, 0).square().sum().reciprocal() / count
        stage = "training" if exponent == 1 else f"training, exponent {exponent:.2f}"
        return TrainingStep(stage, float(loss.detach()), float(size))

    def _descend(self, loss: torch.Tensor, factor: float) -> None:
        for optimizer, rate in zip(
            self._optimizers, (CONDITIONAL_RATE, MARGINAL_RATE), strict=True
        ):
            optimizer.zero_grad()
            optimizer.param_groups[0]["lr"] = factor * rate
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.conditional.parameters(), CONDITIONAL_NORM)
        torch.nn.utils.clip_grad_norm_(self.marginal.parameters(), MARGINAL_NORM)
        for optimizer in self._optimizers:
            optimizer.step()

    def _torsions(
        self, count: int, shares: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return torsions of a mixture, and the logarithm of its density."""
        drawn = torch.multinomial(shares, count, replacement=True, generator=generator)
        matched, broader, uniform = torch.bincount(drawn, minlength=3).tolist()
        z = torch.cat(
            [
                self.marginal.sample(matched, generator)[0],
                self.marginal.sample(broader, generator, BROADER)[0],
                self.marginal.uniform(uniform, generator),
            ]
        )
        z = z[torch.randperm(count, generator=generator)]
        return z, self._mixture_log_density(z, shares)

    def _mixture_log_density(self, z: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        parts = torch.stack(
            [
                self.marginal.log_density(z),
                self.marginal.log_density(z, BROADER),
                torch.full((len(z),), -self.marginal.log_volume, dtype=torch.float64),
            ]
        )
        return torch.logsumexp(parts + shares.log()[:, None], dim=0)

    def _noise(self, count: int, generator: torch.Generator) -> torch.Tensor:
        size = (count, self.frame.num_others)
        return torch.randn(size, generator=generator, dtype=torch.float64)

    def _log_turns(self) -> float:
        return float(self.frame.folds.log().sum())

    def _scaled_energy(self, positions: torch.Tensor) -> torch.Tensor:
        return self._scaled(self._target.energy.energy(positions))

    def _scaled(self, energy: Any) -> Any:
        return self._target.beta * energy


def _shares(shares: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(shares, dtype=torch.float64)
