"""Pierced rings, and faults that the start had already."""

import networkx as nx
import numpy as np

from openmm_reparam.potentials.bond_graph import bond_graph, rings
from openmm_reparam.potentials.collapse import CollapseCheck
from openmm_reparam.search.validity import (
    PiercedRings,
    RingPiercings,
    first_violation,
    validity_checks,
)


def test_a_bond_through_a_ring_is_found():
    angles = np.arange(6) * np.pi / 3
    hexagon = 0.14 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    graph = nx.cycle_graph(6)
    graph.add_edge(6, 7)
    piercings = RingPiercings(graph)
    through = np.array([[0.02, 0.01, -0.07], [0.02, 0.01, 0.07]])
    assert len(piercings(np.concatenate([hexagon, through]))) == 1
    assert not piercings(np.concatenate([hexagon, through + [0.3, 0, 0]]))
    assert not piercings(np.concatenate([hexagon, through + [0, 0, 0.1]]))


def test_checks_allow_what_was_wrong_before(chain):
    _, potential, topology = chain
    x = potential.positions()
    graph, collapse = bond_graph(potential), CollapseCheck(potential)

    def violation(reference, positions):
        checks = validity_checks(potential, graph, collapse, reference)
        return first_violation(checks, positions)

    assert violation(x, x) == ""
    mirrored = x * [1, 1, -1]
    assert violation(x, mirrored) == "stereochemistry"
    assert violation(mirrored, mirrored) == ""
    # The phenyl ring of one residue is put around a bond far from it.
    ring = max(rings(graph), key=lambda r: (len(r), min(r)))
    residue = list(potential.topology.atoms())[ring[0]].residue
    atoms = [a.index for a in residue.atoms()]
    centre = x[ring].mean(axis=0)
    normal = np.cross(x[ring[2]] - centre, x[ring[0]] - centre)
    bond = next((i, j) for i, j in graph.edges if not {i, j} & set(atoms) and i > 5)
    pierced = np.array(x)
    along = 0.14 * normal / np.linalg.norm(normal)
    pierced[bond[0]], pierced[bond[1]] = centre - along / 2, centre + along / 2
    assert PiercedRings(graph, x).violated(pierced)
    assert not PiercedRings(graph, pierced).violated(pierced)
