"""Optimizers that torch.optim and scipy lack."""

from .lbfgs import LineSearchError, Point, lbfgs

__all__ = ["LineSearchError", "Point", "lbfgs"]
