"""What a sampling method offers: structures with their density, and training in steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

__all__ = ["BroadSamplingMethod", "SamplingMethod", "TrainingStep"]


@dataclass(frozen=True)
class TrainingStep:
    """How far a training has come.

    Attributes
    ----------
    stage : str
        What is being done, for the progress bar.
    loss : float
        NaN where there is none.
    effective_sample_size : float
        Share of the step's own samples; NaN where not known.
    """

    stage: str
    loss: float = float("nan")
    effective_sample_size: float = float("nan")


class SamplingMethod(Protocol):
    """A distribution of structures of one molecule, trained on its energies.

    A method is made for a `Target`, and spends evaluations only through ``target.energy``. It can
    be sampled before, between and after the steps of its training.
    """

    def training_steps(self, evaluations: int) -> Iterator[TrainingStep]:
        """Train with at most so many more evaluations; yield after each step.

        The caller may stop between any two steps: what is trained stays. Calling it again goes on.
        """
        ...

    def sample(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions (count, N, 3) in nm and log q, (count,), per nm^(3N - 6).

        log q is +inf where positions are of no structure: these weigh nothing.
        """
        ...

    def log_density(self, positions: torch.Tensor) -> torch.Tensor:
        """Return log q, (B,), of any positions (B, N, 3) in nm, up to rigid motion."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what is trained, and all that its training needs to go on."""
        ...

    def load_state_dict(self, state: Any) -> Any:
        """Take over what `state_dict` returned."""
        ...


@runtime_checkable
class BroadSamplingMethod(Protocol):
    """A method that can also draw its latents more broadly than they are distributed."""

    def sample_broadly(
        self, count: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `SamplingMethod.sample` returns, with more in rare basins and on barriers."""
        ...
