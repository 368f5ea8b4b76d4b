"""Coupling graphs and Laplacians against matrices whose norms are known."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from openmm_reparam import Potential, dense_hessian
from openmm_reparam.modes.coupling_graph import (
    coupling_graph,
    laplacian,
    molecular_coupling_graph,
    perturbed_configurations,
)
from openmm_reparam.testsystems import lennard_jones_cluster


def random_hessians(atoms=5, count=3, seed=0):
    rng = np.random.default_rng(seed)
    matrices = rng.normal(size=(count, 3 * atoms, 3 * atoms))
    return [m + m.T for m in matrices]


def potential_of(molecule, platform="Reference"):
    potential = Potential(molecule.simulation(platform).context)
    return potential, potential.positions()


@pytest.mark.parametrize("as_matrix", [np.asarray, sp.csr_array])
def test_coupling_graphs_are_norms_of_blocks(as_matrix):
    hessians = random_hessians()
    squares = np.zeros((3, 5, 5))
    for n, h in enumerate(hessians):
        for i in range(5):
            for j in range(5):
                if i != j:
                    squares[n, i, j] = np.linalg.norm(h[3 * i : 3 * i + 3, 3 * j : 3 * j + 3]) ** 2
    got = coupling_graph([as_matrix(h) for h in hessians])
    mean = coupling_graph([as_matrix(h) for h in hessians], "mean-norm")
    assert sp.issparse(got) == (as_matrix is sp.csr_array)
    dense = got.toarray() if sp.issparse(got) else got
    dense_mean = mean.toarray() if sp.issparse(mean) else mean
    assert np.allclose(dense, squares.sum(axis=0))
    assert np.allclose(dense_mean, np.sqrt(squares).mean(axis=0))


def test_coupling_graph_arguments_are_checked():
    with pytest.raises(ValueError, match="norm"):
        coupling_graph(random_hessians(), "max")
    with pytest.raises(ValueError, match="at least one"):
        coupling_graph([])


@pytest.mark.parametrize("as_matrix", [np.asarray, sp.csr_array])
def test_laplacian_is_that_of_the_weighted_graph(as_matrix):
    graph = nx.erdos_renyi_graph(12, 0.4, seed=1)
    for i, j in graph.edges:
        graph.edges[i, j]["weight"] = 1.0 + i + 0.1 * j
    got = laplacian(as_matrix(nx.to_numpy_array(graph)))
    got = got.toarray() if sp.issparse(got) else got
    assert np.allclose(got, nx.laplacian_matrix(graph).toarray())


def test_perturbations_leave_fixed_atoms_and_the_first_configuration():
    x = np.arange(300.0).reshape(100, 3)
    moves = np.ones(100, bool)
    moves[::4] = False
    got = perturbed_configurations(x, 30, 0.01, moves, np.random.default_rng(0))
    assert len(got) == 31
    assert np.array_equal(got[0], x)
    changes = np.array(got[1:]) - x
    assert not changes[:, ~moves].any()
    assert changes[:, moves].std() == pytest.approx(0.01, rel=0.05)


def test_full_coupling_graph_is_that_of_the_dense_hessian():
    potential, x = potential_of(lennard_jones_cluster(6))
    expected = coupling_graph([dense_hessian(potential, x)])
    got = molecular_coupling_graph(potential, x, source="full")
    assert np.allclose(got, expected)
    with pytest.raises(ValueError, match="source"):
        molecular_coupling_graph(potential, x, source="partial")


def test_samples_are_drawn_reported_and_counted(tripeptide):
    potential, x = potential_of(tripeptide)
    once = molecular_coupling_graph(potential, x)
    cost = potential.counter.total
    done = []
    several = molecular_coupling_graph(potential, x, samples=2, progress=done.append)
    assert potential.counter.total == 4 * cost
    assert done == pytest.approx([1 / 3, 2 / 3, 1])
    assert several.sum() > once.sum()
