"""Bonds that do not turn: double bonds and amides of any molecule, and which of them are cis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set

import networkx as nx
import numpy as np

from .chemical_graph import CARBON, NITROGEN, OXYGEN, SULFUR, ChemicalGraph

__all__ = ["is_cis", "rigid_bonds"]

# A double bond in a ring of up to so many atoms has only one state (cyclooctene has two).
LARGEST_CIS_RING = 7


def rigid_bonds(graph: ChemicalGraph, planar: Set[frozenset[int]] = frozenset()) -> np.ndarray:
    """Find the bonds that have a cis and a trans state.

    Parameters
    ----------
    graph : ChemicalGraph
    planar : set of pairs
        Bonds that the force field holds planar, see `bond_graph.planar_bonds`.

    Returns
    -------
    (D, 4) int array
        A neighbour, the two atoms of the bond, a neighbour of the second: cis or trans is told by
        the neighbours that have neighbours of their own, then by the heavier elements, then by the
        lower indices.

    Notes
    -----
    What makes a bond rigid, any of:

    - bond order 2 in the topology, but for two at one atom, which is linear (azides, allenes);
    - where no order is given and all hydrogens are there: valences leave only a double bond (all
      atoms that lack a bond can be paired in only one way), so that the single bonds of dienes and
      biaryls and the bonds of aromatic rings are none;
    - an amide or carbamate, not a urea or an imide, which turn more easily;
    - the force field (periodic torsions with a barrier above 50 kJ/mol), where elements are
      guessed or hydrogens left out.

    It counts if both atoms are carbon or nitrogen with two other neighbours that differ (or one
    and a lone pair) and no ring of seven atoms or fewer holds them both. In conjugated ions whose
    charge has several places (phenolates) only bond orders show double bonds.
    """
    found = set(_by_order(graph))
    found |= {bond for bond in _by_valence(graph) if bond not in graph.orders}
    found |= _amides(graph)
    # Elsewhere valences know better: some force fields hold conjugated single bonds as planar.
    found |= {
        bond for bond in planar if graph.guessed or graph.implicit_hydrogens[list(bond)].all()
    }
    rows = []
    for i, j in sorted(tuple(sorted(bond)) for bond in found):
        if j not in graph.neighbours.get(i, ()):
            continue
        first, second = _reference(graph, i, j), _reference(graph, j, i)
        if first is None or second is None or graph.path(i, j, LARGEST_CIS_RING - 1):
            continue
        rows.append([first, i, j, second])
    return np.array(rows, dtype=int).reshape(-1, 4)


def is_cis(bonds: np.ndarray) -> np.ndarray:
    """Tell which bonds are cis.

    Parameters
    ----------
    bonds : (D, 3, 3) array
        The three vectors along each row of `rigid_bonds`, any length.

    Returns
    -------
    (D,) bool array
        The torsion angle is below 90 degrees.
    """
    before, along, after = bonds.transpose(1, 0, 2)
    # The sign of the cosine needs no normalisation.
    return (np.cross(before, along) * np.cross(along, after)).sum(axis=-1) > 0


def _reference(graph: ChemicalGraph, atom: int, partner: int) -> int | None:
    """Return the neighbour that tells cis from trans; None where both sides are equivalent."""
    others = [n for n in graph.neighbours[atom] if n != partner]
    number = graph.numbers[atom]
    lone = number == NITROGEN or (number == CARBON and graph.implicit_hydrogens[atom])
    if number not in (0, CARBON, NITROGEN) or not others or len(others) > 2:
        return None
    if len(others) == 1 and not lone:
        return None
    if len(others) == 2 and graph.classes[others[0]] == graph.classes[others[1]]:
        return None
    return max(others, key=lambda n: (len(graph.neighbours[n]) > 1, graph.numbers[n], -n))


def _is(graph: ChemicalGraph, atom: int, number: int, neighbours: int) -> bool:
    return graph.numbers[atom] == number and len(graph.neighbours[atom]) == neighbours


def _carbonyl(graph: ChemicalGraph, carbon: int) -> int | None:
    """Return one terminal O or S of a carbon with three neighbours."""
    for n in graph.neighbours[carbon]:
        if _is(graph, n, OXYGEN, 1) or _is(graph, n, SULFUR, 1):
            return n
    return None


def _amides(graph: ChemicalGraph) -> set[frozenset[int]]:
    """Bonds between carbonyl carbons and nitrogens that belong to no urea and no imide."""
    acyl: dict[int, list[tuple[int, int]]] = {}
    found = set()
    for atom, neighbours in graph.neighbours.items():
        if _is(graph, atom, CARBON, 3) and _carbonyl(graph, atom) is not None:
            nitrogens = [n for n in neighbours if _is(graph, n, NITROGEN, 3)]
            for nitrogen in nitrogens:
                acyl.setdefault(nitrogen, []).append((atom, len(nitrogens)))
    for nitrogen, carbons in acyl.items():
        if len(carbons) == 1 and carbons[0][1] == 1:
            found.add(frozenset((nitrogen, carbons[0][0])))
    return found


def _by_order(graph: ChemicalGraph) -> Iterator[frozenset[int]]:
    """Yield the bonds of order 2 whose atoms have no other."""
    double = [bond for bond, order in graph.orders.items() if order == 2]
    count = Counter(atom for bond in double for atom in bond)
    yield from (bond for bond in double if all(count[atom] == 1 for atom in bond))


def _by_valence(graph: ChemicalGraph) -> Iterator[frozenset[int]]:
    """Yield the bonds that are double in every Lewis structure."""
    if graph.guessed:
        return
    unsaturated = nx.Graph()
    unsaturated.add_nodes_from(_unsaturated_atoms(graph))
    for atom in list(unsaturated):
        unsaturated.add_edges_from((atom, n) for n in graph.neighbours[atom] if n in unsaturated)
    for part in list(nx.connected_components(unsaturated)):
        conjugated = unsaturated.subgraph(part)
        if len(part) % 2:
            conjugated = _with_cation(graph, conjugated)
        if conjugated is not None:
            yield from _odd_bridges(conjugated)


def _unsaturated_atoms(graph: ChemicalGraph) -> set[int]:
    """Atoms that lack one bond: C with three neighbours, N with two, terminal O or S on carbon."""
    found = set()
    for atom, neighbours in graph.neighbours.items():
        if graph.implicit_hydrogens[atom]:
            continue
        if _is(graph, atom, CARBON, 3):
            found.add(atom)
            # One alone: the other oxygen of a carboxylate has the charge.
            oxygen = _carbonyl(graph, atom)
            if oxygen is not None:
                found.add(oxygen)
        # Azides and diazo groups are linear.
        elif _is(graph, atom, NITROGEN, 2) and not any(
            _is(graph, n, NITROGEN, 1) for n in neighbours
        ):
            found.add(atom)
    return found


def _with_cation(graph: ChemicalGraph, conjugated: nx.Graph) -> nx.Graph | None:
    """Add the only nitrogen with three neighbours that can take the odd atom's double bond.

    None where there is no such nitrogen, or where an O, S or N may have a negative charge instead.
    """
    if any(graph.numbers[atom] != CARBON for atom in conjugated):
        return None
    cations = {
        n for atom in conjugated for n in graph.neighbours[atom] if _is(graph, n, NITROGEN, 3)
    }
    if len(cations) != 1:
        return None
    (cation,) = cations
    larger = nx.Graph(conjugated)
    larger.add_edges_from((cation, n) for n in graph.neighbours[cation] if n in conjugated)
    return larger


def _odd_bridges(conjugated: nx.Graph) -> Iterator[frozenset[int]]:
    """Yield the bonds between two parts of an odd number of atoms: no part can do without it."""
    root = next(iter(conjugated))
    parents = dict(nx.bfs_predecessors(conjugated, root))
    sizes = dict.fromkeys(conjugated, 1)
    for atom in reversed(parents):
        sizes[parents[atom]] += sizes[atom]
    for i, j in nx.bridges(conjugated):
        child = i if parents.get(i) == j else j
        if sizes[child] % 2:
            yield frozenset((i, j))
