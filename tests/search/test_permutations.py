"""Permutational isomers: which permutations there are, and the lowest of them."""

import numpy as np
import pytest

from openmm_reparam import Potential, minimize_reparam
from openmm_reparam.potentials.bond_graph import bond_graph, interchangeable_atoms
from openmm_reparam.potentials.evaluator import Evaluator
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search.permutations import isomer_points, permutations
from openmm_reparam.search.torsion_kinematics import TorsionKinematics
from openmm_reparam.search.torsions import TorsionTopology
from openmm_reparam.structure.stereochemistry import Stereochemistry

pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")


def distances(x, pairs):
    return np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1)


def test_permutations_keep_classes_bonds_and_stereochemistry(chain):
    molecule, potential, topology = chain
    graph = bond_graph(potential)
    x = potential.positions()
    atoms = list(molecule.topology.atoms())
    classes = interchangeable_atoms(graph, potential.masses)
    exchanged, kinematics = {}, TorsionKinematics(topology)
    for torsion in topology.symmetric:
        near, far = topology.axes[torsion]
        orders = permutations(kinematics, x, torsion)
        assert len(orders) == graph.degree[far] - 2
        for order in orders:
            assert sorted(order) == list(range(len(x)))
            assert np.array_equal(classes[order], classes)
            moved = x[order]
            # Every bond is as long as it was, for it joins atoms of the same classes.
            bonds = np.array(graph.edges)
            assert distances(moved, bonds) == pytest.approx(distances(x, bonds), abs=2e-3)
            assert Stereochemistry(molecule.topology).changes(x, moved) == []
        names = {atoms[i].name for i in np.flatnonzero(orders[0] != np.arange(len(x)))}
        exchanged[atoms[near].residue.name, atoms[far].name] = names
    ring = {name + side for name in ("CD", "HD", "CE", "HE") for side in "12"}
    assert exchanged["PHE", "CG"] == ring
    assert exchanged["ALA", "CB"] == {"HB1", "HB2", "HB3"}


def test_lower_isomers_are_found():
    """Amber's two oxygens of a carboxylate differ by 0.2 kJ/mol."""
    molecule = peptide("AGS", "random-coil", seed=2)
    simulation = molecule.simulation("Reference")
    minimize_reparam(simulation, 1)
    evaluator = Evaluator(Potential(simulation.context, simulation.topology))
    x = evaluator.potential.positions()
    place = {atom.name: atom.index for atom in molecule.topology.atoms()}
    oxygens = [place["O"], place["OXT"]]
    swapped = np.array(x)
    swapped[oxygens] = x[oxygens[::-1]]
    topology = TorsionTopology(evaluator.potential, bond_graph(evaluator.potential))
    ends = []
    for positions in (x, swapped):
        start = evaluator.evaluate(positions)
        before = evaluator.potential.counter.total
        points = list(isomer_points(topology, evaluator.evaluate, start))
        energies = [point.energy for point in (start, *points)]
        assert (np.diff(energies) < 0).all()
        # Two ways for NH3+, two for CH3, one for COO-.
        assert evaluator.potential.counter.total - before == 5
        ends.append(energies[-1])
    assert abs(evaluator.evaluate(swapped).energy - evaluator.evaluate(x).energy) > 0.01
    assert ends[0] == pytest.approx(ends[1], abs=1e-3)
