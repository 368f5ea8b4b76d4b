"""Models from along a tempered training, sampled together: what the last one lost, an earlier has.

Reverse Kullback-Leibler training pays little for losing a basin of small probability, and loses it
in the last steps of tempering. Models kept from smaller exponents still cover it.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from .latent_model import LatentModel

__all__ = ["Rungs"]

# A model is kept when the exponent has grown by this factor since the last one, from this exponent.
SPACING, FIRST_KEPT = 2.0, 1e-3
# Share of the samples that the last model draws. Samples of an encoder for the shares of models in
# a structure: these need not be exact.
LAST_SHARE, ENCODED = 0.5, 8


class Rungs:
    """A mixture of latent models: one in training, and copies from smaller exponents.

    Parameters
    ----------
    model : LatentModel
        In training; not copied.

    Notes
    -----
    With models k that are drawn from with probability pi_k, a structure x of model k with latents z
    has the weight p(x) a_k(x) r_k(z | x) / (pi_k q_k(x, z)). For any shares a_k(x) that add up to
    one the expectation is that of p, also for shares estimated with noise of their own; here
    a_k(x) ~ pi_k q_k(x), estimated from the encoders.

    References
    ----------
    Veach, E., Guibas, L. J. SIGGRAPH 1995 (the balance heuristic). Neal, R. M. Statistics and
    Computing 2001, 11, 125 (annealed importance sampling).

    Examples
    --------
    >>> rungs = Rungs(LatentModel(torch.tensor([False, False]), num_latents=1))
    >>> rungs.keep_before(0.01, 0.03)
    >>> x, z, log_q = rungs.sample(6, torch.Generator().manual_seed(0))
    >>> x.shape, z.shape, log_q.shape
    (torch.Size([6, 2]), torch.Size([6, 1]), torch.Size([6]))
    """

    def __init__(self, model: LatentModel) -> None:
        self.model = model
        self.exponents: list[float] = []
        self._kept: list[LatentModel] = []

    def keep_before(self, exponent: float, following: float) -> None:
        """Keep a copy of the model at an exponent that it will leave, if it is far from others.

        Parameters
        ----------
        exponent : float
            The present one.
        following : float
            The next one; nothing is kept if it is the same.
        """
        last = self.exponents[-1] if self.exponents else 0.0
        if following > exponent >= max(FIRST_KEPT, SPACING * last):
            self.exponents.append(exponent)
            self._kept.append(copy.deepcopy(self.model))

    def sample(
        self, count: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return x (count, D), z (count, K) and the log density (count,) that weights want."""
        models, shares = self._models()
        parts = []
        # Places that are evenly spread and shifted at random: the numbers are within one of shares.
        places = (torch.arange(count) + torch.rand(1, generator=generator)) / max(count, 1)
        chosen = torch.bucketize(places.double(), shares.cumsum(0)[:-1])
        for k, size in enumerate(torch.bincount(chosen, minlength=len(models)).tolist()):
            x, z, log_q = models[k].sample(size, generator)
            own = torch.log_softmax(self._log_parts(x, generator, ENCODED), dim=0)[k]
            parts.append((x, z, log_q + shares[k].log() - own))
        order = torch.randperm(count, generator=generator)
        x, z, log_q = (torch.cat(part)[order] for part in zip(*parts, strict=True))
        return x, z, log_q

    def log_density(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return an estimate of the mixture's log density, (B,), from samples of the encoders."""
        return torch.logsumexp(self._log_parts(x, generator), 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the models and their exponents."""
        kept = [model.state_dict() for model in self._kept]
        return {"model": self.model.state_dict(), "kept": kept, "exponents": self.exponents}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._kept = []
        for kept in state["kept"]:
            self._kept.append(copy.deepcopy(self.model))
            self._kept[-1].load_state_dict(kept)
        self.exponents = list(state["exponents"])
        self.model.load_state_dict(state["model"])

    def _models(self) -> tuple[list[LatentModel], torch.Tensor]:
        others = len(self._kept)
        shares = [(1 - LAST_SHARE) / others] * others + [LAST_SHARE] if others else [1.0]
        return [*self._kept, self.model], torch.tensor(shares, dtype=torch.float64)

    def _log_parts(
        self, x: torch.Tensor, generator: torch.Generator, *encoded: int
    ) -> torch.Tensor:
        models, shares = self._models()
        if len(models) == 1 and encoded:
            return torch.zeros(1, len(x), dtype=torch.float64)
        parts = [model.log_density(x, generator, *encoded) for model in models]
        return torch.stack(parts) + shares.log()[:, None]
