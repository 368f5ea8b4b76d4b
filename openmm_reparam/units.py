"""Quantities and bare numbers at the public boundary; inside, everything is nm and kJ/mol."""

from __future__ import annotations

from typing import Any

import numpy as np
from openmm import unit

__all__ = ["in_unit", "positions_in_nanometers"]


def in_unit(value: Any, expected: unit.Unit, name: str) -> float:
    """Return a quantity, or a bare number taken to be in that unit, as a float.

    Parameters
    ----------
    value : float or Quantity
    expected : openmm.unit.Unit
    name : str
        What an error calls the value.

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If the value has another dimension or is no number.
    ValueError
        If it is negative or not finite.

    Examples
    --------
    >>> in_unit(10 * unit.angstrom, unit.nanometer, "cutoff")
    1.0
    """
    try:
        number = float(value.value_in_unit(expected) if unit.is_quantity(value) else value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} is {value!r}: pass a number or Quantity in {expected}") from error
    if not np.isfinite(number) or number < 0:
        raise ValueError(f"{name} is {value!r}: it has to be finite and not negative")
    return number


def positions_in_nanometers(positions: Any, n_atoms: int) -> np.ndarray:
    """Return positions as a float64 array in nm, checked.

    Parameters
    ----------
    positions : (N, 3) array in nm, or Quantity
        A Quantity of an array, or of a list of Vec3, of any length unit.
    n_atoms : int
        The number of atoms N expected.

    Returns
    -------
    (N, 3) numpy.ndarray
        In nm; it may share memory with a float64 input.

    Raises
    ------
    TypeError
        If the positions have a unit that is no length.
    ValueError
        If the shape is not (N, 3) or a coordinate is not finite.

    Examples
    --------
    >>> from openmm import unit
    >>> positions_in_nanometers([[10.0, 0.0, 0.0]] * unit.angstrom, 1)
    array([[1., 0., 0.]])
    """
    if unit.is_quantity(positions):
        positions = positions.value_in_unit(unit.nanometer)
    array = np.asarray(positions, dtype=np.float64)
    if array.shape != (n_atoms, 3):
        raise ValueError(
            f"positions have shape {array.shape}, but the topology has {n_atoms} atoms: "
            f"pass an array of shape ({n_atoms}, 3) in nm"
        )
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        worst = int(np.flatnonzero(~finite)[0])
        raise ValueError(f"the position of atom {worst} is not finite: {array[worst].tolist()}")
    return array
