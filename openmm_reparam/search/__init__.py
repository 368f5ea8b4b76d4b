"""Searches for minima deeper than the nearest one."""

from .hopping import LOOSE, hop
from .like_atoms import exchanged_points
from .minima import Hops, Minimum
from .settings import SEARCHES, SearchSettings, search_settings
from .springs import spring_points

__all__ = [
    "LOOSE",
    "SEARCHES",
    "Hops",
    "Minimum",
    "SearchSettings",
    "exchanged_points",
    "hop",
    "search_settings",
    "spring_points",
]
