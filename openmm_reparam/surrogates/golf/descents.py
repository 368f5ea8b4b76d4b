"""Descents of molecules of different sizes, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from .batched_lbfgs import BatchedLBFGS
from .molecules import TrainingMolecule

__all__ = ["Descents", "Evaluate", "EnergiesAndForces", "descend", "rms"]

EnergiesAndForces = tuple[np.ndarray, list[np.ndarray]]
# Places of molecules and (N, 3) positions in nm -> energies (W,) in kJ/mol, forces in kJ/mol/nm.
# What cannot be evaluated has an energy of infinity.
Evaluate = Callable[[Sequence[int], Sequence[np.ndarray]], EnergiesAndForces]


def rms(forces: np.ndarray) -> float:
    """Return the RMS force, sqrt(sum F^2 / N)."""
    return float(np.sqrt((forces**2).sum() / len(forces)))


class Descents:
    """Preconditioned L-BFGS of molecules in slots.

    Parameters
    ----------
    molecules : sequence of TrainingMolecule
    slots : int
    memory : int
        See `BatchedLBFGS`.

    Attributes
    ----------
    places : (W,) int array
        The molecule in each slot, -1 for none.
    """

    def __init__(self, molecules: Sequence[TrainingMolecule], slots: int, memory: int = 20) -> None:
        self._molecules = molecules
        largest = max(len(m.numbers) for m in molecules)
        self._lbfgs = BatchedLBFGS(slots, largest, memory)
        self.places = np.full(slots, -1)

    def begin(self, slot: int, place: int, positions: np.ndarray) -> None:
        """Let a molecule begin in a slot at (N, 3) positions in nm."""
        self.places[slot] = place
        inverse = self._molecules[place].inverse_hessian(positions)
        self._lbfgs.begin(slot, torch.from_numpy(positions), torch.from_numpy(inverse))

    def trials(self) -> list[np.ndarray]:
        """Return the positions to evaluate in each slot."""
        return self._cut(self._lbfgs.trials)

    def positions(self) -> list[np.ndarray]:
        """Return the positions after the last accepted step in each slot."""
        return self._cut(self._lbfgs.positions)

    def forces(self) -> list[np.ndarray]:
        """Return the forces there."""
        return self._cut(self._lbfgs.forces)

    def energies(self) -> np.ndarray:
        """Return the energies there, infinite where none was found."""
        return self._lbfgs.energies.numpy().copy()

    def tell(self, energies: np.ndarray, forces: Sequence[np.ndarray]) -> np.ndarray:
        """Take energies and forces of the trials; return where they were accepted."""
        padded = torch.zeros_like(self._lbfgs.trials)
        for slot, values in enumerate(forces):
            padded[slot, : len(values)] = torch.from_numpy(values)
        return self._lbfgs.tell(torch.from_numpy(energies), padded).numpy()

    def _cut(self, padded: torch.Tensor) -> list[np.ndarray]:
        sizes = [len(self._molecules[place].numbers) for place in self.places]
        return [padded[slot, :size].numpy().copy() for slot, size in enumerate(sizes)]

    def state_dict(self) -> dict:
        """Return all that the descents hold, in tensors."""
        return {"lbfgs": self._lbfgs.state_dict(), "places": torch.from_numpy(self.places.copy())}

    def load_state_dict(self, state: dict) -> None:
        """Go on where `state_dict` was called."""
        self._lbfgs.load_state_dict(state["lbfgs"])
        self.places = state["places"].numpy().copy()


def descend(
    molecules: Sequence[TrainingMolecule],
    starts: Sequence[np.ndarray],
    evaluate: Evaluate,
    steps: int,
    converged: float = 0.0,
) -> Iterator[Descents]:
    """Descend with every molecule from its start; yield after each evaluation of the batch.

    Parameters
    ----------
    molecules : sequence of TrainingMolecule
    starts : sequence of (N, 3) array
        In nm.
    evaluate : Evaluate
    steps : int
        Evaluations at most.
    converged : float
        RMS force in kJ/mol/nm from which on a molecule is not evaluated any more.

    Yields
    ------
    Descents
        Always the same.
    """
    descents = Descents(molecules, len(molecules))
    for slot, start in enumerate(starts):
        descents.begin(slot, slot, start)
    done = np.zeros(len(molecules), dtype=bool)
    for _ in range(steps):
        trials = descents.trials()
        asked = np.flatnonzero(~done)
        found, forces = evaluate(asked.tolist(), [trials[k] for k in asked])
        energies, padded = np.full(len(done), np.inf), [np.zeros_like(x) for x in trials]
        energies[asked] = found
        for k, values in zip(asked, forces, strict=True):
            padded[k] = values
        accepted = descents.tell(energies, padded)
        now = np.array([rms(values) for values in descents.forces()]) < converged
        done |= accepted & now
        done |= np.isinf(descents.energies())  # a start that fails once fails again
        yield descents
        if done.all():
            return
