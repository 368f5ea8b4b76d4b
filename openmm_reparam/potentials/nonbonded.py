"""Charges and Lennard-Jones parameters of a System's NonbondedForce, pair by pair."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import openmm as mm

from .. import compiled

__all__ = ["COULOMB", "NonbondedParameters"]

COULOMB = 138.93545764438198  # kJ/mol nm / e^2, as in OpenMM


class NonbondedParameters:
    """What a NonbondedForce says of particles and pairs, at a Context's global parameters.

    Parameters
    ----------
    force : openmm.NonbondedForce
    globals_ : dict of str to float
        The Context's parameters, for the force's parameter offsets.

    Attributes
    ----------
    charges, sigmas, epsilons : (N,) arrays
        In e, nm and kJ/mol.
    exception_pairs : (E, 2) int array
        Pairs with parameters of their own; excluded ones have none but zeros.
    exception_products, exception_sigmas, exception_epsilons : (E,) arrays
        In e^2, nm and kJ/mol.
    """

    def __init__(self, force: mm.NonbondedForce, globals_: dict[str, float]) -> None:
        self.periodic = force.usesPeriodicBoundaryConditions()
        particles, self.exception_pairs, own = compiled.nonbonded(compiled.address(force), globals_)
        self.charges, self.sigmas, self.epsilons = particles.T
        self.exception_products, self.exception_sigmas, self.exception_epsilons = own.T

    @cached_property
    def exception_keys(self) -> np.ndarray:
        """One integer for each exception, as `keys` gives it, (E,)."""
        return self.keys(*self.exception_pairs.T)

    def keys(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """One integer for each unordered pair."""
        return np.minimum(i, j) * len(self.charges) + np.maximum(i, j)

    def of_pairs(self, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Charge products, sigmas and epsilons of pairs, (n,) each; those of exceptions theirs."""
        products = self.charges[i] * self.charges[j]
        sigmas = (self.sigmas[i] + self.sigmas[j]) / 2
        epsilons = np.sqrt(np.maximum(self.epsilons[i] * self.epsilons[j], 0.0))
        order = np.argsort(self.exception_keys)
        keys, wanted = self.exception_keys[order], self.keys(i, j)
        places = np.searchsorted(keys, wanted)
        found = np.flatnonzero(places < len(keys))
        found = found[keys[places[found]] == wanted[found]]
        exception = order[places[found]]
        products[found] = self.exception_products[exception]
        sigmas[found] = self.exception_sigmas[exception]
        epsilons[found] = self.exception_epsilons[exception]
        return products, sigmas, epsilons

    def energies(self, i: np.ndarray, j: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Lennard-Jones and Coulomb energies of pairs at distances in nm, (n,), kJ/mol."""
        products, sigmas, epsilons = self.of_pairs(i, j)
        # Bounded, so that the twelfth power stays finite.
        r = np.maximum(lengths, 1e-4)
        sixth = (sigmas / r) ** 6
        return 4 * epsilons * (sixth**2 - sixth) + COULOMB * products / r
