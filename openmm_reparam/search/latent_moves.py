"""Moves in the latents and weights of a reparametrization."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..modes.slow_modes import SlowModes, molecular_slow_modes
from ..optimizers.latent_settings import LatentSettings
from ..optimizers.latents import descend_latents, eager_gradients, trained
from ..optimizers.stage_end import StageEnd
from ..potentials.point import Point
from ..potentials.potential import Potential
from ..reparametrizations import Start, build
from ..reparametrizations.gcn import default_count
from .protocols import Proposal, Situation
from .settings import SearchSettings

__all__ = ["LatentMove"]

# Halvings of the interval in which the size of a perturbation is sought.
BISECTIONS = 20


class LatentMove:
    """Perturbs the latents and weights of a new module, then anneals them.

    For ``spectral`` this is Adam in whitened coordinates. For ``gcn`` or a module of your own it is
    the neural search: the weights are drawn anew for each proposal.

    Parameters
    ----------
    potential : Potential
    evaluate : callable
        (N, 3) positions -> Point.
    settings : SearchSettings
    rng : numpy Generator
    """

    def __init__(
        self,
        potential: Potential,
        evaluate: Callable[[np.ndarray], Point],
        settings: SearchSettings,
        rng: np.random.Generator,
    ) -> None:
        self._potential, self._evaluate = potential, evaluate
        self._settings, self._rng = settings, rng
        self._modes: SlowModes | None = None
        self._annealing = LatentSettings(
            settings.explorer_optimizer,
            learning_rate=settings.learning_rate,
            iterations=settings.explorer_evaluations,
            patience=settings.explorer_evaluations + 1,
        )

    def tell(self, positions: np.ndarray, energy: float) -> None:
        """Do nothing: the annealing learns nothing of other minima."""

    def propose(self, situation: Situation) -> Proposal:
        """Propose the end of an annealing that began the amplitude away."""
        return Proposal((self._annealed(situation.positions, situation.amplitude),))

    def _annealed(self, positions: np.ndarray, amplitude: float) -> np.ndarray:
        start = Start(self._potential, positions, self._rng)
        module = build(self._settings.explorer, start, **self._module_settings(start))
        perturb(module, amplitude, self._potential.moves, self._rng)
        moves = self._potential.moves[:, None]
        perturbed = np.where(moves, module().detach().double().cpu().numpy(), positions)
        last = begin = self._evaluate(perturbed)
        gradients = eager_gradients(module, self._evaluate, begin, self._potential.moves)
        with contextlib.suppress(StageEnd):
            for following in descend_latents(module, gradients, begin, self._annealing):
                last = following
        return last.positions

    def _module_settings(self, start: Start) -> dict:
        """Return the user's settings; the slow modes are those of the first minimum throughout."""
        settings = self._settings.explorer_settings
        own = {"count", "fraction", "source", "samples", "sigma", "norm", "modes"} & set(settings)
        if self._settings.explorer != "gcn" or own:
            return settings
        if self._modes is None:
            count = default_count(len(start.positions))
            self._modes = molecular_slow_modes(start.potential, start.positions, count)
        return {**settings, "modes": self._modes}


def perturb(
    module: torch.nn.Module, amplitude: float, moves: np.ndarray, rng: np.random.Generator
) -> None:
    """Add noise to latents and weights that changes the structure by an RMSD of ``amplitude`` nm.

    After superposition: the directions of lowest stiffness are those of the whole molecule.

    Parameters
    ----------
    module : torch.nn.Module
        ``forward()`` returns (N, 3) positions in nm.
    amplitude : float
    moves : (N,) bool array
        Atoms that count.
    rng : numpy Generator
    """
    parameters = trained(module)
    before = [p.detach().clone() for p in parameters]
    noise = [torch.from_numpy(rng.standard_normal(tuple(p.shape))).to(p) for p in parameters]
    with torch.no_grad():
        x = module().double().numpy()[moves]

        def moved(size: float) -> float:
            for p, value, direction in zip(parameters, before, noise, strict=True):
                p.copy_(value + size * direction)
            y = module().double().numpy()[moves]
            distance = Rotation.align_vectors(x - x.mean(axis=0), y - y.mean(axis=0))[1]
            return float(distance / np.sqrt(len(x)))

        # Neither too large for a double nor too small for a float.
        low, high = 1e-8, 1e4
        for _ in range(BISECTIONS):
            middle = np.sqrt(low * high)
            low, high = (middle, high) if moved(middle) < amplitude else (low, middle)
        moved(low)
