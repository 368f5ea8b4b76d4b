"""Hessians of OpenMM potentials by central finite differences of the forces."""

from __future__ import annotations

import os

import networkx as nx
import numpy as np
import scipy.sparse as sp

from .bonded import bonded_potential, coupling_pattern
from .potential import Potential

__all__ = [
    "BondedHessian",
    "ColouredHessian",
    "dense_hessian",
    "hessian_vector_product",
]

# nm. Truncation errs by (step^2 / 6) u''''/u'', about 1e-6 for a Lennard-Jones contact; rounding
# of double precision forces stays far below that.
STEP = 5e-5


def require_memory(num_bytes: float, what: str, instead: str) -> None:
    """Raise MemoryError, with the size, for what takes over half of this machine's memory."""
    if not hasattr(os, "sysconf"):  # Windows: the allocation itself will tell
        return
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if num_bytes > physical / 2:
        raise MemoryError(
            f"{what} needs {num_bytes / 2**30:.1f} GiB, over half of this machine's "
            f"{physical / 2**30:.1f} GiB; {instead}"
        )


def dense_hessian(
    potential: Potential,
    positions: np.ndarray,
    *,
    step: float = STEP,
    side: bool = True,
    progress=None,
) -> np.ndarray:
    """Hessian of the whole potential by central differences: 6 force evaluations a moving atom.

    Parameters
    ----------
    potential : Potential
    positions : (N, 3) array
        In nm.
    step : float
        Displacement in nm.
    side : bool
        Evaluate on a side Context in double precision (Reference platform), as differences of
        single precision forces are mostly noise. False uses the potential's own Context.
    progress : callable, optional
        Called with the share done, 0 to 1.

    Returns
    -------
    (3N, 3N) float64 array
        In kJ/mol/nm^2, symmetrized; zero in rows and columns of atoms that do not move.

    Raises
    ------
    MemoryError
        The matrix would take more than half of the memory; the message gives the size.
    NonFiniteError
        A displaced configuration has a non-finite energy or force.

    Examples
    --------
    >>> import numpy as np
    >>> from openmm_reparam.potentials.potential import Potential
    >>> from openmm_reparam.testsystems import lennard_jones_cluster
    >>> potential = Potential(lennard_jones_cluster(13, seed=0).simulation("Reference").context)
    >>> hessian = dense_hessian(potential, potential.positions())
    >>> hessian.shape, potential.counter.total == 6 * 13
    ((39, 39), True)
    """
    size = 3 * potential.num_particles
    require_memory(
        8 * size**2 * 2,
        f"a dense Hessian of {size} coordinates",
        "use the bonded (coloured, sparse) Hessian or Hessian-vector products.",
    )
    if side:
        potential = potential.side_potential()
    hessian = np.zeros((size, size))
    displaced = np.array(positions, dtype=np.float64)
    flat = displaced.reshape(-1)
    coordinates = _moving_coordinates(potential)
    potential.counter.require(2 * len(coordinates))
    for done, c in enumerate(coordinates):
        start = flat[c]
        flat[c] = start + step
        forward = potential.evaluate(displaced)[1]
        flat[c] = start - step
        backward = potential.evaluate(displaced)[1]
        flat[c] = start
        hessian[c] = ((backward - forward) / (2 * step)).reshape(-1)
        if progress is not None:
            progress((done + 1) / len(coordinates))
    return (hessian + hessian.T) / 2


def hessian_vector_product(
    potential: Potential, positions: np.ndarray, vector: np.ndarray, *, step: float = STEP
) -> np.ndarray:
    """Product of the Hessian with a vector, from two force evaluations.

    Parameters
    ----------
    potential : Potential
        Evaluated as it is: give it a double precision platform, or `Potential.side_potential`.
    positions : (N, 3) array
        In nm.
    vector : (N, 3) or (3N,) array
        The components of atoms that do not move are ignored.
    step : float
        The largest displacement of an atom's coordinate, in nm.

    Returns
    -------
    array of the shape of ``vector``
        In kJ/mol/nm^2 times the unit of ``vector``.
    """
    direction = np.where(potential.moves[:, None], np.reshape(vector, (-1, 3)), 0.0)
    largest = np.abs(direction).max()
    if largest == 0:
        return np.zeros_like(vector, dtype=np.float64)
    scale = step / largest
    forward = potential.evaluate(positions + scale * direction)[1]
    backward = potential.evaluate(positions - scale * direction)[1]
    return ((backward - forward) / (2 * scale)).reshape(np.shape(vector))


class ColouredHessian:
    """Sparse Hessian of a potential whose terms couple few atoms, by graph colouring.

    Atoms that no atom feels both of are displaced together, so that the number of evaluations is
    6 times the number of colours, whatever the number of atoms is.

    Parameters
    ----------
    potential : Potential
        Double precision; its forces must couple only the atoms of ``pattern``.
    pattern : (N, N) sparse bool array
        Symmetric, with the diagonal; see `coupling_pattern`.
    step : float
        In nm.

    Attributes
    ----------
    colours : (N,) int array
        -1 on atoms that do not move.
    num_evaluations : int
        Force evaluations each call costs.

    References
    ----------
    Curtis, Powell, Reid, "On the estimation of sparse Jacobian matrices",
    J. Inst. Math. Appl. 1974, 13, 117.
    """

    def __init__(
        self,
        potential: Potential,
        pattern: sp.csr_array,
        *,
        step: float = STEP,
    ) -> None:
        self.potential = potential
        self.step = step
        entries = pattern.tocoo()
        self._rows, self._columns = entries.row, entries.col
        self.colours = _colours(pattern, potential.moves)
        self.num_evaluations = 6 * int(self.colours.max(initial=-1) + 1)

    def evaluate(self, positions: np.ndarray) -> sp.csr_array:
        """Hessian at (N, 3) positions in nm: sparse (3N, 3N), kJ/mol/nm^2, symmetric."""
        self.potential.counter.require(self.num_evaluations)
        size = 3 * self.potential.num_particles
        blocks = np.empty((len(self._rows), 3, 3))
        entries_of_colour = [
            np.flatnonzero(self.colours[self._columns] == colour)
            for colour in range(self.num_evaluations // 6)
        ]
        for colour, entries in enumerate(entries_of_colour):
            rows = self._rows[entries]
            members = self.colours == colour
            for axis in range(3):
                displacement = np.zeros_like(positions)
                displacement[members, axis] = self.step
                forward = self.potential.evaluate(positions + displacement)[1][rows]
                backward = self.potential.evaluate(positions - displacement)[1][rows]
                blocks[entries, :, axis] = (backward - forward) / (2 * self.step)
        three = np.arange(3)
        rows = np.broadcast_to((3 * self._rows[:, None] + three)[:, :, None], blocks.shape)
        columns = np.broadcast_to((3 * self._columns[:, None] + three)[:, None, :], blocks.shape)
        hessian = sp.coo_array(
            (blocks.ravel(), (rows.ravel(), columns.ravel())), shape=(size, size)
        ).tocsr()
        return ((hessian + hessian.T) / 2).tocsr()


class BondedHessian:
    """Hessian of a System's bonded forces, constraints counted as stiff springs.

    Milliseconds where the dense Hessian costs 6N evaluations of everything; it holds the stiff
    terms and the chain's connectivity, and nothing of the non-bonded forces.

    Parameters
    ----------
    potential : Potential
        Of the whole System; its counter counts the evaluations as "bonded".
    step : float
        In nm.

    Attributes
    ----------
    num_evaluations : int
        Evaluations of the bonded forces each call costs.

    Examples
    --------
    >>> from openmm_reparam.potentials.potential import Potential
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> potential = Potential(peptide("AAA").simulation("CPU").context)
    >>> hessian = BondedHessian(potential).evaluate(potential.positions())
    >>> hessian.shape == (3 * potential.num_particles,) * 2, potential.counter.context
    (True, 0)
    """

    def __init__(self, potential: Potential, *, step: float = STEP) -> None:
        self._whole = potential
        self._bonded = bonded_potential(potential)
        pattern = coupling_pattern(potential.system, potential.moves, potential.groups)
        self._coloured = ColouredHessian(self._bonded, pattern, step=step)
        self.num_evaluations = self._coloured.num_evaluations

    def evaluate(self, positions: np.ndarray) -> sp.csr_array:
        """Hessian at (N, 3) positions in nm: sparse (3N, 3N), kJ/mol/nm^2, symmetric."""
        self._bonded.follow(self._whole)
        return self._coloured.evaluate(positions)


def _moving_coordinates(potential: Potential) -> np.ndarray:
    return (3 * np.flatnonzero(potential.moves)[:, None] + np.arange(3)).ravel()


def _colours(pattern: sp.csr_array, moves: np.ndarray) -> np.ndarray:
    """Colour atoms so that no two of one colour share a neighbour in the pattern."""
    counted = pattern.astype(np.int32)
    conflicts = nx.from_scipy_sparse_array(sp.triu(counted @ counted, k=1))
    colours = np.full(pattern.shape[0], -1)
    for atom, colour in nx.greedy_color(conflicts, strategy="largest_first").items():
        colours[atom] = colour
    colours[~moves] = -1
    # Atoms that do not move are isolated in the pattern: their colour 0 is not theirs alone.
    return colours
