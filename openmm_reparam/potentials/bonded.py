"""The bonded terms of a System: which atoms they couple, and a System that holds them alone."""

from __future__ import annotations

import copy

import numpy as np
import openmm as mm
import scipy.sparse as sp

from .. import compiled
from .potential import Potential, constraints_of

__all__ = [
    "CONSTRAINT_STIFFNESS",
    "bonded_parameters",
    "bonded_potential",
    "bonded_system",
    "bonded_terms",
    "coupling_pattern",
]

# kJ/mol/nm^2: about that of a C-H or O-H bond, which a constraint usually stands for.
CONSTRAINT_STIFFNESS = 4e5


def bonded_terms(force: mm.Force) -> np.ndarray | None:
    """Particles of every term of a bonded force.

    Parameters
    ----------
    force : openmm.Force

    Returns
    -------
    (terms, n) int array, or None
        None for a force that is not bonded. Bonds, angles, torsions, CMAP, their Custom kinds,
        CustomCompoundBondForce and CustomExternalForce (one atom a term: restraints) are.
    """
    found = compiled.bonded_terms(compiled.address(force))
    return None if found is None else found[0]


def bonded_parameters(force: mm.Force) -> tuple[np.ndarray, np.ndarray]:
    """Particles and parameters of every term of a bonded force.

    Parameters
    ----------
    force : openmm.Force
        Harmonic bonds (length, k) or angles (angle, k), periodic (periodicity, phase, k) or
        Ryckaert-Bellemans torsions (six coefficients).

    Returns
    -------
    (terms, n) int array
    (terms, p) array
        In nm, radians and kJ/mol; no columns for other bonded forces.

    Raises
    ------
    TypeError
        The force is not bonded.

    Examples
    --------
    >>> force = mm.HarmonicBondForce()
    >>> _ = force.addBond(0, 1, 0.1, 2e5)
    >>> pairs, parameters = bonded_parameters(force)
    >>> pairs.tolist(), parameters.tolist()
    ([[0, 1]], [[0.1, 200000.0]])
    """
    found = compiled.bonded_terms(compiled.address(force))
    if found is None:
        raise TypeError(f"{force.getName()} has no bonded terms")
    return found


def coupling_pattern(system: mm.System, moves: np.ndarray, groups: int = -1) -> sp.csr_array:
    """Which atoms the bonded terms and constraints of a System couple.

    Parameters
    ----------
    system : openmm.System
    moves : (N,) bool array
        Only these atoms appear.
    groups : int
        Bit mask of force groups.

    Returns
    -------
    (N, N) sparse bool array
        Symmetric; the diagonal is set for every atom that moves.
    """
    size = system.getNumParticles()
    pairs = [constraints_of(system)[0]]
    for force in _bonded_forces(system, groups):
        terms = bonded_terms(force)
        if terms is not None:
            first, second = np.triu_indices(terms.shape[1], 1)
            pairs.append(np.stack([terms[:, first].ravel(), terms[:, second].ravel()], axis=1))
    i, j = np.concatenate(pairs).T
    both_move = moves[i] & moves[j]
    i, j = i[both_move], j[both_move]
    diagonal = np.flatnonzero(moves)
    rows, columns = np.concatenate([i, j, diagonal]), np.concatenate([j, i, diagonal])
    pattern = sp.coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(size, size))
    pattern = pattern.tocsr()
    pattern.data[:] = True
    return pattern


def bonded_system(potential: Potential, forces: list[mm.Force]) -> mm.System:
    """Return a System of the same particles with copies of these forces and no constraints."""
    system = mm.System()
    for mass, moves in zip(potential.masses, potential.moves, strict=True):
        system.addParticle(mass if moves else 0.0)
    for force in forces:
        system.addForce(copy.deepcopy(force))
    return system


def bonded_potential(potential: Potential) -> Potential:
    """Make a Potential of the bonded forces alone, on the Reference platform.

    Parameters
    ----------
    potential : Potential
        Its System's bonded forces (those in its force groups) are copied; constraints become
        springs of ``CONSTRAINT_STIFFNESS``. Virtual sites become plain particles: a bonded term on
        one acts, but does not pass its force on to the parents.

    Returns
    -------
    Potential
        Shares the counter; its evaluations are counted as "bonded".
    """
    system = bonded_system(potential, _bonded_forces(potential.system, potential.groups))
    springs = mm.HarmonicBondForce()
    for (i, j), length in zip(*potential.constraints, strict=True):
        springs.addBond(int(i), int(j), length, CONSTRAINT_STIFFNESS)
    system.addForce(springs)
    return potential.side_potential("bonded", system)


def _bonded_forces(system: mm.System, groups: int) -> list[mm.Force]:
    return [
        force
        for force in system.getForces()
        if groups >> force.getForceGroup() & 1 and bonded_terms(force) is not None
    ]
