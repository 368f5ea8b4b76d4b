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
    return dense.reshape(3 * size, 3 * size)


def all_atoms(size):
    """One term that makes all atoms one large molecule."""
    return [np.arange(size)[None]]


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
    moves = np.full(size, True)
    assembler = compiled.MoleculeAssembler(moves, [atoms for atoms, _ in kinds], all_atoms(size))
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
    with pytest.raises(ValueError, match="positive"):
        stiffness.factorize(-1e3)


@pytest.mark.parametrize("large", [True, False])
def test_the_shift_is_raised_until_the_matrix_is_positive_definite(large):
    blocks = np.tile(np.eye(3), (4, 1, 1))
    coupled = all_atoms(4) if large else []
    assembler = compiled.MoleculeAssembler(np.full(4, True), [], coupled)
    for bad, shift in ((-1.0, 1.5), (np.nan, None), (np.inf, None)):
        blocks[2, 1, 1] = bad
        stiffness = assembler.assemble([], blocks, NO_PAIRS, NO_CURVATURES, NO_PAIRS, NO_BLOCKS)
        factors = stiffness.factorize(0.5)
        assert (factors and factors.shift) == shift


def test_molecules_are_found_and_those_of_each_size_solved_for():
    """Waters, an ion and a chain in a mixed order, one atom held still."""
    rng, size = np.random.default_rng(2), 15
    bonds = np.array([[0, 5], [5, 9], [1, 7], [1, 3], [2, 4], [4, 6], [6, 8], [8, 10], [10, 11],
                      [11, 12]])  # fmt: skip
    rows = rng.standard_normal((len(bonds), 2, 3))
    moves = np.full(size, True)
    moves[9] = False
    rows[~moves[bonds]] = 0.0
    assembler = compiled.MoleculeAssembler(moves, [bonds], [])
    assert assembler.molecules.tolist() == [0, 1, 2, 1, 2, 0, 2, 1, 2, 0, 2, 2, 2, 3, 4]
    assert np.flatnonzero(assembler.large).tolist() == [2, 4, 6, 8, 10, 11, 12]
    blocks = np.zeros((size, 3, 3))
    blocks[13] = np.diag([1.0, 2.0, 3.0])
    stiffness = assembler.assemble([rows], blocks, NO_PAIRS, NO_CURVATURES, NO_PAIRS, NO_BLOCKS)
    expected = gauss_newton(size, bonds, rows)
    expected[39:42, 39:42] += blocks[13]
    np.testing.assert_allclose(dense_of(stiffness, size), expected, atol=1e-12)
    vectors = rng.standard_normal((size, 3))
    solution = np.linalg.solve(expected + 0.3 * np.eye(3 * size), vectors.ravel()).reshape(-1, 3)
    solution[9] = 0.0
    np.testing.assert_allclose(stiffness.factorize(0.3).solve(vectors), solution, rtol=1e-9)


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
    assembler = compiled.MoleculeAssembler(np.full(size, True), [], all_atoms(size))
    arguments = (np.zeros((size, 3, 3)), pairs, curvatures, NO_PAIRS, NO_BLOCKS)
    stiffness = assembler.assemble([], *arguments)
    assert stiffness.operations <= 1000 * size
    rows, columns, blocks = stiffness.blocks()
    lower = rows >= columns
    rows, columns, blocks = rows[lower], columns[lower], blocks[lower]
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
