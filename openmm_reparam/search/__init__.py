"""Searches for minima deeper than the nearest one."""

from .basin_hopping import LOOSE, hop
from .minima import Hops, Minimum
from .permutations import exchanged_points
from .settings import SEARCHES, SearchSettings, search_settings

__all__ = [
    "LOOSE",
    "SEARCHES",
    "Hops",
    "Minimum",
    "SearchSettings",
    "exchanged_points",
    "hop",
    "search_settings",
]
