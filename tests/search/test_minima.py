"""Minima that are one, though atoms have changed places or the molecule has turned."""

import numpy as np
import pytest

from openmm_reparam import Potential
from openmm_reparam.geometry.superposition import rmsd_matrix
from openmm_reparam.minimization.replicas import compared_atoms
from openmm_reparam.potentials.bond_graph import bond_graph, interchangeable_atoms
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import MinimaDatabase

pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")


def test_minima_are_distinct_and_clustered():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, (12, 3))
    database = MinimaDatabase(np.arange(12))
    assert database.add(1.0, x, 10) == 0
    turned = x @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]]) + 1.0
    assert database.add(0.5, turned, 20) == 0, "the same, turned and moved"
    assert database.add(0.5, x + rng.normal(0, 0.03, x.shape), 30) == 1
    assert database.add(-9.0, rng.normal(0, 0.3, (12, 3)), 40) == 2
    assert [m.visits for m in database.minima] == [2, 1, 1]
    assert [index for index, _ in database.lowest(2)] == [2, 0]
    assert database.minima[0].force_evaluations == 10
    found = database.sorted_minima()
    assert [m.energy for m in found] == [-9.0, 0.5, 0.5]
    assert [m.cluster for m in found] == [0, 1, 1]
    assert MinimaDatabase(np.arange(12)).sorted_minima() == ()


def test_a_ring_turned_over_is_no_other_minimum():
    molecule = peptide("AFA")
    context = molecule.simulation("Reference").context
    potential = Potential(context, molecule.topology)
    x, compared = potential.positions(), compared_atoms(molecule.topology, len(molecule.positions))
    place = {(a.residue.index, a.name): a.index for a in molecule.topology.atoms()}
    turned = np.array(x)
    for one, other in (("CD1", "CD2"), ("CE1", "CE2"), ("HD1", "HD2"), ("HE1", "HE2")):
        i, j = place[1, one], place[1, other]
        turned[[i, j]] = x[[j, i]]
    assert potential.evaluate(turned)[0] == pytest.approx(potential.evaluate(x)[0], abs=1e-3)
    assert rmsd_matrix(np.array([x, turned])[:, compared])[0, 1] > 0.05
    database = MinimaDatabase(
        compared, interchangeable_atoms(bond_graph(potential), potential.masses)
    )
    assert database.add(0.0, x, 1) == database.add(0.0, turned, 2) == 0
    elsewhere = np.array(x)
    elsewhere[place[1, "CZ"]] += 0.1
    assert database.add(0.0, elsewhere, 3) == 1
