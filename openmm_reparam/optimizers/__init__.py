"""Optimizers that torch.optim and scipy lack."""

from ..potentials.point import Point
from .lbfgs import LineSearchError, lbfgs

__all__ = ["LineSearchError", "Point", "lbfgs"]
