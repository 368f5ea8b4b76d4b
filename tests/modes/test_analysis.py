"""Collectivities, shares of residues and displacements of modes whose answers are known."""

import numpy as np
import pytest

from openmm_reparam import Potential
from openmm_reparam.modes.analysis import ModeTable, coupling_graph_modes, mode_displacements
from openmm_reparam.modes.slow_modes import SlowModes
from openmm_reparam.prepare.peptides import peptide


@pytest.fixture(scope="module")
def glycine_alanine():
    return peptide("GA")


def test_coupling_graph_modes_are_orthogonal_to_translation():
    simulation = peptide("AAA").simulation("Reference")
    potential = Potential(simulation.context)
    slow = coupling_graph_modes(potential, potential.positions(), 5)
    assert slow.vectors.shape == (potential.num_particles, 5)
    assert np.abs(slow.vectors.sum(axis=0)).max() < 1e-6
    assert slow.eigenvalues.min() > 0


def test_a_mode_of_one_atom_is_all_its_residues(glycine_alanine):
    topology = glycine_alanine.topology
    atoms = list(topology.atoms())
    alone = next(atom.index for atom in atoms if atom.residue.name == "ALA")
    vectors = np.zeros((3 * len(atoms), 2))
    vectors[3 * alone : 3 * alone + 3, 0] = [0.6, 0.0, 0.8]
    vectors[:, 1] = 1 / np.sqrt(len(vectors))
    table = ModeTable("hessian", SlowModes(np.array([1.0, 2.0]), vectors, 3.0), topology)
    single, whole = table.rows()
    assert single["residues"]["ALA 2"] == pytest.approx(1.0)
    assert single["collectivity"] == pytest.approx(1 / len(atoms))
    assert whole["collectivity"] == pytest.approx(1.0)
    sizes = {f"{r.name} {r.id}": len(r) / len(atoms) for r in topology.residues()}
    assert whole["residues"] == pytest.approx(sizes)
    moved = mode_displacements(table, glycine_alanine.positions._value, 1)
    assert moved[alone] == pytest.approx([0.6, 0.0, 0.8])


def test_a_mode_of_a_coupling_graph_is_shown_along_the_long_axis(glycine_alanine):
    size = glycine_alanine.topology.getNumAtoms()
    x = np.random.default_rng(0).normal(size=(size, 3)) * [0.1, 5.0, 0.1]
    vector = np.full((size, 1), 1 / np.sqrt(size))
    modes = SlowModes(np.array([1.0]), vector, 2.0)
    table = ModeTable("coupling-graph", modes, glycine_alanine.topology)
    moved = mode_displacements(table, x, 1)
    assert np.allclose(np.linalg.norm(moved, axis=1), vector[:, 0])
    assert np.abs(moved[:, 1]).min() > 0.99 * np.abs(vector[0, 0])
