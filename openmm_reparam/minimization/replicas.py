"""What many minimizations of one molecule found: energies, distances, clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from openmm.app import Topology

from ..geometry.superposition import CLUSTER_RADIUS
from ..structure.selections import heavy_solute_atoms

__all__ = [
    "Replicas",
    "compared_atoms",
]


@dataclass(frozen=True, repr=False)
class Replicas:
    """All replicas of a run, in the order of their starts.

    Attributes
    ----------
    results : tuple of MinimizationResult
        One for each.
    positions : (R, N, 3) array
        Where they ended, in nm.
    rmsd : (R, R) array
        Between them, in nm, after superposition: heavy atoms without water and ions, or all atoms
        where the topology is not known.
    clusters : (R,) int array
        Average linkage at 0.1 nm; cluster 0 holds the lowest energy, the others follow by their
        lowest.
    """

    results: tuple
    positions: np.ndarray
    rmsd: np.ndarray
    clusters: np.ndarray

    @property
    def energies(self) -> np.ndarray:
        """(R,) energies in kJ/mol."""
        return np.array([result.energy for result in self.results])

    @property
    def best(self) -> int:
        """Index of the lowest energy: the replica that was written to the Context."""
        return int(np.argmin(self.energies))

    def to_dict(self) -> dict:
        """Return energies, RMSDs, clusters and every result as plain values, without positions."""
        return {
            "energies": self.energies.tolist(),
            "best": self.best,
            "rmsd": self.rmsd.tolist(),
            "clusters": self.clusters.tolist(),
            "results": [result.to_dict() for result in self.results],
        }

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        energies = np.sort(self.energies)
        sizes = np.bincount(self.clusters)
        converged = sum(result.converged for result in self.results)
        return (
            f"{len(self)} replicas, {converged} converged, {energies[0]:.3f} to {energies[-1]:.3f} "
            f"kJ/mol, the lowest from start {self.best}; {len(sizes)} "
            f"cluster{'s' if len(sizes) > 1 else ''} of {', '.join(map(str, sizes))} (RMSD "
            f"{CLUSTER_RADIUS} nm)"
        )


def compared_atoms(topology: Topology | None, num_particles: int) -> np.ndarray:
    """Return the atoms that RMSDs are taken over."""
    if topology is None or topology.getNumAtoms() != num_particles:
        return np.arange(num_particles)
    heavy = heavy_solute_atoms(topology)
    return heavy if len(heavy) > 2 else np.arange(num_particles)
