"""A network, what it has to learn, and how it learns."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...constants import ANGSTROM
from ..programs import Oracle
from .buffer import Label
from .collect import MOST_FORCE, evaluate_each
from .descents import EnergiesAndForces
from .molecules import Batch, TrainingMolecule
from .network import NetworkSettings, PaiNN, energy_and_forces

__all__ = ["Example", "LearningSettings", "Learner"]

# How fast a molecule's own constant of the energy follows what is found of it.
OFFSET_RATE = 0.2
# Molecules that are evaluated at once.
AT_ONCE = 256


@dataclass(frozen=True)
class LearningSettings:
    """How the network learns.

    Attributes
    ----------
    batch : int
        Labels in an update. Published: 64.
    first_share : float
        Least share of a batch that is drawn from the first data.
    energy_weight : float
        Of the mean square error of energies, in kJ/mol; the rest is that of the forces of atoms,
        in kJ/mol/Angstrom. Energies are relative: each molecule has a constant of its own.
    residual_weight : float
        Of the mean of dF H^-1 dF / 2 in kJ/mol, with the inverse of a model Hessian: by this much
        the network's minimum lies above the genuine one, to second order. A wrong force along a
        torsion does more harm than one along a bond. 0 as published.
    rate, last_rate : float
        Of Adam, at first and at the end of a cosine. Published: 1e-4, for many more updates.
    clip : float
        Largest norm of the gradient.
    average : float
        Decay of the moving average of the weights, which is what walks and is kept.
    """

    batch: int = 16
    first_share: float = 0.1
    energy_weight: float = 0.01
    residual_weight: float = 300.0
    rate: float = 1e-3
    last_rate: float = 1e-6
    clip: float = 1.0
    average: float = 0.99


@dataclass(frozen=True)
class Example:
    """What the network should say of a molecule's positions.

    Attributes
    ----------
    molecule : int
    positions : (N, 3) array
    energy : float
    forces : (N, 3) array
    first : bool
        Whether it belongs to the first data.
    inverse_hessian : (3N, 3N) array or None
        Of a model Hessian, in single precision.
    """

    molecule: int
    positions: np.ndarray
    energy: float
    forces: np.ndarray
    first: bool
    inverse_hessian: np.ndarray | None = None


class Learner:
    """Trains a network on examples as they come.

    Parameters
    ----------
    molecules : sequence of TrainingMolecule
    surrogates : sequence of Oracle or None
        Of each molecule, if the network predicts the difference to them.
    network : NetworkSettings
    settings : LearningSettings
    updates : int
        In all, for the cosine.
    seed : int
    device : str

    Attributes
    ----------
    updates : int
        Done so far.
    """

    def __init__(
        self,
        molecules: Sequence[TrainingMolecule],
        surrogates: Sequence[Oracle] | None,
        network: NetworkSettings,
        settings: LearningSettings,
        updates: int,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self._molecules, self._surrogates, self._settings = molecules, surrogates, settings
        self._seed, self._device, self._planned = seed, device, max(1, updates)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds GPUs, too
            self._network = PaiNN(network).to(device)
        self._average = copy.deepcopy(self._network).requires_grad_(False)
        self._adam = torch.optim.Adam(self._network.parameters(), lr=settings.rate)
        self._offsets = torch.full((len(molecules),), torch.nan, dtype=torch.float64)
        self._first: list[Example] = []
        self._later: list[Example] = []
        self.updates = 0

    @property
    def average(self) -> PaiNN:
        """The network with averaged weights."""
        return self._average

    @property
    def offsets(self) -> np.ndarray:
        """Constants of the molecules' energies in kJ/mol, NaN where there was no label."""
        return self._offsets.numpy().copy()

    @property
    def examples(self) -> int:
        """Labels to learn from."""
        return len(self._first) + len(self._later)

    def add(self, label: Label, first: bool) -> None:
        """Take a label to learn from; one without an answer, or an absurd one, is left out."""
        if label.failed or np.linalg.norm(label.forces) > MOST_FORCE:
            return
        energy, forces = label.energy, label.forces
        if self._surrogates is not None:
            (below,), (pulls,) = evaluate_each(
                self._surrogates, [label.molecule], [label.positions]
            )
            energy, forces = energy - below, forces - pulls
        if not np.isfinite(energy):
            return
        inverse = None
        if self._settings.residual_weight:
            molecule = self._molecules[label.molecule]
            inverse = molecule.inverse_hessian(label.positions).astype(np.float32)
        example = Example(label.molecule, label.positions, energy, forces, first, inverse)
        (self._first if first else self._later).append(example)

    def predict(self, places: Sequence[int], positions: Sequence[np.ndarray]) -> EnergiesAndForces:
        """Return energies (W,) and forces by the averaged weights."""
        energies: list[np.ndarray] = []
        forces: list[np.ndarray] = []
        for begin in range(0, len(places), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            batch = self._batch(places[part], positions[part])
            e, f = _evaluated(self._average, batch)
            energies.append(e.cpu().numpy().astype(float))
            sizes = np.cumsum([len(x) for x in positions[part]])[:-1]
            forces += np.split(f.cpu().numpy().astype(float), sizes)
        return np.concatenate(energies), forces

    def update(self) -> float:
        """Take one step of Adam, by at least one example; return the loss."""
        drawn = self._drawn()
        rate = self._rate()
        for group in self._adam.param_groups:
            group["lr"] = rate
        batch = self._batch([e.molecule for e in drawn], [e.positions for e in drawn])
        energies, forces = _evaluated(self._network, batch, create_graph=True)
        loss = self._loss(drawn, batch, energies, forces)
        self._adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._settings.clip)
        self._adam.step()
        self.updates += 1
        self._follow()
        return loss.item()

    def _loss(
        self, drawn: list[Example], batch: Batch, energies: torch.Tensor, forces: torch.Tensor
    ) -> torch.Tensor:
        targets = torch.tensor([e.energy for e in drawn], dtype=torch.float64)
        places = torch.tensor([e.molecule for e in drawn])
        above = targets - self._shifts(places, targets, energies.detach().cpu().double())
        wrong = energies - above.to(self._device, energies.dtype)
        wanted = torch.from_numpy(np.concatenate([e.forces for e in drawn]))
        errors = forces - wanted.to(self._device, forces.dtype)
        off = errors * ANGSTROM
        squares = torch.zeros_like(energies).index_add(0, batch.molecule, (off * off).sum(1))
        sizes = torch.bincount(batch.molecule, minlength=batch.count)
        weight = self._settings.energy_weight
        loss = weight * (wrong * wrong).mean() + (1 - weight) * (squares / sizes).mean()
        if self._settings.residual_weight:
            loss = loss + self._settings.residual_weight * self._residual(drawn, errors)
        return loss

    def _residual(self, drawn: list[Example], errors: torch.Tensor) -> torch.Tensor:
        """Return the mean energy by which errors of forces move minima up, to second order."""
        parts = errors.split([len(e.positions) for e in drawn])
        energies = []
        for example, part in zip(drawn, parts, strict=True):
            assert example.inverse_hessian is not None
            inverse = torch.from_numpy(example.inverse_hessian).to(self._device)
            flat = part.reshape(-1)
            energies.append(0.5 * flat @ (inverse @ flat))
        return torch.stack(energies).mean()

    def _shifts(
        self, places: torch.Tensor, targets: torch.Tensor, energies: torch.Tensor
    ) -> torch.Tensor:
        """Return the constants of the molecules' energies, after they have followed."""
        found = targets - energies
        for place in torch.unique(places).tolist():
            mean = found[places == place].mean()
            old = self._offsets[place]
            new = mean if torch.isnan(old) else old + OFFSET_RATE * (mean - old)
            self._offsets[place] = new
        return self._offsets[places]

    def _drawn(self) -> list[Example]:
        """Draw a batch: uniformly, but for the least share of the first data."""
        rng = np.random.default_rng((self._seed, 3, self.updates))
        first, later, size = self._first, self._later, self._settings.batch
        share = max(self._settings.first_share, len(first) / (len(first) + len(later)))
        of_first = size if not later else round(share * size) if first else 0
        chosen = [first[k] for k in rng.integers(len(first), size=of_first)] if of_first else []
        if of_first < size:
            chosen += [later[k] for k in rng.integers(len(later), size=size - of_first)]
        return chosen

    def _rate(self) -> float:
        s = self._settings
        done = min(1.0, self.updates / self._planned)
        return s.last_rate + 0.5 * (s.rate - s.last_rate) * (1 + math.cos(math.pi * done))

    def _follow(self) -> None:
        """Move the average of the weights; it is short at first."""
        decay = min(self._settings.average, self.updates / (self.updates + 10))
        with torch.no_grad():
            for mean, now in zip(
                self._average.parameters(), self._network.parameters(), strict=True
            ):
                mean.lerp_(now, 1 - decay)

    def _batch(self, places: Sequence[int], positions: Sequence[np.ndarray]) -> Batch:
        molecules = [self._molecules[place] for place in places]
        return Batch.of(molecules, positions, torch.float32, self._device)

    def state_dict(self) -> dict:
        """Return all that learning has changed."""
        return {
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "adam": self._adam.state_dict(),
            "offsets": self._offsets,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state_dict` was called."""
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._adam.load_state_dict(state["adam"])
        self._offsets = state["offsets"].clone()
        self.updates = state["updates"]


def _evaluated(
    network: PaiNN, batch: Batch, create_graph: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    return energy_and_forces(
        network,
        batch.numbers,
        batch.positions,
        batch.molecule,
        batch.count,
        batch.charges,
        create_graph,
    )
