"""Reparametrizations X = rho(Z; theta), one file each, all torch modules."""

from . import cartesian, gcn, linear, spectral
from .base import Anchored, Start, available, build, refuse_settings, register, settings_of
from .cartesian import Cartesian
from .gcn import GCN
from .linear import Linear
from .spectral import Spectral, Whitened

__all__ = [
    "GCN",
    "Anchored",
    "Cartesian",
    "Linear",
    "Spectral",
    "Start",
    "Whitened",
    "available",
    "build",
    "cartesian",
    "gcn",
    "linear",
    "refuse_settings",
    "register",
    "settings_of",
    "spectral",
]
