"""Importance weights: how much they are worth, and what they say of a partition function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax

__all__ = [
    "Estimate",
    "ForwardCheck",
    "block_bootstrap",
    "bootstrap",
    "effective_sample_size",
    "forward_check",
    "log_partition_function",
    "log_weights",
    "pareto_k",
    "refuse_no_weights",
    "resample",
]

RESAMPLINGS = 200
# Blocks of consecutive configurations, which are correlated, that a bootstrap exchanges.
BLOCKS = 20
# A shape above this, and means of that many weights converge too slowly to be relied on.
LARGEST_PARETO_K = 0.7
# Of the probability, in all; less than this may be missing unnoticed.
LARGEST_MISSING = 0.05
# Of the model's own effective sample size, that configurations see.
LEAST_FORWARD = 0.1


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error.

    Examples
    --------
    >>> print(Estimate(-179.27183, 0.01324))
    -179.272 ± 0.013
    """

    value: float
    error: float

    def __str__(self) -> str:
        if not (math.isfinite(self.error) and self.error > 0):
            return f"{self.value:.4g} ± {self.error:.1g}"
        decimals = max(0, 1 - math.floor(math.log10(self.error)))
        return f"{self.value:.{decimals}f} ± {self.error:.{decimals}f}"


def log_weights(energies: np.ndarray, log_density: np.ndarray, beta: float) -> np.ndarray:
    """Return -beta E - log q, (n,): -inf where energy or density say that there is no structure.

    Parameters
    ----------
    energies : (n,) array
        In kJ/mol, as they are: never compressed.
    log_density : (n,) array
        Of the proposal, per nm^(3N - 6).
    beta : float
        In mol/kJ.

    Examples
    --------
    >>> log_weights(np.array([1.0, np.inf]), np.array([0.5, 0.5]), 2.0).tolist()
    [-2.5, -inf]
    """
    with np.errstate(invalid="ignore"):
        logs = -beta * np.asarray(energies) - np.asarray(log_density)
    return np.where(np.isnan(logs) | np.isposinf(logs), -np.inf, logs)


def effective_sample_size(logs: np.ndarray) -> float:
    """Return Kish's effective sample size as a share of the samples, from 0 to 1.

    It says nothing of what the samples miss: see `pareto_k` and `forward_check`.

    References
    ----------
    Kish, L. Survey Sampling, Wiley 1965.

    Examples
    --------
    >>> effective_sample_size(np.log([1.0, 1.0, 1.0, 1e-300]))
    0.75
    """
    if np.isneginf(logs).all():
        return 0.0
    weights = softmax(logs)
    return float(1.0 / (len(logs) * (weights**2).sum()))


def pareto_k(logs: np.ndarray) -> float:
    """Return the shape of the generalized Pareto distribution of the largest weights.

    Below 0.5 the weights have a variance; above 0.7 a few of them decide, and more samples help
    little.

    Parameters
    ----------
    logs : (n,) array
        Logarithms of the weights.

    Returns
    -------
    float
        Infinite for fewer than five weights above zero.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry, J. Mach. Learn. Res. 2024, 25, 72; the fit is that of
    Zhang and Stephens, Technometrics 2009, 51, 316.

    Examples
    --------
    >>> exponential = np.random.default_rng(0).exponential(size=20_000)
    >>> [bool(abs(pareto_k(k * exponential) - k) < 0.1) for k in (0.3, 0.5, 1.0)]
    [True, True, True]
    """
    ordered = np.sort(logs[np.isfinite(logs)])
    count = min(len(ordered) // 5, math.ceil(3 * math.sqrt(len(ordered))))
    if count < 5:
        return np.inf
    tail = np.exp(ordered[-count:] - ordered[-1])
    excess = tail - np.exp(ordered[-count - 1] - ordered[-1])
    if excess[-1] <= 0:  # equal weights
        return -np.inf
    return _shape(np.maximum(excess, np.finfo(float).tiny))


def _shape(excess: np.ndarray) -> float:
    """Return the shape k of a generalized Pareto distribution, from its ordered values (n,)."""
    size = len(excess)
    grid = 30 + int(math.sqrt(size))
    steps = 1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))
    theta = 1 / excess[-1] + steps / (3 * excess[int(size / 4 + 0.5) - 1])
    shapes = np.log1p(-theta[:, None] * excess).mean(axis=1)
    likelihood = size * (np.log(-theta / shapes) - shapes - 1)
    mean = softmax(likelihood) @ theta
    shape = np.log1p(-mean * excess).mean()
    # A weak prior about one half steadies small samples.
    return float((size * shape + 5.0) / (size + 10))


def log_partition_function(logs: np.ndarray, seed: int = 0) -> Estimate:
    """Return log Z = log mean w, and its standard error by bootstrap.

    Z is the integral of exp(-beta E) over nm^(3N - 6), up to rigid motion.
    """

    def estimate(chosen: np.ndarray) -> float:
        return float(logsumexp(logs[chosen]) - math.log(len(chosen)))

    return bootstrap(estimate, len(logs), seed)


def bootstrap(estimate: Callable[[np.ndarray], float], count: int, seed: int = 0) -> Estimate:
    """Return an estimate from all of ``count`` samples, and its error by drawing them again.

    Parameters
    ----------
    estimate : callable
        (count,) indices -> float.
    count : int
    seed : int

    References
    ----------
    Efron, B. Ann. Stat. 1979, 7, 1.
    """
    return _spread(estimate, np.arange(count), _drawn(count, seed))


def block_bootstrap(estimate: Callable[[np.ndarray], float], count: int, seed: int = 0) -> Estimate:
    """Return an estimate from correlated samples, and its error: see `bootstrap`.

    Blocks of consecutive ones are drawn again.
    """
    everything = np.arange(count)
    blocks = np.array_split(everything, min(BLOCKS, count))
    rows = _drawn(len(blocks), seed)
    again = (np.concatenate([blocks[k] for k in chosen]) for chosen in rows)
    return _spread(estimate, everything, again)


def _spread(
    estimate: Callable[[np.ndarray], float], everything: np.ndarray, again: Iterable[np.ndarray]
) -> Estimate:
    """Return an estimate from everything, and its spread over what is drawn again."""
    value = estimate(everything)
    if len(everything) < 2:  # a single one has no spread, and tells nothing of the error
        return Estimate(value, np.inf)
    drawn = np.array([estimate(chosen) for chosen in again])
    finite = drawn[np.isfinite(drawn)]
    return Estimate(value, float(finite.std(ddof=1)) if len(finite) > 1 else np.inf)


def _drawn(count: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    for _ in range(RESAMPLINGS):
        yield rng.integers(count, size=count)


def refuse_no_weights(logs: np.ndarray) -> None:
    """Refuse weights that are all zero."""
    if np.isneginf(logs).all():
        raise ValueError(
            "all weights are zero: no structure has an energy. Train longer, or minimize the start"
        )


def resample(logs: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return indices (count,) drawn with the weights, by systematic resampling.

    References
    ----------
    Kitagawa, G. J. Comput. Graph. Stat. 1996, 5, 1.

    Examples
    --------
    >>> resample(np.log([1.0, 3.0]), 8, np.random.default_rng(0)).tolist()
    [0, 0, 1, 1, 1, 1, 1, 1]
    """
    refuse_no_weights(logs)
    edges = np.cumsum(softmax(logs))
    places = (np.arange(count) + rng.random()) / count
    return np.minimum(np.searchsorted(edges, places * edges[-1]), len(logs) - 1)


@dataclass(frozen=True)
class ForwardCheck:
    """What configurations of the molecule, from dynamics, say of a model.

    Attributes
    ----------
    effective_sample_size : float
        Of the model's samples, from 0 to 1, as the configurations see it: lost modes count.
    log_z : Estimate
        Logarithm of the partition function, from the configurations.
    model_log_z : Estimate
        The same from the model's samples.
    unseen : float
        Share of the configurations where the model has no density at all.
    count : int
        Configurations.
    undrawn : float
        Share of the configurations with weights above all those of the model's samples: it drew
        none where they are.
    model_effective_sample_size : float
        From the model's samples alone.
    """

    effective_sample_size: float
    log_z: Estimate
    model_log_z: Estimate
    unseen: float
    count: int
    undrawn: float = 0.0
    model_effective_sample_size: float = 0.0

    @classmethod
    def of(cls, told: dict[str, Any]) -> ForwardCheck:
        """Return the check that `dataclasses.asdict` told."""
        estimates = {name: Estimate(**told[name]) for name in ("log_z", "model_log_z")}
        return cls(**{**told, **estimates})

    @property
    def missing(self) -> Estimate:
        """Share of the probability that the model's samples do not reach: 1 - Z / Z'."""
        if math.isinf(self.log_z.value):
            return Estimate(1.0, 0.0)
        ratio = math.exp(min(self.model_log_z.value - self.log_z.value, 100.0))
        error = math.hypot(self.log_z.error, self.model_log_z.error)
        return Estimate(1.0 - ratio, ratio * error)

    @property
    def lost_mode(self) -> bool:
        """Whether more than 5 % of the probability is missing.

        Either log Z says so, and differs by more than two standard errors, or that share of the
        configurations has larger weights than any of the model's samples.
        """
        missing = self.missing
        differs = missing.value > 2 * missing.error
        return (differs and missing.value > LARGEST_MISSING) or self.undrawn > LARGEST_MISSING

    @property
    def rarely_drawn(self) -> bool:
        """Whether configurations see less than a tenth of the model's own sample size."""
        return self.effective_sample_size < LEAST_FORWARD * self.model_effective_sample_size

    def __str__(self) -> str:
        text = (
            f"forward check on {self.count} configurations: effective sample size "
            f"{self.effective_sample_size:.1%}, log Z {self.log_z} (model {self.model_log_z})"
        )
        if self.unseen:
            text += f", no density at {self.unseen:.1%} of them"
        if self.lost_mode:
            share = max(self.missing.value, self.undrawn)
            text += f"; A MODE IS LOST: {share:.0%} of the probability is missing"
        elif self.rarely_drawn:
            text += "; A REGION IS DRAWN TOO RARELY: train longer, or draw broadly"
        return text


def forward_check(logs: np.ndarray, configuration_logs: np.ndarray, seed: int = 0) -> ForwardCheck:
    """Compare a model's samples with configurations of the molecule.

    Parameters
    ----------
    logs : (n,) array
        Log weights of the model's samples.
    configuration_logs : (m,) array
        Log weights -beta E - log q of configurations from equilibrium, in their order in time;
        infinite where the model has no density.
    seed : int

    Returns
    -------
    ForwardCheck

    Notes
    -----
    Over configurations the mean of 1 / w is 1 / Z, whatever the model misses, while the mean of w
    over the model's samples is the part of Z that these reach. The effective sample size is
    1 / (mean(w) mean(1 / w)) over configurations: one where the model is exact.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> check = forward_check(rng.normal(0, 0.1, 500), np.log(2) + rng.normal(0, 0.1, 500))
    >>> round(check.missing.value, 1), check.lost_mode
    (0.5, True)
    """

    def log_z(chosen: np.ndarray) -> float:
        return float(math.log(len(chosen)) - logsumexp(-configuration_logs[chosen]))

    everything = len(configuration_logs)
    seen = not np.isposinf(configuration_logs).any()
    mean = logsumexp(configuration_logs) - math.log(everything)
    mean_inverse = logsumexp(-configuration_logs) - math.log(everything)
    return ForwardCheck(
        float(np.exp(-(mean + mean_inverse))) if seen else 0.0,
        block_bootstrap(log_z, everything, seed),
        log_partition_function(logs, seed),
        float(np.isposinf(configuration_logs).mean()),
        everything,
        float((configuration_logs > logs.max()).mean()),
        effective_sample_size(logs),
    )
