"""Searches for minima deeper than the nearest one."""

from .hopping import LOOSE, HoppingSettings, Hops, Minimum, hop

__all__ = ["LOOSE", "HoppingSettings", "Hops", "Minimum", "hop"]
