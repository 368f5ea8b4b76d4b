"""Coupling graph of a molecule's atoms: norms of the blocks of Hessians, and its Laplacian.

Dehmamy, Both, Mohapatra, Das, Jaakkola (NeurIPS 2024) call it the backbone of the Hessian.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import scipy.sparse as sp

from ..geometry.neighbors import near_pairs
from ..potentials.hessian import BondedHessian, dense_hessian
from ..potentials.potential import Potential

__all__ = [
    "coupling_graph",
    "laplacian",
    "molecular_coupling_graph",
    "perturbed_configurations",
]

NETWORK_CUTOFF = 0.7  # nm


def coupling_graph(hessians: Iterable, norm: str = "sum-of-squares"):
    """Coupling graph: couplings between atoms that stay strong over configurations.

    Parameters
    ----------
    hessians : iterable of (3N, 3N) arrays or sparse arrays
        One for each configuration.
    norm : {"sum-of-squares", "mean-norm"}
        With H_ij the 3x3 block of atoms i and j and ||.|| its Frobenius norm:
        ``"sum-of-squares"`` is the sum over configurations of ||H_ij||^2 (the paper's formula),
        ``"mean-norm"`` the mean of ||H_ij|| (the paper's program).

    Returns
    -------
    (N, N) array or sparse array
        Non-negative and symmetric, zero on the diagonal; sparse where the Hessians are.
    """
    if norm not in ("sum-of-squares", "mean-norm"):
        raise ValueError(f"norm is {norm!r}; it must be 'sum-of-squares' or 'mean-norm'")
    total, count = None, 0
    for hessian in hessians:
        squares = _block_squares(hessian)
        term = squares if norm == "sum-of-squares" else squares**0.5
        total = term if total is None else total + term
        count += 1
    if total is None:
        raise ValueError("coupling_graph() needs at least one Hessian")
    return total if norm == "sum-of-squares" else total / count


def _block_squares(hessian):
    size = hessian.shape[0] // 3
    if sp.issparse(hessian):
        entries = hessian.tocoo()
        off_diagonal = entries.row // 3 != entries.col // 3
        atoms = (entries.row[off_diagonal] // 3, entries.col[off_diagonal] // 3)
        return sp.coo_array((entries.data[off_diagonal] ** 2, atoms), shape=(size, size)).tocsr()
    squares = (hessian.reshape(size, 3, size, 3) ** 2).sum(axis=(1, 3))
    np.fill_diagonal(squares, 0.0)
    return squares


def laplacian(graph):
    """Laplacian L = diag(B 1) - B of a coupling graph B, (N, N), dense or sparse as it is."""
    degrees = np.asarray(graph.sum(axis=1)).ravel()
    if sp.issparse(graph):
        return (sp.diags_array(degrees) - graph).tocsr()
    return np.diag(degrees) - graph


def perturbed_configurations(
    positions: np.ndarray,
    samples: int,
    sigma: float,
    moves: np.ndarray,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Return the (N, 3) positions themselves and ``samples`` perturbations of the moving atoms.

    Each coordinate is displaced by N(0, sigma^2), sigma in nm.
    """
    perturbed = [
        positions + np.where(moves[:, None], rng.normal(0.0, sigma, positions.shape), 0.0)
        for _ in range(samples)
    ]
    return [np.array(positions, dtype=np.float64), *perturbed]


def molecular_coupling_graph(
    potential: Potential,
    positions: np.ndarray,
    *,
    source: str = "bonded",
    samples: int = 0,
    sigma: float = 0.005,
    norm: str = "sum-of-squares",
    rng: np.random.Generator | None = None,
    progress=None,
):
    """Coupling graph of a molecule over perturbed configurations.

    Parameters
    ----------
    potential : Potential
    positions : (N, 3) array
        In nm.
    source : {"bonded", "full", "network"}
        Hessians of the bonded terms by colouring (cheap, sparse; the default), of the whole
        potential (dense: 6N force evaluations a configuration), or no Hessian but a Gaussian
        network: unit couplings between atoms nearer than 0.7 nm (Bahar, Atilgan, Erman, Fold. Des.
        1997, 2, 173).
    samples : int
        Perturbed configurations beside ``positions``.
    sigma : float
        Standard deviation of the perturbations in nm.
    norm : str
        See `coupling_graph`.
    rng : numpy Generator, optional
        Draws the perturbations; seeded with 0 by default.
    progress : callable, optional
        Called with the share done, 0 to 1.

    Returns
    -------
    (N, N) array or sparse array
    """
    if source not in ("bonded", "full", "network"):
        raise ValueError(f"source is {source!r}; it must be 'bonded', 'full' or 'network'")
    if source == "network":
        return _gaussian_network(potential, positions)
    rng = rng if rng is not None else np.random.default_rng(0)
    configurations = perturbed_configurations(positions, samples, sigma, potential.moves, rng)
    if source == "bonded":
        hessian = BondedHessian(potential).evaluate
    else:

        def hessian(configuration):
            return dense_hessian(potential, configuration)

    def hessians():
        for done, configuration in enumerate(configurations):
            yield hessian(configuration)
            if progress is not None:
                progress((done + 1) / len(configurations))

    return coupling_graph(hessians(), norm)


def _gaussian_network(potential: Potential, positions: np.ndarray) -> sp.csr_array:
    i, j, _ = near_pairs(positions, NETWORK_CUTOFF, potential.box())
    both = potential.moves[i] & potential.moves[j]
    i, j = np.concatenate([i[both], j[both]]), np.concatenate([j[both], i[both]])
    size = potential.num_particles
    return sp.coo_array((np.ones(len(i)), (i, j)), shape=(size, size)).tocsr()
