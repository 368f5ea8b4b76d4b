"""Force constants of molecules whose force field is not known, from elements and distances.

A model Hessian for whatever energy: k grad(q) grad(q)^T for every bond, angle, torsion,
out-of-plane angle and near pair, with the constants of Lindh, Bernhardsson, Karlström and
Malmqvist, Chem. Phys. Lett. 1995, 241, 423, which fall off with distance. Earlier ones of the kind:
Schlegel, Theor. Chim. Acta 1984, 66, 333; Fischer and Almlöf, J. Phys. Chem. 1992, 96, 9768.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from openmm import app

from ..constants import BOHR, HARTREE
from ..geometry import internal_coordinates as ic
from ..geometry.connectivity import angle_terms, out_of_plane_terms, separations, torsion_terms
from ..geometry.covalent_radii import bonded_pairs
from ..geometry.neighbors import near_pairs, nearest_image
from ..potentials.bond_graph import topology_bonds
from ..potentials.bonded import bonded_terms
from ..potentials.potential import Potential
from .stiff_terms import StiffTerms

__all__ = [
    "InternalTerms",
    "ModelConstants",
    "ModelTerms",
    "atomic_numbers_of",
    "internal_terms",
    "model_terms",
]

# Of stretches (hartree/bohr^2), bends, torsions (hartree/rad^2) at the reference distances.
STRETCH, BEND, TORSION = 0.45, 0.15, 0.005
# Of out-of-plane angles, from Schlegel's; as an improper torsion.
OUT_OF_PLANE = 0.045
# Exponents (1/bohr^2) and reference distances (bohr) for hydrogen and helium, the second row, and
# all others.
EXPONENTS = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]])
REFERENCES = np.array([[1.35, 2.10, 2.53], [2.10, 2.87, 3.40], [2.53, 3.40, 3.40]])
# No bond is stiffer, however short: a start may be compressed.
LARGEST_FACTOR = 3.0
# Pairs more than three bonds apart and nearer than this (nm) at the start are stretches, too.
NEAR_NM = 0.35
# Deviation (daltons) up to which a mass is that of an element.
MASS_TOLERANCE = 0.05


@dataclass(frozen=True)
class InternalTerms:
    """Atoms of the internal coordinates of a molecule, or of several.

    Attributes
    ----------
    bonds : (B, 2) int array
    angles : (A, 3) int array
    torsions : (T, 4) int array
    out_of_plane : (P, 4) int array
        Improper torsions, the centre first.
    pairs : (Q, 2) int array
        Near pairs more than three bonds apart.
    """

    bonds: np.ndarray
    angles: np.ndarray
    torsions: np.ndarray
    out_of_plane: np.ndarray
    pairs: np.ndarray


def internal_terms(
    numbers: np.ndarray,
    positions: np.ndarray,
    bonds: np.ndarray | None = None,
    box: np.ndarray | None = None,
) -> InternalTerms:
    """Return the internal coordinates of atoms at (n, 3) positions in nm.

    Parameters
    ----------
    numbers : (n,) int array
        Atomic numbers.
    positions : (n, 3) array
        In nm.
    bonds : (B, 2) int array, optional
        By default from covalent radii.
    box : (3, 3) array, optional

    Examples
    --------
    >>> water = np.array([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]])
    >>> terms = internal_terms(np.array([8, 1, 1]), water)
    >>> terms.bonds.tolist(), terms.angles.tolist(), len(terms.torsions)
    ([[0, 1], [0, 2]], [[1, 0, 2]], 0)
    """
    bonds = bonded_pairs(numbers, positions, box) if bonds is None else np.asarray(bonds)
    graph = nx.Graph()
    graph.add_nodes_from(range(len(numbers)))
    graph.add_edges_from(bonds.reshape(-1, 2).tolist())
    pairs = np.empty((0, 2), dtype=np.int64)
    if len(numbers) > 1:
        i, j, _ = near_pairs(positions, NEAR_NM, box)
        bonded = separations(graph, 3)
        near = {(min(p), max(p)) for p in zip(i.tolist(), j.tolist(), strict=True)} - bonded
        pairs = np.array(sorted(near), dtype=np.int64).reshape(-1, 2)
    return InternalTerms(
        np.array(sorted(tuple(sorted(e)) for e in graph.edges), dtype=np.int64).reshape(-1, 2),
        angle_terms(graph),
        _bent(torsion_terms(graph), positions, box),
        out_of_plane_terms(graph),
        pairs,
    )


def _bent(torsions: np.ndarray, positions: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """Return the torsions of which no angle is straight."""
    i, j, k, m = positions[torsions.T]
    ij, kj, km = (nearest_image(v, box, box is not None) for v in (i - j, k - j, k - m))
    largest = np.maximum(ic.angles(ij, kj)[0], ic.angles(-kj, -km)[0])
    return torsions[largest < ic.STRAIGHT]


class ModelConstants:
    """Force constants of internal coordinates by elements and distances.

    Parameters
    ----------
    numbers : (N,) int array
        Atomic numbers; those of atoms that no term has do not matter.

    Examples
    --------
    >>> water = np.array([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]])
    >>> constants = ModelConstants(np.array([8, 1, 1]))
    >>> bool(6e5 < constants(np.array([[0, 1]]), water)[0] < 7e5)
    True
    """

    def __init__(self, numbers: np.ndarray) -> None:
        self._row = np.where(numbers <= 2, 0, np.where(numbers <= 10, 1, 2))

    def __call__(
        self,
        atoms: np.ndarray,
        positions: np.ndarray,
        box: np.ndarray | None = None,
        planar: bool = False,
    ) -> np.ndarray:
        """Return the constants of terms of one kind.

        Parameters
        ----------
        atoms : (T, n) int array
            Two make a stretch, three a bend, four a torsion.
        positions : (N, 3) array
            In nm.
        box : (3, 3) array, optional
        planar : bool
            Whether torsions are improper ones, the centre first.

        Returns
        -------
        (T,) array
            In kJ/mol/nm^2 or kJ/mol/rad^2.
        """
        if planar:
            links = [(0, 1), (0, 2), (0, 3)]
        else:
            links = [(k, k + 1) for k in range(atoms.shape[1] - 1)]
        factor = np.ones(len(atoms))
        for a, b in links:
            factor = factor * self._falloff(atoms[:, a], atoms[:, b], positions, box)
        unit = HARTREE / BOHR**2 if atoms.shape[1] == 2 else HARTREE
        size = OUT_OF_PLANE if planar else (STRETCH, BEND, TORSION)[atoms.shape[1] - 2]
        return unit * size * factor

    def _falloff(self, i, j, positions, box):
        """Lindh's exp(alpha (r0^2 - r^2)) of pairs."""
        vectors = nearest_image(positions[i] - positions[j], box, box is not None)
        square = np.einsum("ti,ti->t", vectors, vectors) / BOHR**2
        rows = self._row[i], self._row[j]
        exponent = EXPONENTS[rows] * (REFERENCES[rows] ** 2 - square)
        return np.exp(np.minimum(exponent, np.log(LARGEST_FACTOR)))


class ModelTerms(StiffTerms):
    """Internal coordinates of one kind with model constants, as rows of R.

    Parameters
    ----------
    atoms : (T, n) int array
        See `ModelConstants`.
    constants : ModelConstants
    periodic : bool
        Whether vectors go to the nearest image.
    moves : (N,) bool array
    planar : bool
        See `ModelConstants`.
    """

    def __init__(self, atoms, constants, periodic, moves, *, planar=False):
        super().__init__(atoms, periodic, moves)
        self._constants, self._planar = constants, planar
        if atoms.shape[1] == 3:  # a straight angle bends in two directions
            self.atoms = np.repeat(atoms, 2, axis=0)

    def _rows(self, positions, box, spend):
        box = box if self._periodic else None
        values, gradients = self._coordinates(positions, box)
        constants = self._constants(self._terms, positions, box, self._planar)
        rows = gradients * np.sqrt(constants)[:, None, None]
        if self._terms.shape[1] != 3:
            return rows
        both = np.stack([rows, np.zeros_like(rows)], axis=1)
        straight = values > ic.STRAIGHT
        both[straight] = self._straight_bends(positions, box, straight)
        both[straight] *= np.sqrt(constants[straight])[:, None, None, None]
        return both.reshape(-1, 3, 3)

    def _straight_bends(self, positions, box, straight):
        """Two bends across each straight angle: (S, 2, 3, 3), per unit of sqrt(k)."""
        i, j, k = self._terms[straight].T
        length_i, u = ic.directions(self._vectors(i, j, positions, box))
        length_k, v = ic.directions(self._vectors(k, j, positions, box))
        inverse_i, inverse_k = (1 / np.maximum(r, ic.SHORTEST_ARM) for r in (length_i, length_k))
        weights = np.stack([inverse_i, -inverse_i - inverse_k, inverse_k], axis=1)
        return ic.across(u, v)[:, :, None, :] * weights[:, None, :, None]


def model_terms(potential: Potential, atoms: np.ndarray, numbers: np.ndarray) -> list[ModelTerms]:
    """Return the model's terms for what the System's own terms leave out around some atoms.

    Parameters
    ----------
    potential : Potential
        Bonds are those of its topology; where it has none among the atoms, covalent radii decide
        at the Context's positions.
    atoms : (n,) int array
        Of each term at least one is one of these.
    numbers : (N,) int array
        Atomic numbers.
    """
    positions, box = potential.positions(), potential.box()
    region = np.array(sorted(_neighbourhood(potential, atoms)), dtype=np.int64)
    bonds = topology_bonds(potential.topology, region)
    local = internal_terms(numbers[region], positions[region], bonds, box)
    inside = np.isin(region, atoms)
    own = _own_terms(potential)
    constants = ModelConstants(numbers)
    terms = []
    for name, found in vars(local).items():
        kept = region[found[inside[found].any(axis=1)]]
        if name in ("bonds", "angles", "torsions"):
            missing = [min(t, t[::-1]) not in own for t in map(tuple, kept.tolist())]
            kept = kept[np.array(missing, dtype=bool)]
        if len(kept):
            planar = name == "out_of_plane"
            terms.append(
                ModelTerms(kept, constants, box is not None, potential.moves, planar=planar)
            )
    return terms


def atomic_numbers_of(potential: Potential, atoms: np.ndarray) -> np.ndarray | None:
    """Return atomic numbers, (N,), by the topology, or else by the masses.

    None if they cannot be told for all of some atoms. Masses of hydrogens alone tell nothing.
    """
    topology = potential.topology
    if topology is not None and topology.getNumAtoms() == potential.num_particles:
        named = np.array([a.element.atomic_number if a.element else 0 for a in topology.atoms()])
        return named if named[atoms].all() else None
    found = [app.Element.getByMass(mass) if mass > 0 else None for mass in potential.masses]
    numbers = np.array([e.atomic_number if e else 0 for e in found])
    masses = np.array([e.mass._value if e else 0.0 for e in found])
    off = np.abs(potential.masses - masses)[atoms].max(initial=0.0)
    return numbers if off < MASS_TOLERANCE and numbers[atoms].max(initial=0) > 1 else None


def _neighbourhood(potential: Potential, atoms: np.ndarray) -> set[int]:
    """Return atoms up to three bonds from some."""
    near, shell = set(atoms.tolist()), set(atoms.tolist())
    if potential.topology is None:
        return near
    graph = nx.Graph((a.index, b.index) for a, b in potential.topology.bonds())
    for _ in range(3):
        shell = {k for i in shell if i in graph for k in graph[i]} - near
        near |= shell
    return near


def _own_terms(potential: Potential) -> set[tuple[int, ...]]:
    """Return the bonds, angles and torsions that the System's forces and constraints have."""
    own = {tuple(sorted(pair)) for pair in potential.constraints[0].tolist()}
    for force in potential.system.getForces():
        atoms = bonded_terms(force)
        if atoms is not None and 2 <= atoms.shape[1] <= 4:
            own |= {min(tuple(t), tuple(t[::-1])) for t in atoms.tolist()}
    return own
