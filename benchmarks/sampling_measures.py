"""What samplers are compared by: Ramachandran histograms, free energies of basins, their errors.

Weights need not be normalized. Angles are in radians, free energies in kJ/mol.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from openmm_reparam.constants import BOLTZMANN

__all__ = [
    "BASINS",
    "basin_free_energy",
    "divergence",
    "jackknife",
    "normalized_weights",
    "ramachandran_histogram",
]

BINS = 36
# Basins in degrees: the first torsion from, to; the second from, to. Those of residues are of phi
# and psi, "E" is of the C-O bonds of an ester and an acid.
BASINS = {
    "left-handed": ((0.0, 120.0), (-180.0, 180.0)),
    "alpha": ((-180.0, 0.0), (-120.0, 50.0)),
    "ester E": ((-90.0, 90.0), (-180.0, 180.0)),
    "acid E": ((-180.0, 180.0), (-90.0, 90.0)),
}


def normalized_weights(log_weights: np.ndarray) -> np.ndarray:
    """Return weights that add up to one from their logarithms, (n,)."""
    return np.exp(log_weights - logsumexp(log_weights))


def ramachandran_histogram(
    torsions: np.ndarray, weights: np.ndarray, bins: int = BINS
) -> np.ndarray:
    """Return the probabilities of the bins of a Ramachandran map.

    Parameters
    ----------
    torsions : (n, 2) array
        phi and psi.
    weights : (n,) array
    bins : int
        Along each angle.

    Returns
    -------
    (bins, bins) array
        First index phi, second psi, from -pi; adds up to one.
    """
    edges = np.linspace(-np.pi, np.pi, bins + 1)
    counts = np.histogram2d(*torsions.T, bins=[edges, edges], weights=weights)[0]
    return counts / counts.sum()


def divergence(reference: np.ndarray, histogram: np.ndarray, floor: float = 1e-6) -> float:
    """Return the Kullback-Leibler divergence of a histogram from a reference.

    Parameters
    ----------
    reference, histogram : arrays of one shape
        Each adds up to one.
    floor : float
        The probability of bins that the histogram never visited.
    """
    seen = reference > 0
    return float(
        (reference[seen] * np.log(reference[seen] / np.maximum(histogram[seen], floor))).sum()
    )


def basin_free_energy(
    torsions: np.ndarray, weights: np.ndarray, basin: str, temperature: float
) -> float:
    """Return -kT ln(p / (1 - p)) of a basin's probability p; infinite if it was never visited.

    Parameters
    ----------
    torsions : (n, 2) array
        phi and psi.
    weights : (n,) array
    basin : str
        A name in ``BASINS``.
    temperature : float
        In K.
    """
    ranges = np.radians(BASINS[basin])
    inside = ((torsions > ranges[:, 0]) & (torsions < ranges[:, 1])).all(axis=1)
    share = weights[inside].sum() / weights.sum()
    if share in (0.0, 1.0):
        return np.inf if share == 0.0 else -np.inf
    return float(-BOLTZMANN * temperature * np.log(share / (1 - share)))


def jackknife(estimate, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a value and its standard error from independent groups of samples, such as walkers.

    Parameters
    ----------
    estimate : callable
        (n,) bool array of the samples to use -> float or array.
    groups : (n,) int array
        Two groups or more.
    """
    labels = np.unique(groups)
    left_out = np.array([estimate(groups != label) for label in labels])
    count = len(labels)
    spread = ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    everything = estimate(np.ones(len(groups), dtype=bool))
    return np.asarray(everything), np.sqrt((count - 1) / count * spread)
