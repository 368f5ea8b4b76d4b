"""Free energies along one or two observables, from weighted structures, with errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from ..constants import BOLTZMANN
from ..units import whole_number
from .importance import RESAMPLINGS, refuse_no_weights
from .observables import Observable

__all__ = ["FreeEnergySurface", "free_energy_surface"]

BINS = {1: 60, 2: 40}
# kT: a bin with a larger error says little.
RESOLVED = 0.5


@dataclass(frozen=True, repr=False)
class FreeEnergySurface:
    """-kT ln p on a grid of one or two observables; the lowest bin is zero.

    Attributes
    ----------
    observables : tuple of Observable
    edges : tuple of (b + 1,) arrays
        Of the bins of each observable, in nm or radians.
    values : (b,) or (b, c) array
        In kJ/mol; infinite where no structure is.
    errors : array like ``values``
        Standard errors of the bootstrap, against the whole; NaN where there are none.
    probability : array like ``values``
        Of each bin.
    temperature : float
        In K.
    """

    observables: tuple[Observable, ...]
    edges: tuple[np.ndarray, ...]
    values: np.ndarray
    errors: np.ndarray
    probability: np.ndarray
    temperature: float

    @property
    def centres(self) -> tuple[np.ndarray, ...]:
        """Middles of the bins of each observable."""
        return tuple((edges[1:] + edges[:-1]) / 2 for edges in self.edges)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the observables."""
        return tuple(found.name for found in self.observables)

    @property
    def resolved(self) -> np.ndarray:
        """Whether each bin's error is below kT / 2: some four structures or more decide there."""
        return self.errors < RESOLVED * BOLTZMANN * self.temperature

    def __repr__(self) -> str:
        known = self.resolved
        least = RESOLVED * BOLTZMANN * self.temperature
        text = f"{known.sum()} of {known.size} bins are known to better than {least:.2f} kJ/mol"
        if known.any():
            highest, typical = self.values[known].max(), np.median(self.errors[known])
            text += f", up to {highest:.1f} kJ/mol, their typical error {typical:.2f}"
        return (
            f"<{type(self).__name__} along {' and '.join(self.names)} at {self.temperature:g} K: "
            f"{text}; structures in {np.isfinite(self.values).sum()}>"
        )


def free_energy_surface(
    observables: Sequence[Observable],
    values: Sequence[np.ndarray],
    logs: np.ndarray,
    temperature: float,
    bins: int | Sequence[np.ndarray] | None = None,
    seed: int = 0,
) -> FreeEnergySurface:
    """Return the free energy along one or two observables.

    Parameters
    ----------
    observables : sequence of Observable
    values : sequence of (n,) arrays
        Of each observable.
    logs : (n,) array
        Logarithms of the weights.
    temperature : float
        In K.
    bins : int or sequence of (b + 1,) arrays, optional
        How many of each, or their edges. By default 60 along one observable and 40 x 40 along
        two; of angles all around, of others over the range of the values.
    seed : int
        Of the bootstrap.

    Returns
    -------
    FreeEnergySurface

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = Observable("x", lambda positions: positions[:, 0, 0])
    >>> profile = free_energy_surface([x], [rng.normal(size=5000)], np.zeros(5000), 300, bins=9)
    >>> int(profile.values.argmin())
    4
    """
    if len(observables) not in BINS:
        raise ValueError(f"free energies are along one or two observables, not {len(observables)}")
    refuse_no_weights(logs)
    count = BINS[len(observables)] if bins is None else bins
    if isinstance(count, int | np.integer):
        count = whole_number(count, "bins", 1)
        seen = [value[np.isfinite(logs)] for value in values]
        edges = [_edges(*pair, count) for pair in zip(observables, seen, strict=True)]
    else:
        edges = [_checked_edges(edge) for edge in count]
        if len(edges) != len(observables):
            raise ValueError(f"bins has edges of {len(edges)} observables, not {len(observables)}")
    shape = tuple(len(edge) - 1 for edge in edges)
    cells = _cells(values, edges)
    weights = softmax(logs)
    probability = np.bincount(cells, weights, minlength=int(np.prod(shape)) + 1)[:-1]
    errors = _errors(cells, weights, len(probability), seed) * BOLTZMANN * temperature
    if not probability.any():
        raise ValueError("no structure with a weight is within the bins: choose others")
    with np.errstate(divide="ignore"):
        free_energy = -BOLTZMANN * temperature * np.log(probability / probability.max())
    return FreeEnergySurface(
        tuple(observables),
        tuple(edges),
        free_energy.reshape(shape),
        np.where(probability > 0, errors, np.nan).reshape(shape),
        probability.reshape(shape),
        temperature,
    )


def _edges(observable: Observable, values: np.ndarray, count: int) -> np.ndarray:
    if observable.periodic:
        return np.linspace(-np.pi, np.pi, count + 1)
    low, high = values.min(), values.max()
    return np.linspace(low, high if high > low else low + 1.0, count + 1)


def _checked_edges(edges: Any) -> np.ndarray:
    checked = np.asarray(edges, dtype=np.float64)
    if checked.ndim != 1 or len(checked) < 2 or not (np.diff(checked) > 0).all():
        raise ValueError("bins: pass a number, or for each observable an array of rising edges")
    return checked


def _cells(values: Sequence[np.ndarray], edges: Sequence[np.ndarray]) -> np.ndarray:
    """Return the number of each structure's bin, (n,), the last one for those outside."""
    shape = [len(edge) - 1 for edge in edges]
    places = []
    for value, edge in zip(values, edges, strict=True):
        place = np.searchsorted(edge, value, side="right") - 1
        places.append(np.where(value == edge[-1], len(edge) - 2, place))
    outside = np.any([(p < 0) | (p >= s) for p, s in zip(places, shape, strict=True)], axis=0)
    inside = [np.where(outside, 0, place) for place in places]
    return np.where(outside, np.prod(shape), np.ravel_multi_index(inside, shape))


def _errors(cells: np.ndarray, weights: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return standard errors of ln p of each bin, (size,), by bootstrap."""
    rng = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLINGS, size))
    for row in drawn:
        again = weights * rng.multinomial(len(weights), np.full(len(weights), 1 / len(weights)))
        total = again.sum() or np.nan  # of few weights none may be drawn
        row[:] = np.bincount(cells, again, minlength=size + 1)[:-1] / total
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    mean = drawn.mean(axis=0)
    # Relative ones: squares of the smallest would be zero.
    return (drawn / np.where(mean > 0, mean, np.nan)).std(axis=0, ddof=1)
