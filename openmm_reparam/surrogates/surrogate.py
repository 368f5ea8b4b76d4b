"""What stands in for an expensive energy: a name, and a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..potentials.potential import Potential

__all__ = ["Surrogate"]


@dataclass(frozen=True)
class Surrogate:
    """A cheap energy that stands in for an expensive one.

    Attributes
    ----------
    name : str
        As messages call it.
    evaluate : callable
        (N, 3) positions in nm -> energy in kJ/mol, forces (N, 3) in kJ/mol/nm.
    potential : Potential or None
        Of an OpenMM System: its terms make a preconditioner.
    """

    name: str
    evaluate: Callable[[np.ndarray], tuple[float, np.ndarray]]
    potential: Potential | None = None
