"""What all parts of a search work with."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np

from ..potentials.bond_graph import bond_graph
from ..potentials.evaluator import Evaluator
from ..potentials.potential import Potential
from .settings import LOOSE_FORCE, SearchSettings
from .torsions import TorsionTopology

__all__ = ["SearchContext"]


@dataclass(frozen=True)
class SearchContext:
    """What all parts of a search work with.

    Attributes
    ----------
    evaluator : Evaluator
    settings : SearchSettings
    rng : numpy Generator
        All parts draw from it.
    graph : networkx.Graph
        Of all bonds.
    topology : TorsionTopology
    tolerance : float
        RMS force in kJ/mol/nm to which those minima are relaxed that may be the lowest of all.
        Loose quenches do not tell which of two rotamers is lower, where they differ by less than
        1 kJ/mol.
    """

    evaluator: Evaluator
    settings: SearchSettings
    rng: np.random.Generator
    graph: nx.Graph
    topology: TorsionTopology
    tolerance: float = LOOSE_FORCE

    @classmethod
    def of(
        cls,
        evaluator: Evaluator,
        settings: SearchSettings,
        rng: np.random.Generator,
        tolerance: float = LOOSE_FORCE,
    ) -> SearchContext:
        """Make a context; bonds and torsions are those of the evaluator's potential."""
        graph = bond_graph(evaluator.potential)
        topology = TorsionTopology(evaluator.potential, graph)
        return cls(evaluator, settings, rng, graph, topology, tolerance)

    @property
    def potential(self) -> Potential:
        """The evaluator's potential."""
        return self.evaluator.potential
