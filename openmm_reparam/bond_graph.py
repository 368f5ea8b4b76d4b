"""Which atoms are bonded, as a graph."""

from __future__ import annotations

import networkx as nx
import openmm as mm

from .bonded import bonded_terms
from .potential import Potential

__all__ = ["LARGEST_RING", "bond_graph", "planar_bonds", "rings"]

# Larger cycles (disulfides, crown ethers) bend, and other atoms may well be inside.
LARGEST_RING = 8
# Terms cos(2 phi) about a bond that add up to this much (kJ/mol) hold it in its plane. Amber's
# peptide bonds have 42, those of aromatic amines 10 to 20.
PLANAR = 25.0


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
        forces = potential.system.getForces()
        for force in forces:
            if isinstance(force, mm.HarmonicBondForce):
                graph.add_edges_from(bonded_terms(force).tolist())
        graph.add_edges_from(potential.constraints[0].tolist())
        for force in forces:
            if isinstance(force, mm.HarmonicAngleForce) and force.getNumAngles():
                graph.remove_edges_from(bonded_terms(force)[:, [0, 2]].tolist())
    graph.remove_nodes_from([i for i in list(graph) if potential.virtual_sites[i]])
    return graph


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


def planar_bonds(system: mm.System) -> set[frozenset[int]]:
    """Bonds that periodic torsions keep planar, as double and peptide bonds are."""
    strength: dict[frozenset[int], float] = {}
    for force in system.getForces():
        if isinstance(force, mm.PeriodicTorsionForce):
            for k in range(force.getNumTorsions()):
                _, i, j, _, periodicity, _, barrier = force.getTorsionParameters(k)
                if periodicity == 2:
                    bond = frozenset((i, j))
                    strength[bond] = strength.get(bond, 0.0) + abs(barrier._value)
    return {bond for bond, total in strength.items() if total > PLANAR}
