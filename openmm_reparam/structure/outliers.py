"""Atoms that clash, bonds and angles far from the force field's values: by atom index.

`violations` puts them into words.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import openmm as mm
import scipy.sparse as sp
from openmm import app

from ..geometry.neighbors import near_pairs, nearest_image
from ..potentials.bonded import bonded_parameters
from ..potentials.potential import constraints_of

__all__ = [
    "ANGLE_TOLERANCE",
    "BOND_TOLERANCE",
    "OVERLAP_TOLERANCE",
    "Outliers",
    "angle_outliers",
    "bond_outliers",
    "bonded_within",
    "clashing_pairs",
    "pair_keys",
]

# Van der Waals radii in nm. Those of C, N, O and S are AlphaFold's; a hydrogen's is Rowland and
# Taylor's (J. Phys. Chem. 1996, 100, 7384). Atoms of other elements (metals) clash with nothing.
VAN_DER_WAALS_RADII = {
    **{"C": 0.170, "N": 0.155, "O": 0.152, "S": 0.180, "P": 0.180, "Se": 0.190},
    **{"F": 0.147, "Cl": 0.175, "Br": 0.185, "I": 0.198, "H": 0.110},
}
# Atoms clash where they overlap by more than this, in nm.
OVERLAP_TOLERANCE = 0.15
# nm and degrees away from the force field's value.
BOND_TOLERANCE = 0.02
ANGLE_TOLERANCE = 20.0


class Outliers(NamedTuple):
    """Violations of one kind, the worst first.

    Attributes
    ----------
    atoms : (n, k) int array
        The two or three atoms of each.
    values : (n,) array
        Distances in nm, or angles in degrees.
    usual : (n,) array
        What would be usual, or the least that is allowed.
    """

    atoms: np.ndarray
    values: np.ndarray
    usual: np.ndarray


def clashing_pairs(topology: app.Topology, x: np.ndarray, box: np.ndarray | None) -> Outliers:
    """Return the pairs of atoms more than two bonds apart whose overlap is over 0.15 nm.

    Parameters
    ----------
    topology : openmm.app.Topology
    x : (N, 3) array in nm
    box : (3, 3) array in nm, or None

    Returns
    -------
    Outliers
        ``usual`` is the sum of the van der Waals radii less 0.15 nm. Each pair by rising index.
    """
    atoms = list(topology.atoms())
    symbols = ["" if atom.element is None else atom.element.symbol for atom in atoms]
    radii = np.array([VAN_DER_WAALS_RADII.get(symbol, 0.0) for symbol in symbols])
    if not radii.any():
        return Outliers(np.zeros((0, 2), dtype=int), np.zeros(0), np.zeros(0))
    is_cystine = np.array(
        [a.name == "SG" and a.residue.name in ("CYS", "CYX", "CYM") for a in atoms], dtype=bool
    )
    i, j, vectors = near_pairs(x, 2 * radii.max() - OVERLAP_TOLERANCE, box)
    allowed = radii[i] + radii[j] - OVERLAP_TOLERANCE
    apart = np.linalg.norm(vectors, axis=1)
    near = (apart < allowed) & (radii[i] > 0) & (radii[j] > 0) & ~(is_cystine[i] & is_cystine[j])
    i, j, allowed, apart = i[near], j[near], allowed[near], apart[near]
    free = ~np.isin(pair_keys(i, j, len(atoms)), bonded_within(topology, 2))
    i, j, allowed, apart = i[free], j[free], allowed[free], apart[free]
    pairs = np.column_stack([np.minimum(i, j), np.maximum(i, j)])
    return _worst_first(pairs, allowed - apart, apart, allowed)


def bond_outliers(
    topology: app.Topology, system: mm.System, x: np.ndarray, box: np.ndarray | None
) -> Outliers:
    """Return the System's harmonic bonds that are more than 0.02 nm from their lengths.

    Parameters
    ----------
    topology : openmm.app.Topology
        The springs between atoms two of its bonds apart (Urey-Bradley) are left out.
    system : openmm.System
    x : (N, 3) array in nm
    box : (3, 3) array in nm, or None

    Returns
    -------
    Outliers
    """
    size = len(x)
    left_out = np.union1d(
        _constrained(system, size),
        np.setdiff1d(bonded_within(topology, 2), bonded_within(topology, 1)),
    )
    found = [Outliers(np.zeros((0, 2), dtype=int), np.zeros(0), np.zeros(0))]
    for force in _forces(system, mm.HarmonicBondForce):
        pairs, parameters = bonded_parameters(force)
        lengths, constants = parameters.T
        counts = (constants > 0) & ~np.isin(pair_keys(pairs[:, 0], pairs[:, 1], size), left_out)
        pairs, lengths = pairs[counts], lengths[counts]
        vectors = x[pairs[:, 0]] - x[pairs[:, 1]]
        periodic = force.usesPeriodicBoundaryConditions()
        apart = np.linalg.norm(nearest_image(vectors, box, periodic), axis=1)
        off = np.abs(apart - lengths) > BOND_TOLERANCE
        found.append(Outliers(pairs[off], apart[off], lengths[off]))
    return _joined(found)


def angle_outliers(system: mm.System, x: np.ndarray, box: np.ndarray | None) -> Outliers:
    """Return the System's harmonic angles that are more than 20 degrees from their values.

    Parameters
    ----------
    system : openmm.System
    x : (N, 3) array in nm
    box : (3, 3) array in nm, or None

    Returns
    -------
    Outliers
        In degrees.
    """
    constrained = _constrained(system, len(x))
    found = [Outliers(np.zeros((0, 3), dtype=int), np.zeros(0), np.zeros(0))]
    for force in _forces(system, mm.HarmonicAngleForce):
        triples, parameters = bonded_parameters(force)
        usual, constants = np.degrees(parameters[:, 0]), parameters[:, 1]
        ends = pair_keys(triples[:, 0], triples[:, 2], len(x))
        counts = (constants > 0) & ~np.isin(ends, constrained)
        triples, usual = triples[counts], usual[counts]
        periodic = force.usesPeriodicBoundaryConditions()
        first, last = (
            nearest_image(x[triples[:, k]] - x[triples[:, 1]], box, periodic) for k in (0, 2)
        )
        # Unlike arccos, exact near 0 and 180 degrees, and 0 where two atoms coincide.
        sines = np.linalg.norm(np.cross(first, last), axis=1)
        angles = np.degrees(np.arctan2(sines, np.einsum("ti,ti->t", first, last)))
        off = np.abs(angles - usual) > ANGLE_TOLERANCE
        found.append(Outliers(triples[off], angles[off], usual[off]))
    return _joined(found)


def pair_keys(i: np.ndarray, j: np.ndarray, size: int) -> np.ndarray:
    """Return one integer for each unordered pair of atoms.

    Parameters
    ----------
    i, j : (n,) int arrays
    size : int
        Number of atoms.

    Returns
    -------
    (n,) int array
    """
    return np.minimum(i, j) * size + np.maximum(i, j)


def bonded_within(topology: app.Topology, bonds: int) -> np.ndarray:
    """Return the keys of all pairs of atoms at most so many bonds apart.

    Parameters
    ----------
    topology : openmm.app.Topology
    bonds : int

    Returns
    -------
    (n,) int array
        As of `pair_keys`; an atom pairs with itself, too, where it has a bond.
    """
    size = topology.getNumAtoms()
    pairs = [(first.index, second.index) for first, second in topology.bonds()]
    i, j = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    ones = np.ones(2 * len(i), dtype=np.int64)
    entries = (ones, (np.concatenate([i, j]), np.concatenate([j, i])))
    adjacency = sp.coo_array(entries, shape=(size, size)).tocsr()
    reached = paths = adjacency
    for _ in range(bonds - 1):
        paths = paths @ adjacency
        reached = reached + paths
    found = reached.tocoo()
    return pair_keys(found.row.astype(np.int64), found.col.astype(np.int64), size)


def _constrained(system: mm.System, size: int) -> np.ndarray:
    pairs = constraints_of(system)[0]
    return pair_keys(pairs[:, 0], pairs[:, 1], size)


def _forces(system: mm.System, kind: type) -> list[mm.Force]:
    return [force for force in system.getForces() if isinstance(force, kind)]


def _joined(found: list[Outliers]) -> Outliers:
    atoms, values, usual = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _worst_first(atoms, np.abs(values - usual), values, usual)


def _worst_first(
    atoms: np.ndarray, off: np.ndarray, values: np.ndarray, usual: np.ndarray
) -> Outliers:
    order = np.argsort(-off, kind="stable")
    return Outliers(atoms[order], values[order], usual[order])
