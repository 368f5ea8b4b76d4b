"""Vibrations of a molecule at a minimum: masses count, constraints and rigid motions do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.spatial.transform import Rotation

from ..potentials.hessian import dense_hessian
from ..potentials.potential import Potential

__all__ = ["NormalModes", "normal_modes"]

# A motion is rigid if one by so many nm, or so many radians, leaves the energy as it is: to this
# share of it, and to so many kJ/mol.
SHIFT, TURN = 0.5, 0.5
SAME_SHARE, SAME_ENERGY = 1e-6, 0.02
# Relative to the largest: a moment of inertia, or a rigid motion, below this is none.
NOTHING = 1e-6


@dataclass(frozen=True)
class NormalModes:
    """Vibrations at a minimum and the moments of inertia of free rotations.

    Attributes
    ----------
    frequencies : (m,) array
        Angular frequencies in 1/ps, ascending; imaginary ones as negative numbers.
    displacements : (m, N, 3) array
        Of each mode, the largest of an atom being 1.
    moments : (r,) array
        Principal moments of inertia in amu nm^2: three, two of a linear molecule, none where
        rotations are not free.
    """

    frequencies: np.ndarray
    displacements: np.ndarray
    moments: np.ndarray


def normal_modes(potential: Potential, positions: np.ndarray) -> NormalModes:
    r"""Diagonalize the mass-weighted Hessian, 6 force evaluations an atom and seven.

    Translations and rotations that leave the energy as it is are projected out, and so are motions
    that constraints forbid. On a curved manifold of constraints the forces that hold them bend the
    energy: its Hessian is that of E - sum lambda_c \|r_c\|, with lambda_c the multipliers.

    Parameters
    ----------
    potential : Potential
        In double precision, see `Potential.side_potential`.
    positions : (N, 3) array
        In nm; a minimum.

    Returns
    -------
    NormalModes

    References
    ----------
    Wilson, E. B., Decius, J. C., Cross, P. C. Molecular Vibrations, 1955.

    Examples
    --------
    >>> from openmm_reparam.testsystems import lennard_jones_cluster
    >>> potential = Potential(lennard_jones_cluster(2).simulation("Reference").context)
    >>> modes = normal_modes(potential, 0.3 * 2 ** (1 / 6) * np.array([[0, 0, 0], [1, 0, 0]]))
    >>> modes.frequencies.shape, modes.moments.shape
    ((1,), (2,))
    """
    hessian = dense_hessian(potential, positions, side=False)
    forces = potential.evaluate(positions)[1]
    gradients, curvature = _constraints(potential, positions, forces)
    moving = np.repeat(potential.moves, 3)
    scale = 1 / np.sqrt(np.repeat(potential.masses[potential.moves], 3))
    weighted = scale[:, None] * (hessian - curvature)[np.ix_(moving, moving)] * scale
    translations, rotations = _rigid_motions(potential, positions)
    fixed = [gradients[:, moving].T * scale[:, None]]
    fixed += [(motion / scale)[:, None] for motion in (*translations, *rotations)]
    free = _complement(np.hstack(fixed))
    values, vectors = np.linalg.eigh(free.T @ weighted @ free)
    displacements = np.zeros((len(values), potential.num_particles, 3))
    displacements[:, potential.moves] = (scale[:, None] * (free @ vectors)).T.reshape(
        len(values), potential.moves.sum(), 3
    )
    largest = np.linalg.norm(displacements, axis=2).max(axis=1, initial=0.0)
    return NormalModes(
        np.sign(values) * np.sqrt(np.abs(values)),
        displacements / largest[:, None, None],
        _inertia(potential, positions)[0] if len(rotations) else np.empty(0),
    )


def _constraints(
    potential: Potential, positions: np.ndarray, forces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of constrained distances (M, 3N), and what the forces of constraints add to H."""
    pairs, _ = potential.constraints
    pairs = pairs[potential.moves[pairs].any(axis=1)]
    gradients = np.zeros((len(pairs), positions.size))
    curvature = np.zeros((positions.size, positions.size))
    if not len(pairs):
        return gradients, curvature
    vectors = positions[pairs[:, 0]] - positions[pairs[:, 1]]
    lengths = np.linalg.norm(vectors, axis=1)
    units = vectors / lengths[:, None]
    for row, (i, j), unit in zip(gradients, pairs, units, strict=True):
        row[3 * i : 3 * i + 3], row[3 * j : 3 * j + 3] = unit, -unit
    multipliers = np.linalg.lstsq(gradients.T, -forces.ravel(), rcond=None)[0]
    blocks = (np.eye(3) - units[:, :, None] * units[:, None, :]) / lengths[:, None, None]
    for (i, j), block in zip(pairs, multipliers[:, None, None] * blocks, strict=True):
        for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            curvature[3 * a : 3 * a + 3, 3 * b : 3 * b + 3] += sign * block
    return gradients, curvature


def _rigid_motions(potential: Potential, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return translations and rotations, (k, 3n), that leave the energy alone; n atoms move."""
    x = positions[potential.moves]
    none = np.empty((0, x.size))
    if not potential.moves[~potential.virtual_sites].all():
        return none, none
    masses = potential.masses[potential.moves]
    centre = masses @ x / masses.sum()
    unchanged = _EnergyTest(potential, positions)
    axes = np.eye(3)
    shifts = [axis for axis in axes if unchanged(positions + SHIFT * axis)]
    translations = np.array([np.tile(axis, len(x)) for axis in shifts]).reshape(-1, x.size)
    if len(shifts) < 3 or not all(
        unchanged(Rotation.from_rotvec(TURN * axis).apply(positions - centre) + centre)
        for axis in axes
    ):
        return translations, none
    # About principal axes: a linear molecule does not turn about its own, however slightly it is
    # bent by what is left of the forces.
    turns = [np.cross(axis, x - centre).ravel() for axis in _inertia(potential, positions)[1]]
    return translations, np.array(turns).reshape(-1, x.size)


class _EnergyTest:
    """Whether the energy elsewhere is that of some positions."""

    def __init__(self, potential: Potential, positions: np.ndarray) -> None:
        self._potential = potential
        self._energy = potential.evaluate(positions)[0]
        self._tolerance = SAME_ENERGY + SAME_SHARE * abs(self._energy)

    def __call__(self, positions: np.ndarray) -> bool:
        return abs(self._potential.evaluate(positions)[0] - self._energy) < self._tolerance


def _complement(columns: np.ndarray) -> np.ndarray:
    """Orthonormal basis of what is orthogonal to some columns, of any length each."""
    lengths = np.linalg.norm(columns, axis=0)
    kept = columns[:, lengths > NOTHING * lengths.max(initial=0.0)]
    if not kept.size:
        return np.eye(len(columns))
    return scipy.linalg.null_space((kept / np.linalg.norm(kept, axis=0)).T, rcond=NOTHING)


def _inertia(potential: Potential, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal moments of inertia that are not zero, in amu nm^2, ascending, and their axes."""
    masses, x = potential.masses[potential.moves], positions[potential.moves]
    x = x - masses @ x / masses.sum()
    products = np.einsum("n,ni,nj->ij", masses, x, x)
    moments, axes = np.linalg.eigh(np.trace(products) * np.eye(3) - products)
    kept = moments > NOTHING * moments.max()
    return moments[kept], axes.T[kept]
