"""Which bonds can rotate, and which atoms each of them moves."""

from __future__ import annotations

import networkx as nx
import numpy as np

from ..potentials.bond_graph import interchangeable_atoms, planar_bonds
from ..potentials.potential import Potential

__all__ = ["MAX_TORSIONS", "TorsionTopology"]

# Up to so many torsions are rotated at once; of larger molecules a stretch of the chain.
MAX_TORSIONS = 400
# Up to so many molecules move as rigid bodies; more of them are a solvent, which yields by itself.
MAX_RIGID_BODIES = 100
# A torsion that moves no more atoms than these is a rotor: a side chain or an end.
MAX_ROTOR_ATOMS = 20


class TorsionTopology:
    """Rotatable bonds of a System, and its molecules. Holds indices, no positions.

    Parameters
    ----------
    potential : Potential
    graph : networkx.Graph
        Of its bonds, see `bond_graph`.

    Attributes
    ----------
    graph : networkx.Graph
    axes : (T, 2) int array
        Atoms of each rotatable bond, the fixed one first. Peptide and double bonds do not rotate.
    movers : list of (m,) int arrays
        Atoms that each torsion moves.
    atom_order : (n,) int array
        Atoms in an order in which those that a torsion moves are consecutive.
    mover_ranges : (T, 2) int array
        First and last (exclusive) place of each torsion's atoms in ``atom_order``.
    innermost : (N,) int array
        The last torsion of the chain of torsions that move an atom; -1 where none does.
    parents : list of int
        The last torsion of the chain of torsions that move each axis; -1 where none does.
    quadruples : (T, 4) int array
        Atoms whose dihedral angle each torsion is: the heaviest on either side.
    symmetry_classes : (N,) int array
        One label for atoms that a permutation may exchange, see `interchangeable_atoms`.
    folds : (T,) int array
        How many atoms of one symmetry class, and no others, are bonded to the far end; else 1.
    rotors : (R,) int array
        Torsions of side chains and ends: few atoms, and not symmetric.
    symmetric : (S,) int array
        Torsions whose rotation only exchanges atoms of one symmetry class, as those of methyl
        groups, phenyl rings and carboxylates do.
    bodies : list of int arrays
        Molecules that move as rigid bodies; empty where there is one molecule, or a solvent.
    flexible : list of int arrays
        Molecules without fixed atoms that have torsions.
    atoms : (n,) int array
        All atoms that torsions or rigid bodies move.
    """

    def __init__(self, potential: Potential, graph: nx.Graph) -> None:
        self.graph = graph
        self.symmetry_classes = interchangeable_atoms(graph, potential.masses)
        free = self._find_axes(potential)
        self.innermost = np.full(len(potential.masses), -1)
        for torsion, atoms in enumerate(self.movers):
            self.innermost[atoms] = torsion
        self.parents = self.innermost[self.axes[:, 1]].tolist()
        axes = [(near, far) for near, far in self.axes.tolist()]
        self.folds = np.array([self._fold(axis) for axis in axes], dtype=np.int64)
        quadruples = [_quadruple(graph, potential.masses, *axis) for axis in axes]
        self.quadruples = np.array(quadruples, dtype=np.int64).reshape(-1, 4)
        small = np.diff(self.mover_ranges, axis=1).ravel() <= MAX_ROTOR_ATOMS
        self.rotors = np.flatnonzero(small & (self.folds == 1))
        self.symmetric = np.flatnonzero(self.folds > 1)
        # The rigid motions of a single molecule are those of the whole, and change nothing.
        self.bodies = free if 1 < len(free) <= MAX_RIGID_BODIES else []
        ends = set(self.axes[:, 1].tolist())
        self.flexible = [members for members in free if ends & set(members.tolist())]
        parts = [*self.movers, *self.flexible, *self.bodies, np.empty(0, dtype=np.int64)]
        self.atoms = np.unique(np.concatenate(parts))

    @property
    def num_distinct(self) -> int:
        """How many torsions lead to other structures when they rotate."""
        return len(self.axes) - len(self.symmetric)

    def places(self, num_atoms: int) -> np.ndarray:
        """Return where each of all atoms stands in ``atoms``, (N,)."""
        places = np.zeros(num_atoms, dtype=np.int64)
        places[self.atoms] = np.arange(len(self.atoms))
        return places

    def _find_axes(self, potential: Potential) -> list[np.ndarray]:
        """Set the axes and what they move; return the molecules without fixed atoms."""
        order: list[int] = []
        ranges: list[tuple[int, int]] = []
        axes: list[tuple[int, int]] = []
        planar = planar_bonds(potential.system, np.array(self.graph.edges))
        free: list[np.ndarray] = []
        for members in nx.connected_components(self.graph):
            fixed = [i for i in members if not potential.moves[i]]
            # Rooted at a fixed atom, only the ends that swing freely are rotated.
            root = fixed[0] if fixed else _middle(self.graph, members)
            if not fixed:
                free.append(np.array(sorted(members)))
            rotatable = {frozenset(bond) for bond in nx.bridges(self.graph, root)} - planar
            preorder, parents, size = _rooted_tree(self.graph, root)
            for rank, atom in enumerate(preorder):
                parent = parents[atom]
                if parent is None or frozenset((parent, atom)) not in rotatable:
                    continue
                moved = preorder[rank + 1 : rank + size[atom]]
                if moved and self.graph.degree[parent] > 1 and potential.moves[moved].all():
                    axes.append((parent, atom))
                    first = len(order) + rank
                    ranges.append((first + 1, first + size[atom]))
            order += preorder
        self.atom_order = np.array(order, dtype=np.int64)
        self.axes = np.array(axes, dtype=np.int64).reshape(-1, 2)
        self.mover_ranges = np.array(ranges, dtype=np.int64).reshape(-1, 2)
        self.movers = [self.atom_order[first:last] for first, last in self.mover_ranges]
        return free

    def _fold(self, axis: tuple[int, int]) -> int:
        near, far = axis
        following = [i for i in self.graph[far] if i != near]
        return len(following) if len(set(self.symmetry_classes[following])) == 1 else 1


def _rooted_tree(
    graph: nx.Graph, root: int
) -> tuple[list[int], dict[int, int | None], dict[int, int]]:
    """Return a molecule's atoms in depth-first order, the parent and subtree size of each."""
    parents: dict[int, int | None] = {root: None}
    for i, j in nx.dfs_edges(graph, root):
        parents[j] = i
    preorder = list(nx.dfs_preorder_nodes(graph, root))
    size = dict.fromkeys(preorder, 1)
    for atom in reversed(preorder):
        parent = parents[atom]
        if parent is not None:
            size[parent] += size[atom]
    return preorder, parents, size


def _quadruple(
    graph: nx.Graph, masses: np.ndarray, near: int, far: int
) -> tuple[int, int, int, int]:
    """Return four atoms whose dihedral angle a torsion is: the heaviest on either side."""

    def beside(atom: int, other: int) -> int:
        return max((i for i in graph[atom] if i != other), key=lambda i: (masses[i], -i))

    return beside(near, far), near, far, beside(far, near)


def _middle(graph: nx.Graph, members: set[int]) -> int:
    """Return an atom far from all ends, so that torsions move the smaller parts."""
    far = next(iter(members))
    for _ in range(2):
        path = nx.single_source_shortest_path(graph.subgraph(members), far)
        far = max(path, key=lambda atom: len(path[atom]))
    return path[far][len(path[far]) // 2]
