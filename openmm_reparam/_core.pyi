"""The compiled core. OpenMM's objects are given by their addresses, see `compiled.address`."""

from collections.abc import Callable

import numpy as np

from .optimizers.coordinates import Coordinates, Projection
from .optimizers.metric import Metric
from .potentials.point import Point

def particles(system: int) -> tuple[np.ndarray, np.ndarray]:
    """Masses (N,) in daltons, and which particles are virtual sites (N,) uint8."""

def constraints(system: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (M, 2) and distances (M,) in nm."""

def virtual_sites(system: int) -> tuple[np.ndarray, np.ndarray]:
    """(site, parent) pairs of all virtual sites, (S, 2), and how far a site follows that, (S,)."""

def bonded_terms(force: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Particles (T, n) and parameters (T, p) of a bonded force's terms; None of other forces."""

def nonbonded(force: int, globals: dict[str, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a NonbondedForce: particles (N, 3), exceptions' pairs (E, 2) and parameters (E, 3)."""

def exclusions(force: int) -> np.ndarray:
    """Excluded pairs (E, 2) of a CustomNonbondedForce."""

class PairSet:
    """Unordered pairs of particles."""

    def __init__(self, pairs: np.ndarray, size: int) -> None:
        """Take (P, 2) pairs of particles below ``size``."""

    def find(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Places (n,) of pairs among those given, -1 of pairs that are none of them."""

def near_pairs(
    positions: np.ndarray,
    cutoff: float,
    box: np.ndarray | None,
    excluded: PairSet | None = None,
    names: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `geometry.neighbors.near_pairs`."""

class Contacts:
    """Positive curvature of Lennard-Jones and Coulomb pairs that stand close.

    Particles (N, 3) have charges, sigmas and epsilons, molecules (N,) and flags (N,) that say
    whether they may be coupled and whether they move. Pairs that are excluded are no contacts,
    exceptions (E, 2) have parameters (E, 3) of their own. Virtual sites follow parents, (S, 2)
    pairs, by these weights (S,).
    """

    def __init__(
        self,
        particles: np.ndarray,
        molecules: np.ndarray,
        couples: np.ndarray,
        moves: np.ndarray,
        excluded: PairSet,
        pairs: np.ndarray,
        exceptions: np.ndarray,
        sites: np.ndarray,
        weights: np.ndarray,
    ) -> None: ...
    def evaluate(
        self, positions: np.ndarray, box: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Blocks (N, 3, 3), pairs (C, 2) that may be coupled, and curvatures (C, 5) of these."""

class StiffTerms:
    """Bonds, angles or torsions of one kind, whose second derivatives are known."""

    atoms: np.ndarray
    """Of each row, (R, w)."""

    def rows(self, positions: np.ndarray, box: np.ndarray | None) -> np.ndarray:
        """See `precon.stiff_terms.StiffTerms.rows`."""

def force_terms(force: int) -> list[StiffTerms]:
    """Terms of a force; none where they are not known in closed form."""

def constraint_terms(system: int) -> list[StiffTerms]:
    """Return a System's constraints, as springs."""

def distances(ij: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See `geometry.internal_coordinates`, as for the next two."""

def angles(ij: np.ndarray, kj: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
def dihedrals(ij: np.ndarray, kj: np.ndarray, kl: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...

MAX_SHIFT: float
"""No `MoleculeFactors` have a larger shift, kJ/mol/nm^2."""

class MoleculeAssembler:
    """Sums up the stiffness of terms, contacts and given matrices, molecule by molecule."""

    molecules: np.ndarray
    """Label of each atom's molecule, (N,), as far as terms bond it."""
    large: np.ndarray
    """Whether contacts may couple each atom, (N,) uint8."""

    def __init__(
        self, moves: np.ndarray, terms: list[np.ndarray], coupled: list[np.ndarray]
    ) -> None:
        """Take which atoms move, (N,), atoms (T, w) of the terms of every kind, and of others."""

    def assemble(
        self,
        rows: list[np.ndarray],
        blocks: np.ndarray,
        pairs: np.ndarray,
        curvatures: np.ndarray,
        other_pairs: np.ndarray,
        other_blocks: np.ndarray,
    ) -> MoleculeStiffness:
        """Sum up rows (T, w, 3), blocks (N, 3, 3), contacts, and other blocks (K, 3, 3)."""

class MoleculeStiffness:
    """A positive semi-definite matrix, kJ/mol/nm^2."""

    operations: float
    """Products of blocks that a factorization of its sparse part takes."""

    def blocks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows (K,), columns (K,) and values (K, 3, 3)."""

    def factorize(self, shift: float) -> MoleculeFactors | None:
        """Factorize with the smallest shift from this on that is enough; None if none is."""

class MoleculeFactors:
    """The inverse of a stiffness with a shift of its diagonal."""

    shift: float

    def solve(self, vectors: np.ndarray) -> np.ndarray:
        """Solve for (N, 3) vectors; zero on atoms that do not move."""

def set_positions(context: int, positions: np.ndarray, virtual_sites: bool) -> None:
    """Set (N, 3) positions in nm, and virtual sites by their parents where asked for."""

def positions(context: int) -> np.ndarray:
    """Return (N, 3) positions in nm, never wrapped into the box."""

def box(context: int) -> np.ndarray:
    """Return the periodic box vectors (3, 3) in nm."""

def evaluate(
    context: int,
    positions: np.ndarray,
    groups: int,
    virtual_sites: bool,
    moves: np.ndarray | None,
) -> tuple[float, np.ndarray, float]:
    """Return the energy in kJ/mol and forces (N, 3) in kJ/mol/nm of force groups, a bit mask.

    Forces are zero on atoms that do not move, (N,) bool; the last number is their largest
    component, infinite where one is not finite.
    """

def constrained(
    context: int, positions: np.ndarray, tolerance: float, virtual_sites: bool
) -> np.ndarray:
    """Positions (N, 3) in nm after OpenMM has satisfied the constraints."""

class Constraints:
    """Distances that are held between pairs of particles."""

    def __init__(self, pairs: np.ndarray, lengths: np.ndarray, size: int) -> None:
        """Take pairs (M, 2) of particles below ``size`` and lengths (M,) in nm."""

    def errors(self, positions: np.ndarray) -> np.ndarray:
        """Relative errors (M,), infinite where they are not numbers."""

    def project(self, positions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Part of (N, 3) vectors that changes no constraint to first order."""

    def retract(
        self, context: int, positions: np.ndarray, tolerance: float, virtual_sites: bool
    ) -> tuple[np.ndarray, float, int]:
        """See `Potential.retract`."""

class CollapseCheck:
    """See `potentials.collapse.CollapseCheck`.

    Particles (N, 3) have charges, sigmas and epsilons, or there are none; exceptions (E, 2) have
    parameters (E, 3) of their own.
    """

    def __init__(
        self,
        particles: np.ndarray | None,
        exception_pairs: np.ndarray,
        exceptions: np.ndarray,
        excluded: PairSet,
        moves: np.ndarray,
        movable: np.ndarray,
    ) -> None: ...
    def pairs(
        self,
        positions: np.ndarray,
        before: np.ndarray | None,
        box: np.ndarray | None,
        cutoff: float,
        unknown: bool,
    ) -> list[tuple[int, int, float]]:
        """Return collapsed pairs, the nearest first."""

    def sound(self, positions: np.ndarray, forces: np.ndarray, box: np.ndarray | None) -> bool:
        """Return whether no known pair has collapsed."""

    def refuses(
        self,
        energy_before: float,
        before: np.ndarray,
        energy_after: float,
        after: np.ndarray,
        forces: np.ndarray,
        promised: float,
        box: np.ndarray | None,
    ) -> bool:
        """Return whether a step leads into a collapse."""

def largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest absolute difference of two arrays of one size."""

def all_finite(numbers: np.ndarray) -> bool:
    """Return whether all of an array's numbers are finite."""

class TorsionMotions:
    """How torsions move atoms; see `search.torsion_kinematics.TorsionKinematics`."""

    def __init__(
        self,
        axes: np.ndarray,
        parents: np.ndarray,
        order: np.ndarray,
        ranges: np.ndarray,
        innermost: np.ndarray,
    ) -> None:
        """Take what `search.torsions.TorsionTopology` has under these names."""

    def jacobian(self, positions: np.ndarray, chosen: np.ndarray, atoms: np.ndarray) -> np.ndarray:
        """Return the derivatives of n atoms by t torsions, (n, 3, t)."""

    def first_order(self, positions: np.ndarray, angles: np.ndarray) -> np.ndarray:
        """Displacements (N, 3) by rotations of all torsions, to first order."""

    def torques(self, positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """Torques (T,) of (N, 3) forces."""

    def rotated(self, positions: np.ndarray, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (N, 3) after rotations of all torsions, and frames (N, 3, 3)."""

class TorsionCoordinates:
    """See `search.torsion_coordinates.TorsionCoordinates`; frames are (N, 3, 3)."""

    def __init__(self, motions: TorsionMotions) -> None: ...
    def moved(
        self, frames: np.ndarray, positions: np.ndarray, step: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Positions and frames after a step."""

    def forces(self, frames: np.ndarray, positions: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """Torques, and forces along the frames."""

    def into_space(self, frames: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Return a vector with its displacements along the axes of space, not of the frames."""

    def out_of_space(self, frames: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Return a vector with its displacements along the frames, not the axes of space."""

    def longest(self, frames: np.ndarray, positions: np.ndarray, step: np.ndarray) -> float:
        """How far a step moves any atom, to first order."""

MIN_TORSION_STIFFNESS: float
"""Stiffness that all motions by torsions have at least, kJ/mol/nm^2 of each atom's."""
TORSION_RIDGE: float
"""Share of the largest stiffness that is added to that of every torsion."""

class TorsionMetric:
    """Stiffness of all torsions, and its inverse."""

    stiffness: np.ndarray
    """That of the last update, (T, T) in kJ/mol/radian^2."""

    def __init__(self, motions: TorsionMotions) -> None: ...
    def update(self, positions: np.ndarray, stiffness: MoleculeStiffness) -> bool:
        """Return whether it could be factorized; if not, the factors before stay in use."""

    def raise_shift(self) -> bool:
        """Make torsions stiffer tenfold, until the next update; the same return."""

    def solve(self, torques: np.ndarray) -> np.ndarray:
        """Return the inverse times (T,) torques."""

class Landscape:
    """What an L-BFGS descends on; see `optimizers.lbfgs.Descent`.

    Without coordinates, steps are displacements of the atoms, of these molecules (N,); those of two
    to six atoms that all turn (N,) do so as a whole.
    Vectors along `TorsionCoordinates` do not pass through Python, nor through the metric where its
    ``torsions`` and ``factors`` are of this module.
    """

    def __init__(
        self,
        evaluate: Callable[[np.ndarray], Point],
        coordinates: Coordinates | TorsionCoordinates | None,
        metric: Metric | None,
        project: Projection | None,
        refuses: Callable[[Point, Point, float], bool] | None,
        noise: Callable[[float], float],
        molecules: np.ndarray | None,
        turning: np.ndarray | None = None,
    ) -> None: ...

class LbfgsState:
    """Where an L-BFGS stands between two steps: all that it goes on from. It can be pickled."""

    point: Point
    failures: int
    """Line searches in a row that have failed."""

    def __init__(
        self,
        landscape: Landscape,
        start: Point,
        memory: int,
        max_step: float,
        largest_step: float,
        refresh: tuple[int, int] | None,
    ) -> None: ...
    def step(self, landscape: Landscape) -> Point:
        """Take one step; see `optimizers.lbfgs.lbfgs_step`."""

def longest(vectors: np.ndarray) -> float:
    """Return the largest length of (N, 3) vectors."""

def longest_within(vectors: np.ndarray, molecules: np.ndarray | None) -> float:
    """Return that relative to the mean of each molecule, (N,) labels from 0."""

def dot(a: np.ndarray, b: np.ndarray) -> float:
    """Inner product of two arrays of one size."""

def local_minimize(
    context: int, tolerance: float, max_iterations: int
) -> tuple[bool, str, float, float, float, int, int]:
    """Minimize as C++ programs do, see ``LocalMinimizer.h``; return its result's fields.

    The tolerance is in kJ/mol/nm; 0 iterations mean no limit.
    """
