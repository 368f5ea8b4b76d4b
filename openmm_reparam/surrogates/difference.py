"""The difference between a genuine energy and its surrogate, learnt from forces as they come in."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from .stiff_features import StiffFeatures

__all__ = ["DifferenceModel"]

# Distance in the features (sqrt(kJ/mol)) over which the difference changes.
LENGTH_SCALE = 30.0
# Standard deviation of an unknown force's rounding error, relative to the prior's scale of one.
NOISE = 0.01
# So many numbers are kept at most: the factor of their covariance takes 8 n^2 bytes.
MOST_ROWS = 4000


class DifferenceModel:
    """A Gaussian process on an energy, from gradients alone.

    The covariance of two energies is exp(-d^2/2), d the distance of their features over a length
    scale; that of gradients follows by differentiation. Solak, Murray-Smith, Leithead, Leith,
    Rasmussen, "Derivative observations in Gaussian process models", NIPS 2002. For minimization:
    Garijo del Rio, Mortensen, Jacobsen, Phys. Rev. B 2019, 100, 104103.

    Parameters
    ----------
    features : StiffFeatures
    moves : (N,) bool array, optional
        Atoms whose gradients are known: those that can move. All by default.

    Examples
    --------
    >>> from openmm_reparam.precon.model_hessian import internal_terms
    >>> numbers = np.array([8, 1, 1])
    >>> water = np.array([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]])
    >>> model = DifferenceModel(StiffFeatures(internal_terms(numbers, water), numbers, water))
    >>> gradient = np.array([[-100.0, 0, 0], [100.0, 0, 0], [0, 0, 0]])
    >>> model.add(water, gradient)
    >>> bool(np.allclose(model(water)[1], gradient, atol=1))
    True
    """

    def __init__(self, features: StiffFeatures, moves: np.ndarray | None = None) -> None:
        self._features = features
        self._known = None if moves is None or moves.all() else np.repeat(moves, 3)
        self._values: list[np.ndarray] = []
        self._jacobians: list[np.ndarray] = []
        self._gradients: list[np.ndarray] = []
        self._factor = np.empty((0, 0))
        self._centres = np.empty((0, features.count))
        self._weights = np.empty((0, features.count))

    def add(self, positions: np.ndarray, gradient: np.ndarray) -> None:
        """Learn the difference's gradient at a structure.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        gradient : (N, 3) array
            In kJ/mol/nm.
        """
        values, gradients = self._features(positions)
        if (len(self._values) + 1) * positions.size > MOST_ROWS and len(self._values) > 1:
            self._forget_oldest()
        jacobian, flat = self._features.jacobian(gradients), gradient.ravel()
        if self._known is not None:
            jacobian, flat = jacobian * self._known, flat * self._known
        self._append(values, jacobian, flat)
        self._solve()

    def __call__(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the difference, up to a constant, and its gradient.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.

        Returns
        -------
        float
            In kJ/mol.
        (N, 3) array
            In kJ/mol/nm.
        """
        values, gradients = self._features(positions)
        offsets = (values - self._centres) / LENGTH_SCALE
        covariances = np.exp(-np.einsum("ij,ij->i", offsets, offsets) / 2)
        along = np.einsum("ij,ij->i", offsets, self._weights)
        energy = covariances @ along / LENGTH_SCALE
        slopes = covariances @ (self._weights - along[:, None] * offsets) / LENGTH_SCALE**2
        return float(energy), self._features.pulled_back(gradients, slopes)

    def _covariance(self, a: int, b: int) -> np.ndarray:
        """Covariance of the gradients at two of the structures: (3N, 3N)."""
        first, second = self._jacobians[a], self._jacobians[b]
        offset = (self._values[a] - self._values[b]) / LENGTH_SCALE
        scale = np.exp(-offset @ offset / 2) / LENGTH_SCALE**2
        return scale * (first.T @ second - np.outer(first.T @ offset, offset @ second))

    def _append(self, values: np.ndarray, jacobian: np.ndarray, gradient: np.ndarray) -> None:
        """Add a structure, and its rows to the Cholesky factor of the covariance."""
        self._values.append(values)
        self._jacobians.append(jacobian)
        self._gradients.append(gradient)
        newest, size, known = len(self._values) - 1, len(gradient), len(self._factor)
        own = self._covariance(newest, newest) + NOISE**2 * np.eye(size)
        grown = np.zeros((known + size, known + size))
        grown[:known, :known] = self._factor
        if known:
            cross = np.concatenate([self._covariance(k, newest) for k in range(newest)])
            rows = scipy.linalg.solve_triangular(self._factor, cross, lower=True).T
            grown[known:, :known] = rows
            own = own - rows @ rows.T
        grown[known:, known:] = _cholesky(own)
        self._factor = grown

    def _forget_oldest(self) -> None:
        kept = list(zip(self._values, self._jacobians, self._gradients, strict=True))[1:]
        self._values, self._jacobians, self._gradients = [], [], []
        self._factor = np.empty((0, 0))
        for structure in kept:
            self._append(*structure)

    def _solve(self) -> None:
        """Find the weights with which the structures add up to the known gradients."""
        weights = scipy.linalg.cho_solve((self._factor, True), np.concatenate(self._gradients))
        parts = np.split(weights, len(self._gradients))
        self._weights = np.array([j @ w for j, w in zip(self._jacobians, parts, strict=True)])
        self._centres = np.array(self._values)


def _cholesky(matrix: np.ndarray) -> np.ndarray:
    """Lower factor; of a matrix that rounding has made indefinite, with a little more noise."""
    ridge = 0.0
    while True:
        try:
            return np.linalg.cholesky(matrix + ridge * np.eye(len(matrix)))
        except np.linalg.LinAlgError:
            ridge = max(10 * ridge, 1e-10 * np.abs(matrix).max(), NOISE**2)
