"""Curves for plots: of a run's history, of a search, thinned."""

from __future__ import annotations

import numpy as np

from ..minimization.result import MinimizationResult
from .data import Curve

__all__ = ["history_curve", "search_curves", "thinned"]

# Points of a curve in a page; a plot is not as many pixels wide.
MOST_POINTS = 2000


def history_curve(label: str, history: np.ndarray) -> Curve:
    """Return the curve of a run.

    Parameters
    ----------
    label : str
    history : structured array
        With ``force_evaluations``, ``energy`` and ``rms_force``, see `MinimizationResult`.

    Returns
    -------
    Curve
    """
    return Curve(label, history["force_evaluations"], history["energy"], history["rms_force"])


def search_curves(result: MinimizationResult) -> tuple[Curve, ...]:
    """Return the best energy of a search as it fell, and every minimum as a dot.

    Parameters
    ----------
    result : MinimizationResult
        With ``minima``.

    Returns
    -------
    tuple of Curve
    """
    minima = result.minima or ()
    # A search may begin in a minimum that nothing it goes through matches.
    energies = np.append(result.initial_energy, result.history["energy"])
    evaluations = np.append(1, result.history["force_evaluations"])
    found = Curve(
        "minima found",
        np.array([m.force_evaluations for m in minima], dtype=int),
        np.array([m.energy for m in minima], dtype=float),
        dots=True,
    )
    lowest = np.minimum.accumulate(energies)
    # As steps: the energy stays until a lower minimum is found.
    return Curve("lowest energy", evaluations.repeat(2)[1:], lowest.repeat(2)[:-1]), found


def thinned(curve: Curve, most: int = MOST_POINTS) -> Curve:
    """Return a curve of fewer points that looks the same: ends, lowest and highest are kept.

    Parameters
    ----------
    curve : Curve
    most : int
        Points, about.

    Returns
    -------
    Curve

    Examples
    --------
    >>> energy = np.zeros(10**5)
    >>> energy[4321] = -1.0
    >>> thin = thinned(Curve("run", np.arange(10**5), energy), 100)
    >>> len(thin.energy) <= 100, float(thin.energy.min())
    (True, -1.0)
    """
    size = len(curve.energy)
    if size <= most:
        return curve
    values = [curve.energy] if curve.rms_force is None else [curve.energy, curve.rms_force]
    kept = {0, size - 1}
    for part in np.array_split(np.arange(size), max(1, (most - 2) // (2 * len(values)))):
        for value in values:
            finite = np.isfinite(value[part])
            lowest = np.where(finite, value[part], np.inf).argmin()
            highest = np.where(finite, value[part], -np.inf).argmax()
            kept |= {int(part[lowest]), int(part[highest])}
    rows = np.array(sorted(kept))
    force = None if curve.rms_force is None else curve.rms_force[rows]
    return Curve(curve.label, curve.force_evaluations[rows], curve.energy[rows], force, curve.dots)
