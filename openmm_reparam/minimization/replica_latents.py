"""The latent stage of many replicas at once: batched through the network and the C++ pool."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..errors import BudgetExhausted
from ..openmm_torch.torch_potential import torch_potential
from ..optimizers.latent_settings import LatentSettings
from ..optimizers.latents import EarlyStopping, fusable, schedule_of
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..potentials.potential import EvaluationCounter
from .progress import Listener

__all__ = ["LatentReplica", "ReplicaDescent"]


@dataclass
class LatentReplica:
    """One replica on its way through the latent stage.

    Attributes
    ----------
    start, best : Point
        Where it began, and the lowest energy so far.
    counter : EvaluationCounter
        Of the force evaluations spent on it, and their limit.
    iterations : int
    history : list of tuple
        Rows of `HISTORY_DTYPE`.
    message : str
        Why it ended; empty while it runs.
    """

    start: Point
    counter: EvaluationCounter
    best: Point = field(init=False)
    iterations: int = 0
    history: list[tuple] = field(default_factory=list)
    message: str = ""

    def __post_init__(self) -> None:
        self.best = self.start

    def take(self, point: Point, rms_force: float, seconds: float) -> None:
        """Take the point of one more iteration."""
        self.iterations += 1
        self.history.append(
            (0, self.iterations, self.counter.total, point.energy, rms_force, seconds)
        )
        if point.energy < self.best.energy:
            self.best = point


class ReplicaDescent:
    """Descent in the latents and weights of all replicas with Adam, one batch an iteration.

    Every replica goes the way it would go alone: gradients are clipped and the stage is ended
    replica by replica.

    Parameters
    ----------
    evaluator : Evaluator
        Its Context is copied by the C++ plugin, for each replica.
    settings : LatentSettings
    tolerance : float
        RMS force in kJ/mol/nm.
    progress : Listener
    began : float
        When the run began, by `time.perf_counter`.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        settings: LatentSettings,
        tolerance: float,
        progress: Listener,
        began: float,
    ) -> None:
        self._evaluator, self._settings, self._tolerance = evaluator, settings, tolerance
        self._progress, self._began = progress, began

    def run(self, modules: Sequence[torch.nn.Module], replicas: Sequence[LatentReplica]) -> None:
        """Descend until every replica has ended, and fill them.

        Parameters
        ----------
        modules : sequence of torch.nn.Module
            Of one architecture, each at the start of its replica.
        replicas : sequence of LatentReplica
        """
        settings, batch = self._settings, _Batch(modules)
        pool = torch_potential(self._evaluator.potential.context, len(modules))
        rate = settings.learning_rate
        if rate is None:
            rate = float(getattr(modules[0], "learning_rate", 0.01))
        optimizer = torch.optim.Adam(batch.trained, lr=rate, fused=fusable(batch.trained))
        schedule = schedule_of(optimizer, settings)
        stopping = [EarlyStopping(settings, replica.start.energy) for replica in replicas]
        batch.gradients(batch.positions(), np.stack([r.start.forces for r in replicas]))
        for iteration in range(1, settings.iterations + 1):
            batch.clip(settings.max_gradient_norm)
            optimizer.step()
            schedule.step()
            output = batch.positions()
            points = self._evaluated(output.detach().double().cpu().numpy(), replicas, pool)
            if not points:
                return
            downhill = np.zeros(output.shape)
            for k, point in points.items():
                downhill[k] = point.forces
                self._take(replicas[k], stopping[k], point)
            self._show(iteration, replicas)
            batch.gradients(output, downhill)
        for replica in replicas:
            replica.message = replica.message or f"{settings.iterations} iterations done"

    def _take(self, replica: LatentReplica, stopping: EarlyStopping, point: Point) -> None:
        """Give a replica its next point, and end it where that is the last."""
        force = self._evaluator.rms(point)
        replica.take(point, force, time.perf_counter() - self._began)
        replica.message = stopping.reason(point.energy)
        if force <= self._tolerance and point is replica.best:
            replica.message = "the RMS force reached the tolerance"

    def _show(self, iteration: int, replicas: Sequence[LatentReplica]) -> None:
        lowest = min((replica.best for replica in replicas), key=lambda best: best.energy)
        spent = sum(replica.counter.total for replica in replicas)
        force = self._evaluator.rms(lowest)
        self._progress.update(iteration, lowest.energy, force, spent, "latents")

    def _evaluated(
        self, x: np.ndarray, replicas: Sequence[LatentReplica], pool
    ) -> dict[int, Point]:
        """Return the points of those replicas that still run, by number; end those that cannot."""
        fixed = ~self._evaluator.potential.moves
        configurations = {}
        for k, replica in enumerate(replicas):
            if replica.message:
                continue
            if not np.isfinite(x[k]).all():
                replica.message = "a step led to positions that are not finite"
                continue
            try:
                replica.counter.add("context")
            except BudgetExhausted as end:
                replica.message = str(end)
                continue
            own = np.where(fixed[:, None], replica.start.positions, x[k])
            configurations[k] = self._evaluator.retract(own)
        if not configurations:
            return {}
        energies, forces = pool.evaluate(torch.from_numpy(np.stack(list(configurations.values()))))
        points = {}
        for (k, own), energy, force in zip(
            configurations.items(), energies.tolist(), forces.numpy(), strict=True
        ):
            if np.isfinite(energy) and np.isfinite(force).all():
                points[k] = Point(own, energy, self._evaluator.tangent(own, force))
            else:
                replicas[k].message = "a step led to energies that are not finite"
        return points


class _Batch:
    """Modules of one architecture as one, their parameters stacked."""

    def __init__(self, modules: Sequence[torch.nn.Module]) -> None:
        self._parameters, self._buffers = torch.func.stack_module_state(list(modules))
        wanted = {name for name, p in modules[0].named_parameters() if p.requires_grad}
        self.trained = [p for name, p in self._parameters.items() if name in wanted]
        template = modules[0]

        def one(parameters, buffers):
            return torch.func.functional_call(template, (parameters, buffers), ())

        self._all = torch.func.vmap(one)

    def positions(self) -> torch.Tensor:
        """(R, N, 3) positions in nm."""
        try:
            with torch.enable_grad():
                return self._all(self._parameters, self._buffers)
        except RuntimeError as error:
            raise ValueError(
                f"this reparametrization cannot be batched over replicas (torch.func.vmap): {error}"
            ) from error

    def gradients(self, positions: torch.Tensor, forces: np.ndarray) -> None:
        """Fill the parameters' gradients from the forces on (R, N, 3) positions."""
        downhill = torch.from_numpy(-forces).to(positions)
        gradients = torch.autograd.grad(positions, self.trained, downhill, allow_unused=True)
        for parameter, gradient in zip(self.trained, gradients, strict=True):
            parameter.grad = gradient if gradient is not None else torch.zeros_like(parameter)

    def clip(self, largest: float) -> None:
        """Scale every replica's gradients down to a norm, as torch's clip_grad_norm_ does."""
        squares = sum(p.grad.flatten(1).pow(2).sum(1) for p in self.trained)
        scale = (largest / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        for parameter in self.trained:
            parameter.grad.mul_(scale.view(-1, *[1] * (parameter.dim() - 1)).to(parameter))
