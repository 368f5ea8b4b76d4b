"""Settings of a search, and the names of the searches."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..optimizers.latent_settings import OPTIMIZERS
from ..units import real_number, whole_number

__all__ = ["LOOSE_FORCE", "SEARCHES", "SearchSettings", "search_settings"]

SLOW_MODES = "slow-modes"
# Bounds of the amplitude, in units of the one to begin with.
MIN_AMPLITUDE_FACTOR, MAX_AMPLITUDE_FACTOR = 1 / 3, 2.0
# Quenches end at this RMS force (kJ/mol/nm) at the latest.
LOOSE_FORCE = 10.0
# Fields of the first version; removed in the version after the next.
RENAMED_FIELDS = {"turns": "rotamer_share"}

Settings = TypeVar("Settings")


def _with_renamed_fields(cls: type[Settings]) -> type[Settings]:
    """Let a class of settings take and show fields by their old names, with a warning."""
    original = cls.__init__

    @functools.wraps(original)
    def init(self: Settings, *args: Any, **settings: Any) -> None:
        for old in RENAMED_FIELDS.keys() & settings.keys():
            _warn_of_renamed(old)
            settings[RENAMED_FIELDS[old]] = settings.pop(old)
        original(self, *args, **settings)

    def read(self: Settings, name: str) -> Any:
        if name not in RENAMED_FIELDS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        _warn_of_renamed(name)
        return getattr(self, RENAMED_FIELDS[name])

    for name, method in {"__init__": init, "__getattr__": read}.items():
        setattr(cls, name, method)
    return cls


def _warn_of_renamed(old: str) -> None:
    new = RENAMED_FIELDS[old]
    warnings.warn(f"SearchSettings.{old} is {new} now", DeprecationWarning, stacklevel=3)


@_with_renamed_fields
@dataclass(frozen=True)
class SearchSettings:
    """How a search goes from minimum to minimum.

    Attributes
    ----------
    explorer : str, torch.nn.Module class or callable
        What leads away from a minimum. "slow-modes" displaces along low-frequency modes and moves
        side chains to other rotamers; of up to 64 proposals it tries the one for which the minima
        found so far predict the lowest energy. Or whatever
        `openmm_reparam.reparametrizations.build` takes ("spectral", "gcn", a callable that makes
        your module): its latents and weights are perturbed and then annealed by Adam.
    explorer_settings : dict
        Of the reparametrization: ``hidden``, ``propagation``, ...
    explorer_evaluations : int
        Iterations of one annealing; of Adam as many force evaluations, of L-BFGS a few more.
    explorer_optimizer : {"adam", "lbfgs"}
        Of that annealing; L-BFGS has no learning rate, and goes straight down.
    learning_rate : float, optional
        Adam's at its beginning; the reparametrization's own by default. Falls along a cosine.
    modes : int
        Lowest non-rigid modes that a move combines to begin with; adapts with the amplitude.
    amplitude : float
        RMS displacement of a move to begin with, in nm; adapts between a third and twice of it.
    rotamer_share : float
        Share of the moves that rotate a side chain or an end of a molecule to another rotamer and
        leave the rest where it is. Of those that refine it is nine in ten.
    candidates : int
        Rotamer moves beyond the first, at one force evaluation each, of which the lowest is taken.
        This many once the search has stagnated for as many hops as a patience of 1 allows; fewer
        before, more after.
    patience : float
        A lone walker that has found nothing lower restarts from another fold. Of 1, after as many
        hops as there are torsions that can rotate; where these are more than 14, a fourteenth of
        their square: 14 for a peptide of five residues, 249 for 2JOF.
    acceptance : float
        Share of accepted hops that the amplitude and the temperature are adapted to.
    temperature : float, optional
        Of the Metropolis rule, in K, to begin with; by default such that kT is a quarter of the
        median change of energy of the last hops, which suits argon and proteins alike.
    refinement : float
        Share of the force evaluations, the last, that are spent near the lowest minima. The search
        goes on from the lowest, at a third of the temperature until it finds nothing lower. Its
        rotamer moves are those of any of the twenty lowest.
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
    rotamer_share: float = 0.5
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
        for name in ("refinement", "rotamer_share"):
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


def search_settings(search: str | SearchSettings | None) -> SearchSettings | None:
    """Return the settings that a name stands for; settings and None as they are."""
    if search is None or isinstance(search, SearchSettings):
        return search
    if search not in SEARCHES:
        raise ValueError(
            f"search is {search!r}; give one of {tuple(SEARCHES)}, SearchSettings or None"
        )
    return SEARCHES[search]
