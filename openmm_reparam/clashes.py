"""Atoms so close that their forces overflow: pushed apart until every force is finite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .contacts import unbonded_pairs
from .errors import BudgetExhausted, NonFiniteError
from .optimizers.lbfgs import Point
from .potential import COINCIDENT, Potential

__all__ = ["relieve_clashes"]

# Pairs nearer than this (nm) are pushed apart: no two atoms that feel each other belong there.
NEAREST = 0.08
ROUNDS = 20


def relieve_clashes(
    potential: Potential, evaluate: Callable[[np.ndarray], Point], positions: np.ndarray
) -> Point:
    """Evaluate a start whose forces overflow, moving overlapping atoms as little as that needs.

    Every round moves the atoms of each pair nearer than 0.08 nm apart along the line between them,
    up to that distance, then evaluates.

    Parameters
    ----------
    potential : Potential
    evaluate : callable
        (N, 3) positions in nm -> Point, raising `NonFiniteError`.
    positions : (N, 3) array
        Finite, with no two atoms on one spot.

    Returns
    -------
    Point
        With finite energy and forces.

    Raises
    ------
    NonFiniteError
        The cause is not overlapping atoms, or they cannot be pushed apart; names the pairs.
    """
    try:
        return evaluate(positions)
    except NonFiniteError as error:
        cause = error
    clashing = _clashing_pairs(potential, positions)
    if not len(clashing[0]):
        raise cause
    named = _named(potential, *clashing)
    for _ in range(ROUNDS):
        i, j, vectors = clashing
        lengths = np.sqrt(np.einsum("ci,ci->c", vectors, vectors))[:, None]
        if lengths.min() < COINCIDENT:
            # On one spot there is no direction in which to push.
            break
        missing = (NEAREST - lengths) * vectors / lengths
        # An atom that does not move leaves all of the way to the other one.
        shares = potential.moves[np.stack([i, j])].astype(float)
        shares /= np.maximum(shares.sum(axis=0), 1.0)
        positions = np.array(positions)
        np.add.at(positions, i, shares[0][:, None] * missing)
        np.add.at(positions, j, -shares[1][:, None] * missing)
        try:
            return evaluate(positions)
        except NonFiniteError:
            clashing = _clashing_pairs(potential, positions)
        except BudgetExhausted:
            break
        if not len(clashing[0]):
            break
    raise NonFiniteError(
        f"the forces overflow, and pushing overlapping atoms apart does not help: {named}. "
        "Rebuild or remove one of each pair (a ligand or a side chain on top of others, a solvent "
        "box packed too tightly, a box too small for what is in it).",
        cause.atoms,
    ) from cause


def _clashing_pairs(potential: Potential, positions: np.ndarray):
    i, j, vectors = unbonded_pairs(potential, positions, NEAREST)
    kept = potential.moves[i] | potential.moves[j]
    return i[kept], j[kept], vectors[kept]


def _named(potential: Potential, i, j, vectors, most: int = 5) -> str:
    lengths = np.sqrt(np.einsum("ci,ci->c", vectors, vectors))
    pairs = [
        f"{potential.label(int(i[c]))} and {potential.label(int(j[c]))} ({lengths[c]:.2g} nm apart)"
        for c in np.argsort(lengths)[:most]
    ]
    more = f" and {len(i) - most} pairs more" if len(i) > most else ""
    return "; ".join(pairs) + more
