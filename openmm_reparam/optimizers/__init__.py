"""Optimizers that torch.optim and scipy lack."""

from ..potentials.point import Point
from .lbfgs import lbfgs
from .line_search import LineSearchError

__all__ = ["LineSearchError", "Point", "lbfgs"]
