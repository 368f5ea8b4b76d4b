"""Where atoms go that their neighbours determine."""

from __future__ import annotations

import numpy as np

from .internal_coordinates import directions

__all__ = ["carboxylate_oxygen", "opposite"]

_CARBOXYLATE_BOND = 0.125  # nm


def opposite(arms: np.ndarray) -> np.ndarray:
    """Return the direction away from an atom's neighbours, a unit vector.

    Parameters
    ----------
    arms : (n, 3) array
        From the atom to its neighbours.

    Returns
    -------
    (3,) array
        Along x where the neighbours leave no direction.

    Examples
    --------
    >>> opposite(np.array([[0.1, 0.0, 0.0], [0.0, 0.0, 0.2]]))[::2].round(3).tolist()
    [-0.707, -0.707]
    """
    away = -directions(arms)[1].sum(axis=0)
    length = float(np.linalg.norm(away))
    return away / length if length > 1e-6 else np.array([1.0, 0.0, 0.0])


def carboxylate_oxygen(alpha: np.ndarray, carbon: np.ndarray, oxygen: np.ndarray) -> np.ndarray:
    """Return where the second oxygen of an amino acid at a chain's end goes.

    Parameters
    ----------
    alpha, carbon, oxygen : (3,) arrays in nm
        CA, C and O.

    Returns
    -------
    (3,) array in nm
    """
    return carbon + _CARBOXYLATE_BOND * opposite(np.array([alpha, oxygen]) - carbon)
