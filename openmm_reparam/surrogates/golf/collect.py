"""Where the genuine oracle is asked: at the ends of walks, or all along its own descents.

Many molecules walk side by side along the forces of the network by L-BFGS. The cheap surrogate
oracle watches: where its energy rises too far, the network has gone wrong. The last conformation
that was good is then worth a question to the genuine oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ...constants import ANGSTROM, HARTREE, KCAL
from ..programs import Oracle
from .buffer import Label
from .descents import Descents, EnergiesAndForces, Evaluate, rms
from .molecules import TrainingMolecule

__all__ = ["Request", "Source", "Trajectories", "WalkSettings", "Walks", "start_of"]

# Of absurd labels: this far above the lowest surrogate energy of the molecule (kJ/mol), and a norm
# of all forces (kJ/mol/nm). Both as published.
MOST_ENERGY = 300 * KCAL
MOST_FORCE = 10.5 * HARTREE / ANGSTROM
# Of random displacements of starts, kT of a model Hessian (kJ/mol) at most.
WARMEST = 0.8


@dataclass(frozen=True)
class Request:
    """A question to the genuine oracle.

    Attributes
    ----------
    molecule : int
        Its place.
    positions : (N, 3) array
        In nm.
    """

    molecule: int
    positions: np.ndarray


class Source(Protocol):
    """Says where to ask the genuine oracle, and goes on from its answers."""

    def advance(self) -> list[Request]:
        """Take one step with all molecules; return what to ask."""

    def tell(self, labels: Sequence[Label]) -> None:
        """Take the answers."""

    def state_dict(self) -> dict:
        """Return all that changes, in tensors and numbers."""

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state_dict` was called."""


@dataclass(frozen=True)
class WalkSettings:
    """How molecules walk.

    Attributes
    ----------
    walkers : int
        Molecules side by side.
    steps : int
        Evaluations of the network in an episode, at most. Published: 100 steps of 5.
    rise : float
        Rise of the surrogate oracle's energy above its lowest in the episode that ends it, in
        kJ/mol per atom. 0 as published: the first rise ends it. The genuine minimum is not the
        surrogate's, so on the way to it the surrogate's energy has to rise.
    converged : float
        RMS force (kJ/mol/nm) of the network that ends an episode.
    """

    walkers: int = 32
    steps: int = 40
    rise: float = 2.0
    converged: float = 10.0


def start_of(
    molecules: Sequence[TrainingMolecule], seed: int, purpose: int, episode: int
) -> tuple[int, np.ndarray]:
    """Return the molecule and the positions that an episode starts from.

    Parameters
    ----------
    molecules : sequence of TrainingMolecule
    seed, purpose, episode : int
        The same numbers give the same start. Each molecule comes once in a round of episodes.
    """
    around, turn = divmod(episode, len(molecules))
    place = int(np.random.default_rng((seed, purpose, 0, around)).permutation(len(molecules))[turn])
    rng = np.random.default_rng((seed, purpose, 1, episode))
    molecule = molecules[place]
    start = molecule.starts[rng.integers(len(molecule.starts))]
    return place, start + displacement(molecule, start, rng)


def displacement(
    molecule: TrainingMolecule, positions: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw a displacement, (N, 3) in nm, from a model Hessian at a random temperature."""
    root = np.linalg.cholesky(molecule.inverse_hessian(positions))
    size = np.sqrt(WARMEST * rng.random())
    return size * (root @ rng.standard_normal(len(root))).reshape(-1, 3)


class Walks:
    """Episodes along the network's forces, watched by the surrogate oracle.

    Parameters
    ----------
    molecules : sequence of TrainingMolecule
    surrogates : sequence of Oracle
        Of each molecule.
    predict : Evaluate, optional
        The network; without it molecules walk along the surrogate alone, for a random number of
        steps, and the end is displaced at random: this makes the first data.
    difference : bool
        Whether the network predicts the difference to the surrogate.
    settings : WalkSettings
    seed : int

    Attributes
    ----------
    episodes, refused : int
        Begun so far, and ended without a question: absurd energies or forces, changed bonds.
    """

    def __init__(
        self,
        molecules: Sequence[TrainingMolecule],
        surrogates: Sequence[Oracle],
        settings: WalkSettings,
        seed: int,
        predict: Evaluate | None = None,
        difference: bool = True,
    ) -> None:
        self._molecules, self._surrogates = molecules, surrogates
        self._settings, self._seed = settings, seed
        self._predict, self._difference = predict, difference
        self._purpose = 1 if predict is None else 2
        self.episodes = self.refused = 0
        self._descents = Descents(molecules, settings.walkers)
        self._good: list[np.ndarray | None] = [None] * settings.walkers
        self._lowest = np.full(settings.walkers, np.inf)
        self._left = np.zeros(settings.walkers, dtype=int)
        self._reference = np.full(len(molecules), np.inf)
        for slot in range(settings.walkers):
            self._begin(slot)

    def _begin(self, slot: int) -> None:
        place, start = start_of(self._molecules, self._seed, self._purpose, self.episodes)
        self._left[slot] = self._settings.steps
        if self._predict is None:
            rng = np.random.default_rng((self._seed, self._purpose, 2, self.episodes))
            self._left[slot] = rng.integers(1, self._settings.steps + 1)
        self.episodes += 1
        self._descents.begin(slot, place, start)
        self._good[slot], self._lowest[slot] = None, np.inf

    def advance(self) -> list[Request]:
        """Take one step with all molecules; return the ends of those that have ended."""
        places, trials = self._descents.places.tolist(), self._descents.trials()
        watched, forces = evaluate_each(self._surrogates, places, trials)
        energies = watched
        if self._predict is not None:
            energies, forces = self._with_network(places, trials, watched, forces)
        accepted = self._descents.tell(energies, forces)
        self._left -= 1
        now = self._descents.forces()
        return [
            request
            for slot in range(len(places))
            for request in self._looked_at(slot, accepted[slot], watched[slot], rms(now[slot]))
        ]

    def _with_network(self, places, trials, watched, forces) -> EnergiesAndForces:
        assert self._predict is not None
        learnt, pulls = self._predict(places, trials)
        if self._difference:
            learnt = learnt + watched
            pulls = [a + b for a, b in zip(pulls, forces, strict=True)]
        return learnt, pulls

    def _looked_at(
        self, slot: int, accepted: bool, watched: float, force: float
    ) -> Iterator[Request]:
        """Yield the end of a slot's episode if it has ended, and begin another."""
        place = self._descents.places[slot]
        allowed = self._settings.rise * len(self._molecules[place].numbers)
        risen = accepted and watched > self._lowest[slot] + allowed
        if accepted and not risen:
            self._good[slot] = self._descents.positions()[slot]
            self._lowest[slot] = min(self._lowest[slot], watched)
            self._reference[place] = min(self._reference[place], watched)
        if risen or self._left[slot] <= 0 or (accepted and force < self._settings.converged):
            good = self._good[slot]
            if good is not None and self._predict is None:
                good = good + self._jolt(slot, place, good)
            if good is not None and self._is_sound(place, good):
                yield Request(int(place), good)
            else:
                self.refused += 1
            self._begin(slot)

    def _jolt(self, slot: int, place: int, positions: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng((self._seed, self._purpose, 3, self.episodes, slot))
        return displacement(self._molecules[place], positions, rng)

    def _is_sound(self, place: int, positions: np.ndarray) -> bool:
        (energy,), (forces,) = evaluate_each(self._surrogates, [place], [positions])
        return bool(
            energy < self._reference[place] + MOST_ENERGY
            and np.linalg.norm(forces) < MOST_FORCE
            and self._molecules[place].keeps_bonds(positions)
        )

    def tell(self, labels: Sequence[Label]) -> None:
        """Take the answers; walks do not depend on them."""

    def state_dict(self) -> dict:
        """Return all that changes, in tensors and numbers."""
        return {
            "descents": self._descents.state_dict(),
            "good": [None if x is None else torch.from_numpy(x.copy()) for x in self._good],
            "counts": (self.episodes, self.refused),
            "lowest": torch.from_numpy(self._lowest.copy()),
            "left": torch.from_numpy(self._left.copy()),
            "reference": torch.from_numpy(self._reference.copy()),
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state_dict` was called."""
        self._descents.load_state_dict(state["descents"])
        self._good = [None if x is None else x.numpy().copy() for x in state["good"]]
        self.episodes, self.refused = state["counts"]
        self._lowest = state["lowest"].numpy().copy()
        self._left = state["left"].numpy().copy()
        self._reference = state["reference"].numpy().copy()


class Trajectories:
    """Descents along the genuine forces: every evaluation is a question. The usual data set.

    Parameters
    ----------
    molecules : sequence of TrainingMolecule
    settings : WalkSettings
        Of which ``rise`` is not used.
    seed : int
    """

    def __init__(
        self, molecules: Sequence[TrainingMolecule], settings: WalkSettings, seed: int
    ) -> None:
        self._molecules, self._settings, self._seed = molecules, settings, seed
        self.episodes = self.refused = 0
        self._descents = Descents(molecules, settings.walkers)
        self._left = np.zeros(settings.walkers, dtype=int)
        for slot in range(settings.walkers):
            self._begin(slot)

    def _begin(self, slot: int) -> None:
        # The same starts as those of `Walks`.
        place, start = start_of(self._molecules, self._seed, 2, self.episodes)
        self.episodes += 1
        self._left[slot] = self._settings.steps
        self._descents.begin(slot, place, start)

    def advance(self) -> list[Request]:
        """Return the next positions of all descents."""
        places = self._descents.places.tolist()
        return [Request(p, x) for p, x in zip(places, self._descents.trials(), strict=True)]

    def tell(self, labels: Sequence[Label]) -> None:
        """Take the answers, and begin anew where a descent has ended."""
        energies = np.array([np.inf if label.failed else label.energy for label in labels])
        shapes = [label.positions for label in labels]
        forces = [
            np.zeros_like(x) if label.failed else label.forces
            for label, x in zip(labels, shapes, strict=True)
        ]
        accepted = self._descents.tell(energies, forces)
        self._left -= 1
        for slot, now in enumerate(self._descents.forces()):
            done = accepted[slot] and rms(now) < self._settings.converged
            if done or self._left[slot] <= 0:
                self._begin(slot)

    def state_dict(self) -> dict:
        """Return all that changes, in tensors and numbers."""
        return {
            "descents": self._descents.state_dict(),
            "episodes": self.episodes,
            "left": torch.from_numpy(self._left.copy()),
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state_dict` was called."""
        self._descents.load_state_dict(state["descents"])
        self.episodes = state["episodes"]
        self._left = state["left"].numpy().copy()


def evaluate_each(
    oracles: Sequence[Oracle], places: Sequence[int], positions: Sequence[np.ndarray]
) -> EnergiesAndForces:
    """Ask cheap oracles in this process; where one fails the energy is infinite."""
    answers = [_answer(oracles[p], x) for p, x in zip(places, positions, strict=True)]
    return np.array([energy for energy, _ in answers]), [forces for _, forces in answers]


def _answer(oracle: Callable, positions: np.ndarray) -> tuple[float, np.ndarray]:
    try:
        energy, forces = oracle(positions)
    except Exception:  # whatever it is, there is no energy
        return np.inf, np.zeros_like(positions)
    return float(energy), np.asarray(forces, dtype=float)
