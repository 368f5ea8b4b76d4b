"""The stage of a run that descends in latents."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from ..errors import NonFiniteError
from ..openmm_torch.latent_gradients import torchforce_gradients
from ..optimizers.latents import Gradients, descend_latents, eager_gradients
from ..optimizers.stage_end import StageEnd
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..reparametrizations import Start, build
from .settings import MinimizationSettings

__all__ = ["LatentStage"]


class LatentStage:
    """Descent in the latents and weights of a reparametrization.

    Parameters
    ----------
    evaluator : Evaluator
    settings : MinimizationSettings

    Attributes
    ----------
    name, label : str
        What the result and the progress call it: by its reparametrization.
    searches : bool
        False.
    """

    searches = False

    def __init__(self, evaluator: Evaluator, settings: MinimizationSettings) -> None:
        self._evaluator, self._settings = evaluator, settings
        self.name = self.label = settings.reparametrization_name

    def points(self, begin: Point) -> Generator[Point, None, None]:
        """Yield a point after each iteration; `StageEnd` says why there are no more."""
        settings = self._settings
        rng = np.random.default_rng(settings.seed)
        start = Start(self._evaluator.potential, begin.positions, rng)
        try:
            module = build(settings.reparametrization, start, **settings.reparametrization_settings)
        except NonFiniteError as error:
            where = "near the start, where its Hessian is taken"
            raise StageEnd(f"left out: {where}, {error}") from None
        most = settings.latent_iterations
        points = descend_latents(module, self._gradients(module, begin), begin, settings.latent)
        for done, point in enumerate(points, start=1):
            yield point
            if done >= most:
                raise StageEnd(f"{most} iterations done")

    def _gradients(self, module, begin: Point) -> Gradients:
        potential = self._evaluator.potential
        if self._settings.engine == "openmm-torch":
            return torchforce_gradients(module, potential)
        return eager_gradients(module, self._evaluator.evaluate, begin, potential.moves)
