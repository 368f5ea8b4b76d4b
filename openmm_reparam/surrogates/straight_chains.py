"""What tells straight chains of atoms (alkynes, nitriles) apart when they bend and turn.

At a straight angle cosines do not change to first order, and torsions about its bonds do not exist.
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from ..geometry import internal_coordinates as ic
from ..precon.model_hessian import InternalTerms

__all__ = ["straight_chain_terms"]


def straight_chain_terms(
    terms: InternalTerms, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return torsions over straight chains, and pairs of their atoms with those at their ends.

    Parameters
    ----------
    terms : InternalTerms
        Of the molecule.
    positions : (N, 3) array
        In nm.

    Returns
    -------
    (T, 4) int array
        m-a-d-n, where a and d are the ends of a chain, m and n are bonded to them.
    (P, 2) int array
        Each atom bonded to an end, with the chain's atoms beyond its second.
    """
    graph = nx.Graph()
    graph.add_edges_from(terms.bonds.tolist())
    i, j, k = positions[terms.angles.T]
    straight = terms.angles[ic.angles(i - j, k - j)[0] > ic.STRAIGHT]
    centres = set(straight[:, 1].tolist())
    torsions, pairs = [], set()
    for inner in nx.connected_components(graph.subgraph(centres)):
        ends = sorted({n for c in inner for n in graph[c]} - inner)
        if len(ends) != 2:
            continue
        a, d = ends
        chain = nx.shortest_path(graph.subgraph(inner | {a, d}), a, d)
        before = sorted(set(graph[a]) - inner)
        after = sorted(set(graph[d]) - inner)
        torsions += [(m, a, d, n) for m in before for n in after if m != n]
        pairs |= {(m, atom) for m in before for atom in chain[2:]}
        pairs |= {(n, atom) for n in after for atom in chain[:-2]}
    return (
        np.array(torsions, dtype=np.int64).reshape(-1, 4),
        np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2),
    )
