"""A configuration that has been evaluated, and its size of forces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import compiled

__all__ = ["Point", "dot", "rms"]


class Point(NamedTuple):
    """A configuration that has been evaluated.

    ``forces`` are those along which atoms can move: zero on fixed atoms, and on a constrained
    System projected on the tangent space.
    """

    positions: np.ndarray
    energy: float
    forces: np.ndarray


def dot(a: np.ndarray, b: np.ndarray) -> float:
    """Inner product of two arrays, on one thread: for long ones BLAS would wake its own."""
    return compiled.dot(a, b)


def rms(forces: np.ndarray, count: int) -> float:
    r"""RMS force in OpenMM's convention: sqrt(sum \\|F\\|^2 / count), (N, 3) in kJ/mol/nm."""
    return float(np.sqrt(dot(forces, forces) / count))
