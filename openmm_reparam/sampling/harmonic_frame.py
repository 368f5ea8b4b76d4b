"""Internal coordinates as latent torsions z and whitened coordinates u about one minimum."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize

from .internal_map import InternalMap, wrap

__all__ = ["HarmonicFrame", "internal_hessian", "relaxed"]

# Step of finite differences, in nm and radians.
STEP = 1e-4
# The softest whitened coordinates are as wide as this curvature (kT/rad^2) makes them, at most.
LEAST_CURVATURE = 4.0
# Structures that are evaluated at once.
CHUNK = 512
# Typical widths of bonds (nm), angles and torsions (radians), which condition a minimization.
WIDTHS = {"bonds": 0.003, "angles": 0.06, "torsions": 0.15}
# Evaluations and largest gradient, in kT over such a width, of a minimization.
DESCENT, SMALL = 1000, 0.01

EnergyFunction = Callable[[torch.Tensor], torch.Tensor]


def relaxed(
    internal_map: InternalMap, energy: EnergyFunction, coordinates: torch.Tensor
) -> torch.Tensor:
    """Return the internal coordinates of the minimum that L-BFGS finds from a start.

    Torsions are within half a turn of their centres.

    Parameters
    ----------
    internal_map : InternalMap
    energy : callable
        (B, N, 3) positions in nm -> (B,) energies in kT that can be differentiated.
    coordinates : (M,) tensor
        Where to begin.
    """
    widths = torch.ones_like(coordinates)
    for name, columns in internal_map.columns.items():
        widths[columns] = WIDTHS[name]

    def value(moved: np.ndarray) -> tuple[float, np.ndarray]:
        steps = torch.as_tensor(moved).requires_grad_()
        found = energy(internal_map.positions((coordinates + widths * steps)[None])[0])[0]
        return found.item(), torch.autograd.grad(found, steps)[0].numpy()

    options = {"maxfun": DESCENT, "maxiter": DESCENT, "gtol": SMALL, "ftol": 0.0}
    found = minimize(value, np.zeros(len(widths)), jac=True, method="L-BFGS-B", options=options)
    reached = coordinates + widths * torch.as_tensor(found.x)
    # One step past half a turn, and the vector would stand for no positions.
    torsions = internal_map.columns["torsions"]
    reached[torsions] = wrap(reached[torsions], internal_map.torsion_centres)
    return reached


def internal_hessian(
    internal_map: InternalMap, energy: EnergyFunction, coordinates: torch.Tensor
) -> torch.Tensor:
    """Return the Hessian of an energy in internal coordinates, by central differences of forces.

    Parameters
    ----------
    internal_map : InternalMap
    energy : callable
        (B, N, 3) positions in nm -> (B,) energies that can be differentiated, such as
        `BatchEnergy.energy`; 2 M structures are evaluated.
    coordinates : (M,) tensor

    Returns
    -------
    (M, M) tensor
        In the energy's unit, nm and radians; symmetric.
    """
    steps = STEP * torch.eye(len(coordinates), dtype=coordinates.dtype)
    gradients = []
    for chunk in torch.cat([coordinates + steps, coordinates - steps]).split(CHUNK):
        q = chunk.clone().requires_grad_()
        total = energy(internal_map.positions(q)[0]).sum()
        gradients.append(torch.autograd.grad(total, q)[0])
    up, down = torch.cat(gradients).chunk(2)
    hessian = (up - down) / (2 * STEP)
    return (hessian + hessian.T) / 2


class HarmonicFrame(torch.nn.Module):
    """Internal coordinates as z, the torsions that rotate, and u, all others whitened.

    The others are y = y0 + L u, with L L^T the inverse of their block of the Hessian in kT, so that
    u is a standard normal vector where the energy is harmonic. Rotors are taken on one period,
    whose turns exchange like atoms.

    Parameters
    ----------
    internal_map : InternalMap
    minimum : (M,) tensor
        Internal coordinates of a minimum.
    hessian : (M, M) tensor
        There, in kT.

    Attributes
    ----------
    internal_map : InternalMap
    latents : (Z,) int tensor
        Coordinates that are z: free torsions, then rotors.
    others : (Y,) int tensor
    folds : (Z,) tensor
        Periodicity of each latent, 1 for free torsions.
    widths : (Y,) tensor
        Standard deviations of the normal modes, the widest first.
    minimum_latents : (Z,) tensor
        z at the minimum.

    Examples
    --------
    >>> import numpy as np
    >>> from openmm_reparam.sampling.zmatrix import build_zmatrix
    >>> x = np.array([[0, 0, 0], [0.145, 0, 0], [-0.02, 0.09, 0], [0.165, 0, 0.09]])
    >>> bonds = np.array([[0, 1], [0, 2], [1, 3]])
    >>> peroxide = InternalMap(build_zmatrix(np.array([8, 8, 1, 1]), bonds, x), x)
    >>> minimum, _ = peroxide.coordinates(torch.tensor(x)[None])
    >>> frame = HarmonicFrame(peroxide, minimum[0], 1e4 * torch.eye(6, dtype=torch.float64))
    >>> z, u, log_jacobian = frame.encode(torch.tensor(x)[None])
    >>> z.rad2deg().round().tolist(), bool(u.abs().max() < 1e-9)
    ([[90.0]], True)
    """

    latents: torch.Tensor
    others: torch.Tensor
    folds: torch.Tensor
    widths: torch.Tensor
    minimum_latents: torch.Tensor
    _centre: torch.Tensor
    _scale: torch.Tensor
    _whitening: torch.Tensor

    def __init__(
        self, internal_map: InternalMap, minimum: torch.Tensor, hessian: torch.Tensor
    ) -> None:
        super().__init__()
        self.internal_map = internal_map
        first = internal_map.columns["torsions"].start
        latents = torch.cat([internal_map.free, internal_map.rotors]) + first
        kept = torch.ones(internal_map.num_coordinates, dtype=torch.bool)
        kept[latents] = False
        others = kept.nonzero()[:, 0]
        curvatures, modes = torch.linalg.eigh(hessian[others][:, others])
        widths = curvatures.clamp_min(LEAST_CURVATURE).rsqrt()
        tensors = {
            "latents": latents,
            "others": others,
            "folds": torch.cat([torch.ones_like(internal_map.free), internal_map.folds]),
            "widths": widths,
            "minimum_latents": minimum[latents],
            "_centre": minimum[others],
            "_scale": modes * widths,
            "_whitening": (modes / widths).T,
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().clone())

    @property
    def num_latents(self) -> int:
        """Number Z of latent torsions."""
        return len(self.latents)

    @property
    def num_free(self) -> int:
        """Number of latent torsions that are not rotors; these come first."""
        return len(self.internal_map.free)

    @property
    def num_others(self) -> int:
        """Number Y of whitened coordinates."""
        return len(self.others)

    def decode(self, z: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions (B, N, 3) in nm and ``log |dX / d(z, u)|``, (B,).

        Parameters
        ----------
        z : (B, Z) tensor
            In radians.
        u : (B, Y) tensor
        """
        y = self._centre + u @ self._scale.T
        coordinates = y.new_empty(len(y), self.internal_map.num_coordinates)
        coordinates = coordinates.index_copy(1, self.latents, wrap(z)).index_copy(1, self.others, y)
        positions, log_jacobian = self.internal_map.positions(coordinates)
        return positions, log_jacobian + self.widths.log().sum()

    def encode(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return z (B, Z), u (B, Y) and ``log |dX / d(z, u)|``, (B,); the inverse of `decode`."""
        coordinates, log_jacobian = self.internal_map.coordinates(positions)
        u = (coordinates[:, self.others] - self._centre) @ self._whitening.T
        return coordinates[:, self.latents], u, log_jacobian + self.widths.log().sum()
