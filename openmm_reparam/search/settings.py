"""How a search goes about: the explorers by name, and every number they use."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..optimizers.latents import OPTIMIZERS
from ..units import real_number, whole_number

__all__ = ["SEARCHES", "SearchSettings", "search_settings"]

SLOW_MODES = "slow-modes"
# Bounds of the amplitude, in units of the one to begin with.
SMALLEST, LARGEST = 1 / 3, 2.0


@dataclass(frozen=True)
class SearchSettings:
    """How a search goes from minimum to minimum.

    Attributes
    ----------
    explorer : str, torch.nn.Module class or callable
        What leads away from a minimum: "slow-modes" kicks along soft modes, chosen among up
        to 64 by what the minima met so far tell of torsion angles, or whatever
        `openmm_reparam.reparametrizations.build` takes ("spectral", "gcn", a callable that
        makes your module), whose latents and weights are perturbed and then annealed by Adam.
    explorer_settings : dict
        Of the reparametrization: ``hidden``, ``propagation``, ...
    explorer_evaluations : int
        Iterations of one annealing; of Adam as many force evaluations, of L-BFGS a few more.
    explorer_optimizer : {"adam", "lbfgs"}
        Of that annealing; L-BFGS has no learning rate, and goes straight down.
    learning_rate : float, optional
        Adam's at its beginning; the reparametrization's own by default. Falls along a cosine.
    modes : int
        Softest non-rigid modes that a kick combines to begin with; adapts with the amplitude.
    amplitude : float
        RMS displacement of a kick or perturbation to begin with, in nm; adapts between a third
        and twice of it.
    turns : float
        Share of the kicks that turn a side chain or an end of a molecule to another rotamer, and
        leave the rest where it is; of those that refine, nine of ten do.
    candidates : int
        Further turns that the one tried is the lowest of, at a force evaluation each, once as many
        hops have met nothing lower as a patience of 1 stands for; fewer before, more after. Turns
        that clash open up what is poorly folded, those that fit settle the rest.
    patience : float
        A lone walker that has met nothing lower begins anew from another fold. Of 1, after as many
        hops as there are torsions that can turn, or where they are more than 14, a fourteenth of
        their square: 14 for a peptide of five residues, 249 for 2JOF.
    acceptance : float
        Share of accepted hops that the amplitude and the temperature are adapted to.
    temperature : float, optional
        Of the Metropolis rule, in K, to begin with; by default such that kT is a quarter of the
        median change of energy of the last hops, which suits argon and proteins alike.
    refinement : float
        Share of the force evaluations, the last, that are spent near the lowest minima: the search
        goes on from the lowest, at a third of the temperature until it meets nothing lower, and
        turns of side chains are of any of the twenty lowest.
    quench_evaluations : int
        Force evaluations of one quench at most.
    quench_tolerance : float, optional
        RMS force at which a quench ends, in kJ/mol/nm; by default ten times the run's tolerance,
        and no more than 10. What may be the lowest goes on to the run's tolerance.
    walkers : int
        Structures that hop in turn and share the budget.
    generation : int
        Hops of each walker after which the highest one goes on from the lowest's structure.
    """

    explorer: Any = SLOW_MODES
    explorer_settings: dict[str, Any] = field(default_factory=dict)
    explorer_evaluations: int = 100
    explorer_optimizer: str = "adam"
    learning_rate: float | None = None
    modes: int = 60
    amplitude: float = 0.2
    turns: float = 0.5
    candidates: int = 4
    patience: float = 1.0
    acceptance: float = 0.3
    temperature: float | None = None
    refinement: float = 0.125
    quench_evaluations: int = 250
    quench_tolerance: float | None = None
    walkers: int = 1
    generation: int = 10

    def __post_init__(self) -> None:
        counts = ("explorer_evaluations", "modes", "quench_evaluations", "walkers")
        for name in (*counts, "generation"):
            whole_number(getattr(self, name), name, 1)
        whole_number(self.candidates, "candidates", 0)
        for name in ("amplitude", "learning_rate", "quench_tolerance", "temperature", "patience"):
            value = getattr(self, name)
            endless = name == "patience" and value == math.inf
            if value is not None and not endless and not 0 < real_number(value, name) < math.inf:
                raise ValueError(f"{name} is {value!r}; it must be positive")
        if self.explorer_optimizer not in OPTIMIZERS:
            raise ValueError(
                f"explorer_optimizer is {self.explorer_optimizer!r}; it must be one of {OPTIMIZERS}"
            )
        for name in ("refinement", "turns"):
            if not 0 <= real_number(getattr(self, name), name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be between 0 and 1")
        if not 0 < real_number(self.acceptance, "acceptance") < 1:
            raise ValueError(f"acceptance is {self.acceptance!r}; it must be between 0 and 1")

    @property
    def name(self) -> str:
        """The explorer's name."""
        return self.explorer if isinstance(self.explorer, str) else _name(self.explorer)


def _name(explorer: Callable) -> str:
    return getattr(explorer, "__name__", type(explorer).__name__)


# What `search=` takes by name.
SEARCHES: dict[str, SearchSettings] = {
    "auto": SearchSettings(),
    "slow-modes": SearchSettings(),
    "neural": SearchSettings(explorer="gcn", explorer_settings={"coordinates": "whitened"}),
    "annealed": SearchSettings(explorer="spectral"),
    "population": SearchSettings(walkers=4),
}


def search_settings(search) -> SearchSettings | None:
    """Return the settings that a name stands for; settings and None as they are."""
    if search is None or isinstance(search, SearchSettings):
        return search
    if search not in SEARCHES:
        raise ValueError(
            f"search is {search!r}; give one of {tuple(SEARCHES)}, SearchSettings or None"
        )
    return SEARCHES[search]
