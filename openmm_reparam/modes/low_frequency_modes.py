"""Low-frequency modes of a molecule's 3N x 3N Hessian, translations and rotations left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse.linalg import LinearOperator, lobpcg

from ..deprecated import forward_renamed
from ..geometry.rigid_motions import rigid_basis
from ..potentials.hessian import BondedHessian, dense_hessian, hessian_vector_product
from ..potentials.potential import Potential
from ..precon.preconditioner import Preconditioner
from .slow_modes import DENSE_LIMIT, SlowModes, hessian_modes

__all__ = ["lobpcg_modes", "low_frequency_modes", "rigid_motions"]

# LOBPCG stops where residuals are this small relative to the preconditioner's shift, or after so
# many iterations.
LOBPCG_TOLERANCE, LOBPCG_ITERATIONS = 1e-4, 60

# Names of the first version; removed in the version after the next.
__getattr__ = forward_renamed(
    __name__,
    {
        "lowest_modes": "modes.low_frequency_modes.lobpcg_modes",
        "nonrigid_modes": "modes.low_frequency_modes.low_frequency_modes",
    },
)


def low_frequency_modes(
    potential: Potential,
    positions: np.ndarray,
    count: int,
    *,
    source: str = "full",
    dense_limit: int = DENSE_LIMIT,
    seed: int = 0,
    progress=None,
) -> SlowModes:
    """Low-frequency modes of the Hessian: directions of least stiffness (without masses).

    Rigid motions are left out. Up to ``dense_limit`` coordinates the Hessian is made and
    diagonalized, so that modes of negative curvature are found too, ordered by magnitude. Above,
    LOBPCG finds them from Hessian-vector products (two evaluations each),
    preconditioned by the stiff terms, without ever forming a (3N, 3N) matrix.

    Parameters
    ----------
    potential : Potential
    positions : (N, 3) array
        In nm; a minimum, unless curvatures elsewhere are what is wanted.
    count : int
        At most as many are returned as there are.
    source : {"full", "bonded"}
        Hessian of the whole potential, or of the bonded terms alone.
    dense_limit : int
    seed : int
        Of LOBPCG's random start.
    progress : callable, optional
        Called with the share done, 0 to 1, while a dense Hessian is made.

    Returns
    -------
    SlowModes
        Eigenvalues in kJ/mol/nm^2, vectors (3N, count).

    References
    ----------
    Knyazev, SIAM J. Sci. Comput. 2001, 23, 517 (LOBPCG).

    Examples
    --------
    >>> from openmm_reparam import Potential, minimize_reparam
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> simulation = peptide("AAA").simulation("Reference")
    >>> _ = minimize_reparam(simulation, tolerance=0.01, reparametrization="spectral")
    >>> potential = Potential(simulation.context)
    >>> modes = low_frequency_modes(potential, potential.positions(), 5)
    >>> bool((modes.eigenvalues > 1).all())
    True
    """
    if source not in ("full", "bonded"):
        raise ValueError(f"source is {source!r}; it must be 'full' or 'bonded'")
    if count < 1:
        raise ValueError(f"{count} modes asked; ask for 1 or more")
    rigid = rigid_motions(potential, positions)
    if positions.size <= dense_limit:
        if source == "full":
            hessian = dense_hessian(potential, positions, progress=progress)
        else:
            hessian = BondedHessian(potential).evaluate(positions).toarray()
        # Away from a minimum rotations are no null vectors: projecting them out and putting them
        # above everything else removes exactly them, whatever the forces.
        complement = np.eye(positions.size) - rigid @ rigid.T
        top = np.abs(hessian).sum(axis=1).max()
        deflated = complement @ hessian @ complement + 2 * top * rigid @ rigid.T
        count = min(count, positions.size - rigid.shape[1])
        return hessian_modes(deflated, count, dense_limit=dense_limit)
    return _lobpcg_modes(potential, positions, count, source, rigid, seed)


def _lobpcg_modes(potential, positions, count, source, rigid, seed) -> SlowModes:
    preconditioner = Preconditioner(potential)
    preconditioner.update(positions)
    if source == "full":
        side = potential.side_potential()

        def times_hessian(block: np.ndarray) -> np.ndarray:
            products = [hessian_vector_product(side, positions, v) for v in np.atleast_2d(block.T)]
            return np.stack(products, axis=1)
    else:
        bonded = BondedHessian(potential).evaluate(positions)

        def times_hessian(block: np.ndarray) -> np.ndarray:
            return bonded @ block

    rng = np.random.default_rng(seed)
    values, vectors = lobpcg_modes(
        potential,
        preconditioner,
        rigid,
        count + 1,
        rng,
        times_hessian,
        LOBPCG_TOLERANCE,
        LOBPCG_ITERATIONS,
    )
    order = np.argsort(values)
    return SlowModes(values[order[:count]], vectors[:, order[:count]], float(values[order[-1]]))


def lobpcg_modes(
    potential: Potential,
    preconditioner: Preconditioner,
    rigid: np.ndarray,
    count: int,
    rng: np.random.Generator,
    times_hessian: Callable[[np.ndarray], np.ndarray],
    accuracy: float,
    max_iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Low-frequency modes by LOBPCG with a preconditioner.

    Parameters
    ----------
    potential : Potential
    preconditioner : Preconditioner
        Updated at the configuration.
    rigid : (3N, r) array
        Motions to be left out.
    count : int
    rng : numpy Generator
        Of the start.
    times_hessian : callable
        (3N, k) block -> H times it, in kJ/mol/nm^2 times the block's unit.
    accuracy : float
        Of residuals, relative to the preconditioner's shift.
    max_iterations : int

    Returns
    -------
    (count,) and (3N, count) arrays
        Eigenvalues in kJ/mol/nm^2 and vectors, in no order.
    """
    size = 3 * potential.num_particles

    def precondition(block: np.ndarray) -> np.ndarray:
        return np.stack(
            [preconditioner.solve(v.reshape(-1, 3)).ravel() for v in np.atleast_2d(block.T)], axis=1
        )

    moving = np.repeat(potential.moves, 3)[:, None]
    return lobpcg(
        LinearOperator((size, size), matvec=times_hessian, matmat=times_hessian, dtype=float),
        precondition(rng.standard_normal((size, count)) * moving),
        M=LinearOperator((size, size), matvec=precondition, matmat=precondition, dtype=float),
        Y=rigid if rigid.size else None,
        largest=False,
        tol=accuracy * preconditioner.shift,
        maxiter=max_iterations,
    )


def rigid_motions(potential: Potential, positions: np.ndarray) -> np.ndarray:
    """Orthonormal motions that leave a molecule's shape alone.

    Parameters
    ----------
    potential : Potential
    positions : (N, 3) array
        In nm.

    Returns
    -------
    (3N, k) array
        Three translations and, without a periodic box, the rotations (two of a linear molecule);
        none where massless atoms hold the molecule.
    """
    if not potential.moves[~potential.virtual_sites].all():
        return np.empty((positions.size, 0))
    periodic = potential.system.usesPeriodicBoundaryConditions()
    basis = rigid_basis(positions[potential.moves], rotations=not periodic)
    motions = np.zeros((positions.size, basis.shape[1]))
    motions[np.repeat(potential.moves, 3)] = basis
    return motions
