"""Side chains that go through a ring are turned out of it: no minimization can pull them out."""

from __future__ import annotations

from collections.abc import Set
from itertools import product

import mdtraj
import numpy as np
from mdtraj.geometry import dihedral
from openmm import app
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ..structure.selections import is_heavy

__all__ = ["turned_side_chains"]

# Turns of chi1 and chi2 that are tried, in degrees.
_TURNS = (0.0, 120.0, 240.0)
# nm: heavy atoms nearer than this to another residue's are in each other's way.
_CROWDED = 0.32


def turned_side_chains(topology: app.Topology, x: np.ndarray, residues: Set[int]) -> np.ndarray:
    """Turn the side chains of some residues to where they are least in others' way.

    Chi1 and chi2 are turned by 0, 120 and 240 degrees, residue by residue, twice; bonds and angles
    stay. Side chains in rings or bound to others (proline, disulfides) stay.

    Parameters
    ----------
    topology : openmm.app.Topology
    x : (N, 3) array in nm
    residues : set of int
        Indices.

    Returns
    -------
    (N, 3) array

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("GLG")
    >>> x = molecule.positions._value
    >>> np.array_equal(turned_side_chains(molecule.topology, x, {1}), x)  # nothing is in its way
    True
    """
    turned = x.copy()
    axes = _axes(topology, residues)
    heavy = np.array([is_heavy(atom) for atom in topology.atoms()], dtype=bool)
    owners = np.array([atom.residue.index for atom in topology.atoms()], dtype=int)
    for _ in range(2):
        for residue, turns in sorted(axes.items()):
            others = cKDTree(turned[heavy & (owners != residue)])
            own = np.flatnonzero(heavy & (owners == residue))
            candidates = [
                _rotated(turned, turns, angles) for angles in product(_TURNS, repeat=len(turns))
            ]
            crowding = [_crowding(candidate[own], others) for candidate in candidates]
            turned = candidates[int(np.argmin(crowding))]
    return turned


def _axes(
    topology: app.Topology, residues: Set[int]
) -> dict[int, list[tuple[int, int, list[int]]]]:
    """Return the bonds of chi1 and chi2 of each residue with the atoms that turn about them."""
    neighbors: list[set[int]] = [set() for _ in range(topology.getNumAtoms())]
    for first, second in topology.bonds():
        neighbors[first.index].add(second.index)
        neighbors[second.index].add(first.index)
    owners = [atom.residue.index for atom in topology.atoms()]
    described = mdtraj.Topology.from_openmm(topology)
    found: dict[int, list[tuple[int, int, list[int]]]] = {}
    for table in (dihedral.indices_chi1(described), dihedral.indices_chi2(described)):
        for _, before, after, _ in np.asarray(table, dtype=int).reshape(-1, 4).tolist():
            moved = _beyond(neighbors, before, after)
            own = {owners[atom] for atom in moved} == {owners[before]}
            if owners[before] in residues and own and before not in moved:
                found.setdefault(owners[before], []).append((before, after, moved))
    return found


def _beyond(neighbors: list[set[int]], before: int, after: int) -> list[int]:
    """Return the atoms that hang on a bond's second atom; the first is one in a ring."""
    reached = {after} | (neighbors[after] - {before})
    waiting = list(reached - {after})
    while waiting:
        new = neighbors[waiting.pop()] - reached
        reached |= new
        waiting += new
    return sorted(reached)


def _rotated(
    x: np.ndarray, turns: list[tuple[int, int, list[int]]], angles: tuple[float, ...]
) -> np.ndarray:
    """Return positions with atoms turned about their bonds, in degrees, one after the other."""
    y = x.copy()
    for (before, after, moved), angle in zip(turns, angles, strict=True):
        axis = y[after] - y[before]
        length = float(np.linalg.norm(axis))
        if angle and length > 1e-6:
            rotation = Rotation.from_rotvec(np.radians(angle) * axis / length)
            y[moved] = y[after] + rotation.apply(y[moved] - y[after])
    return y


def _crowding(own: np.ndarray, others: cKDTree) -> float:
    """Return how much heavy atoms overlap with those of other residues, in nm^2."""
    distances, _ = others.query(own, k=8, distance_upper_bound=_CROWDED)
    gaps = np.where(np.isfinite(distances), _CROWDED - distances, 0.0)
    return float((gaps**2).sum())
