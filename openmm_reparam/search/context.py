"""What all parts of a search work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx
import numpy as np

from ..potentials.bond_graph import bond_graph
from ..potentials.collapse import CollapseCheck
from ..potentials.point import Point
from ..potentials.potential import Potential
from .settings import LOOSE_FORCE, SearchSettings
from .torsions import TorsionTopology

__all__ = ["SearchContext"]


@dataclass(frozen=True)
class SearchContext:
    """What all parts of a search work with.

    Attributes
    ----------
    potential : Potential
    evaluate : callable
        (N, 3) positions in nm -> Point.
    rms : callable
        Point -> RMS force in kJ/mol/nm.
    settings : SearchSettings
    rng : numpy Generator
        All parts draw from it.
    graph : networkx.Graph
        Of all bonds.
    topology : TorsionTopology
    collapse : CollapseCheck
    project : callable or None
        Projects displacements on the constraints, as `lbfgs` takes it.
    tolerance : float
        RMS force in kJ/mol/nm to which those minima are relaxed that may be the lowest of all.
        Loose quenches do not tell which of two rotamers is lower, where they differ by less than
        1 kJ/mol.
    """

    potential: Potential
    evaluate: Callable[[np.ndarray], Point]
    rms: Callable[[Point], float]
    settings: SearchSettings
    rng: np.random.Generator
    graph: nx.Graph
    topology: TorsionTopology
    collapse: CollapseCheck
    project: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    tolerance: float = LOOSE_FORCE

    @classmethod
    def of(
        cls,
        potential: Potential,
        evaluate: Callable[[np.ndarray], Point],
        rms: Callable[[Point], float],
        settings: SearchSettings,
        rng: np.random.Generator,
        *,
        collapse: CollapseCheck | None = None,
        project: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        tolerance: float = LOOSE_FORCE,
    ) -> SearchContext:
        """Make a context; bonds and torsions are those of the potential."""
        graph = bond_graph(potential)
        return cls(
            potential,
            evaluate,
            rms,
            settings,
            rng,
            graph,
            TorsionTopology(potential, graph),
            collapse or CollapseCheck(potential),
            project,
            tolerance,
        )
