"""How the latent stage descends; apart from its code, which takes torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["OPTIMIZERS", "LatentSettings"]

OPTIMIZERS = ("adam", "lbfgs")
SCHEDULES = ("constant", "cosine", "exponential")


@dataclass(frozen=True)
class LatentSettings:
    """How the latent stage descends.

    Attributes
    ----------
    optimizer : {"adam", "lbfgs"}
    learning_rate : float or None
        Of Adam; None takes the reparametrization's own ``learning_rate``, or 0.01.
    schedule : {"cosine", "constant", "exponential"}
        How the learning rate falls over ``iterations``: to zero along a cosine, not at all, or
        to 1 %.
    iterations : int
    patience, relative_energy : int, float
        Stop early when ``patience`` iterations have lowered the best energy by less than this
        fraction of its magnitude, or of its fall since the start if that is smaller.
    max_gradient_norm : float
        Gradients of latents and weights are scaled down to this norm.
    """

    optimizer: str = "adam"
    learning_rate: float | None = None
    schedule: str = "cosine"
    iterations: int = 200
    patience: int = 50
    relative_energy: float = 1e-4
    max_gradient_norm: float = 1e4

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {self.optimizer!r}; it must be one of {OPTIMIZERS}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}; it must be one of {SCHEDULES}")
        positive = ["patience", "relative_energy", "max_gradient_norm"]
        if self.learning_rate is not None:
            positive.append("learning_rate")
        for name in positive:
            if not getattr(self, name) > 0 or not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be positive")
        if self.iterations < 0:
            raise ValueError(f"latent iterations are {self.iterations}; give 0 or more")
