"""What a search has found: distinct minima, hops tried, accepted and refused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ..geometry.superposition import rmsd_clusters, rmsd_matrix

__all__ = ["Hops", "Minimum"]

# Minima nearer than this in energy (kJ/mol) and RMSD (nm) are one: quenches end at an RMS force
# of 10 kJ/mol/nm or less.
SAME_ENERGY, SAME_RMSD = 2.0, 0.02
# Clusters are made of this many of the lowest minima; an RMSD of all pairs is needed.
CLUSTERED = 500


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
        Of the whole run, when it was first found.
    visits : int
        How often it was met.
    cluster : int or None
        RMSD cluster (0.1 nm, average linkage); 0 holds the lowest, others follow by their lowest.
        None beyond the 500 lowest minima.
    """

    energy: float
    positions: np.ndarray = field(repr=False)
    force_evaluations: int
    visits: int = 1
    cluster: int | None = None


@dataclass
class Hops:
    """What a search has done so far.

    Attributes
    ----------
    compared : (n,) int array
        Atoms over which RMSDs are taken.
    alike : (N,) int array, optional
        One label for atoms that may be exchanged, see `interchangeable_atoms`: structures are
        compared by the mean of such atoms, so that a ring turned over is no other minimum.
    tried, accepted : int
    rounds : int
        How often the search has begun anew.
    rejected : dict
        Hops that a guard refused, by its name: "stereochemistry", "collapsed atoms", "pierced
        rings", "overflow".
    minima : list of Minimum
        Distinct sound minima in the order they were found.
    """

    compared: np.ndarray
    alike: np.ndarray | None = None
    tried: int = 0
    accepted: int = 0
    rounds: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    minima: list[Minimum] = field(default_factory=list)

    def add(self, energy: float, positions: np.ndarray, evaluations: int) -> int:
        """Keep a sound minimum, or count a visit to one that is known; return its index."""
        for place, known in enumerate(self.minima):
            if abs(known.energy - energy) < SAME_ENERGY and self._same(known, positions):
                lowest = (
                    known
                    if known.energy <= energy
                    else replace(known, energy=energy, positions=positions)
                )
                self.minima[place] = replace(lowest, visits=known.visits + 1)
                return place
        self.minima.append(Minimum(energy, positions, evaluations))
        return len(self.minima) - 1

    def reject(self, why: str) -> None:
        """Count a hop that a guard refused."""
        self.rejected[why] = self.rejected.get(why, 0) + 1

    def sorted_minima(self) -> tuple[Minimum, ...]:
        """Return all distinct minima with their clusters, lowest first."""
        ordered = sorted(self.minima, key=lambda minimum: minimum.energy)
        if not ordered:
            return ()
        lowest = ordered[:CLUSTERED]
        shapes = np.array([self._shape(minimum.positions) for minimum in lowest])
        energies = np.array([minimum.energy for minimum in lowest])
        labels = rmsd_clusters(rmsd_matrix(shapes), energies).tolist()
        clustered = [replace(m, cluster=label) for m, label in zip(lowest, labels, strict=True)]
        return (*clustered, *ordered[CLUSTERED:])

    def __str__(self) -> str:
        refused = ", ".join(f"{count} for {why}" for why, count in self.rejected.items())
        return (
            f"{self.tried} hops in {self.rounds + 1} rounds, {self.accepted} accepted, "
            f"refused {refused or 'none'}, {len(self.minima)} minima"
        )

    def _same(self, known: Minimum, positions: np.ndarray) -> bool:
        both = np.array([self._shape(known.positions), self._shape(positions)])
        return bool(rmsd_matrix(both)[0, 1] < SAME_RMSD)

    def _shape(self, positions: np.ndarray) -> np.ndarray:
        if self.alike is None:
            return positions[self.compared]
        groups = np.unique(self.alike[self.compared], return_inverse=True)[1]
        sums = np.zeros((groups.max() + 1, 3))
        np.add.at(sums, groups, positions[self.compared])
        return sums / np.bincount(groups)[:, None]
