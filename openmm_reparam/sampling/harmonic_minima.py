"""Distinct minima that structures lead to, with their normal modes and symmetry."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.constants import c, centi, pico
from tqdm import tqdm

from ..errors import BudgetExhausted, ConvergenceWarning
from ..minimization.api import minimize_reparam
from ..potentials.potential import Potential
from .normal_modes import NormalModes, normal_modes
from .point_group import point_group

__all__ = ["HarmonicMinimum", "distinct_minima"]

WAVENUMBER = centi / (2 * np.pi * c * pico)  # of an angular frequency of 1/ps, in 1/cm
# RMS force in kJ/mol/nm to which minima are minimized, and beyond which there is none.
TOLERANCE, ACCEPTED = 0.05, 1.0
# 1/cm: a harmonic oscillator cannot stand for a softer mode.
SOFTEST = 1.0
# How far an atom moves along a mode of negative curvature (nm) to leave a saddle, and how often.
KICK, DESCENTS = 0.02, 3
# Minima are one if energies (kJ/mol), moments of inertia and frequencies (relative) agree; where
# they cannot rotate freely, atoms must be nearer than this (nm), too.
SAME_ENERGY, SAME_MOMENTS, SAME_FREQUENCIES, SAME_PLACE = 0.01, 2e-3, 1e-2, 0.01


@dataclass(frozen=True)
class HarmonicMinimum:
    """A minimum and what its partition function is made of.

    Attributes
    ----------
    indices : tuple of int
        Which of the structures given lead to it.
    energy : float
        In kJ/mol.
    positions : (N, 3) array
        In nm.
    frequencies : (m,) array
        Of its vibrations, as angular frequencies in 1/ps.
    moments : (r,) array
        Principal moments of inertia in amu nm^2; none where rotation is not free.
    rotations : int
        Its symmetry number.
    isomers : float
        Permutational isomers and mirror images, up to a constant of all minima: 2 over the order
        of the point group.
    """

    indices: tuple[int, ...]
    energy: float
    positions: np.ndarray = field(repr=False)
    frequencies: np.ndarray = field(repr=False)
    moments: np.ndarray = field(repr=False)
    rotations: int
    isomers: float

    @property
    def wavenumbers(self) -> np.ndarray:
        """(m,) frequencies in 1/cm."""
        return WAVENUMBER * self.frequencies


class _NoMinimumError(Exception):
    """Why a structure leads to no minimum."""


def distinct_minima(
    potential: Potential, starts: Sequence[np.ndarray]
) -> tuple[list[HarmonicMinimum], dict[int, str]]:
    """Minimize structures, leave saddles, and find the modes and the symmetry of each minimum.

    Parameters
    ----------
    potential : Potential
        In double precision; its Context's positions change.
    starts : sequence of (N, 3) arrays
        In nm.

    Returns
    -------
    list of HarmonicMinimum
        Each once, permutational isomers and mirror images with it, in the order of the starts.
    dict of int to str
        Why starts lead to no minimum, or were not reached.

    Raises
    ------
    BudgetExhausted, KeyboardInterrupt
        Before the first minimum was done.
    """
    found: list[HarmonicMinimum] = []
    left_out: dict[int, str] = {}
    done = 0
    try:
        for start in tqdm(starts, desc="Hessians", unit="minimum", leave=False, disable=None):
            try:
                _add(found, _harmonic_minimum(potential, start, done))
            except _NoMinimumError as error:
                left_out[done] = str(error)
            done += 1
    except (BudgetExhausted, KeyboardInterrupt) as error:
        if not found:
            raise
        why = str(error) or "interrupted"
        left_out |= dict.fromkeys(range(done, len(starts)), f"not done: {why}")
    return found, left_out


def _harmonic_minimum(potential: Potential, start: np.ndarray, index: int) -> HarmonicMinimum:
    positions, modes = _minimum(potential, start)
    softest = WAVENUMBER * modes.frequencies.min(initial=np.inf)
    if softest < -SOFTEST:
        raise _NoMinimumError(f"a saddle: its lowest mode is {softest:.1f} 1/cm, imaginary")
    if softest < SOFTEST:
        raise _NoMinimumError(f"its lowest mode, {softest:.2f} 1/cm, is held by nothing harmonic")
    energy = potential.evaluate(positions)[0]
    moving = potential.moves
    rotations, isomers = 1, 1.0
    if len(modes.moments):
        group = point_group(positions[moving], potential.masses[moving])
        rotations, isomers = group.rotations, group.isomers
    return HarmonicMinimum(
        (index,), energy, positions, modes.frequencies, modes.moments, rotations, isomers
    )


def _minimum(potential: Potential, start: np.ndarray) -> tuple[np.ndarray, NormalModes]:
    """Minimize, and leave saddles along their mode of most negative curvature."""
    for _ in range(DESCENTS):
        positions = _minimized(potential, start)
        modes = normal_modes(potential, positions)
        if WAVENUMBER * modes.frequencies.min(initial=np.inf) > -SOFTEST:
            break
        start = positions + KICK * modes.displacements[0]
    return positions, modes


def _minimized(potential: Potential, start: np.ndarray) -> np.ndarray:
    potential.set_positions(start)
    left = potential.counter.left
    if left < 1:
        potential.counter.require(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = minimize_reparam(
            potential.context,
            TOLERANCE,
            max_force_evaluations=None if np.isinf(left) else int(left),
            progress=False,
        )
    potential.counter.side += result.force_evaluations
    if result.rms_force > ACCEPTED:
        potential.counter.require(1)
        raise _NoMinimumError(
            f"minimization ended at an RMS force of {result.rms_force:.3g} kJ/mol/nm: "
            f"{result.message}"
        )
    return potential.positions()


def _add(found: list[HarmonicMinimum], minimum: HarmonicMinimum) -> None:
    """Add a minimum, or its indices to those of the one that it is."""
    for place, known in enumerate(found):
        if _same(known, minimum):
            lower = min(known, minimum, key=lambda m: m.energy)
            found[place] = replace(lower, indices=known.indices + minimum.indices)
            return
    found.append(minimum)


def _same(one: HarmonicMinimum, other: HarmonicMinimum) -> bool:
    if abs(one.energy - other.energy) > SAME_ENERGY or len(one.moments) != len(other.moments):
        return False
    if not len(one.moments) and np.abs(one.positions - other.positions).max() > SAME_PLACE:
        return False
    return np.allclose(one.moments, other.moments, rtol=SAME_MOMENTS) and np.allclose(
        one.frequencies, other.frequencies, rtol=SAME_FREQUENCIES
    )
