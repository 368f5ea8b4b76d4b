"""What the minima met so far tell of others: a Gaussian process over their torsion angles.

Rasmussen, Williams, Gaussian Processes for Machine Learning, MIT Press 2006. That proposals are
told apart by a draw from it, not by its mean, is Thompson's sampling (Biometrika 1933, 25, 285): a
structure unlike those met has its chance.
"""

from __future__ import annotations

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

__all__ = ["EnergyModel"]

# Minima that it takes to learn from them, and that it learns from at most.
FEWEST, MOST = 20, 600
# Up to so many minima it learns each at once; beyond, when they have grown by a fiftieth.
SOON, GROWN = 200, 1.02
# Variance of what torsion angles do not tell, of that of the energies.
NOISE = 0.05
# Structures whose torsion angles all differ by less (degrees) are one.
SAME = 45.0


class EnergyModel:
    """Learns the energies of minima from their torsion angles, and draws those of others.

    Parameters
    ----------
    rng : numpy Generator

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> model = EnergyModel(rng)
    >>> for angle in rng.uniform(-np.pi, np.pi, 60):
    ...     model.add(np.array([angle]), -10.0 * np.cos(angle))
    >>> low, high = model.expected(np.array([[0.0], [np.pi]]))[0]
    >>> bool(low < -5.0 < 5.0 < high)
    True
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._angles: list[np.ndarray] = []
        self._energies: list[float] = []
        self._learnt = 0

    def add(self, angles: np.ndarray, energy: float) -> None:
        """Take in a minimum: (T,) angles in radians, of torsions with a period of 2 pi; kJ/mol."""
        self._angles.append(np.asarray(angles))
        self._energies.append(energy)

    @property
    def ready(self) -> bool:
        """Whether it has seen enough to tell anything."""
        return len(self._energies) >= FEWEST

    def expected(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what is known of the energies of minima near (m, T) angles.

        Their mean, (m,) in kJ/mol, and covariance, (m, m).
        """
        return self._regression().predict(_features(angles), return_cov=True)

    def draw(self, angles: np.ndarray) -> np.ndarray:
        """Return energies of minima near (m, T) angles, drawn together, (m,) in kJ/mol.

        Infinity where a minimum so alike has been met that there is nothing new to find.
        """
        mean, covariance = self.expected(angles)
        # What the noise is for is no chance of a new structure's.
        covariance[np.diag_indices(len(mean))] += 1e-6 * np.diag(covariance).max()
        lower = np.linalg.cholesky(covariance)
        drawn = mean + lower @ self._rng.standard_normal(len(mean))
        new, met = np.exp(1j * angles), np.exp(1j * np.array(self._angles))
        least = np.ones((len(new), len(met)))  # of the cosines of differences, over torsions
        for here, there in zip(new.T, met.T, strict=True):
            cosines = np.outer(here.real, there.real) + np.outer(here.imag, there.imag)
            np.minimum(least, cosines, out=least)
        return np.where(least.max(axis=1) > np.cos(np.radians(SAME)), np.inf, drawn)

    def _regression(self) -> GaussianProcessRegressor:
        count = len(self._energies)
        if self._learnt < count <= SOON or count > GROWN * self._learnt:
            self._learnt = count
            chosen = self._chosen()
            energies = np.array(self._energies)[chosen]
            # How high a poor minimum is does not matter.
            energies = np.minimum(energies, 2 * np.median(energies) - energies.min())
            features = _features(np.array(self._angles)[chosen])
            # Of T angles, structures are alike whose squared distances over all are below T.
            kernel = RBF(np.sqrt(len(self._angles[0]) / 2))
            fitted = GaussianProcessRegressor(kernel, alpha=NOISE, optimizer=None, normalize_y=True)
            self._fitted = fitted.fit(features, energies)
        return self._fitted

    def _chosen(self) -> np.ndarray:
        """Return which to learn from: the lowest and the latest, where there are too many."""
        count = len(self._energies)
        if count <= MOST:
            return np.arange(count)
        lowest = np.argpartition(self._energies, MOST // 2)[: MOST // 2]
        return np.union1d(lowest, np.arange(count - MOST // 2, count))


def _features(angles: np.ndarray) -> np.ndarray:
    """Points on circles, (m, 2 T): angles that differ by 2 pi are the same."""
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
