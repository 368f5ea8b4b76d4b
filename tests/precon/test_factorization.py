"""Sparse block factors against dense ones, and which contacts couple."""

import gc
from pathlib import Path

import numpy as np
import pytest

from openmm_reparam import Potential, compiled
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide

NO_PAIRS = np.empty((0, 2), dtype=np.int64)
NO_CURVATURES, NO_BLOCKS = np.empty((0, 5)), np.empty((0, 3, 3))


def dense_of(stiffness, size):
    dense = np.zeros((size, 3, size, 3))
    for i, j, block in zip(*stiffness.blocks(), strict=True):
        dense[i, :, j] = block
        dense[j, :, i] = block.T
    return dense.reshape(3 * size, 3 * size)


def random_terms(rng, size, count, width):
    atoms = np.array([rng.choice(size, width, replace=False) for _ in range(count)])
    return atoms, rng.standard_normal((count, width, 3))


def gauss_newton(size, atoms, rows):
    jacobian = np.zeros((len(atoms), size, 3))
    for row, members, values in zip(jacobian, atoms, rows, strict=True):
        np.add.at(row, members, values)
    jacobian = jacobian.reshape(len(atoms), -1)
    return jacobian.T @ jacobian


def test_sums_and_factors_are_those_of_the_dense_matrix():
    rng, size = np.random.default_rng(0), 30
    kinds = [random_terms(rng, size, 40, 2), random_terms(rng, size, 30, 4)]
    # A term that has an atom twice.
    kinds[1][0][0] = [3, 7, 3, 1]
    blocks = rng.standard_normal((size, 3, 3))
    blocks = blocks @ blocks.transpose(0, 2, 1)
    pairs = np.array([[0, 5], [9, 2]])
    units = np.array([[1.0, 0, 0], [0, 0.6, 0.8]])
    curvatures = np.column_stack([units, [4.0, 9.0], [1.0, 2.0]])
    other_pairs, other = np.array([[4, 4], [8, 4], [4, 8]]), rng.standard_normal((3, 3, 3))
    other[0] += other[0].T
    other[2] = other[1].T
    assembler = compiled.StiffnessAssembler(size, [atoms for atoms, _ in kinds])
    stiffness = assembler.assemble(
        [rows for _, rows in kinds], blocks, pairs, curvatures, other_pairs, other
    )
    expected = sum(gauss_newton(size, *kind) for kind in kinds)
    roots = np.sqrt([4.0, 9.0])[:, None] * units
    expected += gauss_newton(size, pairs, np.stack([roots, -roots], axis=1))
    for i in range(size):
        expected[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] += blocks[i]
    for (i, j), block in zip(other_pairs, other, strict=True):
        expected[3 * i : 3 * i + 3, 3 * j : 3 * j + 3] += block
    np.testing.assert_allclose(dense_of(stiffness, size), expected, atol=1e-12)
    vectors = rng.standard_normal((size, 3))
    shifted = expected + 20.0 * np.eye(3 * size)
    solution = stiffness.factorize(20.0).solve(vectors)
    np.testing.assert_allclose(shifted @ solution.ravel(), vectors.ravel(), atol=1e-12)
    assert stiffness.factorize(-1e3) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_what_is_not_positive_definite_has_no_factors(bad):
    blocks = np.tile(np.eye(3), (4, 1, 1))
    blocks[2, 1, 1] = bad
    assembler = compiled.StiffnessAssembler(4, [])
    stiffness = assembler.assemble([], blocks, NO_PAIRS, NO_CURVATURES, NO_PAIRS, NO_BLOCKS)
    assert stiffness.factorize(0.5) is None
    assert compiled.small_inverses(blocks, 0.5) is None


def test_small_inverses():
    rng = np.random.default_rng(2)
    roots = rng.standard_normal((5, 9, 9))
    matrices = roots @ roots.transpose(0, 2, 1)
    vectors = rng.standard_normal((15, 3))
    expected = np.linalg.solve(matrices + 0.3 * np.eye(9), vectors.reshape(5, 9, 1))
    found = compiled.small_inverses(matrices, 0.3).solve(vectors)
    np.testing.assert_allclose(found.reshape(5, 9, 1), expected, rtol=1e-9)


def test_contacts_that_would_fill_the_factors_are_walls():
    # A cube of atoms, each near its neighbours in three directions: as a globule without bonds.
    edge = 12
    grid = np.arange(edge**3).reshape(edge, edge, edge)
    neighbours = [
        (grid[:-1], grid[1:]),
        (grid[:, :-1], grid[:, 1:]),
        (grid[..., :-1], grid[..., 1:]),
    ]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in neighbours])
    axes = np.repeat(np.eye(3), len(pairs) // 3, axis=0)
    stiff = np.linspace(1.0, 100.0, len(pairs))
    rng = np.random.default_rng(0)
    rng.shuffle(stiff)
    curvatures = np.column_stack([axes, stiff, np.full(len(pairs), 0.5)])
    size = edge**3
    assembler = compiled.StiffnessAssembler(size, [])
    arguments = (np.zeros((size, 3, 3)), pairs, curvatures, NO_PAIRS, NO_BLOCKS)
    stiffness = assembler.assemble([], *arguments)
    assert stiffness.operations <= 1000 * size
    rows, columns, blocks = stiffness.blocks()
    coupled = rows > columns
    assert 0 < coupled.sum() < len(pairs)
    kept = -blocks[coupled].reshape(-1, 9).sum(axis=1)
    np.testing.assert_allclose(np.sort(kept), np.sort(stiff)[-len(kept) :])
    # Every contact holds both of its atoms.
    walls = len(pairs) - coupled.sum()
    traces = blocks[~coupled].trace(axis1=1, axis2=2).sum()
    np.testing.assert_allclose(traces, 2 * stiff.sum() + 2 * walls * 2 * 0.5)
    factors = stiffness.factorize(1.0)
    vectors = rng.standard_normal((size, 3))
    solution = factors.solve(vectors)
    product = solution.copy()
    for i, j, block in zip(rows, columns, blocks, strict=True):
        product[i] += block @ solution[j]
        if i != j:
            product[j] += block.T @ solution[i]
    np.testing.assert_allclose(product, vectors, rtol=1e-8, atol=1e-10)


def test_updates_and_solves_leak_nothing():
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is read from /proc")
    potential = Potential(peptide("ACD").simulation("Reference").context)
    preconditioner, x = Preconditioner(potential), potential.positions()

    def resident_after(times):
        for _ in range(times):
            preconditioner.update(x)
            preconditioner.solve(x)
        gc.collect()
        return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

    before = resident_after(50)
    # A matrix and its factors have 100 kB.
    assert resident_after(200) - before < 2_000_000
