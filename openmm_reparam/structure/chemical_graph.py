"""Atoms, elements and bonds as stereochemistry needs them, from a topology or from a System."""

from __future__ import annotations

from collections import deque
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from openmm.app import Topology
from openmm.app.element import Element

from ..potentials.bond_graph import HEAVIEST_HYDROGEN, system_bonds
from ..potentials.potential import Potential

__all__ = ["ChemicalGraph"]

HYDROGEN, CARBON, NITROGEN, OXYGEN, SULFUR = 1, 6, 7, 8, 16
# Bonds to any other element (metals) are no part of a valence; 0 is an unknown element.
NONMETAL_NUMBERS = [0, 1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 52, 53]
# No smaller molecule has a stereocentre or a double bond with two states.
SMALLEST_MOLECULE = 4
# A mass this near (daltons) to an element's names it; united atoms and those whose hydrogens
# took a part of their mass stay unknown.
MASS_TOLERANCE = 0.1


class ChemicalGraph:
    """Elements and bonds of the atoms of a topology or a System.

    Parameters
    ----------
    numbers : (N,) int array
        Atomic numbers; 0 where the element is not known, -1 for what is no atom (virtual sites).
    bonds : (B, 2) int array
    orders : (B,) int array
        Bond orders, 0 where not given.
    kinds : (N,) array, optional
        Equal for atoms that differ in no more than their bonds; the atomic numbers by default.
    guessed : bool
        The elements are guessed from masses.

    Attributes
    ----------
    neighbours : dict of int to list of int
        Bonded atoms, lowest index first. Atoms of water, ions and other molecules with fewer than
        four atoms have no entry, and bonds to metals are left out.
    """

    def __init__(
        self,
        numbers: np.ndarray,
        bonds: np.ndarray,
        orders: np.ndarray,
        kinds: np.ndarray | None = None,
        guessed: bool = False,
    ) -> None:
        self.numbers = numbers
        self.guessed = guessed
        self.has_bonds = len(bonds) > 0
        self._kinds = numbers if kinds is None else kinds
        self.bonded = np.bincount(bonds.ravel(), minlength=len(numbers)) > 0
        covalent = np.isin(numbers[bonds], NONMETAL_NUMBERS).all(axis=1)
        bonds, orders = bonds[covalent], orders[covalent]
        label = _molecules(len(numbers), bonds)
        large = np.bincount(label, minlength=1) >= SMALLEST_MOLECULE
        kept = large[label[bonds[:, 0]]]
        self.bonds, orders = bonds[kept], orders[kept]
        self.orders = {
            frozenset(bond): order
            for bond, order in zip(self.bonds.tolist(), orders.tolist(), strict=True)
            if order
        }
        self.neighbours = _adjacency(self.bonds)
        self._molecule = label

    @classmethod
    def of_topology(cls, topology: Topology) -> ChemicalGraph:
        """Read elements, bonds and, where given, bond orders from a topology."""
        return cls(_atomic_numbers(topology), *_topology_bonds(topology))

    @classmethod
    def of_potential(cls, potential: Potential) -> ChemicalGraph:
        """Read a topology; add the System's bonds where it has none.

        Without a topology (or with one of another number of atoms) elements are guessed from
        masses.
        """
        topology, masses = potential.topology, potential.masses
        if topology is None or topology.getNumAtoms() != len(masses):
            numbers = np.where(potential.virtual_sites, -1, _numbers_by_mass(masses))
            bonds = system_bonds(potential)
            kinds = np.unique(masses.round(3), return_inverse=True)[1]
            return cls(numbers, bonds, np.zeros(len(bonds), dtype=int), kinds, guessed=True)
        numbers = _atomic_numbers(topology)
        bonds, orders = _topology_bonds(topology)
        bare = (numbers >= 0) & (np.bincount(bonds.ravel(), minlength=len(numbers)) == 0)
        if bare[_atoms_of_large_residues(topology)].any():
            more = system_bonds(potential)
            more = more[bare[more].any(axis=1)]
            bonds = np.concatenate([bonds, more])
            orders = np.concatenate([orders, np.zeros(len(more), dtype=int)])
        return cls(numbers, bonds, orders)

    @cached_property
    def classes(self) -> np.ndarray:
        """Label of each atom, (N,): equal where the graph tells no difference; -1 without bonds.

        Atoms are told apart by what they are bonded to, further and further out (colour
        refinement, Weisfeiler and Leman 1968); the halves of a symmetric molecule are not.
        """
        atoms, local = np.unique(self.bonds, return_inverse=True)
        size, bonds = len(atoms), local.reshape(-1, 2)
        labels = np.unique(self._kinds[atoms], return_inverse=True)[1].ravel()
        i, j = np.concatenate([bonds, bonds[:, ::-1]]).T
        adjacency = sp.csr_array((np.ones(len(i), dtype=np.int64), (i, j)), shape=(size, size))
        # A sum of random numbers (it may overflow) stands for a multiset of neighbours.
        codes = np.random.default_rng(0).integers(2**62, size=(2, size + 1))
        known = 0
        while (found := labels.max(initial=-1) + 1) > known:
            known = found
            shells = adjacency @ codes[0][labels] + codes[1][labels]
            labels = np.unique(shells, return_inverse=True)[1].ravel()
        classes = np.full(len(self.numbers), -1)
        classes[atoms] = labels
        return classes

    @cached_property
    def implicit_hydrogens(self) -> np.ndarray:
        """Which atoms, (N,), are in a molecule that lacks its carbons' hydrogens."""
        first, second = self.numbers[self.bonds].T
        shown = ((first == CARBON) & (second == HYDROGEN)) | (
            (first == HYDROGEN) & (second == CARBON)
        )
        explicit = np.zeros(self._molecule.max(initial=-1) + 1, dtype=bool)
        explicit[self._molecule[self.bonds[shown, 0]]] = True
        return ~explicit[self._molecule]

    def may_be_united(self, atom: int) -> bool:
        """Whether an atom may be a carbon with three neighbours and a hydrogen that is left out."""
        # A guessed carbon may be an amine's nitrogen whose hydrogen took a part of its mass.
        return (
            not self.guessed
            and self.numbers[atom] == CARBON
            and len(self.neighbours[atom]) == 3
            and bool(self.implicit_hydrogens[atom])
        )

    def path(self, start: int, end: int, longest: int, without: int = -1) -> list[int]:
        """Shortest way between two atoms, both included, that is not their bond.

        Parameters
        ----------
        start, end : int
        longest : int
            In bonds.
        without : int
            An atom that the way may not use.

        Returns
        -------
        list of int
            Empty where there is no such way.
        """
        came_from = {start: start}
        queue = deque([(start, 0)])
        while queue:
            atom, steps = queue.popleft()
            if steps == longest:
                break
            for other in self.neighbours[atom]:
                if other in came_from or other == without or {atom, other} == {start, end}:
                    continue
                came_from[other] = atom
                if other == end:
                    return _trace(came_from, end)
                queue.append((other, steps + 1))
        return []


def _trace(came_from: dict[int, int], atom: int) -> list[int]:
    way = [atom]
    while came_from[atom] != atom:
        atom = came_from[atom]
        way.append(atom)
    return way


def _adjacency(bonds: np.ndarray) -> dict[int, list[int]]:
    found: dict[int, set[int]] = {}
    for i, j in bonds.tolist():
        found.setdefault(i, set()).add(j)
        found.setdefault(j, set()).add(i)
    return {atom: sorted(others) for atom, others in found.items()}


def _molecules(size: int, bonds: np.ndarray) -> np.ndarray:
    """Label of each atom's molecule, (N,)."""
    pattern = sp.coo_array((np.ones(len(bonds)), bonds.T), shape=(size, size))
    return sp.csgraph.connected_components(pattern, directed=False)[1]


def _atomic_numbers(topology: Topology) -> np.ndarray:
    return np.array(
        [-1 if atom.element is None else atom.element.atomic_number for atom in topology.atoms()],
        dtype=int,
    )


def _topology_bonds(topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    """Bonds (B, 2) and their orders (B,), 0 where not given."""
    bonds = [(bond[0].index, bond[1].index) for bond in topology.bonds()]
    orders = [bond.order or 0 for bond in topology.bonds()]
    return np.array(bonds, dtype=int).reshape(-1, 2), np.array(orders, dtype=int)


def _atoms_of_large_residues(topology: Topology) -> list[int]:
    return [
        atom.index
        for residue in topology.residues()
        if len(residue) >= SMALLEST_MOLECULE
        for atom in residue.atoms()
    ]


def _numbers_by_mass(masses: np.ndarray) -> np.ndarray:
    kinds, which = np.unique(masses, return_inverse=True)
    return np.array([_number_by_mass(mass) for mass in kinds], dtype=int)[which]


def _number_by_mass(mass: float) -> int:
    if mass <= 0:
        return 0
    if mass < HEAVIEST_HYDROGEN:
        return HYDROGEN
    element = Element.getByMass(mass)
    near = abs(element.mass._value - mass) < MASS_TOLERANCE
    # Below carbon there are carbons whose hydrogens took a part of their mass.
    return element.atomic_number if near and element.atomic_number >= CARBON else 0
