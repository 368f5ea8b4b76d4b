"""Annealing in the latents and weights of a reparametrization, away from a minimum."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import torch

from ..latent_stage import LatentSettings, StageEnd, descend_latents, eager_gradients, trained
from ..optimizers.lbfgs import Point
from ..potential import Potential
from ..reparametrizations import Start, build
from .settings import SearchSettings

__all__ = ["LatentExplorer"]

# Halvings of the interval in which the size of a perturbation is sought.
HALVINGS = 20


class LatentExplorer:
    """Perturbs a fresh module's latents and weights, then anneals them with Adam's rate falling.

    For ``spectral`` this is Adam in whitened coordinates; for ``gcn`` or a module of your own the
    neural search: weights are drawn anew for each proposal.

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
        self._annealing = LatentSettings(
            learning_rate=settings.learning_rate,
            iterations=settings.explorer_evaluations,
            patience=settings.explorer_evaluations + 1,
        )

    def displaced(self, positions: np.ndarray, amplitude: float) -> np.ndarray:
        """Return (N, 3) positions at the end of an annealing that began ``amplitude`` nm away."""
        start = Start(self._potential, positions, self._rng)
        module = build(self._settings.explorer, start, **self._settings.explorer_settings)
        perturb(module, amplitude, self._potential.moves, self._rng)
        last = begin = self._evaluate(module().detach().double().numpy())
        gradients = eager_gradients(module, self._evaluate, begin, self._potential.moves)
        with contextlib.suppress(StageEnd):
            for following in descend_latents(module, gradients, begin, self._annealing):
                last = following
        return last.positions


def perturb(
    module: torch.nn.Module, amplitude: float, moves: np.ndarray, rng: np.random.Generator
) -> None:
    """Add noise to latents and weights that moves the atoms by an RMS of ``amplitude`` nm.

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
            return float(np.sqrt(((module().double().numpy()[moves] - x) ** 2).sum(1).mean()))

        # Neither too large for a double nor too small for a float.
        low, high = 1e-8, 1e4
        for _ in range(HALVINGS):
            middle = np.sqrt(low * high)
            low, high = (middle, high) if moved(middle) < amplitude else (low, middle)
        moved(low)
