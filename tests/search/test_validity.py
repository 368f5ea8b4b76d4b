"""Pierced rings, and faults that the start had already."""

import networkx as nx
import numpy as np
import openmm as mm
from openmm import app

from openmm_reparam.potentials.bond_graph import bond_graph, rings
from openmm_reparam.potentials.collapse import CollapseCheck
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search.validity import (
    PiercedRings,
    RingPiercings,
    TooNearAtoms,
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


def test_hydrogens_that_repel_each_other_may_be_no_nearer_than_any_atoms(prepared):
    """Hydrogens of amides have no core to speak of: something else can hold them together."""
    potential = prepared(peptide("GG"))
    x = potential.positions()
    names = [atom.name for atom in potential.topology.atoms()]
    hydrogen, amide = names.index("H2"), names.index("H", names.index("C"))
    for distance, found in ((0.09, True), (0.13, False)):
        near = np.array(x)
        near[hydrogen] = near[amide] + [distance, 0, 0]
        others = np.delete(near, [hydrogen, amide], axis=0) + [0, 5, 0]
        near[np.setdiff1d(np.arange(len(x)), [hydrogen, amide])] = others
        assert TooNearAtoms(potential, x).violated(near) is found
        assert not TooNearAtoms(potential, near).violated(near)
        assert CollapseCheck(potential).pairs(near) == []


def test_small_particles_may_be_as_near_as_they_are_at_rest():
    """Lennard-Jones particles of 0.05 nm touch at 0.056 nm; at half of that they do not."""
    system, force = mm.System(), mm.NonbondedForce()
    for _ in range(3):
        system.addParticle(40.0)
        force.addParticle(0.0, 0.05, 1.0)
    system.addForce(force)
    context = mm.Context(system, mm.VerletIntegrator(0.001), mm.Platform.getPlatform("Reference"))
    touching = 0.0561 * np.array([[0, 0, 0], [1, 0, 0], [0.5, np.sqrt(0.75), 0]])
    context.setPositions(touching)
    check = TooNearAtoms(Potential(context), touching)
    assert not check.violated(0.95 * touching)
    assert check.violated(0.5 * touching)


def test_lone_pairs_may_be_near_hydrogens():
    """TIP5P's lone pairs are 0.07 nm in front of the oxygen, and a hydrogen bond ends there."""
    field, modeller = app.ForceField("tip5p.xml"), app.Modeller(app.Topology(), [])
    modeller.addSolvent(field, model="tip5p", numAdded=2)
    system = field.createSystem(modeller.topology)
    context = mm.Context(system, mm.VerletIntegrator(0.001), mm.Platform.getPlatform("Reference"))
    context.setPositions(modeller.positions)
    context.computeVirtualSites()
    potential = Potential(context, modeller.topology)
    (oxygen, hydrogen, _, pair, _), other = np.arange(10).reshape(2, 5)
    x = potential.positions()
    along = x[pair] - x[oxygen]
    x[other] += x[oxygen] + 0.18 / 0.07 * along - x[other[1]]
    assert 0.1 < np.linalg.norm(x[pair] - x[other[1]]) < 0.12
    apart = x + np.where(np.isin(np.arange(10), other), 1.0, 0.0)[:, None]
    assert not TooNearAtoms(potential, apart).violated(x)
    x[other] += x[hydrogen] + [0, 0, 0.1] - x[other[1]]
    assert TooNearAtoms(potential, apart).violated(x)


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
