"""The stages of a run beside the fine-grained one: in latents, and from minimum to minimum."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from ..errors import NonFiniteError
from ..openmm_torch.latent_gradients import torchforce_gradients
from ..optimizers.latents import Gradients, StageEnd, descend_latents, eager_gradients
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..reparametrizations import Start, build
from ..search import (
    LOOSE_FORCE,
    BasinHopping,
    MinimaDatabase,
    SearchContext,
    SearchRecord,
    SearchSettings,
    isomer_points,
)
from ..search.torsions import TorsionTopology
from .replicas import compared_atoms
from .settings import MinimizationSettings

__all__ = ["IsomerStage", "LatentStage", "SearchStage", "quenching_search"]


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


class SearchStage:
    """Basin hopping on from a minimum.

    Parameters
    ----------
    evaluator : Evaluator
    settings : MinimizationSettings
        With a ``search``.
    reference : (N, 3) array
        Of the run's start, in nm: what minima are compared with to be valid.

    Attributes
    ----------
    name : str
    searches : bool
        True: its points are minima that need not be lower and lower.
    topology : TorsionTopology
    database : MinimaDatabase
    record : SearchRecord
    """

    searches = True

    def __init__(
        self, evaluator: Evaluator, settings: MinimizationSettings, reference: np.ndarray
    ) -> None:
        search = quenching_search(settings)
        rng = np.random.default_rng(settings.seed)
        self._context = SearchContext.of(evaluator, search, rng, settings.tolerance)
        self._reference = reference
        self.name = search.name
        self.topology: TorsionTopology = self._context.topology
        potential = evaluator.potential
        compared = compared_atoms(potential.topology, potential.num_particles)
        self.database = MinimaDatabase(compared, self.topology.symmetry_classes)
        self.record = SearchRecord(search.name)

    @property
    def label(self) -> str:
        """What the progress calls it."""
        return f"{self.name}, {self.record.accepted}/{self.record.tried} hops accepted, best"

    def points(self, begin: Point) -> Generator[Point, None, None]:
        """Yield valid minima; what the first evaluations raise ends the stage, too."""
        search = BasinHopping(self._context, begin, self.database, self.record, self._reference)
        yield from search.points()


class IsomerStage:
    """Permutational isomers of the best structure, of which one may be lower.

    Parameters
    ----------
    evaluator : Evaluator
    topology : TorsionTopology

    Attributes
    ----------
    name, label : str
        What the result and the progress call it.
    searches : bool
        True.
    """

    name = "permutational isomers"
    label = f"{name}, best"
    searches = True

    def __init__(self, evaluator: Evaluator, topology: TorsionTopology) -> None:
        self._evaluator, self._topology = evaluator, topology

    def points(self, begin: Point) -> Generator[Point, None, None]:
        """Yield isomers, each lower than the one before; `StageEnd` says how many there were."""
        lower = 0
        for point in isomer_points(self._topology, self._evaluator.evaluate, begin):
            lower += 1
            yield point
        raise StageEnd(f"equivalent atoms exchanged, {lower or 'no'} exchange lowered the energy")


def quenching_search(settings: MinimizationSettings) -> SearchSettings:
    """Return the search's settings, with a tolerance of its quenches.

    Parameters
    ----------
    settings : MinimizationSettings

    Raises
    ------
    ValueError
        They have no search.
    """
    search = settings.search
    if search is None:
        raise ValueError("these settings have no search")
    if search.quench_tolerance is not None:
        return search
    return replace(search, quench_tolerance=min(LOOSE_FORCE, 10 * settings.tolerance))
