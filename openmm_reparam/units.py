"""Quantities and bare numbers at the public boundary; inside, everything is nm and kJ/mol."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from openmm import unit

__all__ = ["in_unit", "positions_in_nanometers", "real_number", "whole_number"]


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
        number = _as_float(value.value_in_unit(expected) if unit.is_quantity(value) else value)
    except TypeError as error:
        raise TypeError(f"{name} is {value!r}: pass a number or Quantity in {expected}") from error
    if not np.isfinite(number) or number < 0:
        raise ValueError(f"{name} is {value!r}: it has to be finite and not negative")
    return number


def real_number(value: Any, name: str) -> float:
    """Return a number without a unit as a float.

    Parameters
    ----------
    value : float
        Or a numpy scalar, or an array of no dimension.
    name : str
        What an error calls the value.

    Raises
    ------
    TypeError
        If the value is no number: strings, booleans, None and Quantities are none.

    Examples
    --------
    >>> real_number(np.float32(0.5), "learning_rate")
    0.5
    """
    try:
        return _as_float(value)
    except TypeError as error:
        raise TypeError(f"{name} is {value!r}: pass a number without a unit") from error


def whole_number(value: Any, name: str, least: int, most: int | None = None) -> int:
    """Return a whole number of at least ``least``, and at most ``most``, as an int.

    Parameters
    ----------
    value : int
        Or a numpy integer.
    name : str
        What an error calls the value.
    least : int
    most : int, optional

    Raises
    ------
    TypeError
        If the value is no whole number: 1.0, "1" and True are none.
    ValueError
        If it is below ``least`` or above ``most``.

    Examples
    --------
    >>> whole_number(np.int64(3), "maxIterations", 0)
    3
    """
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError("a boolean is no number")
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name} is {value!r}: pass a whole number") from error
    if number < least:
        raise ValueError(f"{name} is {number}: it must be {least} or more")
    if most is not None and number > most:
        raise ValueError(f"{name} is {number}: it must be {most} or less")
    return number


def _as_float(value: Any) -> float:
    """Return a number as a float; float() alone would take strings and booleans."""
    array = np.asarray(float(value) if type(value) is int else value)
    if array.ndim or array.dtype.kind not in "iuf":
        raise TypeError(f"{type(value).__name__} is no number")
    return float(array)


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
