"""The database of distinct minima that a search has found."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..geometry.superposition import rmsd_clusters, rmsd_matrix

__all__ = ["SAME_ENERGY", "MinimaDatabase", "Minimum", "ShapeComparison"]

# Minima nearer than this in energy (kJ/mol) and RMSD (nm) are one: quenches end at an RMS force
# of 10 kJ/mol/nm or less.
SAME_ENERGY, SAME_RMSD = 2.0, 0.02
# Clusters are made of so many of the lowest minima: they need the RMSD of all pairs.
MAX_CLUSTERED = 500


@dataclass(frozen=True)
class Minimum:
    """A quenched structure.

    Attributes
    ----------
    energy : float
        In kJ/mol, at the quench's tolerance.
    positions : (N, 3) array
        In nm.
    force_evaluations : int
        Those of the whole run when it was first found.
    visits : int
        How often the search came to it.
    cluster : int or None
        RMSD cluster (0.1 nm, average linkage); 0 holds the lowest, others follow by their lowest.
        None beyond the 500 lowest minima.
    """

    energy: float
    positions: np.ndarray = field(repr=False)
    force_evaluations: int
    visits: int = 1
    cluster: int | None = None


@dataclass(frozen=True)
class ShapeComparison:
    """Tells whether two structures have one shape, whatever their place and orientation.

    Attributes
    ----------
    compared : (n,) int array
        Atoms over which RMSDs are taken.
    symmetry_classes : (N,) int array, optional
        One label for atoms that may be exchanged, see `interchangeable_atoms`. Structures are
        compared by the mean of such atoms, so that permutational isomers are one minimum.
    """

    compared: np.ndarray
    symmetry_classes: np.ndarray | None = None

    def shape(self, positions: np.ndarray) -> np.ndarray:
        """Return what is compared of (N, 3) positions in nm: (m, 3)."""
        if self.symmetry_classes is None:
            return positions[self.compared]
        groups = np.unique(self.symmetry_classes[self.compared], return_inverse=True)[1]
        sums = np.zeros((groups.max() + 1, 3))
        np.add.at(sums, groups, positions[self.compared])
        return sums / np.bincount(groups)[:, None]

    def rmsd(self, structures: Sequence[np.ndarray]) -> np.ndarray:
        """Return the RMSDs in nm between all pairs of R structures, (R, R)."""
        return rmsd_matrix(np.array([self.shape(positions) for positions in structures]))

    def same(self, one: np.ndarray, other: np.ndarray) -> bool:
        """Whether two structures are within 0.02 nm of each other."""
        return bool(self.rmsd([one, other])[0, 1] < SAME_RMSD)


@dataclass
class MinimaDatabase:
    """Distinct minima that a search has found.

    Attributes
    ----------
    compared : (n,) int array
        Atoms over which RMSDs are taken.
    symmetry_classes : (N,) int array, optional
        One label for atoms that may be exchanged, see `interchangeable_atoms`. Structures are
        compared by the mean of such atoms, so that permutational isomers are one minimum.
    minima : list of Minimum
        In the order in which they were found.
    """

    compared: np.ndarray
    symmetry_classes: np.ndarray | None = None
    minima: list[Minimum] = field(default_factory=list)

    def add(self, energy: float, positions: np.ndarray, evaluations: int) -> int:
        """Keep a sound minimum, or count a visit to one that is known; return its index."""
        place = self.find(energy, positions)
        if place is None:
            self.minima.append(Minimum(energy, positions, evaluations))
            return len(self.minima) - 1
        known = self.minima[place]
        lowest = known
        if energy < known.energy:
            lowest = replace(known, energy=energy, positions=positions)
        self.minima[place] = replace(lowest, visits=known.visits + 1)
        return place

    def find(self, energy: float, positions: np.ndarray) -> int | None:
        """Return the index of the minimum that a structure is, None where it is a new one."""
        same = self.comparison.same
        for place, known in enumerate(self.minima):
            if abs(known.energy - energy) < SAME_ENERGY and same(known.positions, positions):
                return place
        return None

    @property
    def comparison(self) -> ShapeComparison:
        """When two structures have one shape."""
        return ShapeComparison(self.compared, self.symmetry_classes)

    def lowest(self, count: int) -> list[tuple[int, Minimum]]:
        """Return up to ``count`` minima with their indices, lowest first."""
        return heapq.nsmallest(count, enumerate(self.minima), key=lambda known: known[1].energy)

    def sorted_minima(self) -> tuple[Minimum, ...]:
        """Return all distinct minima with their clusters, lowest first."""
        ordered = sorted(self.minima, key=lambda minimum: minimum.energy)
        if not ordered:
            return ()
        lowest = ordered[:MAX_CLUSTERED]
        rmsd = self.comparison.rmsd([minimum.positions for minimum in lowest])
        energies = np.array([minimum.energy for minimum in lowest])
        labels = rmsd_clusters(rmsd, energies).tolist()
        clustered = [replace(m, cluster=label) for m, label in zip(lowest, labels, strict=True)]
        return (*clustered, *ordered[MAX_CLUSTERED:])
