"""How well a network relaxes molecules that it does not learn from, while it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .buffer import Label
from .collect import Request, evaluate_each
from .descents import EnergiesAndForces, Evaluate, descend, rms
from .ledger import Ledger
from .metrics import Quality, quality
from .molecules import TrainingMolecule

__all__ = ["PURPOSES", "Check", "Validation", "with_surrogates"]

# What genuine calls of a validation are written down as.
PURPOSES = ("minimum", "check")
# Evaluations of a descent, and the RMS force (kJ/mol/nm) at which the genuine one ends.
STEPS, CONVERGED = 50, 10.0
GENUINE_STEPS = 60
# kJ/mol: larger residuals count as this one where networks are compared.
WORST = 100.0


@dataclass(frozen=True)
class Check:
    """A validation.

    Attributes
    ----------
    labels, updates : int
        Up to then.
    quality : Quality
    score : float
        Mean residual in kJ/mol, none larger than 100: the lower the better.
    force_error : float
        RMS error of a force at the ends of the descents, in kJ/mol/nm.
    """

    labels: int
    updates: int
    quality: Quality
    score: float
    force_error: float


def with_surrogates(surrogates: Sequence, predict: Evaluate) -> Evaluate:
    """Return the sum of a network and of surrogate oracles."""

    def total(places: Sequence[int], positions: Sequence[np.ndarray]) -> EnergiesAndForces:
        energies, forces = predict(places, positions)
        below, pulls = evaluate_each(surrogates, places, positions)
        return energies + below, [a + b for a, b in zip(forces, pulls, strict=True)]

    return total


class Validation:
    """Relaxes molecules with the network, and asks the genuine oracle about the ends.

    The genuine minima are found once, by descents on the genuine oracle.

    Parameters
    ----------
    molecules : sequence of TrainingMolecule
        Each is relaxed from its first start.
    first : int
        The place of the first of them in the list that the oracles know.
    ledger : Ledger
    """

    def __init__(self, molecules: Sequence[TrainingMolecule], first: int, ledger: Ledger) -> None:
        self._molecules, self._first, self._ledger = molecules, first, ledger
        self._begin: np.ndarray | None = None
        self._lowest: np.ndarray | None = None

    def find_minima(self) -> None:
        """Ask for the energies of starts and minima."""
        starts = [m.starts[0] for m in self._molecules]
        begin: np.ndarray | None = None
        for descents in descend(self._molecules, starts, self._genuine, GENUINE_STEPS, CONVERGED):
            begin = descents.energies() if begin is None else begin
            lowest = descents.energies()
        self._begin, self._lowest = begin, lowest

    def _genuine(self, places: Sequence[int], positions: Sequence[np.ndarray]) -> EnergiesAndForces:
        labels = self._ask("minimum", places, positions)
        return energies_of(labels), [
            np.zeros_like(x) if label.failed else label.forces
            for label, x in zip(labels, positions, strict=True)
        ]

    def _ask(self, purpose, places, positions) -> list[Label]:
        requests = [Request(self._first + p, x) for p, x in zip(places, positions, strict=True)]
        return list(self._ledger.ask(purpose, requests))

    def check(self, evaluate: Evaluate, labels: int, updates: int) -> Check:
        """Relax along energies and forces, by places in the list that the oracles know."""

        def own(places, positions):
            return evaluate([self._first + p for p in places], positions)

        starts = [m.starts[0] for m in self._molecules]
        for descents in descend(self._molecules, starts, own, STEPS, CONVERGED):
            ends, pulls = descents.positions(), descents.forces()
        asked = self._ask("check", range(len(starts)), ends)
        found = energies_of(asked)
        assert self._begin is not None
        assert self._lowest is not None
        known = np.isfinite(found) & np.isfinite(self._lowest)
        residual = np.full(len(found), WORST)
        residual[known] = np.minimum(found[known] - self._lowest[known], WORST)
        judged = quality(self._begin, found, self._lowest)
        return Check(labels, updates, judged, float(residual.mean()), force_error(asked, pulls))

    def state_dict(self) -> dict:
        """Return the energies of starts and minima."""
        assert self._begin is not None
        assert self._lowest is not None
        return {"begin": self._begin.tolist(), "lowest": self._lowest.tolist()}

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state_dict` was called."""
        self._begin, self._lowest = np.array(state["begin"]), np.array(state["lowest"])


def force_error(labels: Sequence[Label], forces: Sequence[np.ndarray]) -> float:
    """Return the RMS error of forces, sqrt(sum |dF|^2 / N), where the oracle answered."""
    pairs = [(a.forces, f) for a, f in zip(labels, forces, strict=True) if not a.failed]
    if not pairs:
        return float("nan")
    return rms(np.concatenate([genuine - own for genuine, own in pairs]))


def energies_of(labels: Sequence[Label]) -> np.ndarray:
    """Return energies in kJ/mol, infinite where the oracle failed."""
    return np.array([np.inf if label.failed else label.energy for label in labels])
