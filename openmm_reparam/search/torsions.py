"""Motions along torsions and of whole molecules: they strain no bond and no angle.

Normal modes in torsion angle space: Go, Noguti, Nishikawa, Proc. Natl. Acad. Sci. USA 1983, 80,
3696; Lopez-Blanco, Garzon, Chacon, Bioinformatics 2011, 27, 2843.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from ..geometry.internal_coordinates import dihedrals
from ..geometry.rigid_motions import rigid_basis
from ..geometry.superposition import superposed
from ..modes.nonrigid_modes import rigid_motions
from ..potentials.bond_graph import interchangeable_atoms, planar_bonds
from ..potentials.potential import Potential

__all__ = ["TorsionModes", "Torsions", "Turn"]

# Up to so many torsions are turned at once; of larger molecules a stretch of the chain.
MOST_TORSIONS = 400
# Up to so many molecules move as wholes; more of them are a solvent, which yields by itself.
MOST_MOLECULES = 100
# Torsions that move the atoms by less than this (nm per radian) are left alone.
SMALLEST_ARM = 1e-3
# Side chains and ends: a torsion that swings no more atoms than these is a branch. A turn of one is
# by 120 degrees, give or take SPREAD (radians); so is each torsion further out, with a chance.
BRANCH = 20
TURN, SPREAD, FURTHER = 2 * np.pi / 3, 0.35, 1 / 3
# Motions to be kept out of the softest get this stiffness, kJ/mol/nm^2.
STIFF = 1e6


@dataclass(frozen=True)
class TorsionModes:
    """Soft modes at a configuration.

    Attributes
    ----------
    chosen : (T,) int array
        Torsions that take part.
    coefficients : (T + 6 M, k) array
        Of each mode: angles in radians, then translations (nm) and rotations (radians) of the M
        molecules; each moves the atoms by an RMS of 1 nm, to first order.
    """

    chosen: np.ndarray
    coefficients: np.ndarray


@dataclass(frozen=True)
class Turn:
    """Torsions in ascending order, (t,), and the angles in radians by which they turn, (t,)."""

    torsions: np.ndarray
    angles: np.ndarray


class Torsions:
    """Rotatable bonds of a System, and its molecules.

    Parameters
    ----------
    potential : Potential
    graph : networkx.Graph
        Of its bonds, see `bond_graph`.

    Attributes
    ----------
    axes : (T, 2) int array
        Atoms of each rotatable bond: peptide and double bonds are not.
    branches : (B,) int array
        Of those, the ones that swing a side chain or an end: few atoms, and not such that a turn
        would only exchange like ones (methyl groups, phenyl rings, carboxylates).
    symmetric : (S,) int array
        Those that are none for that reason.
    atoms : (n,) int array
        All that can move: where there are many molecules, those with rotatable bonds.
    """

    def __init__(self, potential: Potential, graph: nx.Graph) -> None:
        self._potential = potential
        order, ends, axes = [], {}, []
        planar = planar_bonds(potential.system)
        free: list[np.ndarray] = []
        for members in nx.connected_components(graph):
            fixed = [i for i in members if not potential.moves[i]]
            # Rooted at a fixed atom, only the ends that swing freely are turned.
            root = fixed[0] if fixed else _middle(graph, members)
            if not fixed:
                free.append(np.array(sorted(members)))
            turnable = {frozenset(bond) for bond in nx.bridges(graph, root)} - planar
            parents = {root: None}
            for i, j in nx.dfs_edges(graph, root):
                parents[j] = i
            preorder = list(nx.dfs_preorder_nodes(graph, root))
            place = {atom: len(order) + rank for rank, atom in enumerate(preorder)}
            last = dict(place)
            for atom in reversed(preorder):
                parent = parents[atom]
                if parent is not None:
                    last[parent] = max(last[parent], last[atom])
            order += preorder
            for atom in preorder:
                parent = parents[atom]
                if parent is None or frozenset((parent, atom)) not in turnable:
                    continue
                swung = preorder[place[atom] - place[root] + 1 : last[atom] - place[root] + 1]
                if swung and graph.degree[parent] > 1 and potential.moves[swung].all():
                    axes.append((parent, atom))
                    ends[parent, atom] = (place[atom] + 1, last[atom] + 1)
        self._order = np.array(order, dtype=np.int64)
        self.axes = np.array(axes, dtype=np.int64).reshape(-1, 2)
        self._ends = np.array([ends[axis] for axis in axes], dtype=np.int64).reshape(-1, 2)
        # The torsion that swings each atom, and each torsion's axis, and as little else as may be.
        self._swinging = np.full(len(potential.masses), -1)
        for torsion, (first, last) in enumerate(self._ends):
            self._swinging[self._order[first:last]] = torsion
        self._inner = self._swinging[self.axes[:, 1]].tolist()
        self._alike = interchangeable_atoms(graph, potential.masses)
        self._folds = np.array([self._fold(graph, axis) for axis in axes], dtype=np.int64)
        symmetric = self._folds > 1
        quadruples = [self._quadruple(graph, *axis) for axis in axes]
        self._quadruples = np.array(quadruples, dtype=np.int64).reshape(-1, 4)
        self._combined = self._combinations(graph)
        small = np.diff(self._ends, axis=1).ravel() <= BRANCH
        self.branches = np.flatnonzero(small & ~symmetric)
        self.symmetric = np.flatnonzero(symmetric)
        # One molecule's own motions are those of the whole, and change nothing.
        self._bodies = free if 1 < len(free) <= MOST_MOLECULES else []
        turning = set(self.axes[:, 1].tolist())
        self._flexible = [members for members in free if turning & set(members.tolist())]
        swung = [self._swung(torsion) for torsion in range(len(axes))]
        parts = [*swung, *self._flexible, *self._bodies, np.empty(0, dtype=np.int64)]
        self.atoms = np.unique(np.concatenate(parts))

    def modes(
        self, positions: np.ndarray, stiffness: sp.csr_array, count: int, rng: np.random.Generator
    ) -> TorsionModes:
        """Softest modes of a stiffness, (3N, 3N) in kJ/mol/nm^2, at (N, 3) positions in nm."""
        chosen = np.arange(len(self.axes))
        if len(chosen) > MOST_TORSIONS:
            first = rng.integers(len(chosen) - MOST_TORSIONS + 1)
            chosen = chosen[first : first + MOST_TORSIONS]
        place = self._places(len(positions))
        motions = np.zeros((len(self.atoms), 3, len(chosen) + 6 * len(self._bodies)))
        motions[:, :, : len(chosen)] = self.motions(positions, chosen)
        for members in self._flexible:
            basis, own = rigid_basis(positions[members]), motions[place[members]]
            flat = own.reshape(3 * len(members), -1)
            motions[place[members]] -= (basis @ (basis.T @ flat)).reshape(own.shape)
        for body, members in enumerate(self._bodies):
            basis = rigid_basis(positions[members])
            first = len(chosen) + 6 * body
            own = basis.reshape(len(members), 3, -1)
            motions[place[members], :, first : first + basis.shape[1]] = own
        motions = motions.reshape(3 * len(self.atoms), -1)
        rows = (3 * self.atoms[:, None] + np.arange(3)).ravel()
        metric = motions.T @ motions / max(1, len(self.atoms))
        keep = np.sqrt(np.diag(metric)) > SMALLEST_ARM / np.sqrt(max(1, len(self.atoms)))
        restoring = motions.T @ (stiffness[rows][:, rows] @ motions)
        # To move or turn everything as one changes nothing.
        idle = motions.T @ rigid_motions(self._potential, positions)[rows]
        restoring += STIFF * idle @ idle.T
        small = np.ix_(keep, keep)
        ridge = 1e-6 * np.diag(metric)[keep].max(initial=1.0) * np.eye(int(keep.sum()))
        count = min(count, len(ridge))
        coefficients = np.zeros((motions.shape[1], count))
        if count:
            coefficients[keep] = scipy.linalg.eigh(
                restoring[small], metric[small] + ridge, subset_by_index=(0, count - 1)
            )[1]
        return TorsionModes(chosen, coefficients)

    def motions(self, positions: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return what turning each of some torsions (t,) does to ``atoms``: (n, 3, t), nm/radian.

        At (N, 3) positions in nm, to first order.
        """
        axes, origins = self._lines(positions, chosen)
        place = self._places(len(positions))
        motions = np.zeros((len(self.atoms), 3, len(chosen)))
        swung = [self._swung(torsion) for torsion in chosen]
        columns = np.repeat(np.arange(len(chosen)), [len(atoms) for atoms in swung])
        atoms = np.concatenate([*swung, np.empty(0, dtype=np.int64)])
        arms = positions[atoms] - origins[columns]
        motions[place[atoms], :, columns] = np.cross(axes[columns], arms)
        return motions

    def motion(self, positions: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Return the displacements (N, 3) in nm that turns of all torsions, (T,), begin with."""
        axes, origins = self._lines(positions)
        turns = angles[:, None] * axes
        both = np.zeros((len(self._order) + 1, 6))
        # What a torsion swings is consecutive: a running sum adds up what swings an atom.
        ends = np.concatenate([turns, np.cross(origins, turns)], axis=1)
        np.add.at(both, self._ends[:, 0], ends)
        np.subtract.at(both, self._ends[:, 1], ends)
        both = both.cumsum(axis=0)[:-1]
        motion = np.zeros_like(positions)
        motion[self._order] = np.cross(both[:, :3], positions[self._order]) + both[:, 3:]
        return motion

    def torques(self, positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """Return what (N, 3) forces, in kJ/mol/nm, turn each torsion with: (T,) in kJ/mol/rad."""
        axes, origins = self._lines(positions)
        forces = forces[self._order]
        both = np.concatenate([np.cross(positions[self._order], forces), forces], axis=1)
        sums = np.concatenate([np.zeros((1, 6)), both.cumsum(axis=0)])
        moments, forces = np.split(sums[self._ends[:, 1]] - sums[self._ends[:, 0]], 2, axis=1)
        return np.einsum("ti,ti->t", axes, moments - np.cross(origins, forces))

    def mode_turn(self, modes: TorsionModes, amounts: np.ndarray) -> Turn:
        """Return the turn that a combination of modes, (k,), makes."""
        angles = modes.coefficients[: len(modes.chosen)] @ amounts
        return Turn(modes.chosen, np.clip(angles, -np.pi, np.pi))

    def displaced(
        self, positions: np.ndarray, modes: TorsionModes, amounts: np.ndarray
    ) -> np.ndarray:
        """Turn bonds and move molecules by a combination of modes, (k,), with finite rotations."""
        turned = self.turned(positions, self.mode_turn(modes, amounts))
        amounts = modes.coefficients @ amounts
        # Each molecule stays where it was, as far as its new shape allows.
        for members in self._flexible:
            turned[members] = superposed(turned[members], positions[members])
        for body, members in enumerate(self._bodies):
            first = len(modes.chosen) + 6 * body
            basis = rigid_basis(positions[members])
            step = (basis @ amounts[first : first + basis.shape[1]]).reshape(-1, 3)
            turned[members] = superposed(turned[members], positions[members] + step)
        return turned

    def branch_turn(self, rng: np.random.Generator) -> Turn:
        """Draw a turn of a branch, and of some torsions further out, to other rotamers."""
        torsion = rng.choice(self.branches)
        first, last = self._ends[torsion]
        starts, ends = self._ends[self.branches].T
        outer = self.branches[(first <= starts) & (ends <= last) & (self.branches != torsion)]
        chosen = np.sort([torsion, *outer[rng.random(len(outer)) < FURTHER]])
        angles = rng.choice([-TURN, TURN], len(chosen)) + rng.normal(0.0, SPREAD, len(chosen))
        return Turn(chosen, angles)

    def angles(self, positions: np.ndarray) -> np.ndarray:
        """Return what tells one shape from another, (n,) in radians, of (N, 3) positions in nm.

        With a period of 2 pi. These are torsion angles; where two like atoms follow, as in a phenyl
        ring, twice as much, and what is measured from those, as tyrosine's hydroxyl group is, has
        the ring's added, for which of the two it is measured from is chance. Methyl groups and
        others that look alike after a third of a turn are left out.
        """
        i, j, k, m = positions[self._quadruples].transpose(1, 0, 2)
        return self._combined @ dihedrals(i - j, k - j, k - m)[0]

    def angles_after(self, angles: np.ndarray, turns: Sequence[Turn]) -> np.ndarray:
        """Return what each of m turns makes of `angles`, (n,) or (m, n), as (m, n) in radians."""
        turned = np.zeros((len(self.axes), len(turns)))
        for column, turn in enumerate(turns):
            turned[turn.torsions, column] = turn.angles
        return angles + (self._combined @ turned).T

    def exchanges(self, positions: np.ndarray, symmetric: int) -> list[np.ndarray]:
        """Return the ways in which turns of a symmetric torsion exchange like atoms, (N,) each.

        With ``positions[order]`` every atom is where it, or one like it, was.
        """
        swung = self._swung(symmetric)
        unlike = self._alike[swung][:, None] != self._alike[swung]
        fold = self._folds[symmetric]
        orders = []
        for angle in 2 * np.pi / fold * np.arange(1, fold):
            turned = self.turned(positions, Turn(np.array([symmetric]), np.array([angle])))
            far = cdist(turned[swung], positions[swung], "sqeuclidean")
            # No atom is as far as one that is not alike.
            far += unlike * (1.0 + len(swung) * far.max())
            atoms, places = linear_sum_assignment(far)
            order = np.arange(len(positions))
            order[swung[atoms]] = swung[places]
            orders.append(order)
        return orders

    def turned(self, positions: np.ndarray, turn: Turn) -> np.ndarray:
        """Return (N, 3) positions in nm after a turn."""
        return self._turned(positions, turn.torsions, turn.angles)[0]

    def turned_frames(
        self, positions: np.ndarray, angles: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return positions after turns of all torsions, (T,) in radians: (N, 3) in nm.

        And how that turns the surroundings of each atom, (N, 3, 3).
        """
        return self._turned(positions, np.arange(len(self.axes)), angles)

    def _turned(self, positions, chosen, angles) -> tuple[np.ndarray, np.ndarray]:
        axes, _ = self._lines(positions, chosen)
        # The last are of what no torsion swings.
        rotations = np.tile(np.eye(3), (len(self.axes) + 1, 1, 1))
        rotations[chosen] = Rotation.from_rotvec(angles[:, None] * axes).as_matrix()
        ends = positions[self.axes[:, 1]]
        shifts = np.zeros((len(rotations), 3))
        shifts[:-1] = ends - np.einsum("tij,tj->ti", rotations[:-1], ends)
        # Further in comes first: what turns an axis turns all that the axis swings.
        for torsion, inner in enumerate(self._inner):
            if inner >= 0:
                shifts[torsion] = rotations[inner] @ shifts[torsion] + shifts[inner]
                rotations[torsion] = rotations[inner] @ rotations[torsion]
        frames = rotations[self._swinging]
        turned = np.einsum("nij,nj->ni", frames, positions) + shifts[self._swinging]
        # An axis' far end does not move, but what is bonded to it there turns.
        frames[self.axes[:, 1]] = rotations[:-1]
        return turned, frames

    def _lines(self, positions, chosen=slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Return unit vectors along axes, and where those end: (t, 3) each."""
        i, j = self.axes[chosen].T
        axes = positions[j] - positions[i]
        return axes / np.linalg.norm(axes, axis=1, keepdims=True), positions[j]

    def _places(self, size: int) -> np.ndarray:
        """Return where each of all atoms stands in ``atoms``, (N,)."""
        places = np.zeros(size, dtype=np.int64)
        places[self.atoms] = np.arange(len(self.atoms))
        return places

    def _fold(self, graph: nx.Graph, axis: tuple[int, int]) -> int:
        """Return how many like atoms, and nothing else, are bonded to its far end; else 1."""
        near, far = axis
        following = [i for i in graph[far] if i != near]
        return len(following) if len(set(self._alike[following])) == 1 else 1

    def _combinations(self, graph: nx.Graph) -> sp.csr_array:
        """Return combinations of torsion angles that do not tell like atoms apart, (n, T)."""
        rows = sp.lil_array((len(self.axes), len(self.axes)))
        rows.setdiag(self._folds)
        for torsion, (near, far) in enumerate(self.axes):
            first, others = self._quadruples[torsion, 0], [i for i in graph[near] if i != far]
            if (self._alike[others] == self._alike[first]).sum() > 1:
                swing = [k for k in np.flatnonzero(self._folds == 2) if near in self._swung(k)]
                if swing:
                    rows[torsion, swing[-1]] = self._folds[torsion]
        return rows.tocsr()[np.flatnonzero(self._folds <= 2)]

    def _quadruple(self, graph: nx.Graph, near: int, far: int) -> tuple[int, int, int, int]:
        """Return four atoms whose dihedral a torsion is: the heaviest on either side."""

        def beside(atom: int, other: int) -> int:
            masses = self._potential.masses
            return max((i for i in graph[atom] if i != other), key=lambda i: (masses[i], -i))

        return beside(near, far), near, far, beside(far, near)

    def _swung(self, torsion: int) -> np.ndarray:
        first, last = self._ends[torsion]
        return self._order[first:last]


def _middle(graph: nx.Graph, members: set[int]) -> int:
    """Return an atom far from all ends, so that turns swing the smaller parts."""
    far = next(iter(members))
    for _ in range(2):
        path = nx.single_source_shortest_path(graph.subgraph(members), far)
        far = max(path, key=lambda atom: len(path[atom]))
    return path[far][len(path[far]) // 2]
