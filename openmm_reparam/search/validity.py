"""What no structure may have that a search keeps: see `Guards`."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ..potentials.bond_graph import bond_graph, rings
from ..potentials.collapse import CollapseCheck
from ..potentials.potential import Potential
from ..structure.stereochemistry import Stereochemistry

__all__ = ["Guards", "Piercings"]

# A ring's centre and the middle of a bond through it are nearer than this (nm).
REACH = 0.25


class Piercings:
    """Finds bonds that go through rings.

    Parameters
    ----------
    graph : networkx.Graph
        Of all bonds.
    """

    def __init__(self, graph) -> None:
        self._rings = [np.array(ring) for ring in rings(graph)]
        self._bonds = np.array(list(graph.edges), dtype=np.int64).reshape(-1, 2)

    def __call__(self, positions: np.ndarray) -> set[tuple[tuple[int, ...], tuple[int, int]]]:
        """Return the (ring, bond) pairs at (N, 3) positions in nm."""
        if not self._rings or not len(self._bonds):
            return set()
        centres = np.array([positions[ring].mean(axis=0) for ring in self._rings])
        middles = positions[self._bonds].mean(axis=1)
        found = set()
        for which, near in enumerate(cKDTree(middles).query_ball_point(centres, REACH)):
            ring = self._rings[which]
            bonds = self._bonds[near]
            bonds = bonds[~np.isin(bonds, ring).any(axis=1)]
            through = _cross(positions, ring, centres[which], bonds)
            found |= {(tuple(ring.tolist()), tuple(bond)) for bond in bonds[through].tolist()}
        return found


def _cross(positions, ring, centre, bonds) -> np.ndarray:
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


class Guards:
    """Refuses changed stereochemistry, collapsed atoms, pierced rings.

    Parameters
    ----------
    potential : Potential
        Chirality and cis/trans states are judged as far as its bonds are known.
    start : (N, 3) array
        In nm: what is wrong in it already is allowed to stay.
    """

    def __init__(self, potential: Potential, start: np.ndarray) -> None:
        self.collapse = CollapseCheck(potential)
        self._start = start
        self.graph = bond_graph(potential)
        self._piercings = Piercings(self.graph)
        self._pierced = self._piercings(start)
        self._stereochemistry = Stereochemistry.of_potential(potential)

    def refusal(self, positions: np.ndarray) -> str:
        """Name the guard that refuses (N, 3) positions in nm; empty where none does."""
        if self.collapse.pairs(positions, self._start, unknown=True):
            return "collapsed atoms"
        if self.pierced(positions):
            return "pierced rings"
        if self._stereochemistry.changes(self._start, positions):
            return "stereochemistry"
        return ""

    def pierced(self, positions: np.ndarray) -> bool:
        """Whether bonds go through rings that did not in the start."""
        return bool(self._piercings(positions) - self._pierced)
