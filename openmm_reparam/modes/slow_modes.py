"""Slow modes of a molecule: slowest eigenpairs of its coupling graph's Laplacian, or of a Hessian.

The method is that of Dehmamy, Both, Mohapatra, Das, Jaakkola, "Neural network reparametrization
for accelerated optimization in molecular simulations", NeurIPS 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, lobpcg, splu

from ..deprecated import forward_renamed
from ..potentials.bonded import coupling_pattern
from ..potentials.potential import Potential
from ..units import whole_number
from .coupling_graph import laplacian, molecular_coupling_graph

__all__ = [
    "SlowModes",
    "hessian_modes",
    "molecular_slow_modes",
    "principal_angles",
    "slow_modes",
]

# Matrices up to this many rows are diagonalized densely (seconds at most).
DENSE_LIMIT = 3000
# Atoms up to which a dense Hessian is made without being asked for.
FULL_LIMIT = 500

# Names of the first version; removed in the version after the next.
__getattr__ = forward_renamed(
    __name__,
    {
        "backbone": "modes.coupling_graph.coupling_graph",
        "molecular_backbone": "modes.coupling_graph.molecular_coupling_graph",
        "perturbed_configurations": "modes.coupling_graph.perturbed_configurations",
    },
)


@dataclass(frozen=True)
class SlowModes:
    """The slowest eigenpairs of a symmetric matrix.

    Attributes
    ----------
    eigenvalues : (k,) array
        By increasing magnitude.
    vectors : (n, k) array
        Orthonormal columns; n is N for a Laplacian and 3N for a Hessian.
    next_eigenvalue : float
        The (k+1)-th, the slowest that is left out; the k-th where there are no more.
    """

    eigenvalues: np.ndarray
    vectors: np.ndarray
    next_eigenvalue: float

    def __len__(self) -> int:
        return len(self.eigenvalues)


def number_of_modes(size: int, count: int | None, fraction: float | None) -> int:
    """Turn a count or a fraction of ``size`` into a number of modes, checked."""
    if (count is None) == (fraction is None):
        raise ValueError("give either count or fraction, not both")
    if fraction is not None:
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction is {fraction}; it must be above 0 and at most 1")
        return max(1, round(fraction * size))
    number = int(whole_number(count, "count", 1))
    if number > size:
        raise ValueError(f"{count} modes asked of {size}; ask for 1 to {size}")
    return number


def slow_modes(
    matrix,
    count: int | None = None,
    *,
    fraction: float | None = None,
    threshold: float | None = None,
    dense_limit: int = DENSE_LIMIT,
    seed: int = 0,
) -> SlowModes:
    r"""Eigenpairs of smallest magnitude of a symmetric matrix.

    Parameters
    ----------
    matrix : (n, n) array or sparse array
        A Laplacian or a Hessian. Above ``dense_limit`` rows it should be sparse and positive
        semi-definite (as a Laplacian is); LOBPCG then finds its lowest eigenpairs.
    count : int, optional
        How many. Give one of ``count``, ``fraction`` (of n) and ``threshold``.
    fraction : float, optional
    threshold : float, optional
        eps: those with \\|lambda\\| < eps^2 max\\|lambda\\|. Dense matrices only.
    dense_limit : int
        Up to this many rows the matrix is diagonalized densely.
    seed : int
        Of LOBPCG's random start.

    Returns
    -------
    SlowModes

    Raises
    ------
    ValueError
        No or several of the three given, or out of range; a threshold for a large matrix.
    """
    size = matrix.shape[0]
    if (count is not None) + (fraction is not None) + (threshold is not None) != 1:
        raise ValueError("give exactly one of count, fraction and threshold")
    if threshold is not None:
        if size > dense_limit:
            raise ValueError(
                f"a threshold needs every eigenvalue of a {size} x {size} matrix; "
                "give count or fraction instead"
            )
        return _dense_modes(matrix, size, threshold)
    number = number_of_modes(size, count, fraction)
    if size <= dense_limit:
        return _dense_modes(matrix, number, None)
    return _lobpcg_modes(matrix, number, seed)


def _dense_modes(matrix, count: int, threshold: float | None) -> SlowModes:
    dense = matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
    values, vectors = scipy.linalg.eigh(dense)
    order = np.argsort(np.abs(values), kind="stable")
    if threshold is not None:
        slow = np.abs(values) < threshold**2 * np.abs(values).max()
        count = int(slow.sum())
        if not count:
            raise ValueError(f"no eigenvalue lies below threshold^2 = {threshold**2:g} of the max")
    chosen = order[:count]
    following = order[min(count, len(order) - 1)]
    return SlowModes(values[chosen], vectors[:, chosen], float(values[following]))


def _lobpcg_modes(matrix, count: int, seed: int) -> SlowModes:
    size = matrix.shape[0]
    matrix = sp.csr_array(matrix)
    # A shifted inverse as preconditioner: the Laplacian is singular, its shift is not.
    scale = np.abs(matrix.diagonal()).mean() or 1.0
    shifted = sp.csc_matrix(matrix + 1e-6 * scale * sp.eye_array(size))
    factors = splu(
        shifted,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    inverse = LinearOperator((size, size), matvec=factors.solve, matmat=factors.solve)
    wanted = min(count + 1, size)
    start = np.random.default_rng(seed).standard_normal((size, wanted))
    values, vectors = lobpcg(
        matrix, start, M=inverse, largest=False, tol=1e-8 * scale * np.sqrt(size), maxiter=100
    )
    order = np.argsort(np.abs(values), kind="stable")
    chosen = order[:count]
    return SlowModes(values[chosen], vectors[:, chosen], float(values[order[-1]]))


def molecular_slow_modes(
    potential: Potential,
    positions: np.ndarray,
    count: int | None = None,
    *,
    fraction: float | None = None,
    threshold: float | None = None,
    source: str = "auto",
    **graph_settings,
) -> SlowModes:
    """Slow modes of a molecule's coupling graph.

    Molecules of up to three atoms (waters, ions) have no slow modes of their own and would fill
    the null space of the Laplacian: they are left out wherever larger molecules are present.

    Parameters
    ----------
    potential : Potential
    positions : (N, 3) array
        In nm.
    count, fraction, threshold
        See `slow_modes`; a fraction is one of all N, and no more modes are returned than the
        larger molecules have.
    source : {"auto", "bonded", "full", "network"}
        See `molecular_coupling_graph`; "auto" is "bonded", or where nothing is bonded "full" for up
        to 500 atoms and "network" for more.
    **graph_settings
        ``samples``, ``sigma``, ``norm``, ``rng`` of `molecular_coupling_graph`.

    Returns
    -------
    SlowModes
        Vectors of shape (N, k).

    Examples
    --------
    >>> from openmm_reparam.potentials.potential import Potential
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> potential = Potential(peptide("AAA").simulation("CPU").context)
    >>> modes = molecular_slow_modes(potential, potential.positions(), 6)
    >>> modes.vectors.shape == (potential.num_particles, 6)
    True
    """
    if source == "auto":
        pattern = coupling_pattern(potential.system, potential.moves, potential.groups)
        unbonded = "full" if potential.num_particles <= FULL_LIMIT else "network"
        source = "bonded" if pattern.nnz > potential.moves.sum() else unbonded
    couplings = molecular_coupling_graph(potential, positions, source=source, **graph_settings)
    molecules = connected_components(sp.csr_array(couplings), directed=False)[1]
    large = np.flatnonzero(np.bincount(molecules)[molecules] > 3)
    if not len(large):
        large = np.flatnonzero(potential.moves)
    if threshold is None:
        count = min(number_of_modes(len(positions), count, fraction), len(large))
    modes = slow_modes(laplacian(couplings[large][:, large]), count, threshold=threshold)
    vectors = np.zeros((len(positions), len(modes)))
    vectors[large] = modes.vectors
    return SlowModes(modes.eigenvalues, vectors, modes.next_eigenvalue)


def hessian_modes(
    hessian, count: int, *, rigid: int = 0, dense_limit: int = DENSE_LIMIT
) -> SlowModes:
    """Slowest modes of a (3N, 3N) Hessian, the first ``rigid`` ones left out.

    Parameters
    ----------
    hessian : (3N, 3N) array or sparse array
        In kJ/mol/nm^2.
    count : int
    rigid : int
        Translations and rotations of a minimized molecule: 6; 0 keeps them.
    dense_limit : int
        See `slow_modes`.

    Returns
    -------
    SlowModes
        Vectors of shape (3N, count).
    """
    modes = slow_modes(hessian, min(count + rigid, hessian.shape[0]), dense_limit=dense_limit)
    return SlowModes(modes.eigenvalues[rigid:], modes.vectors[:, rigid:], modes.next_eigenvalue)


def principal_angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Principal angles, in degrees and increasing, between the spans of two (n, k) bases."""
    return np.degrees(np.sort(scipy.linalg.subspace_angles(first, second)))
