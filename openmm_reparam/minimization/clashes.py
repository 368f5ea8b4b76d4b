"""Starts that cannot be descended from: overlapping or collapsed atoms are pushed apart."""

from __future__ import annotations

import contextlib

import numpy as np

from ..errors import BudgetExhausted, EvaluationError, NonFiniteError
from ..potentials.collapse import TOO_NEAR
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..potentials.potential import COINCIDENT, Potential
from ..potentials.unbonded import UnbondedPairs

__all__ = ["evaluated_start"]

ROUNDS = 20
# How far (nm) atoms are parted that stand on one spot and do not interact: OpenMM's 0 times
# infinity is NaN there, and single precision holds (1 nm / r)^12 no nearer.
PARTED = 0.005


def evaluated_start(evaluator: Evaluator, positions: np.ndarray) -> Point:
    """Evaluate a start, moving overlapping atoms as little as a descent from there needs.

    Where the forces overflow, atoms of unbonded pairs nearer than 0.08 nm are moved apart along the
    line between them, up to that distance, round by round until everything is finite; atoms on one
    spot that do not interact are parted by 0.005 nm first. Pairs that have collapsed are moved
    apart too, though their energy is finite, if that leads out. What the force field finds finite
    otherwise is left as it is, whatever overlaps.

    Parameters
    ----------
    evaluator : Evaluator
    positions : (N, 3) array
        Finite, in nm.

    Returns
    -------
    Point
        With finite energy and forces.

    Raises
    ------
    EvaluationError
        OpenMM could not evaluate the start.
    NonFiniteError
        The energy or the forces are not finite and overlapping atoms are not the cause, or they
        cannot be pushed apart; names the pairs.
    """
    try:
        point = evaluator.evaluate(positions)
    except EvaluationError:
        raise
    except NonFiniteError as error:
        parted = _parted(evaluator.potential, positions)
        point = _relieved(evaluator, parted, error, parted is not positions)
    return _mended(evaluator, point)


def _parted(potential: Potential, positions: np.ndarray) -> np.ndarray:
    """Return positions in which no atoms that do not interact are on one spot."""
    known, pairs = potential.nonbonded, potential.coincident_pairs(positions)
    if known is None or not pairs:
        return positions
    i, j = np.array(pairs).T
    products, _, epsilons = known.of_pairs(i, j)
    idle = (products == 0) & (epsilons == 0)
    atoms = np.unique(np.concatenate([i[idle], j[idle]]))
    atoms = atoms[potential.moves[atoms]]
    directions = np.random.default_rng(0).normal(size=(len(atoms), 3))
    positions = np.array(positions)
    positions[atoms] += PARTED * directions / np.linalg.norm(directions, axis=1)[:, None]
    return positions


def _relieved(
    evaluator: Evaluator, positions: np.ndarray, cause: NonFiniteError, untried: bool
) -> Point:
    """Push apart everything that overlaps until the forces are finite."""
    if untried:
        with contextlib.suppress(NonFiniteError, BudgetExhausted):
            return evaluator.evaluate(positions)
    moves, check = evaluator.potential.moves, evaluator.collapse
    unbonded, named = UnbondedPairs(evaluator.potential), ""
    for _ in range(ROUNDS):
        i, j, vectors = unbonded.near(positions, TOO_NEAR)
        kept = moves[i] | moves[j]
        lengths = np.linalg.norm(vectors[kept], axis=1).tolist()
        pairs = list(zip(i[kept].tolist(), j[kept].tolist(), lengths, strict=True))
        pairs.sort(key=lambda pair: pair[2])
        if pairs and pairs[0][2] < COINCIDENT or not pairs and not named:
            # On one spot there is no direction in which to push.
            raise cause
        if not pairs:
            break
        named = named or check.named(pairs)
        positions = check.pushed_apart(positions, pairs)
        try:
            return evaluator.evaluate(positions)
        except NonFiniteError:
            continue
        except BudgetExhausted:
            break
    raise NonFiniteError(
        f"the forces overflow, and pushing overlapping atoms apart does not help: {named}. "
        "Rebuild or remove one of each pair (a ligand or a side chain on top of others, a solvent "
        "box packed too tightly, a box too small for what is in it).",
        cause.atoms,
    ) from cause


def _mended(evaluator: Evaluator, start: Point) -> Point:
    """Push collapsed pairs apart until there are none; the start itself where that fails."""
    point, check = start, evaluator.collapse
    with contextlib.suppress(NonFiniteError, BudgetExhausted):
        for _ in range(ROUNDS):
            pairs = check.pairs(point.positions)
            if not pairs:
                return point
            if pairs[0][2] < COINCIDENT:
                break
            point = evaluator.evaluate(check.pushed_apart(point.positions, pairs))
    return start
