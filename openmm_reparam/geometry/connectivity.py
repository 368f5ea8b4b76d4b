"""Angles, torsions and out-of-plane terms that a list of bonds implies."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np

__all__ = ["angle_terms", "out_of_plane_terms", "separations", "torsion_terms"]


def angle_terms(graph: nx.Graph) -> np.ndarray:
    """Angles i-j-k of bonded atoms.

    Parameters
    ----------
    graph : networkx.Graph
        Atoms and bonds.

    Returns
    -------
    (A, 3) int array
        The middle atom second.
    """
    return _array(
        ((i, j, k) for j in graph for i, k in itertools.combinations(sorted(graph[j]), 2)), 3
    )


def torsion_terms(graph: nx.Graph) -> np.ndarray:
    """Torsions i-j-k-l about every bond j-k; see `angle_terms`.

    Returns
    -------
    (T, 4) int array
        Those about one bond follow each other.
    """
    return _array(
        (
            (i, j, k, last)
            for j, k in sorted(tuple(sorted(bond)) for bond in graph.edges)
            for i in sorted(graph[j])
            for last in sorted(graph[k])
            if len({i, j, k, last}) == 4
        ),
        4,
    )


def out_of_plane_terms(graph: nx.Graph) -> np.ndarray:
    """Atoms with three neighbours, as improper torsions; see `angle_terms`.

    Returns
    -------
    (P, 4) int array
        The centre first.
    """
    return _array(((j, *sorted(graph[j])) for j in sorted(graph) if graph.degree[j] == 3), 4)


def separations(graph: nx.Graph, most: int) -> set[tuple[int, int]]:
    """Pairs i < j that are at most so many bonds apart."""
    lengths = nx.all_pairs_shortest_path_length(graph, cutoff=most)
    return {(i, j) for i, near in lengths for j in near if i < j}


def _array(terms, width: int) -> np.ndarray:
    return np.array(list(terms), dtype=np.int64).reshape(-1, width)
