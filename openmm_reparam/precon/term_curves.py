"""The terms of custom bonds, angles and torsions as curves: slope and curvature of each."""

from __future__ import annotations

import copy

import numpy as np
import openmm as mm

from ..potentials.bonded import bonded_terms
from ..potentials.potential import Potential

__all__ = ["TermCurves"]

# Steps of finite differences: relative to a length, and of an angle in radians.
RELATIVE_STEP, ANGLE_STEP = 1e-4, 1e-4
# Shorter bonds (nm) are evaluated at this length, so that a difference is left at length zero.
SHORTEST = 1e-3
# Angles are kept as far as this (radians) from 0 and pi, where their forces have no direction.
STRAIGHT = 0.01


class TermCurves:
    """Slope and curvature of every term of a custom force, each at a value of its own.

    The value is the length of a bond (nm), an angle or a dihedral (radians). Each term acts on
    particles of its own in a side Context, so that one evaluation of this force alone (counted as
    "bonded") gives the slopes of all.

    Parameters
    ----------
    potential : Potential
        Whose global parameters are followed.
    force : openmm.CustomBondForce, openmm.CustomAngleForce or openmm.CustomTorsionForce

    Attributes
    ----------
    atoms : (T, n) int array
    cost : int
        Evaluations that `derivatives` takes.

    Examples
    --------
    >>> import openmm
    >>> from openmm_reparam.potentials.potential import Potential
    >>> system, force = openmm.System(), openmm.CustomAngleForce("50*(theta-2)^2")
    >>> for _ in range(3):
    ...     _ = system.addParticle(12.0)
    >>> _ = force.addAngle(0, 1, 2, [])
    >>> _ = system.addForce(force)
    >>> potential = Potential(openmm.Context(system, openmm.VerletIntegrator(0.001)))
    >>> slope, curvature = TermCurves(potential, force).derivatives([1.5])
    >>> slope.round(6).tolist(), curvature.round(3).tolist()
    ([-50.0], [100.0])
    """

    cost = 2

    def __init__(self, potential: Potential, force: mm.Force) -> None:
        terms = bonded_terms(force)
        if terms is None:
            raise TypeError(f"{force.getName()} has no bonds, angles or torsions")
        self.atoms = terms
        width = self.atoms.shape[1]
        self._place = {2: _bonds, 3: _angles, 4: _torsions}[width]
        self._potential = potential
        self._side = potential.side_potential("bonded", _apart(force, *self.atoms.shape))

    def slopes(self, values: np.ndarray) -> np.ndarray:
        """dE/dq of every term (T,), in kJ/mol/nm or kJ/mol, at values q (T,); one evaluation."""
        positions, directions = self._place(np.asarray(values, dtype=float))
        self._side.follow(self._potential)
        forces = self._side.evaluate(positions.reshape(-1, 3))[1].reshape(positions.shape)
        return -np.einsum("ti,ti->t", forces[:, -1], directions)

    def derivatives(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivative of every term by central differences; two evaluations.

        Parameters
        ----------
        values : (T,) array
            Lengths in nm (those below 0.001 count as 0.001), angles or dihedrals in radians.

        Returns
        -------
        slopes : (T,) array
            In kJ/mol/nm, or kJ/mol.
        curvatures : (T,) array
            In kJ/mol/nm^2, or kJ/mol.

        Raises
        ------
        NonFiniteError
            A term is not finite there.
        BudgetExhausted
            Before the first evaluation, where only one is left.
        """
        self._potential.counter.require(self.cost)
        centre, step = self._interval(np.asarray(values, dtype=float))
        above, below = self.slopes(centre + step), self.slopes(centre - step)
        return (above + below) / 2, (above - below) / (2 * step)

    def curvatures(self, values: np.ndarray) -> np.ndarray:
        """d2E/dq2 of every term (T,), as `derivatives`; two evaluations."""
        return self.derivatives(values)[1]

    def _interval(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
        """Return where to take differences, and the steps."""
        if self._place is _bonds:
            centre = np.maximum(values, SHORTEST)
            return centre, RELATIVE_STEP * centre
        if self._place is _angles:
            return np.clip(values, STRAIGHT, np.pi - STRAIGHT), ANGLE_STEP
        return values, ANGLE_STEP


def _apart(force: mm.Force, count: int, width: int) -> mm.System:
    """Return a System of this force alone, each of its terms on particles of its own."""
    alone, system = copy.deepcopy(force), mm.System()
    alone.setUsesPeriodicBoundaryConditions(False)
    kind = {2: "Bond", 3: "Angle", 4: "Torsion"}[width]
    parameters_of = getattr(alone, f"get{kind}Parameters")
    set_parameters = getattr(alone, f"set{kind}Parameters")
    for term in range(count):
        own = [system.addParticle(1.0) for _ in range(width)]
        set_parameters(term, *own, parameters_of(term)[-1])
    system.addForce(alone)
    return system


# Each places particles (T, n, 3) in nm so that the terms have given values, and returns the unit
# vectors (T, 3) along which the last particle moves as they grow: by as much, for arms are 1 nm.


def _bonds(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    positions, directions = np.zeros((len(lengths), 2, 3)), np.zeros((len(lengths), 3))
    positions[:, 1, 0] = lengths
    directions[:, 0] = 1.0
    return positions, directions


def _angles(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine, zero = np.cos(angles), np.sin(angles), np.zeros_like(angles)
    positions = np.zeros((len(angles), 3, 3))
    positions[:, 0, 0] = 1.0
    positions[:, 2] = np.stack([cosine, sine, zero], axis=1)
    return positions, np.stack([-sine, cosine, zero], axis=1)


def _torsions(dihedrals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine, one = np.cos(dihedrals), np.sin(dihedrals), np.ones_like(dihedrals)
    positions = np.zeros((len(dihedrals), 4, 3))
    positions[:, 0, 1] = positions[:, 2, 0] = 1.0
    positions[:, 3] = np.stack([one, cosine, sine], axis=1)
    return positions, np.stack([0 * one, -sine, cosine], axis=1)
