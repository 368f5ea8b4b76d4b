"""Rotations of side chains and ends."""

import numpy as np
import pytest

from openmm_reparam.potentials.bond_graph import bond_graph
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search.rotamers import RotamerProposals
from openmm_reparam.search.torsion_kinematics import TorsionKinematics
from openmm_reparam.search.torsions import TorsionTopology
from openmm_reparam.structure.stereochemistry import Stereochemistry


def distances(x, pairs):
    return np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1)


def dihedral(x):
    a, b, c = np.diff(x, axis=0)
    normal = np.cross(b, c)
    return np.arctan2(np.linalg.norm(b) * a @ normal, np.cross(a, b) @ normal)


def topology_of(potential):
    return TorsionTopology(potential, bond_graph(potential))


def test_a_rotor_leaves_the_rest_where_it_is(chain):
    molecule, potential, topology = chain
    graph = bond_graph(potential)
    x = potential.positions()
    kinematics = TorsionKinematics(topology)
    rotamers = RotamerProposals(topology, np.random.default_rng(1))
    bonds = np.array(graph.edges)
    ends = np.array([(i, k) for j in graph for i in graph[j] for k in graph[j] if i < k])
    moved = set()
    for _ in range(60):
        turned = kinematics.rotated(x, rotamers.draw())
        changed = np.flatnonzero(np.abs(turned - x).max(axis=1) > 1e-9)
        assert 0 < len(changed) <= 20
        moved |= set(changed.tolist())
        for pairs in (bonds, ends):
            assert distances(turned, pairs) == pytest.approx(distances(x, pairs), abs=1e-9)
        assert Stereochemistry(molecule.topology).changes(x, turned) == []
    names = {(a.residue.name, a.name) for a in molecule.topology.atoms() if a.index in moved}
    assert {("TRP", "CZ2"), ("ARG", "NH1"), ("PHE", "CZ")} <= names
    assert ("PRO", "CA") not in names, "the middle of the chain stays"


def test_proposals_are_other_rotamers(prepared):
    molecule = peptide("AV", "extended")
    potential = prepared(molecule)
    topology, x = topology_of(potential), potential.positions()
    places = {(a.residue.name, a.name): a.index for a in molecule.topology.atoms()}
    chi = [places["VAL", name] for name in ("N", "CA", "CB", "CG1")]
    kinematics, turns = TorsionKinematics(topology), []
    rotamers = RotamerProposals(topology, np.random.default_rng(0))
    for _ in range(100):
        turned = kinematics.rotated(x, rotamers.draw())
        angle = np.degrees(dihedral(turned[chi]) - dihedral(x[chi])) % 360
        turns.append(min(angle, 360 - angle))
    turns = np.array(turns)
    turned = turns[turns > 1e-6]
    # 120 degrees, scattered normally by 20.
    assert len(turned) > 20
    assert turned.min() > 120 - 4 * 20
    assert np.mean(turned) == pytest.approx(120, abs=10)
    assert np.std(turned) == pytest.approx(20, abs=6)
