"""Minima that are one, though atoms have changed places or the molecule has turned."""

import numpy as np
import pytest

from openmm_reparam import Potential, ReparamMinimizer, minimize_reparam
from openmm_reparam.geometry.superposition import rmsd_matrix
from openmm_reparam.minimization.replicas import compared_atoms
from openmm_reparam.minimization.run import Run
from openmm_reparam.potentials.bond_graph import bond_graph, interchangeable_atoms
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import Hops, exchanged_points

pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")


def test_minima_are_distinct_and_clustered():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, (12, 3))
    hops = Hops(np.arange(12))
    assert hops.add(1.0, x, 10) == 0
    turned = x @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]]) + 1.0
    assert hops.add(0.5, turned, 20) == 0, "the same, turned and moved"
    assert hops.add(0.5, x + rng.normal(0, 0.03, x.shape), 30) == 1
    assert hops.add(-9.0, rng.normal(0, 0.3, (12, 3)), 40) == 2
    assert [m.visits for m in hops.minima] == [2, 1, 1]
    assert hops.minima[0].force_evaluations == 10
    found = hops.sorted_minima()
    assert [m.energy for m in found] == [-9.0, 0.5, 0.5]
    assert [m.cluster for m in found] == [0, 1, 1]
    assert Hops(np.arange(12)).sorted_minima() == ()


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
    hops = Hops(compared, interchangeable_atoms(bond_graph(potential), potential.masses))
    assert hops.add(0.0, x, 1) == hops.add(0.0, turned, 2) == 0
    elsewhere = np.array(x)
    elsewhere[place[1, "CZ"]] += 0.1
    assert hops.add(0.0, elsewhere, 3) == 1


def test_like_atoms_change_places_where_that_is_lower():
    """Amber's two oxygens of a carboxylate are not alike to 0.2 kJ/mol."""
    molecule = peptide("AGS", "random-coil", seed=2)
    simulation = molecule.simulation("Reference")
    minimize_reparam(simulation, 1)
    run = Run(ReparamMinimizer(simulation, "spectral"), 1.0, 0, None, None)
    x = run.potential.positions()
    place = {atom.name: atom.index for atom in molecule.topology.atoms()}
    oxygens = [place["O"], place["OXT"]]
    swapped = np.array(x)
    swapped[oxygens] = x[oxygens[::-1]]
    ends = []
    for positions in (x, swapped):
        start = run.evaluate(positions)
        before = run.potential.counter.total
        points = list(exchanged_points(run.potential, run.evaluate, start))
        energies = [point.energy for point in (start, *points)]
        assert (np.diff(energies) < 0).all()
        # Two ways for NH3+, two for CH3, one for COO-.
        assert run.potential.counter.total - before == 5
        ends.append(energies[-1])
    assert abs(run.evaluate(swapped).energy - run.evaluate(x).energy) > 0.01
    assert ends[0] == pytest.approx(ends[1], abs=1e-3)
