"""Low-frequency modes along which a search displaces: of torsions and molecules, or of all atoms.

Normal modes in torsion angle space: Go, Noguti, Nishikawa, Proc. Natl. Acad. Sci. USA 1983, 80,
3696; Lopez-Blanco, Garzon, Chacon, Bioinformatics 2011, 27, 2843.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from ..geometry.rigid_motions import rigid_basis
from ..geometry.superposition import superposed
from ..modes.low_frequency_modes import lobpcg_modes, rigid_motions
from ..potentials.potential import Potential
from ..precon.preconditioner import Preconditioner
from .torsion_kinematics import TorsionKinematics, TorsionRotation
from .torsions import MAX_TORSIONS

__all__ = ["CartesianLowModes", "CartesianModes", "LowModes", "TorsionLowModes", "TorsionModes"]

# Torsions that move the atoms by less than this (nm per radian) are left alone.
SMALLEST_LEVER_ARM = 1e-3
# Rigid motions are kept out of the low modes by this stiffness, kJ/mol/nm^2.
RIGID_STIFFNESS = 1e6
# Up to so many coordinates, Cartesian modes come from a dense matrix.
MAX_DENSE_COORDINATES = 3000
# Of LOBPCG beyond: residuals relative to the preconditioner's shift, and iterations at most.
ROUGH_TOLERANCE, ROUGH_ITERATIONS = 1e-2, 20


class Modes(Protocol):
    """Low-frequency modes at a configuration."""

    @property
    def coefficients(self) -> np.ndarray:
        """Of each mode along the coordinates, (n, k)."""

    def rotation(self, amounts: np.ndarray) -> TorsionRotation:
        """Return the rotation of torsions that a combination of modes, (k,), makes."""


ModesType = TypeVar("ModesType", bound=Modes)


class LowModes(Protocol[ModesType]):
    """Computes low-frequency modes, and displaces along them."""

    def compute(self, positions: np.ndarray, stiffness: sp.csr_array, count: int) -> ModesType:
        """Return up to ``count`` modes of a (3N, 3N) stiffness in kJ/mol/nm^2."""

    def scaled(self, modes: ModesType, amounts: np.ndarray, amplitude: float) -> np.ndarray:
        """Return a combination, (k,), that moves the atoms by an RMS of ``amplitude`` nm."""

    def displaced(self, positions: np.ndarray, modes: ModesType, amounts: np.ndarray) -> np.ndarray:
        """Return (N, 3) positions in nm moved by a combination of modes, (k,)."""


@dataclass(frozen=True)
class TorsionModes:
    """Low-frequency modes at a configuration.

    Attributes
    ----------
    chosen : (T,) int array
        Torsions that take part.
    coefficients : (T + 6 M, k) array
        Of each mode: angles in radians, then translations (nm) and rotations (radians) of the M
        molecules. Each mode moves the atoms by an RMS of 1 nm, to first order.
    """

    chosen: np.ndarray
    coefficients: np.ndarray

    def rotation(self, amounts: np.ndarray) -> TorsionRotation:
        """Return the rotation of torsions that a combination of modes, (k,), makes."""
        angles = self.coefficients[: len(self.chosen)] @ amounts
        return TorsionRotation(self.chosen, np.clip(angles, -np.pi, np.pi))


class TorsionLowModes:
    """Modes of torsions and of whole molecules, applied as finite rotations.

    Parameters
    ----------
    potential : Potential
    kinematics : TorsionKinematics
    rng : numpy Generator
        Draws which stretch of a long chain moves.
    """

    def __init__(
        self, potential: Potential, kinematics: TorsionKinematics, rng: np.random.Generator
    ) -> None:
        self._potential, self._rng = potential, rng
        self._kinematics, self._topology = kinematics, kinematics.topology

    def compute(self, positions: np.ndarray, stiffness: sp.csr_array, count: int) -> TorsionModes:
        """Return the lowest modes of a stiffness.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        stiffness : (3N, 3N) sparse array
            In kJ/mol/nm^2.
        count : int
            How many at most.
        """
        atoms = self._topology.atoms
        chosen = np.arange(len(self._topology.axes))
        if len(chosen) > MAX_TORSIONS:
            first = self._rng.integers(len(chosen) - MAX_TORSIONS + 1)
            chosen = chosen[first : first + MAX_TORSIONS]
        motions = self._motions(positions, chosen)
        rows = (3 * atoms[:, None] + np.arange(3)).ravel()
        metric = motions.T @ motions / max(1, len(atoms))
        keep = np.sqrt(np.diag(metric)) > SMALLEST_LEVER_ARM / np.sqrt(max(1, len(atoms)))
        restoring = motions.T @ (stiffness[rows][:, rows] @ motions)
        # To move or rotate everything as one changes nothing.
        rigid = motions.T @ rigid_motions(self._potential, positions)[rows]
        restoring += RIGID_STIFFNESS * rigid @ rigid.T
        kept = np.ix_(keep, keep)
        ridge = 1e-6 * np.diag(metric)[keep].max(initial=1.0) * np.eye(int(keep.sum()))
        count = min(count, len(ridge))
        coefficients = np.zeros((motions.shape[1], count))
        if count:
            coefficients[keep] = scipy.linalg.eigh(
                restoring[kept], metric[kept] + ridge, subset_by_index=(0, count - 1)
            )[1]
        return TorsionModes(chosen, coefficients)

    def scaled(self, modes: TorsionModes, amounts: np.ndarray, amplitude: float) -> np.ndarray:
        """Return a combination, (k,), that moves the atoms by an RMS of ``amplitude`` nm."""
        return amounts * amplitude / np.linalg.norm(amounts)

    def displaced(
        self, positions: np.ndarray, modes: TorsionModes, amounts: np.ndarray
    ) -> np.ndarray:
        """Return (N, 3) positions in nm moved by a combination of modes, (k,)."""
        moved = self._kinematics.rotated(positions, modes.rotation(amounts))
        amounts = modes.coefficients @ amounts
        # Each molecule stays where it was, as far as its new shape allows.
        for members in self._topology.flexible:
            moved[members] = superposed(moved[members], positions[members])
        for body, members in enumerate(self._topology.bodies):
            first = len(modes.chosen) + 6 * body
            basis = rigid_basis(positions[members])
            step = (basis @ amounts[first : first + basis.shape[1]]).reshape(-1, 3)
            moved[members] = superposed(moved[members], positions[members] + step)
        return moved

    def _motions(self, positions: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return displacements by torsions and rigid bodies, (3n, T + 6 M)."""
        topology = self._topology
        place = topology.places(len(positions))
        motions = np.zeros((len(topology.atoms), 3, len(chosen) + 6 * len(topology.bodies)))
        motions[:, :, : len(chosen)] = self._kinematics.jacobian(positions, chosen)
        for members in topology.flexible:
            basis, own = rigid_basis(positions[members]), motions[place[members]]
            flat = own.reshape(3 * len(members), -1)
            motions[place[members]] -= (basis @ (basis.T @ flat)).reshape(own.shape)
        for body, members in enumerate(topology.bodies):
            basis = rigid_basis(positions[members])
            first = len(chosen) + 6 * body
            own = basis.reshape(len(members), 3, -1)
            motions[place[members], :, first : first + basis.shape[1]] = own
        return motions.reshape(3 * len(topology.atoms), -1)


@dataclass(frozen=True)
class CartesianModes:
    """Low-frequency modes at a configuration: orthonormal ``coefficients``, (3N, k)."""

    coefficients: np.ndarray

    def rotation(self, amounts: np.ndarray) -> TorsionRotation:
        """Return the rotation of no torsion: there is none."""
        return TorsionRotation(np.empty(0, dtype=np.int64), np.empty(0))


class CartesianLowModes:
    """Non-rigid modes of all atoms, for Systems without rotatable bonds.

    Parameters
    ----------
    potential : Potential
    preconditioner : Preconditioner
        Speeds up the eigenvalue solver of large Systems.
    rng : numpy Generator
    """

    def __init__(
        self, potential: Potential, preconditioner: Preconditioner, rng: np.random.Generator
    ) -> None:
        self._potential, self._preconditioner, self._rng = potential, preconditioner, rng

    def compute(self, positions: np.ndarray, stiffness: sp.csr_array, count: int) -> CartesianModes:
        """Return the lowest modes of a stiffness, as `TorsionLowModes.compute` does."""
        rigid = rigid_motions(self._potential, positions)
        moving = np.repeat(self._potential.moves, 3)
        count = min(count, int(moving.sum()) - rigid.shape[1])
        if positions.size <= MAX_DENSE_COORDINATES:
            dense = stiffness.toarray()[np.ix_(moving, moving)]
            basis = rigid[moving]
            dense += 2 * np.abs(dense).sum(axis=1).max() * basis @ basis.T
            modes = np.zeros((positions.size, count))
            modes[moving] = scipy.linalg.eigh(dense, subset_by_index=(0, count - 1))[1]
            return CartesianModes(modes)
        self._preconditioner.update(positions)
        with warnings.catch_warnings():  # that LOBPCG stopped early: rough modes do
            warnings.simplefilter("ignore", UserWarning)
            values, modes = lobpcg_modes(
                self._potential,
                self._preconditioner,
                rigid,
                count,
                self._rng,
                stiffness.__matmul__,
                ROUGH_TOLERANCE,
                ROUGH_ITERATIONS,
            )
        return CartesianModes(modes[:, np.argsort(values)])

    def scaled(self, modes: CartesianModes, amounts: np.ndarray, amplitude: float) -> np.ndarray:
        """Return a combination, (k,), that moves the atoms by an RMS of ``amplitude`` nm."""
        step = (modes.coefficients @ amounts).reshape(-1, 3)[self._potential.moves]
        return amounts * amplitude / np.sqrt((step**2).sum(axis=1).mean())

    def displaced(
        self, positions: np.ndarray, modes: CartesianModes, amounts: np.ndarray
    ) -> np.ndarray:
        """Return (N, 3) positions in nm moved by a combination of modes, (k,)."""
        return positions + (modes.coefficients @ amounts).reshape(-1, 3)
