"""How good relaxations are, as in the literature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ...constants import KCAL

__all__ = ["Quality", "quality"]


@dataclass(frozen=True)
class Quality:
    """Of relaxations of many conformers, judged by the genuine oracle.

    Attributes
    ----------
    pct : float
        Mean of 100 (E0 - ET) / (E0 - E*). A conformer that diverged counts as 0.
    pct_converged : float
        The same, without those that diverged, as published.
    residual : float
        Median of ET - E* in kJ/mol; one that failed counts as infinite.
    success : float
        Share in % with a residual below 1 kcal/mol.
    divergence : float
        Share in % that ended above the start, or where the oracle failed.
    count : int
        Conformers.
    """

    pct: float
    pct_converged: float
    residual: float
    success: float
    divergence: float
    count: int


def quality(starts: ArrayLike, ends: ArrayLike, lowest: ArrayLike) -> Quality:
    """Judge relaxations by genuine energies in kJ/mol, each (C,).

    Parameters
    ----------
    starts, ends : array_like
        E0 and ET; not finite where the oracle failed. Without E0 or E* a conformer diverged.
    lowest : array_like
        E*, of the genuine minimum.

    References
    ----------
    Tsypin et al., "Gradual optimization learning for conformational energy minimization", ICLR
    2024.

    Examples
    --------
    >>> found = quality([100, 100, 100], [1, 20, 130], [0, 0, 0])
    >>> found.pct, found.pct_converged, round(found.success), round(found.divergence)
    (59.666666666666664, 89.5, 33, 33)
    """
    start, end, low = (_finite_or_nan(x) for x in (starts, ends, lowest))
    residual = np.where(np.isfinite(end - low), end - low, np.inf)
    diverged = ~((end <= start) & np.isfinite(start - low))
    with np.errstate(divide="ignore", invalid="ignore"):
        pct = np.where(diverged, 0.0, 100 * (start - end) / (start - low))
    return Quality(
        float(pct.mean()),
        float(pct[~diverged].mean()) if not diverged.all() else float("nan"),
        float(np.median(residual)),
        float(100 * (residual < KCAL).mean()),
        float(100 * diverged.mean()),
        len(start),
    )


def _finite_or_nan(energies: ArrayLike) -> np.ndarray:
    energies = np.asarray(energies, dtype=float)
    return np.where(np.isfinite(energies), energies, np.nan)
