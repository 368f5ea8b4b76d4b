"""Pairs of atoms that stand close and are neither bonded nor excluded from non-bonded forces."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import openmm as mm

from .. import compiled
from ..compiled import PairSet
from ..geometry.neighbors import near_pairs
from .bonded import bonded_terms
from .potential import Potential

__all__ = ["UnbondedPairs"]


class UnbondedPairs:
    """Finds near pairs that are not meant to be near.

    Parameters
    ----------
    potential : Potential
        Left out are pairs that its NonbondedForce excludes; where it has none, those that its
        CustomNonbondedForces exclude, and the bonds of its topology, of its bonded forces and its
        constraints.
    """

    def __init__(self, potential: Potential) -> None:
        self._potential = potential

    def near(
        self, positions: np.ndarray, cutoff: float, among: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs nearer than a cutoff, over periodic images.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        cutoff : float
            In nm.
        among : (n,) int array, optional
            Both atoms are of these; of all by default.

        Returns
        -------
        (n,), (n,) int and (n, 3) arrays
            Atoms i and j of each pair, and the vector from j to i in nm.
        """
        chosen = positions if among is None else positions[among]
        return near_pairs(
            chosen, cutoff, self._potential.box(), excluded=self.excluded, names=among
        )

    @cached_property
    def excluded(self) -> PairSet:
        """Pairs that are meant to be near."""
        known, size = self._potential.nonbonded, self._potential.num_particles
        if known is not None:
            felt = (known.exception_products != 0) | (known.exception_epsilons != 0)
            return PairSet(known.exception_pairs[~felt], size)
        pairs = self._bonds()
        for force in self._potential.system.getForces():
            if isinstance(force, mm.CustomNonbondedForce):
                pairs.append(compiled.exclusions(compiled.address(force)))
        return PairSet(np.concatenate(pairs), size)

    def _bonds(self) -> list[np.ndarray]:
        potential = self._potential
        pairs = [potential.constraints[0]]
        for force in potential.system.getForces():
            is_bond = isinstance(force, mm.HarmonicBondForce | mm.CustomBondForce)
            terms = bonded_terms(force) if is_bond else None
            if terms is not None:
                pairs.append(terms.reshape(-1, 2))
        if potential.topology is not None:
            bonds = [(a.index, b.index) for a, b in potential.topology.bonds()]
            pairs.append(np.array(bonds, dtype=np.int64).reshape(-1, 2))
        return pairs
