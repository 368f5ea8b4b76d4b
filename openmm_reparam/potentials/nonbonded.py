"""Charges and Lennard-Jones parameters of a System's NonbondedForce, pair by pair."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import openmm as mm

from .. import compiled
from ..compiled import PairSet

__all__ = ["NonbondedParameters"]


class NonbondedParameters:
    """What a NonbondedForce says of particles and pairs, at a Context's global parameters.

    Parameters
    ----------
    force : openmm.NonbondedForce
    globals_ : dict of str to float
        The Context's parameters, for the force's parameter offsets.

    Attributes
    ----------
    particles : (N, 3) array
        Charges, sigmas and epsilons, in e, nm and kJ/mol.
    charges, sigmas, epsilons : (N,) arrays
        Its columns.
    exception_pairs : (E, 2) int array
        Pairs with parameters of their own; excluded ones have none but zeros.
    exceptions : (E, 3) array
        Charge products, sigmas and epsilons of these, in e^2, nm and kJ/mol.
    exception_products, exception_sigmas, exception_epsilons : (E,) arrays
        Its columns.
    """

    def __init__(self, force: mm.NonbondedForce, globals_: dict[str, float]) -> None:
        self.periodic = force.usesPeriodicBoundaryConditions()
        self.particles, self.exception_pairs, self.exceptions = compiled.nonbonded(
            compiled.address(force), globals_
        )
        self.charges, self.sigmas, self.epsilons = self.particles.T
        self.exception_products, self.exception_sigmas, self.exception_epsilons = self.exceptions.T

    @cached_property
    def exception_set(self) -> PairSet:
        """The exceptions' pairs, to be looked up."""
        return PairSet(self.exception_pairs, len(self.charges))

    def of_pairs(self, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Charge products, sigmas and epsilons of pairs, (n,) each; those of exceptions theirs."""
        products = self.charges[i] * self.charges[j]
        sigmas = (self.sigmas[i] + self.sigmas[j]) / 2
        epsilons = np.sqrt(np.maximum(self.epsilons[i] * self.epsilons[j], 0.0))
        exception = self.exception_set.find(i, j)
        found = np.flatnonzero(exception >= 0)
        exception = exception[found]
        products[found] = self.exception_products[exception]
        sigmas[found] = self.exception_sigmas[exception]
        epsilons[found] = self.exception_epsilons[exception]
        return products, sigmas, epsilons
