"""Internal coordinates scaled by their stiffness: how far apart two structures are in energy.

Their differences, in sqrt(kJ/mol), are what a Gaussian process on energies measures distance by
(see `DifferenceModel`): a stretched bond is far away, a slightly rotated torsion near.
"""

from __future__ import annotations

import numpy as np

from ..geometry import internal_coordinates as ic
from ..precon.model_hessian import InternalTerms, ModelConstants
from .straight_chains import straight_chain_terms

__all__ = ["StiffFeatures"]

# Pairs of atoms have at least this stiffness (kJ/mol/nm^2): what a model Hessian makes of them
# falls off faster than the interactions of ions do.
LEAST_PAIR_STIFFNESS = 1000.0
# Of pairs that tell how a straight chain bends (kJ/mol/nm^2), and of torsions over it
# (kJ/mol/rad^2): about those of bends and torsions about single bonds.
CHAIN_BEND, CHAIN_TORSION = 2e4, 10.0
# Of positions (kJ/mol/nm^2), where something pulls at the molecule from outside.
PLACE_STIFFNESS = 1000.0


class StiffFeatures:
    """Features of a molecule: lengths, cosines of angles, cosines and sines of torsions, 1/r.

    Each is multiplied by the square root of its model force constant, at the start.

    Parameters
    ----------
    terms : InternalTerms
    numbers : (N,) int array
        Atomic numbers.
    positions : (N, 3) array
        In nm, of the start.
    placed : bool
        Whether positions themselves are features, too: for energies that change where the molecule
        as a whole moves or turns.

    Attributes
    ----------
    count : int
        Number of features F.

    Examples
    --------
    >>> from openmm_reparam.precon.model_hessian import internal_terms
    >>> numbers = np.array([8, 1, 1])
    >>> water = np.array([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]])
    >>> features = StiffFeatures(internal_terms(numbers, water), numbers, water)
    >>> values, gradients = features(water)
    >>> values.shape, features.jacobian(gradients).shape
    ((3,), (3, 9))
    """

    def __init__(
        self,
        terms: InternalTerms,
        numbers: np.ndarray,
        positions: np.ndarray,
        *,
        placed: bool = False,
    ) -> None:
        constants = ModelConstants(numbers)
        self._size = 3 * len(numbers)
        self._terms = terms

        def roots(atoms, **kind):
            return np.sqrt(constants(atoms, positions, **kind))

        self._bonds, self._angles = roots(terms.bonds), roots(terms.angles)
        turning, bending = straight_chain_terms(terms, positions)
        # An improper torsion is a torsion with a constant of its own.
        self._torsion_atoms = np.concatenate([terms.torsions, terms.out_of_plane, turning])
        self._torsions = np.concatenate(
            [
                roots(terms.torsions),
                roots(terms.out_of_plane, planar=True),
                np.full(len(turning), CHAIN_TORSION**0.5),
            ]
        )
        self._pair_atoms = np.concatenate([terms.pairs, bending])
        i, j = self._pair_atoms.T
        squares = ((positions[i] - positions[j]) ** 2).sum(axis=1)
        # -a / r has the slope of the pair's stiffness where it is now.
        stiffness = np.maximum(roots(terms.pairs), LEAST_PAIR_STIFFNESS**0.5)
        bends = np.full(len(bending), CHAIN_BEND**0.5)
        self._pairs = squares * np.concatenate([stiffness, bends])
        members = [
            terms.bonds,
            terms.angles,
            self._torsion_atoms,
            self._torsion_atoms,
            self._pair_atoms,
        ]
        self._placed = np.empty((0, 3, 3))
        if placed:
            atoms = np.arange(len(numbers))[:, None]
            members += [atoms, atoms, atoms]
            self._placed = np.tile(PLACE_STIFFNESS**0.5 * np.eye(3), (len(numbers), 1, 1))
        self.count = sum(map(len, members))
        self._places = [
            (3 * atoms[:, :, None] + np.arange(3)).reshape(len(atoms), 3 * atoms.shape[1])
            for atoms in members
        ]
        self._columns = np.concatenate([places.ravel() for places in self._places])

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the features, (F,), and their gradients by kind, each (F_k, n_k, 3).

        Parameters
        ----------
        positions : (N, 3) array
            In nm.
        """
        x, terms = positions, self._terms
        i, j = terms.bonds.T
        lengths, along = ic.distances(x[i] - x[j])
        i, j, k = terms.angles.T
        angles, bends = ic.angles(x[i] - x[j], x[k] - x[j])
        i, j, k, m = self._torsion_atoms.T
        torsions, twists = ic.dihedrals(x[i] - x[j], x[k] - x[j], x[k] - x[m])
        i, j = self._pair_atoms.T
        distances, apart = ic.distances(x[i] - x[j])
        cosines, sines = self._torsions * np.cos(torsions), self._torsions * np.sin(torsions)
        inverse = self._pairs / distances
        values = [self._bonds * lengths, -self._angles * np.cos(angles), cosines, sines, -inverse]
        gradients = [
            _scaled(along, self._bonds),
            _scaled(bends, self._angles * np.sin(angles)),
            _scaled(twists, -sines),
            _scaled(twists, cosines),
            _scaled(apart, inverse / distances),
        ]
        if len(self._placed):
            values += list(PLACE_STIFFNESS**0.5 * x.T)
            gradients += [self._placed[:, [axis]] for axis in range(3)]
        return np.concatenate(values), gradients

    def jacobian(self, gradients: list[np.ndarray]) -> np.ndarray:
        """Return gradients as a dense (F, 3N) matrix."""
        dense, first = np.zeros((self.count, self._size)), 0
        for places, values in zip(self._places, gradients, strict=True):
            rows = first + np.arange(len(places))[:, None]
            dense[rows, places] = values.reshape(places.shape)
            first += len(places)
        return dense

    def pulled_back(self, gradients: list[np.ndarray], slopes: np.ndarray) -> np.ndarray:
        """Return the derivatives by positions, (N, 3), of what has these by features, (F,)."""
        parts, first = [], 0
        for values in gradients:
            own = slopes[first : first + len(values)]
            parts.append((values * own[:, None, None]).ravel())
            first += len(values)
        total = np.bincount(self._columns, np.concatenate(parts), self._size)
        return total.reshape(-1, 3)


def _scaled(gradients: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return gradients * weights[:, None, None]
