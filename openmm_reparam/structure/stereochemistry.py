"""Stereochemistry of molecules: what a minimization may not change.

Chirality and cis/trans states of proteins are read from heavy atoms alone, so a structure with and
one without hydrogens compare; those of all other molecules from elements and bonds.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
from openmm.app import Topology

from ..geometry.neighbors import nearest_image
from ..potentials.bond_graph import planar_bonds
from ..potentials.potential import Potential
from ..units import positions_in_nanometers
from .chemical_graph import ChemicalGraph
from .double_bonds import is_cis
from .residues import protein_residues, residue_labels
from .stereo_centres import handedness
from .stereo_comparison import StereoCheck, StereoComparison
from .stereo_states import (
    other_states,
    protein_centres,
    protein_peptide_bonds,
    residues_without_bonds,
)

__all__ = ["StereoCheck", "StereoComparison", "Stereochemistry"]

# A tetrahedral centre has a triple product of unit bond vectors near 0.77, an inverting one 0.
PLANAR_TRIPLE_PRODUCT = 0.1
# A carbon whose hydrogen is left out may as well be a flat one: it is judged where it is clearly
# tetrahedral, and its bonds (nm) are bonds and not distances between beads.
UNITED_TRIPLE_PRODUCT, LONGEST_UNITED_BOND = 0.35, 0.22


class Stereochemistry:
    """The stereochemical states of molecules: stereocentres, double bonds, peptide bonds.

    The centres are looked up once; reading the states of a structure is a few numpy lines.

    Parameters
    ----------
    topology : openmm.app.Topology, optional
        Peptide bonds and centres of proteins are known by atom names, in residues with atoms N, CA
        and C. A peptide bond is a topology bond between C and N of two such residues (rings
        included, caps not).
    graph : ChemicalGraph, optional
        Elements and bonds, which show all other states; those of the topology by default.
    planar : set of pairs
        Bonds that the force field holds planar, see `bond_graph.planar_bonds`.
    box : (3, 3) array, optional
        Periodic box vectors in nm: bonds go to the nearest image. Without one coordinates are
        taken as they are, and a molecule broken across a boundary has to be made whole first.

    Raises
    ------
    ValueError
        If neither a topology nor a graph is given.

    Notes
    -----
    States of proteins are

    - C-alpha (not glycine), label ``"ALA 5 CA"``: ``"L"`` or ``"D"``;
    - C-beta of isoleucine and threonine, label ``"ILE 7 CB"``: ``"R"`` or ``"S"`` (natural:
      isoleucine S, threonine R);
    - peptide bond, label ``"PRO 12-ALA 13"``: ``"cis"`` (abs(omega) < 90 degrees) or ``"trans"``.

    All other states are

    - stereocentre (`stereo_centres.stereocentres` says which), label ``"DA 3 C1'"``:
      ``"clockwise"`` or ``"counterclockwise"``, as its neighbours turn by rising index, seen with
      the hydrogen (or else the neighbour of the highest index, or the lone pair) pointing away.
      That is no Cahn-Ingold-Prelog label: it compares structures of one topology;
    - double bond or amide (`double_bonds.rigid_bonds` says which), label ``"LIG 1 C7-C8"``:
      ``"cis"`` or ``"trans"``.

    A flat centre is ``"planar"``. With several chains a label starts with the chain:
    ``"A:ALA 5 CA"``.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> system = peptide("GAP")
    >>> stereochemistry = Stereochemistry(system.topology)
    >>> stereochemistry.chirality(system.positions)
    {'ALA 2 CA': 'L', 'PRO 3 CA': 'L'}
    >>> stereochemistry.peptide_bonds(system.positions)
    {'GLY 1-ALA 2': 'trans', 'ALA 2-PRO 3': 'trans'}
    >>> mirrored = system.positions * [-1.0, 1.0, 1.0]
    >>> stereochemistry.changes(system.positions, mirrored)
    ['ALA 2 CA: L -> D', 'PRO 3 CA: L -> D']
    """

    def __init__(
        self,
        topology: Topology | None = None,
        graph: ChemicalGraph | None = None,
        planar: Set[frozenset[int]] = frozenset(),
        box: np.ndarray | None = None,
    ) -> None:
        if graph is None:
            if topology is None:
                raise ValueError("no topology and no graph of bonds: stereochemistry needs one")
            graph = ChemicalGraph.of_topology(topology)
        self._box = box
        self._n_atoms = len(graph.numbers)
        self._unknown = residues_without_bonds(topology, graph)
        residues = {} if topology is None else dict(protein_residues(topology))
        labels = residue_labels(residues)
        centres = list(protein_centres(residues, labels))
        bonds = [] if topology is None else list(protein_peptide_bonds(topology, residues, labels))
        self._n_protein_centres, self._n_peptide_bonds = len(centres), len(bonds)
        more_centres, more_bonds = other_states(graph, planar, centres, bonds, topology, labels)
        self._centres, self._bonds = centres + more_centres, bonds + more_bonds
        self._centre_atoms = np.array([c.atoms for c in self._centres], dtype=int).reshape(-1, 5)
        self._bond_atoms = np.array([b.atoms for b in self._bonds], dtype=int).reshape(-1, 4)

    @classmethod
    def of_potential(cls, potential: Potential) -> Stereochemistry:
        """Look up all that a Context and its topology, if there is one, show.

        Where the topology is missing or shows no bonds, those of the System count; its torsions
        show the double bonds where elements or hydrogens are missing.

        Parameters
        ----------
        potential : Potential

        Returns
        -------
        Stereochemistry
            Without a topology labels are ``"atom 4"`` and ``"atom 4-6"``.
        """
        topology = potential.topology
        if topology is not None and topology.getNumAtoms() != potential.num_particles:
            topology = None
        graph = ChemicalGraph.of_potential(potential)
        return cls(topology, graph, planar_bonds(potential.system, graph.bonds), potential.box())

    def chirality(self, positions: Any) -> dict[str, str]:
        """Return the state of every chiral centre of proteins.

        Parameters
        ----------
        positions : (N, 3) array in nm, or Quantity

        Returns
        -------
        dict of str to str
            ``{"ALA 5 CA": "L", ...}``; see the class for the states.

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        x = positions_in_nanometers(positions, self._n_atoms)
        return self._centre_states(x, slice(self._n_protein_centres))

    def peptide_bonds(self, positions: Any) -> dict[str, str]:
        """Return the state of every peptide bond.

        Parameters
        ----------
        positions : (N, 3) array in nm, or Quantity

        Returns
        -------
        dict of str to str
            ``{"PRO 12-ALA 13": "trans", ...}``.

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        x = positions_in_nanometers(positions, self._n_atoms)
        return self._bond_states(x, slice(self._n_peptide_bonds))

    def states(self, positions: Any) -> dict[str, str]:
        """Return all states, of proteins and of all other molecules, in one dict.

        Parameters
        ----------
        positions : (N, 3) array in nm, or Quantity

        Returns
        -------
        dict of str to str
            Empty where there are none, or where no bonds are known.

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        x = positions_in_nanometers(positions, self._n_atoms)
        return self._centre_states(x, slice(None)) | self._bond_states(x, slice(None))

    def compare(self, before: Any, after: Any) -> StereoComparison:
        """Return what differs between two structures, and what was compared.

        Parameters
        ----------
        before, after : (N, 3) array in nm, or Quantity

        Returns
        -------
        StereoComparison

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        old, new = self.states(before), self.states(after)
        common = [label for label in old if label in new]
        checked = StereoCheck(len(common) - len(self._bonds), len(self._bonds), self._unknown)
        if self._unknown and not checked.total:
            return StereoComparison(None, checked)
        changes = tuple(f"{k}: {old[k]} -> {new[k]}" for k in common if old[k] != new[k])
        return StereoComparison(changes, checked)

    def changes(self, before: Any, after: Any) -> list[str]:
        """Return the states that differ between two structures, as readable lines.

        Parameters
        ----------
        before, after : (N, 3) array in nm, or Quantity

        Returns
        -------
        list of str
            Such as ``["ALA 5 CA: L -> D", "GLY 3-PRO 4: trans -> cis"]``; empty as well where
            nothing could be compared, which `compare` tells.

        Raises
        ------
        TypeError, ValueError
            If the positions have a wrong unit or shape or are not finite.
        """
        return list(self.compare(before, after).changes or ())

    def _centre_states(self, x: np.ndarray, which: slice) -> dict[str, str]:
        atoms, centres = self._centre_atoms[which], self._centres[which]
        vectors = self._vectors(x, atoms[:, :1], atoms[:, 1:])
        vectors[atoms[:, 4] < 0, 3] = 0.0
        volumes = handedness(vectors)
        longest = np.linalg.norm(vectors, axis=-1).max(axis=-1, initial=0.0)
        clear = (abs(volumes) > UNITED_TRIPLE_PRODUCT) & (longest < LONGEST_UNITED_BOND)
        return {
            centre.label: "planar"
            if abs(volume) < PLANAR_TRIPLE_PRODUCT
            else centre.names[int(volume < 0)]
            for centre, volume, judged in zip(centres, volumes, clear, strict=True)
            if judged or not centre.united
        }

    def _bond_states(self, x: np.ndarray, which: slice) -> dict[str, str]:
        atoms = self._bond_atoms[which]
        cis = is_cis(self._vectors(x, atoms[:, :3], atoms[:, 1:]))
        return {
            bond.label: "cis" if state else "trans"
            for bond, state in zip(self._bonds[which], cis, strict=True)
        }

    def _vectors(self, x: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return the vectors between atoms, to the nearest image where there is a box."""
        vectors = x[end] - x[start]
        flat = nearest_image(vectors.reshape(-1, 3), self._box, self._box is not None)
        return flat.reshape(vectors.shape)


def __getattr__(name: str) -> Any:
    """Return a function of the first version, which warns when it is called."""
    if name not in ("chirality", "peptide_bonds", "stereo_changes"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import deprecated_names

    return getattr(deprecated_names, name)
