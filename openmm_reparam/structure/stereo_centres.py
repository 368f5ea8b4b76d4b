"""Tetrahedral stereocentres of any molecule: which atoms, and which way their ligands turn."""

from __future__ import annotations

import numpy as np

from .chemical_graph import HYDROGEN, ChemicalGraph

__all__ = ["handedness", "stereocentres"]

# Atomic numbers with three bonds and a lone pair that does not invert: P, S (sulfoxides), As, Se.
PYRAMIDAL_ELEMENTS = (15, 16, 33, 34)
# Two neighbours of one symmetry class still make a centre, in rings of up to so many atoms.
LARGEST_STEREO_RING = 12


def stereocentres(graph: ChemicalGraph) -> np.ndarray:
    """Find the atoms whose inversion makes another molecule.

    Parameters
    ----------
    graph : ChemicalGraph

    Returns
    -------
    (C, 5) int array
        The centre, three neighbours by rising index, and the fourth: the hydrogen, else the
        neighbour of the highest index, else -1 (a lone pair, or a hydrogen left out).

    Notes
    -----
    A centre is

    - an atom with four neighbours that differ (carbon, quaternary or protonated nitrogen,
      phosphorus, sulfur, silicon);
    - phosphorus, arsenic, sulfur or selenium with three that differ (sulfoxides);
    - a carbon with three that differ in a molecule without hydrogens on carbon (united atoms);
    - an atom with four neighbours of which just two have one symmetry class and lie in a ring with
      it, if another centre lies in that ring too (inositol, 1,4-disubstituted cyclohexane).

    Amines invert and are none. Neighbours that differ only in their own handedness (the middle of
    xylitol), axes (allenes, biaryls) and metals are not looked at.
    """
    certain, in_rings = [], {}
    for atom, neighbours in graph.neighbours.items():
        if len(neighbours) not in (3, 4):
            continue
        kinds = graph.classes[neighbours].tolist()
        distinct = len(set(kinds))
        if len(neighbours) == 4 and distinct == 3:
            ring = _ring_of_equivalent(graph, atom, neighbours, kinds)
            if ring:
                in_rings[atom] = ring
        elif distinct == len(neighbours) and (
            distinct == 4 or graph.numbers[atom] in PYRAMIDAL_ELEMENTS or graph.may_be_united(atom)
        ):
            certain.append(atom)
    candidates = {*certain, *in_rings}
    certain += [atom for atom, ring in in_rings.items() if len(candidates.intersection(ring)) > 1]
    rows = [[atom, *_ordered(graph, atom)] for atom in sorted(certain)]
    return np.array(rows, dtype=int).reshape(-1, 5)


def handedness(bonds: np.ndarray) -> np.ndarray:
    """Signed volume that tells a centre from its mirror image.

    Parameters
    ----------
    bonds : (C, 4, 3) array
        From each centre to its four neighbours, any length; zero for one that is missing.

    Returns
    -------
    (C,) array
        About 0.77 in a tetrahedral centre, 0 in a flat one. Positive where the first three
        neighbours turn counterclockwise, seen with the fourth one pointing away.
    """
    lengths = np.linalg.norm(bonds, axis=-1, keepdims=True)
    unit = bonds / np.maximum(lengths, np.finfo(float).tiny)
    missing = lengths[:, 3, 0] == 0
    # The mean of all four triples, or the one triple.
    volumes = np.linalg.det(unit[:, :3] - unit[:, 3:])
    return np.where(missing, volumes, volumes / 4)


def _ring_of_equivalent(graph, atom: int, neighbours: list[int], kinds: list[int]) -> list[int]:
    """Return the ring through an atom and its two equivalent neighbours, if there is one."""
    one, other = (n for n, kind in zip(neighbours, kinds, strict=True) if kinds.count(kind) == 2)
    way = graph.path(one, other, LARGEST_STEREO_RING - 2, without=atom)
    return [atom, *way] if way else []


def _ordered(graph: ChemicalGraph, atom: int) -> list[int]:
    """Return three neighbours by index and the fourth (-1: none)."""
    neighbours = graph.neighbours[atom]
    if len(neighbours) == 3:
        return [*neighbours, -1]
    hydrogens = [n for n in neighbours if graph.numbers[n] == HYDROGEN]
    fourth = hydrogens[0] if hydrogens else neighbours[-1]
    return [*(n for n in neighbours if n != fourth), fourth]
