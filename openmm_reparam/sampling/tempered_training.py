"""Training of the published model: reverse Kullback-Leibler divergence, tempered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from .latent_model import TemperedDensity
from .method import TrainingStep
from .rungs import Rungs
from .training import guard, learning_rate_factor, next_exponent

__all__ = ["TemperedTraining"]

BATCH, RATE, LARGEST_NORM = 256, 1e-3, 100.0
FIRST_EXPONENT = 1e-10
# The exponent may grow so often in a training, and is one when this share of it is done.
STAGES, TEMPERED = 100, 0.7


class TemperedTraining:
    """Reverse Kullback-Leibler training of a latent model towards a density that is tempered.

    Minimizes E_q[log q(x | z) + log q(z) - log r(z | x) - log p_t(x)], a bound of KL(q(x) || p_t).
    The exponent t grows when the model has followed: see `next_exponent`.

    Parameters
    ----------
    rungs : Rungs
        Its model is trained; copies are kept from smaller exponents.
    density : TemperedDensity
    generator : torch.Generator
    first_exponent : float
        One trains without tempering.
    """

    def __init__(
        self,
        rungs: Rungs,
        density: TemperedDensity,
        generator: torch.Generator,
        first_exponent: float = FIRST_EXPONENT,
    ) -> None:
        self.model, self.density, self._rungs = rungs.model, density, rungs
        self.exponent = self._first = first_exponent
        self._generator, self._spent, self._count = generator, 0, 0
        self._optimizer = torch.optim.Adam(rungs.model.parameters(), RATE)

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
                following = max(following, min(1.0, self._first ** (1 - done / TEMPERED)))
                self._rungs.keep_before(self.exponent, following)
                self.exponent = following
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
