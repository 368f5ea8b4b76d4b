"""The manifold on which a System's distance constraints hold: tangent projection, retraction."""

from __future__ import annotations

import numpy as np
import qdldl
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from ..errors import NonFiniteError
from .potential import Potential

__all__ = ["ConstraintManifold", "constraint_manifold"]

# Constraints coupled in groups up to this many are solved as batches of dense blocks.
LARGEST_BLOCK = 24
# Redundant constraints (a rigid molecule held by more distances than it needs) make J J^T singular:
# it is factorized with this added, and the solution refined (proximal point iterations).
REGULARIZATION = 1e-7
# A block whose inverse has entries beyond this is taken for singular.
LARGEST_INVERSE = 1e6
REFINEMENTS = 2
# Newton's iterations after OpenMM has given up on constraints.
MAX_NEWTON = 20


def constraint_manifold(potential: Potential) -> ConstraintManifold | None:
    """Return the manifold of the constraints on atoms that move, or None if there are none."""
    pairs, _ = potential.constraints
    return ConstraintManifold(potential) if potential.moves[pairs].any() else None


class ConstraintManifold:
    """Positions that satisfy every constraint |x_i - x_j| = d between atoms that move.

    Projection solves (J J^T) lambda = J v with J the gradients of the constraints; blocks of
    coupled constraints (one water, one methyl group) are independent.

    Parameters
    ----------
    potential : Potential
        Of a System with at least one such constraint.

    Attributes
    ----------
    pairs : (M, 2) int array
    lengths : (M,) array
        In nm.
    tolerance : float
        Relative, the integrator's.
    """

    def __init__(self, potential: Potential) -> None:
        self._potential = potential
        self.tolerance = potential.context.getIntegrator().getConstraintTolerance()
        pairs, lengths = potential.constraints
        # OpenMM lets massless atoms share constraints, and leaves those alone.
        acting = potential.moves[pairs].any(axis=1)
        self.pairs, self.lengths = pairs[acting], lengths[acting]
        count = len(self.pairs)
        ones, index = np.ones(count), np.arange(count)
        incidence = sp.coo_array(
            (
                np.concatenate([ones, -ones]),
                (self.pairs.T.ravel(), np.concatenate([index, index])),
            ),
            shape=(potential.num_particles, count),
        )
        self._incidence = incidence.tocsr()
        self._differences = incidence.T.tocsr()
        # Shared atoms couple constraints: +1 where they enter with equal sign, -1 with opposite.
        coupling = (self._differences @ self._incidence).tocsr()
        self._blocks = []
        labels = connected_components(coupling, directed=False)[1]
        order = np.argsort(labels, kind="stable")
        sizes = np.bincount(labels)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        for size in np.unique(sizes[sizes <= LARGEST_BLOCK]):
            members = order[starts[sizes == size][:, None] + np.arange(size)]
            signs = np.asarray(
                coupling[
                    np.repeat(members, size, axis=1).ravel(), np.tile(members, (1, size)).ravel()
                ]
            ).reshape(-1, size, size)
            self._blocks.append((members, signs))
        self._large = np.flatnonzero(sizes[labels] > LARGEST_BLOCK)
        self._large_signs = coupling[self._large][:, self._large].tocoo()
        self._factorized_at = np.empty(0)

    def errors(self, positions: np.ndarray) -> np.ndarray:
        """Relative errors of the constraints, (M,), at (N, 3) positions in nm."""
        with np.errstate(over="ignore", invalid="ignore"):
            distances = np.linalg.norm(self._differences @ positions, axis=1)
            errors = np.abs(distances - self.lengths) / self.lengths
        return np.nan_to_num(errors, nan=np.inf)

    def project(self, positions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Part of (N, 3) vectors that leaves every constraint unchanged to first order."""
        self._factorize(positions)
        directions = self._directions
        multipliers = self._solve(np.einsum("ci,ci->c", directions, self._differences @ vectors))
        return vectors - self._incidence @ (multipliers[:, None] * directions)

    def retract(self, positions: np.ndarray) -> np.ndarray:
        """Nearby positions, (N, 3) in nm, that satisfy the constraints.

        Raises
        ------
        NonFiniteError
            OpenMM could not satisfy them: the positions are too far away.
        """
        self._potential.refuse_non_finite(positions)
        retracted = self._potential.apply_constraints(positions, self.tolerance)
        errors = self.errors(retracted)
        if not errors.max() <= self.tolerance:
            # OpenMM's solver diverges on redundant constraints, and on some long steps.
            retracted, errors = self._newton(positions)
        if not errors.max() <= self.tolerance:
            worst = int(np.argmax(errors))
            i, j = (int(a) for a in self.pairs[worst])
            raise NonFiniteError(
                "OpenMM could not satisfy the constraint between "
                f"{self._potential.label(i)} and {self._potential.label(j)}: the atoms are too "
                "far from where the constraint wants them.",
                (i, j),
            )
        return retracted

    def _newton(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Move along the constraints' gradients until they hold; positions, relative errors."""
        for _ in range(MAX_NEWTON):
            errors = self.errors(positions)
            if errors.max() <= self.tolerance or not np.isfinite(errors).all():
                break
            self._factorize(positions)
            distances = np.linalg.norm(self._differences @ positions, axis=1)
            multipliers = self._solve(distances - self.lengths)
            positions = positions - self._incidence @ (multipliers[:, None] * self._directions)
        return positions, errors

    def _factorize(self, positions: np.ndarray) -> None:
        if np.array_equal(self._factorized_at, positions):
            return
        differences = self._differences @ positions
        lengths = np.linalg.norm(differences, axis=1)[:, None]
        # Atoms on one spot have no direction: nothing is done along their constraint.
        self._directions = differences / np.maximum(lengths, np.finfo(float).tiny)
        self._inverses = []
        for members, signs in self._blocks:
            unit = self._directions[members]
            self._inverses.append(_inverses(signs * (unit @ unit.transpose(0, 2, 1))))
        if len(self._large):
            unit, entries = self._directions[self._large], self._large_signs
            gram = entries.data * np.einsum("ci,ci->c", unit[entries.row], unit[entries.col])
            self._large_gram = sp.csr_array((gram, (entries.row, entries.col)), entries.shape)
            shifted = self._large_gram + REGULARIZATION * sp.eye_array(len(self._large))
            self._factors = qdldl.Solver(sp.csc_matrix(shifted))
        self._factorized_at = np.array(positions)

    def _solve(self, right: np.ndarray) -> np.ndarray:
        """Solve (J J^T) lambda = right."""
        solution = np.zeros_like(right)
        for (members, _), inverses in zip(self._blocks, self._inverses, strict=True):
            solution[members] = np.einsum("bij,bj->bi", inverses, right[members])
        if len(self._large):
            part = np.zeros(len(self._large))
            for _ in range(1 + REFINEMENTS):
                part += self._factors.solve(right[self._large] - self._large_gram @ part)
            solution[self._large] = part
        return solution


def _inverses(grams: np.ndarray) -> np.ndarray:
    """Inverses of (B, m, m) blocks of J J^T; pseudo-inverses of those that are singular."""
    with np.errstate(all="ignore"):
        try:
            inverses = _inverse_of_three(grams) if grams.shape[1] == 3 else np.linalg.inv(grams)
        except np.linalg.LinAlgError:
            inverses = np.full_like(grams, np.inf)
    if not np.abs(inverses).max() < LARGEST_INVERSE:
        singular = ~(np.abs(inverses).max(axis=(1, 2)) < LARGEST_INVERSE)
        gram = grams[singular]
        regular = np.linalg.inv(gram + REGULARIZATION * np.eye(gram.shape[1]))
        refined = regular
        for _ in range(REFINEMENTS):
            refined = refined + regular - regular @ (gram @ refined)
        inverses[singular] = refined
    return inverses


def _inverse_of_three(matrices: np.ndarray) -> np.ndarray:
    """Inverses of (B, 3, 3) matrices by cofactors: waters are most of what there is to invert."""
    a, b, c = matrices.transpose(1, 0, 2)
    cofactors = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=2)
    return cofactors / np.einsum("bi,bi->b", a, cofactors[:, :, 0])[:, None, None]
