"""A molecule's density as vectors that a latent model gives: internal or Cartesian coordinates."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .harmonic_frame import HarmonicFrame

__all__ = ["InternalDensity", "PinnedDensity"]

LogDensity = Callable[[torch.Tensor], torch.Tensor]
# A distance from the axis (nm) less than this has no place in pinned coordinates.
OFF_AXIS = 1e-6


class InternalDensity:
    """Torsions that rotate, and all other internal coordinates whitened about a minimum.

    Where tempering begins, torsions are uniform and the others harmonic.

    Parameters
    ----------
    frame : HarmonicFrame
    log_boltzmann : callable
        (B, N, 3) positions in nm -> -E / kT, (B,), which can be differentiated.

    Attributes
    ----------
    periodic : (M,) bool tensor
        True for the torsions, which come first.
    """

    def __init__(self, frame: HarmonicFrame, log_boltzmann: LogDensity) -> None:
        self._frame, self._log_boltzmann = frame, log_boltzmann
        self.periodic = torch.arange(frame.num_latents + frame.num_others) < frame.num_latents
        with torch.no_grad():
            lowest = torch.zeros(1, len(self.periodic), dtype=torch.float64)
            lowest[:, : frame.num_latents] = frame.minimum_latents
            self._offset = float(self._wanted(lowest)[0])

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log p0 and log p1, (B,), of vectors (B, M)."""
        easy = -0.5 * x[:, self._frame.num_latents :].square().sum(1)
        return easy, self._wanted(x) - self._offset

    def decode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions (B, N, 3) in nm and log |dX / dx|, (B,)."""
        return self._frame.decode(*self._parts(x))

    def encode(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return vectors (B, M) and log |dX / dx|, (B,)."""
        z, u, log_jacobian = self._frame.encode(positions)
        return torch.cat([z, u], dim=1), log_jacobian

    def _parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:, : self._frame.num_latents], x[:, self._frame.num_latents :]

    def _wanted(self, x: torch.Tensor) -> torch.Tensor:
        positions, log_jacobian = self.decode(x)
        return self._log_boltzmann(positions) + log_jacobian


class PinnedDensity:
    """Cartesian coordinates in Angstrom, six of them pinned against rigid motion, as published.

    The first atom is at the origin, the second on the x axis, the third in the xy plane. Where
    tempering begins, the density is flat.

    Parameters
    ----------
    pinned : (3,) int tensor
        Three atoms that are not on one line.
    num_atoms : int
    log_boltzmann : callable
        (B, N, 3) positions in nm -> -E / kT, (B,), which can be differentiated.
    offset : float
        Its value in a minimum.

    Attributes
    ----------
    periodic : (3 N - 6,) bool tensor
        All false.
    """

    def __init__(
        self, pinned: torch.Tensor, num_atoms: int, log_boltzmann: LogDensity, offset: float
    ) -> None:
        first, second, third = pinned.tolist()
        kept = torch.ones(num_atoms, 3, dtype=torch.bool)
        kept[first] = False
        kept[second, 1:] = False
        kept[third, 2] = False
        self._places = kept.flatten().nonzero()[:, 0]
        self._pinned, self._num_atoms = (first, second, third), num_atoms
        self._log_boltzmann, self._offset = log_boltzmann, offset
        self.periodic = torch.zeros(len(self._places), dtype=torch.bool)

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log p0 and log p1, (B,), of vectors (B, 3 N - 6)."""
        positions, log_jacobian = self.decode(x)
        wanted = self._log_boltzmann(positions) + log_jacobian - self._offset
        return torch.zeros_like(wanted), wanted

    def decode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions (B, N, 3) in nm and log |dX / dx|, (B,), up to rigid motion."""
        flat = x.new_zeros(len(x), 3 * self._num_atoms).index_copy(1, self._places, 0.1 * x)
        positions = flat.view(-1, self._num_atoms, 3)
        return positions, self._log_jacobian(positions)

    def encode(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return vectors (B, 3 N - 6) and log |dX / dx|, (B,)."""
        first, second, third = self._pinned
        moved = positions - positions[:, first : first + 1]
        e1 = torch.nn.functional.normalize(moved[:, second], dim=-1)
        across = moved[:, third] - (moved[:, third] * e1).sum(-1, keepdim=True) * e1
        e2 = torch.nn.functional.normalize(across, dim=-1)
        axes = torch.stack([e1, e2, torch.linalg.cross(e1, e2)], dim=2)
        turned = moved @ axes
        return 10.0 * turned.flatten(1)[:, self._places], self._log_jacobian(turned)

    def _log_jacobian(self, positions: torch.Tensor) -> torch.Tensor:
        """Return log(r^2 s 0.1^(3N - 6)): rigid motion turns r about a point and s about an axis.

        Positions whose second atom is at x < 0 or third atom at y < 0 are others, turned.
        """
        _, second, third = self._pinned
        x, y = positions[:, second, 0], positions[:, third, 1]
        scale = len(self._places) * torch.log(torch.tensor(0.1, dtype=torch.float64))
        valid = (x > OFF_AXIS) & (y > OFF_AXIS)
        value = 2 * x.clamp_min(OFF_AXIS).log() + y.clamp_min(OFF_AXIS).log() + scale
        return torch.where(valid, value, -torch.inf)
