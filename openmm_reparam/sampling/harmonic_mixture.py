"""Mixtures of harmonic approximations about minima, in internal coordinates."""

from __future__ import annotations

import torch

from .gaussians import (
    standard_normal_log_density,
    truncated_normal,
    truncated_normal_log_density,
)
from .internal_map import InternalMap, wrap

__all__ = ["HarmonicMixture"]

# Curvatures in kT/rad^2 below which a torsion that rotates, and any other coordinate, counts as
# that stiff.
LEAST_TORSION, LEAST_OTHER = 1.0, 4.0
# Torsions that rotate are drawn from a distribution wider than the harmonic one by this factor.
WIDER = 1.25


class HarmonicMixture(torch.nn.Module):
    """q(X) = sum over k of share_k N(q(X); q_k, 1 / H_k) in internal coordinates q.

    The torsions that rotate are within half a period of each minimum's; the others are normal
    given these.

    Parameters
    ----------
    internal_map : InternalMap
    minima : (K, M) tensor
        Internal coordinates.
    hessians : (K, M, M) tensor
        In kT.
    energies : (K,) tensor
        In kT.

    Attributes
    ----------
    log_shares : (K,) tensor
        By the harmonic partition functions of the minima, before they are learnt.

    References
    ----------
    Wales, D. J. Energy Landscapes, Cambridge University Press 2003 (the superposition).
    """

    minima: torch.Tensor
    log_shares: torch.Tensor
    torsions: torch.Tensor
    others: torch.Tensor
    half_widths: torch.Tensor
    _torsion_factors: torch.Tensor
    _responses: torch.Tensor
    _other_factors: torch.Tensor

    def __init__(
        self,
        internal_map: InternalMap,
        minima: torch.Tensor,
        hessians: torch.Tensor,
        energies: torch.Tensor,
    ) -> None:
        super().__init__()
        self.internal_map = internal_map
        first = internal_map.columns["torsions"].start
        torsions = torch.cat([internal_map.free, internal_map.rotors]) + first
        kept = torch.ones(internal_map.num_coordinates, dtype=torch.bool)
        kept[torsions] = False
        others = kept.nonzero()[:, 0]
        folds = torch.cat([torch.ones_like(internal_map.free), internal_map.folds])
        stiff = _floored(hessians[:, others][:, :, others], LEAST_OTHER)
        coupling = hessians[:, others][:, :, torsions]
        responses = -torch.linalg.solve(stiff, coupling)
        soft = hessians[:, torsions][:, :, torsions] + coupling.mT @ responses
        covariances = torch.linalg.inv(_floored(soft, LEAST_TORSION))
        tensors = {
            "minima": minima,
            "torsions": torsions,
            "others": others,
            "half_widths": torch.pi / folds,
            "_torsion_factors": WIDER * torch.linalg.cholesky(covariances),
            "_responses": responses,
            "_other_factors": torch.linalg.cholesky(torch.linalg.inv(stiff)),
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().clone())
        log_jacobians = internal_map.log_jacobian(*internal_map.split(minima))
        log_volumes = (torch.logdet(covariances) - torch.logdet(stiff)) / 2
        shares = torch.log_softmax(log_jacobians + log_volumes - energies, 0)
        self.register_buffer("log_shares", shares)

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return positions, (count, N, 3) in nm."""
        shares = self.log_shares.exp()
        chosen = torch.multinomial(shares, count, replacement=True, generator=generator)
        parts = torch.bincount(chosen, minlength=len(shares)).tolist()
        drawn = [self._draw(k, n, generator) for k, n in enumerate(parts)]
        coordinates = torch.cat(drawn)[torch.randperm(count, generator=generator)]
        return self.internal_map.positions(coordinates)[0]

    def component_log_densities(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the log density of each component, (B, K), per nm^(3N - 6)."""
        coordinates, log_jacobian = self.internal_map.coordinates(positions)
        found = [self._log_density(k, coordinates) for k in range(len(self.minima))]
        return torch.stack(found, 1) - log_jacobian[:, None]

    def log_density(self, positions: torch.Tensor) -> torch.Tensor:
        """Return log q, (B,), per nm^(3N - 6)."""
        return torch.logsumexp(self.component_log_densities(positions) + self.log_shares, 1)

    def _draw(self, k: int, count: int, generator: torch.Generator) -> torch.Tensor:
        off = truncated_normal(self._torsion_factors[k], self.half_widths, count, generator)
        size = (count, len(self.others))
        noise = torch.randn(size, generator=generator, dtype=torch.float64)
        coordinates = self.minima[k].repeat(count, 1)
        coordinates[:, self.torsions] += off + self._turns(count, generator)
        coordinates[:, self.others] += off @ self._responses[k].T + noise @ self._other_factors[k].T
        return self._wrapped(coordinates, self.internal_map.torsion_centres)

    def _wrapped(self, coordinates: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
        """Return coordinates (B, M) with torsions within half a turn of centres."""
        columns = self.internal_map.columns["torsions"]
        torsions = wrap(coordinates[:, columns], centres)
        return torch.cat([coordinates[:, : columns.start], torsions], dim=1)

    def _turns(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return multiples of the rotors' periods, (count, Z): their turns are alike."""
        folds = torch.pi / self.half_widths
        drawn = torch.rand((count, len(folds)), generator=generator, dtype=torch.float64)
        return (drawn * folds).floor() * 2 * self.half_widths

    def _log_density(self, k: int, coordinates: torch.Tensor) -> torch.Tensor:
        minimum = self.minima[k]
        # Other torsions, too: a minimum may lie where their window ends (a cis peptide).
        columns = self.internal_map.columns["torsions"]
        coordinates = self._wrapped(coordinates, minimum[columns])
        off = coordinates[:, self.torsions] - minimum[self.torsions]
        off = off - 2 * self.half_widths * torch.round(off / (2 * self.half_widths))
        rest = (
            coordinates[:, self.others] - self.minima[k, self.others] - off @ self._responses[k].T
        )
        factor = self._other_factors[k]
        noise = torch.linalg.solve_triangular(factor, rest.mT, upper=False).mT
        log_others = standard_normal_log_density(noise) - factor.diagonal().log().sum()
        log_torsions = truncated_normal_log_density(self._torsion_factors[k], self.half_widths, off)
        log_turns = torch.log(torch.pi / self.half_widths).sum()
        return log_others + log_torsions - log_turns


def _floored(matrices: torch.Tensor, least: float) -> torch.Tensor:
    """Return symmetric matrices (K, D, D) with no eigenvalue below ``least``."""
    values, vectors = torch.linalg.eigh(matrices)
    return (vectors * values.clamp_min(least)[:, None, :]) @ vectors.mT
