"""Free energies of minima: the harmonic superposition approximation.

The partition function is the sum of those of the minima, each a harmonic oscillator and a rigid
rotor. Rotation counts, because moments of inertia differ between minima: with it, classical
populations do not depend on the masses of atoms, as those of the Boltzmann distribution do not.

References
----------
Wales, D. J. Energy Landscapes, Cambridge 2003, chapter 7.
Stillinger, F. H., Weber, T. A. Science 1984, 225, 983.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import openmm as mm
from openmm import unit
from scipy.constants import N_A, hbar, kilo, pico
from scipy.special import softmax

from ..constants import BOLTZMANN
from ..potentials.potential import EvaluationCounter, Potential
from ..units import in_unit, positions_in_nanometers
from .harmonic_minima import HarmonicMinimum, distinct_minima

__all__ = ["HarmonicSuperposition", "harmonic_superposition"]

HBAR = hbar * N_A / kilo / pico  # kJ/mol ps
ROWS = 20  # of a table


class HasPositions(Protocol):
    """A structure: an entry of ``result.minima``, say."""

    @property
    def positions(self) -> np.ndarray:
        """(N, 3) positions in nm."""
        ...


@dataclass(frozen=True, repr=False)
class HarmonicSuperposition:
    """Minima, and the thermodynamics of their superposition.

    Methods take a temperature in K, as a number, an array or a Quantity; by default the one that
    was asked for. The motion of the centre of mass is left out of all of them.

    Attributes
    ----------
    minima : tuple of HarmonicMinimum
        Lowest free energy at ``temperature`` first.
    temperature : float
        In K.
    quantum : bool
        Whether vibrations are quantum oscillators; rotation is classical.
    left_out : dict of int to str
        Structures that are no minima, by their place among those given, and why.
    force_evaluations : int
    """

    minima: tuple[HarmonicMinimum, ...]
    temperature: float
    quantum: bool
    left_out: dict[int, str]
    force_evaluations: int

    @property
    def energies(self) -> np.ndarray:
        """(n,) energies in kJ/mol."""
        return np.array([minimum.energy for minimum in self.minima])

    def free_energies(self, temperature: Any = None) -> np.ndarray:
        """Return the free energy of each minimum, (..., n) in kJ/mol."""
        kelvin = self._kelvin(temperature)
        return self.energies - BOLTZMANN * kelvin * self._log_partition(kelvin)

    def populations(self, temperature: Any = None) -> np.ndarray:
        """Return the share of each minimum, (..., n)."""
        kelvin = self._kelvin(temperature)
        logarithms = self._log_partition(kelvin) - self.energies / (BOLTZMANN * kelvin)
        return softmax(logarithms, axis=-1)

    def mean_energy(self, temperature: Any = None) -> np.ndarray:
        """Return the mean energy, potential and kinetic, (...) in kJ/mol."""
        kelvin = self._kelvin(temperature)
        return (self.populations(kelvin[..., 0]) * self._mean_energies(kelvin)).sum(axis=-1)

    def heat_capacity(self, temperature: Any = None) -> np.ndarray:
        """Return the heat capacity at constant volume, (...) in kJ/mol/K."""
        kelvin = self._kelvin(temperature)
        shares, energies = self.populations(kelvin[..., 0]), self._mean_energies(kelvin)
        mean = (shares * energies).sum(axis=-1, keepdims=True)
        between = (shares * (energies - mean) ** 2).sum(axis=-1)
        within = (shares * self._heat_capacities(kelvin)).sum(axis=-1)
        return within + between / (BOLTZMANN * kelvin[..., 0] ** 2)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but structures as plain Python values, ready for JSON."""
        rows = zip(self.minima, self.free_energies(), self.populations(), strict=True)
        return {
            "temperature_kelvin": self.temperature,
            "quantum": self.quantum,
            "force_evaluations": self.force_evaluations,
            "minima": [
                {
                    "indices": list(minimum.indices),
                    "energy": minimum.energy,
                    "free_energy": float(free_energy),
                    "population": float(population),
                    "rotations": minimum.rotations,
                    "isomers": minimum.isomers,
                    "wavenumbers": minimum.wavenumbers.tolist(),
                    "moments_of_inertia": minimum.moments.tolist(),
                }
                for minimum, free_energy, population in rows
            ],
            "left_out": {str(index): why for index, why in self.left_out.items()},
        }

    def __len__(self) -> int:
        return len(self.minima)

    def __repr__(self) -> str:
        energies, free = (x - x.min() for x in (self.energies, self.free_energies()))
        lines = [
            f"HarmonicSuperposition: {len(self)} minima at {self.temperature:g} K, "
            f"{'quantum' if self.quantum else 'classical'} oscillators, lowest energy "
            f"{self.energies.min():.3f} kJ/mol",
            "     minimum  energy, kJ/mol  free energy, kJ/mol  population, %  lowest mode, 1/cm",
        ]
        rows = zip(self.minima, energies, free, 100 * self.populations(), strict=True)
        for minimum, energy, free_energy, share in list(rows)[:ROWS]:
            lowest = f"{minimum.wavenumbers[0]:19.1f}" if len(minimum.frequencies) else f"{'-':>19}"
            lines.append(
                f"{minimum.indices[0]:12d}{energy:16.3f}{free_energy:21.3f}{share:15.2f}{lowest}"
            )
        if len(self) > ROWS:
            rest = 100 * self.populations()[ROWS:].sum()
            lines.append(f"    and {len(self) - ROWS} more with {rest:.2f} % together")
        lines += [f"    left out: {index}: {why}" for index, why in self.left_out.items()]
        return "\n".join(lines)

    def _kelvin(self, temperature: Any) -> np.ndarray:
        """Temperatures in K, (..., 1)."""
        if temperature is None:
            temperature = self.temperature
        if unit.is_quantity(temperature):
            temperature = temperature.value_in_unit(unit.kelvin)
        kelvin = np.asarray(temperature, dtype=float)[..., None]
        if not (np.isfinite(kelvin) & (kelvin > 0)).all():
            raise ValueError(f"temperature is {temperature!r}: it has to be finite and above zero")
        return kelvin

    def _log_partition(self, kelvin: np.ndarray) -> np.ndarray:
        """Logarithms of the minima's partition functions, energies left out, (..., n)."""
        return np.stack(
            [
                _log_vibrations(m.frequencies, kelvin, self.quantum)
                + _log_rotation(m.moments, kelvin)
                + np.log(m.isomers)
                for m in self.minima
            ],
            axis=-1,
        )

    def _mean_energies(self, kelvin: np.ndarray) -> np.ndarray:
        """Mean energies in the minima, (..., n)."""
        thermal = BOLTZMANN * kelvin[..., 0]
        energies = []
        for m in self.minima:
            ratios = HBAR * m.frequencies / (BOLTZMANN * kelvin)
            each = ratios / 2 + ratios / np.expm1(ratios) if self.quantum else np.ones_like(ratios)
            energies.append(m.energy + thermal * (each.sum(axis=-1) + len(m.moments) / 2))
        return np.stack(energies, axis=-1)

    def _heat_capacities(self, kelvin: np.ndarray) -> np.ndarray:
        """Heat capacities in the minima, (..., n)."""
        capacities = []
        for m in self.minima:
            ratios = HBAR * m.frequencies / (BOLTZMANN * kelvin)
            each = (ratios / 2 / np.sinh(ratios / 2)) ** 2 if self.quantum else np.ones_like(ratios)
            capacities.append(BOLTZMANN * (each.sum(axis=-1) + len(m.moments) / 2))
        return np.stack(capacities, axis=-1)


def _log_vibrations(frequencies: np.ndarray, kelvin: np.ndarray, quantum: bool) -> np.ndarray:
    ratios = HBAR * frequencies / (BOLTZMANN * kelvin)
    if quantum:
        return -(ratios / 2 + np.log(-np.expm1(-ratios))).sum(axis=-1)
    return -np.log(ratios).sum(axis=-1)


def _log_rotation(moments: np.ndarray, kelvin: np.ndarray) -> np.ndarray:
    """Logarithm of a rigid rotor's partition function, its symmetry number left out."""
    of_moments = np.log(2 * moments * BOLTZMANN * kelvin / HBAR**2).sum(axis=-1) / 2
    return of_moments + (np.log(np.pi) / 2 if len(moments) == 3 else 0.0)


def harmonic_superposition(
    simulation: Any,
    minima: Sequence[HasPositions | np.ndarray] | np.ndarray,
    temperature: Any = 300.0 * unit.kelvin,
    *,
    quantum: bool = False,
    max_force_evaluations: int | None = None,
) -> HarmonicSuperposition:
    """Return free energies, populations and the heat capacity of minima.

    F_i = E_i + kT sum ln(h nu / kT) - kT ln(rigid rotor) - kT ln n_i, with n_i the number of
    permutational isomers. Each structure is minimized first to an RMS force of 0.05 kJ/mol/nm, off
    saddles too; structures that lead to one minimum, or to its mirror image, count once. That and a
    Hessian are done on a Context of their own, on the Reference platform: the Simulation stays as
    it is. Ctrl-C keeps what is done.

    Parameters
    ----------
    simulation : openmm.app.Simulation or openmm.Context
    minima : sequence
        ``result.minima`` of a search, or (N, 3) positions in nm; not empty.
    temperature : Quantity or float
        In K.
    quantum : bool
        Quantum oscillators, with zero-point energies, in place of classical ones.
    max_force_evaluations : int, optional
        Structures that it does not reach are left out.

    Returns
    -------
    HarmonicSuperposition

    Raises
    ------
    TypeError, ValueError
        Bad arguments; none of the structures leads to a minimum (the message says why).

    Notes
    -----
    The symmetry of minima is found from their geometry and the masses of atoms. Where an external
    field, fixed atoms or a filled periodic box let nothing rotate freely, n_i is 1 and only
    structures in one place are one minimum.

    Examples
    --------
    >>> from openmm_reparam.testsystems import lennard_jones_cluster
    >>> cluster = lennard_jones_cluster(5, epsilon=10.0)
    >>> simulation = cluster.simulation("Reference")
    >>> superposition = harmonic_superposition(simulation, [cluster.positions], temperature=100)
    >>> superposition.minima[0].rotations, superposition.populations()
    (6, array([1.]))
    """
    context = getattr(simulation, "context", simulation)
    if not isinstance(context, mm.Context):
        raise TypeError(f"simulation is {simulation!r}: pass a Simulation or a Context")
    kelvin = in_unit(temperature, unit.kelvin, "temperature")
    if kelvin == 0:
        raise ValueError("temperature is 0 K: it must be above zero")
    if not len(minima):
        raise ValueError("there are no minima: pass result.minima of a search")
    counter = EvaluationCounter(limit=max_force_evaluations)
    potential = Potential(context, getattr(simulation, "topology", None), counter)
    starts = [_positions(structure, potential.num_particles) for structure in minima]
    found, left_out = distinct_minima(potential.side_potential(), starts)
    if not found:
        reasons = "; ".join(f"{index}: {why}" for index, why in left_out.items())
        raise ValueError(f"none of the structures leads to a minimum ({reasons})")
    superposition = HarmonicSuperposition(tuple(found), kelvin, quantum, left_out, counter.total)
    order = np.argsort(superposition.free_energies(), kind="stable")
    return replace(superposition, minima=tuple(found[k] for k in order))


def _positions(structure: Any, count: int) -> np.ndarray:
    return positions_in_nanometers(getattr(structure, "positions", structure), count)
