"""What trainings share: guards, rates, tempering."""

from __future__ import annotations

import math

import torch

__all__ = ["guard", "learning_rate_factor", "next_exponent", "tempered_weights"]

# Energies above this many kT, over the reference, are compressed.
LARGEST_ENERGY = 200.0
# A training's share in which the rate rises, and what of it is left at the end.
WARM_UP, LEAST_RATE = 0.05, 0.01
# Tempering: the largest factor from one exponent to the next, how much the divergence may rise
# (nats), and how often a step is halved.
LARGEST_FACTOR, LARGEST_RISE, HALVINGS = 3.0, 0.05, 8
EXPONENTS = torch.logspace(-3, 0, 61, dtype=torch.float64)


def guard(energies: torch.Tensor, log_jacobian: torch.Tensor) -> torch.Tensor:
    """Return factors (B,) for the loss of each sample, which keep clashes from deciding.

    One up to 200 kT; beyond, as if energies grew with their logarithm only. Samples that are no
    structure, or whose energy cannot be evaluated, do not count. The factor multiplies energy and
    entropy alike: with the energy alone, a map would widen without end where all samples clash.
    Only training uses it; weights have the energies as they are.

    Parameters
    ----------
    energies : (B,) tensor
        In kT, over a minimum.
    log_jacobian : (B,) tensor

    Examples
    --------
    >>> guard(torch.tensor([3.0, 299.0, torch.inf]), torch.zeros(3)).tolist()
    [1.0, 0.009999999776482582, 0.0]
    """
    factors = 1.0 / (1.0 + (energies.detach() - LARGEST_ENERGY).clamp_min(0.0))
    sound = torch.isfinite(energies) & torch.isfinite(log_jacobian)
    return torch.where(sound, factors, 0.0)


def learning_rate_factor(done: float) -> float:
    """Return the factor of a learning rate when a share of the training is done.

    It rises over the first twentieth, then falls as a cosine.

    Examples
    --------
    >>> [round(learning_rate_factor(done), 2) for done in (0.0, 0.05, 0.525, 1.0)]
    [0.0, 1.0, 0.51, 0.01]
    """
    if done < WARM_UP:
        return done / WARM_UP
    falling = (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2
    return LEAST_RATE + (1 - LEAST_RATE) * falling


def tempered_weights(
    log_target: torch.Tensor, log_proposal: torch.Tensor, least_size: float
) -> tuple[torch.Tensor, float]:
    """Return normalized weights (B,) for target^exponent, and the largest exponent that they bear.

    The exponent is at most one, and such that the effective sample size is no less than asked for.

    Parameters
    ----------
    log_target : (B,) tensor
        Unnormalized.
    log_proposal : (B,) tensor
    least_size : float
        From 0 to 1, the share of the samples.
    """
    logs = EXPONENTS[:, None] * log_target - log_proposal
    weights = torch.softmax(torch.nan_to_num(logs, nan=-torch.inf), dim=1)
    sizes = 1.0 / (weights.square().sum(1) * len(log_target))
    enough = (sizes >= least_size).nonzero()[:, 0]
    chosen = int(enough[-1]) if len(enough) else 0
    return weights[chosen], float(EXPONENTS[chosen])


def next_exponent(exponent: float, log_ratio: torch.Tensor, log_weights: torch.Tensor) -> float:
    """Return the next exponent t of a target p0^(1 - t) p1^t, adapted to a model q of the present.

    It grows by a factor of three, or by the largest half, quarter, ... of that step for which the
    divergence KL(q || p_t) rises by no more than half a nat; to one at most.

    Parameters
    ----------
    exponent : float
        The present one.
    log_ratio : (B,) tensor
        log p1 - log p0 of samples of q.
    log_weights : (B,) tensor
        log p_t - log q of these at the present exponent.

    Notes
    -----
    The rise is log(Z' / Z) - (t' - t) E_q[log p1 - log p0], with the ratio of the partition
    functions from the weights.

    References
    ----------
    Schöberl, Zabaras, Koutsourelakis, arXiv:2002.10148 (2020).

    Examples
    --------
    >>> next_exponent(0.1, torch.zeros(5), torch.zeros(5))
    0.30000000000000004
    """
    step = min(LARGEST_FACTOR * exponent, 1.0) - exponent
    normalized = torch.log_softmax(log_weights, 0)
    for _ in range(HALVINGS):
        log_factor = torch.logsumexp(normalized + step * log_ratio, 0)
        if float(log_factor - step * log_ratio.mean()) <= LARGEST_RISE:
            break
        step /= 2
    return exponent + step
