"""The latent stage: descent in Z and theta of a reparametrization X = rho(Z; theta)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from ..errors import NonFiniteError
from ..potentials.point import Point
from .latent_settings import LatentSettings
from .lbfgs import lbfgs
from .line_search import LineSearchError
from .stage_end import StageEnd

__all__ = [
    "EarlyStopping",
    "Gradients",
    "descend_latents",
    "eager_gradients",
    "fusable",
    "schedule_of",
    "trained",
]


class EarlyStopping:
    """Notices that the energy of a latent stage has all but stopped falling.

    An energy counts as lower only where it is below the last one that counted by
    ``relative_energy`` of its magnitude, or of the fall since the start (of 1 kJ/mol at least)
    where that is smaller: total energies of quantum chemistry are a thousand times the fall.

    Parameters
    ----------
    settings : LatentSettings
    start : float
        Energy at the stage's start, in kJ/mol.

    Examples
    --------
    >>> stopping = EarlyStopping(LatentSettings(patience=2, relative_energy=0.1), -50.0)
    >>> [bool(stopping.reason(energy)) for energy in (-60.0, -60.1, -60.2)]
    [False, False, True]
    """

    def __init__(self, settings: LatentSettings, start: float) -> None:
        self._settings = settings
        self._start = self._best = start
        self._since = 0

    def reason(self, energy: float) -> str:
        """Take the energy of one more iteration; return why to stop, empty to go on."""
        fall = max(self._start - self._best, 1.0)
        least = self._settings.relative_energy * min(abs(self._best), fall)
        if energy < self._best - least:
            self._best, self._since = energy, 0
        else:
            self._since += 1
        if self._since < self._settings.patience:
            return ""
        return (
            f"the energy fell by less than {self._settings.relative_energy:g} of itself in "
            f"{self._settings.patience} iterations"
        )


class Gradients(Protocol):
    """Evaluates what a module returns, and fills the ``grad`` of its parameters."""

    def __call__(self, known: Point | None = None) -> Point:
        """Return the point; a point known already is not evaluated again."""


def eager_gradients(
    module: torch.nn.Module,
    evaluate: Callable[[np.ndarray], Point],
    start: Point,
    moves: np.ndarray,
) -> Gradients:
    """Energies by calling OpenMM, gradients by torch's autograd, from one evaluation.

    Parameters
    ----------
    module : torch.nn.Module
        ``forward()`` returns (N, 3) positions in nm, first those of ``start``.
    evaluate : callable
        (N, 3) positions -> Point, retracted onto the constraint manifold where there is one (the
        gradient is then that of the projected forces, exact to first order).
    start : Point
    moves : (N,) bool array
        Other atoms keep the positions of ``start``, bit for bit.

    Returns
    -------
    callable
        ``() -> Point``, with the gradient of each parameter in its ``grad``. Called with a Point,
        it takes that for the evaluation.
    """
    parameters = trained(module)
    fixed = None if moves.all() else ~moves

    def energy_and_gradient(known: Point | None = None) -> Point:
        with torch.enable_grad():
            positions = module()
        configuration = positions.detach().double().cpu().numpy()
        if fixed is not None:
            configuration = np.array(configuration)
            configuration[fixed] = start.positions[fixed]
        point = known or evaluate(configuration)
        downhill = torch.from_numpy(-point.forces).to(positions)
        gradients = torch.autograd.grad(positions, parameters, downhill, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient if gradient is not None else torch.zeros_like(parameter)
        return point

    return energy_and_gradient


def trained(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Parameters of a module that are trained."""
    return [p for p in module.parameters() if p.requires_grad]


def descend_latents(
    module: torch.nn.Module,
    energy_and_gradient: Gradients,
    start: Point,
    settings: LatentSettings,
) -> Iterator[Point]:
    """Minimize the energy over a module's parameters, one evaluated configuration at a time.

    Parameters
    ----------
    module : torch.nn.Module
    energy_and_gradient : callable
        As `eager_gradients` makes it.
    start : Point
        What the module returns first.
    settings : LatentSettings

    Yields
    ------
    Point
        After each iteration.

    Raises
    ------
    StageEnd
        The energy has stopped falling, or every step leads to non-finite energies.
    """
    parameters = trained(module)
    if settings.optimizer == "adam":
        points = _adam(module, parameters, energy_and_gradient, start, settings)
    else:
        points = _latent_lbfgs(parameters, energy_and_gradient)
    stopping = EarlyStopping(settings, start.energy)
    for _ in range(settings.iterations):
        point = next(points)
        yield point
        reason = stopping.reason(point.energy)
        if reason:
            raise StageEnd(reason)
    raise StageEnd(f"{settings.iterations} iterations done")


def _adam(
    module: torch.nn.Module,
    parameters: Sequence[torch.nn.Parameter],
    energy_and_gradient: Gradients,
    start: Point,
    settings: LatentSettings,
) -> Iterator[Point]:
    rate = settings.learning_rate
    if rate is None:
        rate = getattr(module, "learning_rate", 0.01)
    optimizer = torch.optim.Adam(parameters, lr=rate, fused=fusable(parameters))
    schedule = schedule_of(optimizer, settings)
    damping, failures = 1.0, 0
    good = _copies(parameters)
    energy_and_gradient(start)
    while True:
        torch.nn.utils.clip_grad_norm_(parameters, settings.max_gradient_norm)
        for group in optimizer.param_groups:
            group["lr"] *= damping
        optimizer.step()
        schedule.step()
        try:
            point = energy_and_gradient()
        except NonFiniteError:
            # Back to where the energy was finite, with smaller steps from now on.
            failures, damping = failures + 1, damping / 4
            if failures > 8:
                raise StageEnd("every step led to non-finite energies") from None
            _restore(parameters, good)
            optimizer.state.clear()
            energy_and_gradient()
            continue
        good = _copies(parameters)
        yield point


def schedule_of(
    optimizer: torch.optim.Optimizer, settings: LatentSettings
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return torch's scheduler of the learning rate."""
    total = max(1, settings.iterations)
    shapes: dict[str, Callable[[int], float]] = {
        "constant": lambda i: 1.0,
        "cosine": lambda i: 0.5 * (1.0 + math.cos(math.pi * min(i / total, 1.0))),
        "exponential": lambda i: 0.01 ** (i / total),
    }
    return torch.optim.lr_scheduler.LambdaLR(optimizer, shapes[settings.schedule])


def _latent_lbfgs(
    parameters: Sequence[torch.nn.Parameter], energy_and_gradient: Gradients
) -> Iterator[Point]:
    """L-BFGS on all parameters as one column of numbers, without step limit in nm."""

    def flat() -> np.ndarray:
        return torch.cat([p.detach().reshape(-1) for p in parameters]).double().numpy()[:, None]

    last: list[Point] = []

    def evaluate(column: np.ndarray) -> Point:
        values = torch.from_numpy(column[:, 0])
        with torch.no_grad():
            for p, part in zip(
                parameters, values.split([p.numel() for p in parameters]), strict=True
            ):
                p.copy_(part.view_as(p))
        last[:] = [energy_and_gradient()]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        gradient = torch.cat([part.reshape(-1) for part in parts]).double().numpy()
        return Point(column, last[0].energy, -gradient[:, None])

    try:
        # The step that lbfgs accepts is always the one evaluated last.
        for _ in lbfgs(evaluate, evaluate(flat()), max_step=1.0):
            yield last[0]
    except LineSearchError as error:
        raise StageEnd(str(error)) from None


def fusable(parameters: Iterable[torch.Tensor]) -> bool:
    """Whether torch has a fused Adam for these."""
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


def _copies(parameters: Sequence[torch.nn.Parameter]) -> list[torch.Tensor]:
    return [p.detach().clone() for p in parameters]


def _restore(parameters: Sequence[torch.nn.Parameter], values: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for p, value in zip(parameters, values, strict=True):
            p.copy_(value)
