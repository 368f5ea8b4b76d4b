"""A Gaussian process over torsion angles that predicts the energies of minima.

Rasmussen, Williams, Gaussian Processes for Machine Learning, MIT Press 2006. Proposals are compared
by a Thompson sample (Biometrika 1933, 25, 285), not by the mean. A structure unlike the known
minima so has its chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..random_states import global_random_states_kept
from .torsion_angles import ShapeAngles
from .torsion_kinematics import TorsionRotation

if TYPE_CHECKING:
    from sklearn.gaussian_process import GaussianProcessRegressor

__all__ = ["TorsionGP", "TorsionLandscape"]

# Minima that a fit needs, and that it is made from at most.
MIN_MINIMA, MAX_MINIMA = 20, 600
# Up to so many minima there is a fit for each new one; beyond, when they have grown by a fiftieth.
REFIT_EACH_UP_TO, REFIT_GROWTH = 200, 1.02
# Variance that torsion angles do not explain, as a share of that of the energies.
NOISE_VARIANCE = 0.05
# Structures whose torsion angles all differ by less (degrees) are the same.
SAME_ANGLE_DEGREES = 45.0


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
        return self._regression().predict(_features(angles), return_cov=True)

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

    def _regression(self) -> GaussianProcessRegressor:
        # Slow to import, and only a search needs it.
        with global_random_states_kept():
            from sklearn.gaussian_process import GaussianProcessRegressor
            from sklearn.gaussian_process.kernels import RBF

        count = len(self._energies)
        each = self._fitted_minima < count <= REFIT_EACH_UP_TO
        if each or count > REFIT_GROWTH * self._fitted_minima:
            self._fitted_minima = count
            chosen = self._chosen()
            energies = np.array(self._energies)[chosen]
            # How high a poor minimum is does not matter.
            energies = np.minimum(energies, 2 * np.median(energies) - energies.min())
            features = _features(np.array(self._angles)[chosen])
            # Of T angles, structures are similar whose squared distances over all are below T.
            kernel = RBF(np.sqrt(len(self._angles[0]) / 2))
            fitted = GaussianProcessRegressor(
                kernel, alpha=NOISE_VARIANCE, optimizer=None, normalize_y=True
            )
            self._fitted = fitted.fit(features, energies)
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
