"""Checks that every minimum of a search must pass."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
from scipy.spatial import cKDTree

from ..potentials.bond_graph import rings
from ..potentials.collapse import CollapseCheck
from ..potentials.potential import Potential
from ..potentials.unbonded import UnbondedPairs
from ..structure.stereochemistry import Stereochemistry
from .protocols import ValidityCheck

__all__ = [
    "CollapsedAtoms",
    "PiercedRings",
    "RingPiercings",
    "StereoChanges",
    "TooNearAtoms",
    "first_violation",
    "validity_checks",
]

# A ring's centre and the middle of a bond through it are nearer than this (nm).
MAX_CENTRE_DISTANCE = 0.25
# Unbonded atoms of a minimum are not nearer than this (nm), whether they attract each other or are
# held together by what surrounds them: the shortest hydrogen bonds of force fields have 0.15.
SHORTEST_CONTACT = 0.11
# Nor are particles smaller than atoms nearer than this share of the nearest in the reference.
CONTACT_SHARE = 0.85


class RingPiercings:
    """Finds bonds that go through rings.

    Parameters
    ----------
    graph : networkx.Graph
        Of all bonds.
    """

    def __init__(self, graph: nx.Graph) -> None:
        self._rings = [np.array(ring) for ring in rings(graph)]
        self._bonds = np.array(list(graph.edges), dtype=np.int64).reshape(-1, 2)

    def __call__(self, positions: np.ndarray) -> set[tuple[tuple[int, ...], tuple[int, int]]]:
        """Return the (ring, bond) pairs at (N, 3) positions in nm."""
        if not self._rings or not len(self._bonds):
            return set()
        centres = np.array([positions[ring].mean(axis=0) for ring in self._rings])
        middles = positions[self._bonds].mean(axis=1)
        found = set()
        for which, near in enumerate(
            cKDTree(middles).query_ball_point(centres, MAX_CENTRE_DISTANCE)
        ):
            ring = self._rings[which]
            bonds = self._bonds[near]
            bonds = bonds[~np.isin(bonds, ring).any(axis=1)]
            through = _cross(positions, ring, centres[which], bonds)
            found |= {(tuple(ring.tolist()), tuple(bond)) for bond in bonds[through].tolist()}
        return found


def _cross(
    positions: np.ndarray, ring: np.ndarray, centre: np.ndarray, bonds: np.ndarray
) -> np.ndarray:
    """Return which bonds cross one of the triangles between a ring's centre and its edges."""
    start = positions[bonds[:, 0]][:, None]
    along = positions[bonds[:, 1]][:, None] - start
    edge1 = (positions[ring] - centre)[None]
    edge2 = (positions[np.roll(ring, -1)] - centre)[None]
    # Moeller and Trumbore, J. Graphics Tools 1997, 2, 21.
    normal = np.cross(along, edge2)
    determinant = np.einsum("brk,brk->br", np.broadcast_to(edge1, normal.shape), normal)
    parallel = np.abs(determinant) < 1e-12
    inverse = 1.0 / np.where(parallel, 1.0, determinant)
    offset = start - centre
    u = inverse * np.einsum("brk,brk->br", np.broadcast_to(offset, normal.shape), normal)
    other = np.cross(np.broadcast_to(offset, normal.shape), np.broadcast_to(edge1, normal.shape))
    v = inverse * np.einsum("brk,brk->br", np.broadcast_to(along, normal.shape), other)
    t = inverse * np.einsum("brk,brk->br", np.broadcast_to(edge2, normal.shape), other)
    inside = (u >= 0) & (v >= 0) & (u + v <= 1) & (t >= 0) & (t <= 1)
    return (inside & ~parallel).any(axis=1)


class CollapsedAtoms:
    """Refuses atoms that have fallen onto each other.

    Parameters
    ----------
    collapse : CollapseCheck
    reference : (N, 3) array
        In nm: what has collapsed in it may stay.
    """

    name = "collapsed atoms"

    def __init__(self, collapse: CollapseCheck, reference: np.ndarray) -> None:
        self._collapse, self._reference = collapse, reference

    def violated(self, positions: np.ndarray) -> bool:
        """Whether (N, 3) positions in nm have pairs that the reference has not."""
        return bool(self._collapse.pairs(positions, self._reference, unknown=True))


class TooNearAtoms:
    """Refuses unbonded atoms that feel each other and are nearer than any in a sound minimum.

    Of pairs that no NonbondedForce knows nothing is said: a proton may pass from one to the other.
    Nor of virtual sites: those of lone pairs are near hydrogens.

    Parameters
    ----------
    potential : Potential
    reference : (N, 3) array
        In nm: what is as near in it is not too near.
    """

    name = "atoms too near"

    def __init__(self, potential: Potential, reference: np.ndarray) -> None:
        self._pairs, self._known = UnbondedPairs(potential), potential.nonbonded
        self._sites = potential.virtual_sites
        nearest = self._distances(reference).min(initial=np.inf)
        self._shortest = min(SHORTEST_CONTACT, CONTACT_SHARE * float(nearest))

    def violated(self, positions: np.ndarray) -> bool:
        """Whether (N, 3) positions in nm have pairs that are too near."""
        return bool((self._distances(positions) < self._shortest).any())

    def _distances(self, positions: np.ndarray) -> np.ndarray:
        """Return the distances of near pairs that feel each other, (n,) in nm."""
        if self._known is None:
            return np.empty(0)
        i, j, vectors = self._pairs.near(positions, SHORTEST_CONTACT / CONTACT_SHARE)
        products, _, epsilons = self._known.of_pairs(i, j)
        felt = (products != 0) | (epsilons != 0)
        felt &= ~(self._sites[i] | self._sites[j])
        return np.linalg.norm(vectors[felt], axis=1)


class PiercedRings:
    """Refuses bonds that go through rings.

    Parameters
    ----------
    graph : networkx.Graph
        Of all bonds.
    reference : (N, 3) array
        In nm: rings that are pierced in it may stay so.
    """

    name = "pierced rings"

    def __init__(self, graph: nx.Graph, reference: np.ndarray) -> None:
        self._piercings = RingPiercings(graph)
        self._allowed = self._piercings(reference)

    def violated(self, positions: np.ndarray) -> bool:
        """Whether (N, 3) positions in nm have piercings that the reference has not."""
        return bool(self._piercings(positions) - self._allowed)


class StereoChanges:
    """Refuses changed chirality and cis/trans states, as far as bonds are known.

    Parameters
    ----------
    potential : Potential
    reference : (N, 3) array
        In nm.
    """

    name = "stereochemistry"

    def __init__(self, potential: Potential, reference: np.ndarray) -> None:
        self._stereochemistry = Stereochemistry.of_potential(potential)
        self._reference = reference

    def violated(self, positions: np.ndarray) -> bool:
        """Whether (N, 3) positions in nm have another stereochemistry than the reference."""
        return bool(self._stereochemistry.changes(self._reference, positions))


def validity_checks(
    potential: Potential, graph: nx.Graph, collapse: CollapseCheck, reference: np.ndarray
) -> tuple[ValidityCheck, ...]:
    """Return the checks of a search, in the order in which they are made.

    Parameters
    ----------
    potential : Potential
    graph : networkx.Graph
        Of all bonds.
    collapse : CollapseCheck
    reference : (N, 3) array
        In nm: what is wrong in it already may stay.
    """
    return (
        CollapsedAtoms(collapse, reference),
        TooNearAtoms(potential, reference),
        PiercedRings(graph, reference),
        StereoChanges(potential, reference),
    )


def first_violation(checks: Sequence[ValidityCheck], positions: np.ndarray) -> str:
    """Return the name of the first check that (N, 3) positions in nm fail; empty if none."""
    return next((check.name for check in checks if check.violated(positions)), "")
