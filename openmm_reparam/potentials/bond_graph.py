"""Which atoms are bonded, as a graph."""

from __future__ import annotations

import networkx as nx
import numpy as np
import openmm as mm

from .bonded import bonded_parameters, bonded_terms
from .potential import Potential

__all__ = [
    "LARGEST_RING",
    "are_bonded",
    "bond_graph",
    "interchangeable_atoms",
    "planar_bonds",
    "rings",
    "system_bonds",
    "topology_bonds",
]

# Larger cycles (disulfides, crown ethers) bend, and other atoms may well be inside.
LARGEST_RING = 8
# Terms cos(2 phi) about a bond that add up to this much (kJ/mol) hold it in its plane. Amber's
# peptide bonds have 42, those of aromatic amines 10 to 20.
PLANAR = 25.0
TETRAHEDRAL = 4  # neighbours
# Atoms that a turn of their group exchanges are no more bonds apart than those across a ring are.
NEARBY = 4
# Harmonic bonds shorter than this (nm) hold an atom on an anchor.
SHORTEST_BOND = 0.05
# Repartitioned hydrogens have up to 4 daltons.
HEAVIEST_HYDROGEN = 4.1
# A hydrogen has one bond, its shortest constraint; those that hold angles are 1.5 times as long.
LONGER_THAN_A_BOND = 1.2


def bond_graph(potential: Potential) -> nx.Graph:
    """Atoms and the bonds between them.

    Parameters
    ----------
    potential : Potential
        Bonds are those of its topology; where it has none, its harmonic bonds and constraints, less
        those between the ends of an angle.

    Returns
    -------
    networkx.Graph
        Nodes are all atoms but the virtual sites.
    """
    graph = nx.Graph()
    graph.add_nodes_from(i for i, site in enumerate(potential.virtual_sites) if not site)
    topology = potential.topology
    if topology is not None and topology.getNumAtoms() == potential.num_particles:
        graph.add_edges_from((a.index, b.index) for a, b in topology.bonds())
    if not graph.number_of_edges():
        graph.add_edges_from(system_bonds(potential).tolist())
    graph.remove_nodes_from([i for i in list(graph) if potential.virtual_sites[i]])
    return graph


def topology_bonds(topology, atoms: np.ndarray) -> np.ndarray | None:
    """Bonds of a Topology between some atoms.

    Parameters
    ----------
    topology : openmm.app.Topology or None
    atoms : (n,) int array

    Returns
    -------
    (B, 2) int array or None
        By places in ``atoms``; None where there is no bond between any of them.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> topology = peptide("AA").topology
    >>> len(topology_bonds(topology, np.arange(topology.getNumAtoms()))) == topology.getNumBonds()
    True
    """
    if topology is None:
        return None
    place = {atom: k for k, atom in enumerate(atoms.tolist())}
    ends = ((place.get(a.index), place.get(b.index)) for a, b in topology.bonds())
    bonds = [pair for pair in ends if None not in pair]
    return np.array(bonds) if bonds else None


def are_bonded(potential: Potential) -> bool:
    """Whether the topology has a bond of every atom that moves, so that all are molecules'."""
    atoms = np.flatnonzero(~potential.virtual_sites)
    bonds = topology_bonds(potential.topology, atoms)
    return bonds is not None and bool(np.isin(np.flatnonzero(potential.moves), atoms[bonds]).all())


def system_bonds(potential: Potential) -> np.ndarray:
    """Bonds that a System itself shows: its harmonic bonds and constraints.

    Parameters
    ----------
    potential : Potential

    Returns
    -------
    (B, 2) int array
        Pairs i < j, each once; those between the ends of an angle are no bonds, and neither are
        those of virtual sites.
    """
    size, forces = potential.num_particles, potential.system.getForces()
    found = [_bond_constraints(potential)]
    ends = [np.zeros((0, 2), dtype=np.int64)]
    for force in forces:
        harmonic = isinstance(force, mm.HarmonicBondForce | mm.HarmonicAngleForce)
        terms = bonded_terms(force) if harmonic else None
        if terms is None or not len(terms):
            continue
        if isinstance(force, mm.HarmonicAngleForce):
            ends.append(terms[:, [0, 2]])
        else:
            found.append(terms[bonded_parameters(force)[1][:, 0] > SHORTEST_BOND])
    keys, no_bonds = (
        np.unique(np.sort(np.concatenate(pairs), axis=1) @ [size, 1]) for pairs in (found, ends)
    )
    bonds = np.stack(np.divmod(np.setdiff1d(keys, no_bonds).astype(np.int64), size), axis=1)
    return bonds[~potential.virtual_sites[bonds].any(axis=1)]


def _bond_constraints(potential: Potential) -> np.ndarray:
    """Constraints (B, 2), less those by which an angle at a hydrogen's neighbour is held."""
    pairs, distances = potential.constraints
    hydrogens = potential.masses[pairs] < HEAVIEST_HYDROGEN
    shortest = np.full(potential.num_particles, np.inf)
    np.minimum.at(shortest, pairs, distances[:, None])
    longer = distances[:, None] > LONGER_THAN_A_BOND * shortest[pairs]
    return pairs[~(longer & hydrogens).any(axis=1)]


def rings(graph: nx.Graph) -> list[list[int]]:
    """Chordless cycles of up to ``LARGEST_RING`` atoms, each in its own order around."""
    cyclic = graph.copy()
    cyclic.remove_edges_from(list(nx.bridges(graph)))
    cyclic.remove_nodes_from([i for i, degree in list(cyclic.degree) if not degree])
    return [
        ring
        for part in nx.connected_components(cyclic)
        for ring in nx.chordless_cycles(cyclic.subgraph(part), length_bound=LARGEST_RING)
    ]


def planar_bonds(system: mm.System, bonds: np.ndarray) -> set[frozenset[int]]:
    """Bonds that periodic torsions keep planar, as double and peptide bonds are.

    Parameters
    ----------
    system : openmm.System
    bonds : (B, 2) int array
        All that there are: no bond of an atom with four neighbours is planar, whatever its
        torsions add up to (about the methyl group of an acetyl GAFF2's have 46 kJ/mol, which
        cancel).
    """
    degrees = np.bincount(np.ravel(bonds).astype(np.int64), minlength=system.getNumParticles())
    strength: dict[frozenset[int], float] = {}
    for force in system.getForces():
        if isinstance(force, mm.PeriodicTorsionForce):
            atoms, parameters = bonded_parameters(force)
            flat = (degrees[atoms[:, 1:3]] < TETRAHEDRAL).all(axis=1)
            twofold = (parameters[:, 0] == 2) & flat
            middles, barriers = atoms[twofold, 1:3].tolist(), parameters[twofold, 2].tolist()
            for pair, barrier in zip(middles, barriers, strict=True):
                bond = frozenset(pair)
                strength[bond] = strength.get(bond, 0.0) + abs(barrier)
    return {bond for bond, total in strength.items() if total > PLANAR}


def interchangeable_atoms(graph: nx.Graph, masses: np.ndarray) -> np.ndarray:
    """Label atoms so that those which a group's turn can exchange have one label.

    Such are the hydrogens of a methyl group, both sides of a phenyl ring, the oxygens of a
    carboxylate. They are told apart by what they are bonded to, further and further out (colour
    refinement, Weisfeiler and Leman 1968), and share a label only if at most four bonds lie
    between them, so that the halves of a symmetric molecule do not, except at its very middle.
    Some pairs that no turn exchanges, as leucine's methyl groups, have one label too.

    Parameters
    ----------
    graph : networkx.Graph
        Of all bonds, see `bond_graph`.
    masses : (N,) array
        In daltons.

    Returns
    -------
    (N,) int array
        The lowest index of each atom's group.
    """
    labels = np.unique(masses, return_inverse=True)[1].ravel()
    neighbours = {i: list(graph[i]) for i in graph}
    known = 0
    while labels.max(initial=-1) + 1 > known:
        known = labels.max() + 1
        shells = [(c, *sorted(labels[neighbours.get(i, [])])) for i, c in enumerate(labels)]
        numbers: dict[tuple, int] = {}
        labels = np.array([numbers.setdefault(shell, len(numbers)) for shell in shells])
    groups = np.arange(len(labels))
    for i in graph:
        if groups[i] == i:
            near = nx.single_source_shortest_path_length(graph, i, NEARBY)
            groups[[j for j in near if labels[j] == labels[i] and groups[j] == j]] = i
    return groups
