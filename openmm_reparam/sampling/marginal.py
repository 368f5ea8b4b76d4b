"""Densities of torsions on their circles, one torsion after the other."""

from __future__ import annotations

import math

import torch

from .conditional import torsion_features
from .networks import zero_perceptron

__all__ = ["TorsionMarginal"]

HIDDEN = 64
# Harmonics of the torsions that come before, and of the density's own logarithm.
SEEN_HARMONICS, HARMONICS = 4, 12
# Nodes of the piecewise linear density of a torsion.
NODES = 120


class TorsionMarginal(torch.nn.Module):
    """p(z) = p(z1) p(z2 | z1) ...: piecewise linear densities whose logarithms are Fourier sums.

    The coefficients of each torsion's sum come from a small network of the torsions before it.
    Free torsions see the free ones before them, rotors see all free ones and no rotor: rotors of
    one molecule are far apart.

    Parameters
    ----------
    folds : (Z,) tensor
        Periodicities; free torsions (1) come first. Each torsion is a circle of 2 pi / fold.
    hidden : int
        Width of the hidden layers.

    Examples
    --------
    >>> marginal = TorsionMarginal(torch.tensor([1, 1, 3]))
    >>> z, log_p = marginal.sample(5, torch.Generator().manual_seed(0))
    >>> bool(torch.allclose(marginal.log_density(z), log_p))
    True
    """

    folds: torch.Tensor
    _basis: torch.Tensor

    def __init__(self, folds: torch.Tensor, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.register_buffer("folds", folds.clone())
        nodes = torch.arange(NODES, dtype=torch.float64)[:, None] * (2 * math.pi / NODES)
        self.register_buffer("_basis", torsion_features(nodes, torch.ones(1), HARMONICS))
        self.networks = torch.nn.ModuleList(self._network(k, hidden) for k in range(len(folds)))

    @property
    def log_volume(self) -> float:
        """Logarithm of the volume of all circles."""
        return float((2 * math.pi / self.folds).log().sum())

    def uniform(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return (count, Z) torsions drawn uniformly, from zero to each period."""
        size = (count, len(self.folds))
        drawn = torch.rand(size, generator=generator, dtype=torch.float64)
        return drawn * 2 * math.pi / self.folds

    def sample(
        self, count: int, generator: torch.Generator, exponent: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return torsions (count, Z) in radians, each from 0 to its period, and log p, (count,).

        Each torsion's density is raised to the exponent and normalized again: below one, they are
        broader.
        """
        z = torch.zeros(count, 0, dtype=torch.float64)
        log_p = torch.zeros(count, dtype=torch.float64)
        for k, fold in enumerate(self.folds.tolist()):
            logits = self._logits(k, z, exponent)
            chosen = torch.multinomial(logits.exp(), 1, generator=generator)[:, 0]
            # A sum of hat functions: choose a node, then add triangular noise.
            noise = torch.rand(2, count, generator=generator, dtype=torch.float64)
            place = (chosen + noise[0] - noise[1]) % NODES
            log_p = log_p + _interpolated(logits, place) + math.log(fold)
            z = torch.cat([z, (place * (2 * math.pi / NODES) / fold)[:, None]], dim=1)
        return z, log_p

    def log_density(self, z: torch.Tensor, exponent: float = 1.0) -> torch.Tensor:
        """Return log p(z), (B,), of torsions (B, Z) in radians; see `sample` for the exponent."""
        total = torch.zeros(len(z), dtype=torch.float64)
        for k, fold in enumerate(self.folds.tolist()):
            place = (z[:, k] * fold / (2 * math.pi) * NODES) % NODES
            total = (
                total + _interpolated(self._logits(k, z[:, :k], exponent), place) + math.log(fold)
            )
        return total

    def _seen(self, k: int) -> int:
        """Return how many torsions the density of torsion k depends on."""
        return min(k, int((self.folds == 1).sum()))

    def _network(self, k: int, hidden: int) -> torch.nn.Module:
        inputs = 2 * SEEN_HARMONICS * self._seen(k) + 1
        return zero_perceptron(inputs, hidden, 2 * HARMONICS)

    def _logits(self, k: int, before: torch.Tensor, exponent: float) -> torch.Tensor:
        """Return log probabilities of the nodes of torsion k, (B, NODES)."""
        seen = self._seen(k)
        features = torsion_features(before[:, :seen], self.folds[:seen], SEEN_HARMONICS)
        ones = torch.ones(len(before), 1)
        coefficients = self.networks[k](torch.cat([features.float(), ones], dim=1)).double()
        return torch.log_softmax(exponent * coefficients @ self._basis.T, dim=1)


def _interpolated(logits: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the piecewise linear density, (B,), at places from 0 to NODES."""
    lower = place.floor()
    share = place - lower
    left = lower.long() % NODES
    right = (left + 1) % NODES
    rows = torch.arange(len(place))
    # log(a (1 - s) + b s) without underflow.
    found = torch.logaddexp(
        logits[rows, left] + torch.log1p(-share),
        logits[rows, right] + torch.log(share.clamp_min(1e-300)),
    )
    return found + math.log(NODES / (2 * math.pi))
