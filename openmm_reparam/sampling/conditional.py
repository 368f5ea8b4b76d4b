"""The conditional Gaussian: whitened coordinates u given torsions z."""

from __future__ import annotations

import torch

from .gaussians import lower_triangular, standard_normal_log_density, triangular_size
from .networks import zero_perceptron

__all__ = ["ConditionalGaussian", "torsion_features"]

HIDDEN = 128
# Harmonics of torsions that the network sees.
HARMONICS = 4


def torsion_features(z: torch.Tensor, folds: torch.Tensor, harmonics: int) -> torch.Tensor:
    """Return cosines and sines of multiples of torsions, (B, 2 harmonics Z).

    Parameters
    ----------
    z : (B, Z) tensor
        In radians.
    folds : (Z,) tensor
        Periodicity: the lowest multiple of each torsion.
    harmonics : int

    Examples
    --------
    >>> torsion_features(torch.tensor([[torch.pi / 2]]), torch.tensor([3]), 1).abs().round()
    tensor([[0., 1.]])
    """
    multiples = torch.arange(1, harmonics + 1)[:, None] * folds
    angles = (z[:, None, :] * multiples).flatten(1)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ConditionalGaussian(torch.nn.Module):
    """q(u | z): u = m(z) + A(z) eps, with A lower triangular and eps normal.

    m and A come from a small network of cosines and sines of z, and are zero and one before
    training: the harmonic approximation about one minimum.

    Parameters
    ----------
    folds : (Z,) tensor
        Periodicities of the torsions.
    dimension : int
        Length of u.
    hidden : int
        Width of two hidden layers.
    harmonics : int
        Multiples of the torsions that the network sees.

    Examples
    --------
    >>> model = ConditionalGaussian(torch.tensor([1, 3]), dimension=4)
    >>> z, noise = torch.zeros(5, 2).double(), torch.randn(5, 4).double()
    >>> u, log_q = model(z, noise)
    >>> bool(torch.allclose(model.log_density(z, u), log_q, atol=1e-4))
    True
    """

    folds: torch.Tensor

    def __init__(
        self,
        folds: torch.Tensor,
        dimension: int,
        hidden: int = HIDDEN,
        harmonics: int = HARMONICS,
    ) -> None:
        super().__init__()
        self.register_buffer("folds", folds.clone())
        self.dimension, self.harmonics = dimension, harmonics
        outputs = dimension + triangular_size(dimension)
        self.network = zero_perceptron(2 * harmonics * len(folds), hidden, outputs)

    def forward(self, z: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return u (B, D) of normal vectors eps (B, D), and log q(u | z), (B,), in float64."""
        mean, matrix, log_determinant = self._parameters_at(z)
        u = mean + _times(matrix, noise.to(mean))
        return u.double(), standard_normal_log_density(noise.double()) - log_determinant.double()

    def log_density(self, z: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Return log q(u | z), (B,)."""
        mean, matrix, log_determinant = self._parameters_at(z)
        off = (u - mean.double())[:, :, None]
        noise = torch.linalg.solve_triangular(matrix.double(), off, upper=False)[:, :, 0]
        return standard_normal_log_density(noise) - log_determinant.double()

    def path_samples(
        self, z: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return u, log q(u | z), and the gradient of the latter in u: what path gradients need.

        Notes
        -----
        The gradient of E[log q(u) - log p(u)] in the weights of u = m + A eps is that of
        stop(d log q / du) u - log p(u): the score has mean zero and is left out, and with it
        the noise that would remain where q equals p.

        References
        ----------
        Roeder, Wu, Duvenaud, Sticking the landing, NeurIPS 2017.
        """
        mean, matrix, log_determinant = self._parameters_at(z)
        eps = noise.to(mean)
        u = mean + _times(matrix, eps)
        transposed = matrix.detach().mT
        gradient = -torch.linalg.solve_triangular(transposed, eps[:, :, None], upper=True)
        log_q = standard_normal_log_density(noise.double()) - log_determinant.detach().double()
        return u.double(), log_q, gradient[:, :, 0].double()

    def _parameters_at(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = torsion_features(z, self.folds, self.harmonics)
        found = self.network(features.float())
        mean, entries = found[:, : self.dimension], found[:, self.dimension :]
        return mean, *lower_triangular(entries, self.dimension)


def _times(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    return torch.bmm(matrix, vector[:, :, None])[:, :, 0]
