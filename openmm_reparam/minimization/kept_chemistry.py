"""Whether a molecule is still the same: its bonds and its stereo."""

from __future__ import annotations

import numpy as np

from ..geometry.covalent_radii import bonded_pairs
from ..potentials.bond_graph import topology_bonds
from ..potentials.potential import Potential
from ..precon.model_hessian import atomic_numbers_of
from ..structure.stereochemistry import Stereochemistry

__all__ = ["KeptChemistry"]

# A bond of the topology longer than the first multiple of the sum of its covalent radii is broken;
# two other atoms nearer than the second have formed one.
BROKEN, FORMED = 1.5, 1.1


class KeptChemistry:
    """Bonds and stereo of a start, and what became of them.

    Parameters
    ----------
    potential : Potential
        Without bonds in its topology, or without elements, stereo alone is looked at.
    start : (N, 3) array
        In nm.
    """

    def __init__(self, potential: Potential, start: np.ndarray) -> None:
        self._stereo = Stereochemistry.of_potential(potential)
        self._start, self._potential = start, potential
        everything = np.arange(potential.num_particles)
        bonds = topology_bonds(potential.topology, everything)
        self._numbers = atomic_numbers_of(potential, everything)
        self._bonds = set() if bonds is None else {(min(b), max(b)) for b in bonds.tolist()}

    def stereo_changes(self, positions: np.ndarray) -> tuple[str, ...] | None:
        """Return the states that differ at (N, 3) positions in nm; None where none is known."""
        return self._stereo.compare(self._start, positions).changes

    def changes(self, positions: np.ndarray) -> list[str]:
        """Return all that has changed at (N, 3) positions in nm, in words."""
        found = []
        if self._bonds and self._numbers is not None:
            broken = self._bonds - self._near(positions, BROKEN)
            formed = self._near(positions, FORMED) - self._near(self._start, FORMED) - self._bonds
            found += [f"the bond {self._named(pair)} is broken" for pair in sorted(broken)]
            found += [f"a bond {self._named(pair)} has formed" for pair in sorted(formed)]
        return found + list(self.stereo_changes(positions) or ())

    def _near(self, positions: np.ndarray, stretched: float) -> set[tuple[int, int]]:
        assert self._numbers is not None
        pairs = bonded_pairs(self._numbers, positions, stretched=stretched)
        return {(i, j) for i, j in pairs.tolist()}

    def _named(self, pair: tuple[int, int]) -> str:
        return " - ".join(self._potential.label(atom) for atom in pair)
