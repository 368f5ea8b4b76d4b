"""The stages of a run that go from minimum to minimum."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from ..optimizers.stage_end import StageEnd
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
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

__all__ = ["IsomerStage", "SearchStage", "quenching_search"]


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
