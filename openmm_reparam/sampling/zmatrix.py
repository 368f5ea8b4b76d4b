"""The z-matrix of a molecule: which bond, angle and torsion place each of its atoms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import networkx as nx
import numpy as np

from ..errors import UnsupportedSystemError
from ..geometry import internal_coordinates as ic
from ..geometry.covalent_radii import covalent_radii
from ..potentials.bond_graph import interchangeable_atoms

__all__ = ["ZMatrix", "build_zmatrix", "refuse_several", "with_free_torsions"]

NONE = -1
# Rings are opened at their longest bond, as a multiple of the sum of the covalent radii. Bonds
# alike to one digit count as equal, and of those the one farthest from the root is opened.
SOFTNESS_DIGITS = 1
# The root is no ring atom, so that phenyl rings are rotors, unless all others are farther than this
# (bonds) from the middle.
MIDDLE = 3
# Bonds this short between flat atoms do not rotate: 0.91 to 0.945 in amides, 0.89 in alkenes,
# but 0.96 in butadiene and 0.99 in biphenyl.
SHORT_BOND = 0.95
# The same where bonds go straight on: 0.87 in allenes, but 0.95 beside an alkyne.
SHORT_STRAIGHT_BOND = 0.92
# Angles about a flat atom add up to 360 degrees, less no more than this.
FLAT = np.radians(5.0)
# The atoms of a rotor are spaced evenly about its axis, within this.
UNEVEN = np.radians(30.0)


@dataclass(frozen=True, eq=False)
class ZMatrix:
    """Internal coordinates of one molecule, in the order in which they place its atoms.

    Row k places atom ``order[k]`` at a distance from its bond atom, at an angle to its angle atom,
    and at a torsion to its torsion atom. The first three atoms lack what rigid motion decides.
    Where bonds go straight on (alkynes, nitriles), the angle is to an atom off their line.

    Attributes
    ----------
    order : (N,) int array
        Atoms, parents before children and nearest to the root first.
    references : (N, 3) int array
        Bond, angle and torsion atom of each row; -1 where there is none. Atoms that share bond
        and angle atom share the torsion atom.
    leaders : (N - 3,) int array
        For each torsion the index of the leading torsion about the same bond: its own for a
        leading one; -1 where the leading atom is the third one, which has no torsion.
    classes : (N - 3,) str array
        "free": rotates; "rotor": rotates, and its turns exchange like atoms (methyl, phenyl);
        "stiff": about a ring or a double bond; "relative": to the leading torsion, an improper
        dihedral, which holds the chirality.
    folds : (N - 3,) int array
        Periodicity of each rotor; else 1.
    closures : (R, 2) int array
        Bonds that close rings, which are no coordinates.

    References
    ----------
    Parsons, Holmes, Rojas, Tsai, Strauss, J. Comput. Chem. 2005, 26, 1063 (placing atoms).
    """

    order: np.ndarray
    references: np.ndarray
    leaders: np.ndarray
    classes: np.ndarray
    folds: np.ndarray
    closures: np.ndarray

    @property
    def bonds(self) -> np.ndarray:
        """Atoms of each bond length, (N - 1, 2), the placed one first."""
        return np.column_stack([self.order, self.references])[1:, :2]

    @property
    def angles(self) -> np.ndarray:
        """Atoms of each angle, (N - 2, 3), the placed one first."""
        return np.column_stack([self.order, self.references])[2:, :3]

    @property
    def torsions(self) -> np.ndarray:
        """Atoms of each torsion, (N - 3, 4), the placed one first.

        The last atom of a relative torsion is the one that its leading torsion places.
        """
        quadruples = np.column_stack([self.order, self.references])[3:]
        relative = self.classes == "relative"
        quadruples[relative, 3] = self.order[3:][self.leaders[relative]]
        third = self.leaders == NONE
        quadruples[third, 3] = self.order[2:3]
        return quadruples

    @property
    def free(self) -> np.ndarray:
        """Indices of the torsions that rotate and are not symmetric."""
        return np.flatnonzero(self.classes == "free")

    @property
    def rotors(self) -> np.ndarray:
        """Indices of the torsions whose turns exchange like atoms."""
        return np.flatnonzero(self.classes == "rotor")

    def __len__(self) -> int:
        return len(self.order)


def build_zmatrix(
    numbers: np.ndarray,
    bonds: np.ndarray,
    positions: np.ndarray,
    planar: Iterable[frozenset[int]] = (),
    label: Callable[[int], str] = "atom {}".format,
) -> ZMatrix:
    """Return the z-matrix of a molecule, its root in the middle.

    Parameters
    ----------
    numbers : (N,) int array
        Atomic numbers.
    bonds : (B, 2) int array
    positions : (N, 3) array
        In nm: which angles are straight, which bonds are soft, and which groups are symmetric is
        decided there.
    planar : iterable of frozenset of int
        Bonds that do not rotate, beside those of rings and short ones between flat atoms.
    label : callable
        Names an atom in errors.

    Returns
    -------
    ZMatrix

    Raises
    ------
    UnsupportedSystemError
        There are several molecules, fewer than two atoms, or a straight angle with nothing off its
        line.

    Examples
    --------
    >>> x = np.array([[0, 0, 0], [0.145, 0, 0], [-0.02, 0.09, 0], [0.165, 0, 0.09]])
    >>> peroxide = build_zmatrix(np.array([8, 8, 1, 1]), np.array([[0, 1], [0, 2], [1, 3]]), x)
    >>> peroxide.torsions.tolist(), peroxide.classes.tolist()
    ([[3, 1, 0, 2]], ['free'])
    """
    graph: nx.Graph = nx.Graph()
    graph.add_nodes_from(range(len(numbers)))
    graph.add_edges_from(np.asarray(bonds).tolist())
    refuse_several(graph, label)
    in_rings = set(graph.edges) - _both_ways(nx.bridges(graph))
    cyclic = {atom for bond in in_rings for atom in bond}
    straight = {i for i in graph if _is_straight(graph, positions, i)}
    _refuse_linear(graph, straight)
    tree = _spanning_tree(graph, _root(graph, numbers, cyclic, straight), numbers, positions)
    root = _root(tree, numbers, cyclic, straight)  # with two bonds that are coordinates
    closures = sorted(tuple(sorted(bond)) for bond in graph.edges if not tree.has_edge(*bond))
    order, references, children = _placement(tree, root, numbers, straight)
    _refuse_straight(order, references, positions, label)
    stiff = {
        *planar,
        *map(frozenset, in_rings),
        *_planar_by_shape(graph, numbers, positions, straight),
    }
    labels = interchangeable_atoms(graph, np.asarray(numbers))
    place = {atom: row - 3 for row, atom in enumerate(order)}
    leaders, classes, folds = [], [], []
    for atom, (b, c, _) in zip(order[3:], references[3:], strict=True):
        leader = order[2] if c == order[1] and b == order[0] else children[b][0]
        leaders.append(max(place[leader], NONE))
        fold = _fold(graph, labels, positions, b, c, children[b])
        bends = b in straight or frozenset((b, c)) in stiff
        kind = "stiff" if bends else "rotor" if fold > 1 else "free"
        classes.append(kind if leader == atom else "relative")
        folds.append(fold if classes[-1] == "rotor" else 1)
    return ZMatrix(
        np.array(order),
        np.array(references).reshape(-1, 3),
        np.array(leaders, dtype=np.int64),
        np.array(classes, dtype=object),
        np.array(folds, dtype=np.int64),
        np.array(closures, dtype=np.int64).reshape(-1, 2),
    )


def with_free_torsions(
    zmatrix: ZMatrix, torsions: Iterable[Sequence[int]], label: Callable[[int], str]
) -> ZMatrix:
    """Return the same z-matrix with these torsions free, and no others.

    Parameters
    ----------
    zmatrix : ZMatrix
    torsions : iterable of four atoms each
        About which bond counts; peptide bonds may be among them. Other rotors stay.
    label : callable
        Names an atom in errors.

    Raises
    ------
    ValueError
        A torsion is about no bond that is a coordinate with atoms on both sides.
    """
    leading = {
        frozenset(atoms[1:3].tolist()): row
        for row, atoms in enumerate(zmatrix.torsions)
        if zmatrix.classes[row] != "relative"
    }
    classes, folds = zmatrix.classes.copy(), zmatrix.folds.copy()
    classes[classes == "free"] = "stiff"
    for _, j, k, _ in torsions:
        row = leading.get(frozenset((j, k)))
        if row is None:
            raise ValueError(
                f"no coordinate turns the bond of {label(j)} and {label(k)}: it is none, an end, "
                "or closes a ring"
            )
        classes[row], folds[row] = "free", 1
    return replace(zmatrix, classes=classes, folds=folds)


def refuse_several(graph: nx.Graph, label: Callable[[int], str]) -> None:
    """Refuse bonds of several molecules, or of none.

    Parameters
    ----------
    graph : networkx.Graph
        Of the atoms' bonds.
    label : callable
        Names an atom in errors.

    Raises
    ------
    UnsupportedSystemError
    """
    if len(graph) < 2:
        raise UnsupportedSystemError("a molecule has two atoms or more: there is nothing to sample")
    parts = list(nx.connected_components(graph))
    if len(parts) > 1:
        first, other = (label(min(part)) for part in parts[:2])
        raise UnsupportedSystemError(
            f"the bonds make {len(parts)} molecules of these atoms ({first} and {other} are in two "
            "of them), and internal coordinates are for one: remove the others, or add the bonds "
            "that the topology lacks"
        )


def _refuse_linear(graph: nx.Graph, straight: set[int]) -> None:
    if len(graph) > 2 and all(graph.degree[i] == 1 or i in straight for i in graph):
        raise UnsupportedSystemError(
            "all atoms are on a straight line, and linear molecules cannot be sampled in internal "
            "coordinates"
        )


def _root(graph: nx.Graph, numbers: np.ndarray, cyclic: set[int], straight: set[int]) -> int:
    """Return an atom in the middle, so that errors of torsions have short arms."""
    heavy = graph.subgraph([i for i in graph if numbers[i] > 1])
    inner = heavy if len(heavy) and nx.is_connected(heavy) else graph
    distances = nx.eccentricity(inner)
    branched = [i for i in inner if graph.degree[i] > 1 and i not in straight] or list(inner)

    def remoteness(i: int) -> tuple[int, int, int]:
        return distances[i] + MIDDLE * (i in cyclic), -graph.degree[i], i

    return min(branched, key=remoteness)


def _spanning_tree(
    graph: nx.Graph, root: int, numbers: np.ndarray, positions: np.ndarray
) -> nx.Graph:
    """Return the bonds that are coordinates: all but the softest of each ring."""
    away = nx.single_source_shortest_path_length(graph, root)
    weighted: nx.Graph = nx.Graph()
    for i, j in graph.edges:
        softness = round(_relative_length(i, j, numbers, positions), SOFTNESS_DIGITS)
        weighted.add_edge(i, j, weight=(softness, away[i] + away[j]))
    return nx.minimum_spanning_tree(_ranked(weighted))


def _ranked(graph: nx.Graph) -> nx.Graph:
    """Return a graph whose weights, which may be tuples, are numbers of the same order."""
    weights = sorted({weight for _, _, weight in graph.edges(data="weight")})
    for i, j, weight in graph.edges(data="weight"):
        graph[i][j]["weight"] = weights.index(weight)
    return graph


def _relative_length(i: int, j: int, numbers: np.ndarray, positions: np.ndarray) -> float:
    """Return a bond's length as a multiple of the sum of its atoms' covalent radii."""
    length = np.linalg.norm(positions[i] - positions[j])
    return float(length / covalent_radii(np.asarray(numbers)[[i, j]]).sum())


def _placement(
    tree: nx.Graph, root: int, numbers: np.ndarray, straight: set[int]
) -> tuple[list[int], list[tuple[int, int, int]], dict[int, list[int]]]:
    """Return atoms in order, their references, and the children of each, the leading one first."""
    parents = dict(nx.bfs_predecessors(tree, root))
    size = _heavy_descendants(tree, root, parents, numbers)

    def leading(atom: int) -> tuple[int, int, int]:
        return -size[atom], -int(numbers[atom]), atom

    children = {i: sorted(set(tree[i]) - {parents.get(i)}, key=leading) for i in tree}
    order, references = [root], [(NONE, NONE, NONE)]
    of = {root: references[0]}
    for parent in order:
        for child in children[parent]:
            of[child] = _references(parent, root, children[root], of)
            if parent in straight:
                of[child] = _off_the_line(of[child], of[parent], parents[parent] in straight)
            order.append(child)
            references.append(of[child])
        if parent == root:
            _bare_first(order, references, of, root)
    return order, references, children


def _bare_first(order: list[int], references: list, of: dict, root: int) -> None:
    """Take from the second and third atom the references that rigid motion decides."""
    for row, atom in enumerate(order[1:3], start=1):
        known = (root, *order[1:row])
        of[atom] = references[row] = (*known, *[NONE] * (3 - len(known)))


def _references(parent: int, root: int, first: list[int], of: dict) -> tuple[int, int, int]:
    """Return bond, angle and torsion atom of a child."""
    if parent == root:
        return root, first[0], first[1] if len(first) > 1 else NONE
    if parent == first[0]:
        return parent, root, first[1]
    return parent, of[parent][0], of[parent][1]


def _off_the_line(
    references: tuple[int, int, int], of_parent: tuple[int, int, int], goes_on: bool
) -> tuple[int, int, int]:
    """Return references of an atom that goes straight on: the angle is to an atom off the line.

    Parameters
    ----------
    references : (int, int, int)
        What they would be if the angle was bent.
    of_parent : (int, int, int)
    goes_on : bool
        Whether the line does not begin at the parent.
    """
    bond, on_the_line, off_it = references
    return bond, off_it, of_parent[2] if goes_on else on_the_line


def _heavy_descendants(
    tree: nx.Graph, root: int, parents: dict[int, int], numbers: np.ndarray
) -> dict[int, int]:
    size = {i: int(numbers[i] > 1) for i in tree}
    for atom in reversed(list(nx.bfs_tree(tree, root))):
        if atom != root:
            size[parents[atom]] += size[atom]
    return size


def _refuse_straight(
    order: list[int],
    references: list[tuple[int, int, int]],
    positions: np.ndarray,
    label: Callable[[int], str],
) -> None:
    for atom, (b, c, _) in zip(order[2:], references[2:], strict=True):
        u, v = positions[[atom]] - positions[b], positions[[c]] - positions[b]
        angle = ic.angles(u, v)[0][0]
        if angle > ic.STRAIGHT:
            raise UnsupportedSystemError(
                f"the angle {label(atom)} - {label(b)} - {label(c)} is straight "
                f"({np.degrees(angle):.0f} degrees), and nothing off that line tells directions "
                "from each other: atoms of more than four neighbours cannot be sampled in internal "
                "coordinates"
            )


def _both_ways(bonds: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    return {pair for i, j in bonds for pair in ((i, j), (j, i))}


def _planar_by_shape(
    graph: nx.Graph, numbers: np.ndarray, positions: np.ndarray, straight: set[int]
) -> set[frozenset[int]]:
    """Return short bonds between flat atoms: double, amide and guanidinium bonds."""
    flat = {i for i in graph if _is_flat(graph, positions, i)}
    return {
        frozenset((i, j))
        for i, j in graph.edges
        if {i, j} <= flat
        and _relative_length(i, j, numbers, positions)
        < (SHORT_STRAIGHT_BOND if {i, j} & straight else SHORT_BOND)
    }


def _is_straight(graph: nx.Graph, positions: np.ndarray, atom: int) -> bool:
    """Return whether an atom's two bonds are on one line."""
    around = positions[list(graph[atom])] - positions[atom]
    return len(around) == 2 and bool(ic.angles(around[:1], around[1:])[0][0] > ic.STRAIGHT)


def _is_flat(graph: nx.Graph, positions: np.ndarray, atom: int) -> bool:
    around = positions[list(graph[atom])] - positions[atom]
    if len(around) != 3:
        return len(around) == 2
    total = ic.angles(around, np.roll(around, 1, axis=0))[0].sum()
    return bool(2 * np.pi - total < FLAT)


def _fold(
    graph: nx.Graph, labels: np.ndarray, positions: np.ndarray, b: int, c: int, children: list[int]
) -> int:
    """Return how many like atoms, and no others, are spaced evenly about the bond from c to b."""
    others = set(graph[b]) - {c}
    if others != set(children) or len(others) < 2 or len(set(labels[children])) > 1:
        return 1
    axis, arms = positions[b] - positions[c], positions[children] - positions[b]
    angles = _azimuths(arms, axis) * len(children)
    uneven = np.abs(np.angle(np.exp(1j * (angles - angles[0]))))
    return len(children) if uneven.max() < UNEVEN * len(children) else 1


def _azimuths(arms: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return angles of vectors about an axis, from the first one."""
    axis = axis / np.linalg.norm(axis)
    across = arms - np.outer(arms @ axis, axis)
    return np.arctan2(np.cross(axis, across[0]) @ across.T, across[0] @ across.T)
