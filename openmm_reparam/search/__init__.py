"""Searches for minima deeper than the nearest one."""

import importlib
import warnings
from typing import Any

from .basin_hopping import BasinHopping
from .context import SearchContext
from .minima import MinimaDatabase, Minimum, ShapeComparison
from .permutations import isomer_points
from .protocols import AcceptanceRule, Explorer, Move, Proposal, Situation, ValidityCheck
from .record import SearchRecord
from .settings import LOOSE_FORCE, SEARCHES, SearchSettings, search_settings
from .state import SearchState, WalkerState

__all__ = [
    "LOOSE_FORCE",
    "SEARCHES",
    "AcceptanceRule",
    "BasinHopping",
    "Explorer",
    "MinimaDatabase",
    "Minimum",
    "Move",
    "Proposal",
    "SearchContext",
    "SearchRecord",
    "SearchSettings",
    "SearchState",
    "ShapeComparison",
    "Situation",
    "ValidityCheck",
    "WalkerState",
    "isomer_points",
    "search_settings",
]

# Names of the first version; removed in the version after the next.
RENAMED = {"LOOSE": "LOOSE_FORCE"}
REPLACED = {
    "Hops": "MinimaDatabase and SearchRecord",
    "exchanged_points": "isomer_points",
    "hop": "BasinHopping",
}


def __getattr__(name: str) -> Any:
    """Return what has another name now, with a warning."""
    if name in RENAMED:
        warnings.warn(f"{name} is {RENAMED[name]} now", DeprecationWarning, stacklevel=2)
        return globals()[RENAMED[name]]
    if name in REPLACED:
        warnings.warn(f"{name} is {REPLACED[name]} now", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module(".deprecated_names", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
