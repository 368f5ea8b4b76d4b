"""A Gaussian process over torsion angles that predicts the energies of minima.

Rasmussen, Williams, Gaussian Processes for Machine Learning, MIT Press 2006. Proposals are compared
by a Thompson sample (Biometrika 1933, 25, 285), not by the mean. A structure unlike the known
minima so has its chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg

from .torsion_angles import ShapeAngles
from .torsion_kinematics import TorsionRotation

__all__ = ["TorsionGP", "TorsionLandscape"]

# Minima that a fit needs, and that it is made from at most.
MIN_MINIMA, MAX_MINIMA = 20, 600
# Up to so many minima there is a fit for each new one; beyond, when they have grown by a fiftieth.
REFIT_EACH_UP_TO, REFIT_GROWTH = 200, 1.02
# Variance that torsion angles do not explain, as a share of that of the energies.
NOISE_VARIANCE = 0.05
# Structures whose torsion angles all differ by less (degrees) are the same.
SAME_ANGLE_DEGREES = 45.0


class _Fit(NamedTuple):
    """Minima, the Cholesky factor of their kernel with noise, and their energies in its units."""

    features: np.ndarray
    factor: np.ndarray
    weights: np.ndarray
    mean: float
    scale: float


class TorsionGP:
    """Predicts the energies of minima from their torsion angles.

    Parameters
    ----------
    rng : numpy Generator

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> gp = TorsionGP(rng)
    >>> for angle in rng.uniform(-np.pi, np.pi, 60):
    ...     gp.tell(np.array([angle]), -10.0 * np.cos(angle))
    >>> low, high = gp.predict(np.array([[0.0], [np.pi]]))[0]
    >>> bool(low < -5.0 < 5.0 < high)
    True
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._angles: list[np.ndarray] = []
        self._energies: list[float] = []
        self._fitted_minima = 0

    def tell(self, angles: np.ndarray, energy: float) -> None:
        """Add a minimum.

        Parameters
        ----------
        angles : (T,) array
            In radians, with a period of 2 pi.
        energy : float
            In kJ/mol.
        """
        self._angles.append(np.asarray(angles))
        self._energies.append(energy)

    @property
    def ready(self) -> bool:
        """Whether there are enough minima for a fit."""
        return len(self._energies) >= MIN_MINIMA

    def predict(self, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean, (m,) in kJ/mol, and covariance, (m, m), of energies at (m, T) angles."""
        fit, features = self._fit(), _features(angles)
        across = _kernel(features, fit.features)
        explained = scipy.linalg.solve_triangular(
            fit.factor, across.T, lower=True, check_finite=False
        )
        covariance = _kernel(features, features) - explained.T @ explained
        return fit.mean + fit.scale * (across @ fit.weights), fit.scale**2 * covariance

    def thompson_sample(self, angles: np.ndarray) -> np.ndarray:
        """Draw energies at (m, T) angles together: (m,) in kJ/mol.

        Infinity where a known minimum is so similar that there is nothing new to find.
        """
        mean, covariance = self.predict(angles)
        # The noise variance is not part of a new structure's chance.
        covariance[np.diag_indices(len(mean))] += 1e-6 * np.diag(covariance).max()
        lower = np.linalg.cholesky(covariance)
        drawn = mean + lower @ self._rng.standard_normal(len(mean))
        new, known = np.exp(1j * angles), np.exp(1j * np.array(self._angles))
        least = np.ones((len(new), len(known)))  # of the cosines of differences, over torsions
        for here, there in zip(new.T, known.T, strict=True):
            cosines = np.outer(here.real, there.real) + np.outer(here.imag, there.imag)
            np.minimum(least, cosines, out=least)
        same = least.max(axis=1) > np.cos(np.radians(SAME_ANGLE_DEGREES))
        return np.where(same, np.inf, drawn)

    def _fit(self) -> _Fit:
        count = len(self._energies)
        each = self._fitted_minima < count <= REFIT_EACH_UP_TO
        if each or count > REFIT_GROWTH * self._fitted_minima:
            self._fitted_minima = count
            chosen = self._chosen()
            energies = np.array(self._energies)[chosen]
            # How high a poor minimum is does not matter.
            energies = np.minimum(energies, 2 * np.median(energies) - energies.min())
            mean, scale = energies.mean(), energies.std() or 1.0
            features = _features(np.array(self._angles)[chosen])
            kernel = _kernel(features, features)
            kernel[np.diag_indices(len(chosen))] += NOISE_VARIANCE
            factor = scipy.linalg.cholesky(kernel, lower=True, check_finite=False)
            weights = scipy.linalg.cho_solve((factor, True), (energies - mean) / scale)
            self._fitted = _Fit(features, factor, weights, mean, scale)
        return self._fitted

    def _chosen(self) -> np.ndarray:
        """Return which minima to fit: the lowest and the latest, where there are too many."""
        count = len(self._energies)
        if count <= MAX_MINIMA:
            return np.arange(count)
        lowest = np.argpartition(self._energies, MAX_MINIMA // 2)[: MAX_MINIMA // 2]
        return np.union1d(lowest, np.arange(count - MAX_MINIMA // 2, count))


class TorsionLandscape:
    """A `TorsionGP` of structures, given by their positions and by rotations of their torsions.

    Parameters
    ----------
    angles : ShapeAngles
    rng : numpy Generator
    """

    def __init__(self, angles: ShapeAngles, rng: np.random.Generator) -> None:
        self.angles = angles
        self._gp = TorsionGP(rng)

    @property
    def ready(self) -> bool:
        """Whether enough minima are known."""
        return self._gp.ready

    def tell(self, positions: np.ndarray, energy: float) -> None:
        """Add a minimum: (N, 3) positions in nm, energy in kJ/mol."""
        angles = self.angles(positions)
        if len(angles):
            self._gp.tell(angles, energy)

    def thompson_sample(
        self, angles: np.ndarray, rotations: Sequence[TorsionRotation]
    ) -> np.ndarray:
        """Draw the energies, (m,) in kJ/mol, of m structures with rotated torsions.

        Parameters
        ----------
        angles : (n,) or (m, n) array
            Shape angles before the rotations, in radians.
        rotations : sequence of m TorsionRotation
        """
        return self._gp.thompson_sample(self.angles.after(angles, rotations))


def _features(angles: np.ndarray) -> np.ndarray:
    """Points on circles, (m, 2 T): angles that differ by 2 pi are the same."""
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Similarities of structures, exp(-|a - b|^2 / T), of their (m, 2 T) and (n, 2 T) features.

    With |a|^2 = T, -|a - b|^2 is 2 a.b - 2 T.
    """
    return np.exp(4.0 / a.shape[1] * (a @ b.T) - 2.0)
