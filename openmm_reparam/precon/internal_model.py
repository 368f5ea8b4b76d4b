"""Internal coordinates of a System and their model force constants, for steps along them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from ..geometry.redundant_internals import RedundantInternals
from ..potentials.bond_graph import topology_bonds
from ..potentials.potential import Potential
from .model_hessian import InternalTerms, ModelConstants, atomic_numbers_of, internal_terms

__all__ = ["InternalModel", "internal_model", "internal_stiffness"]

# A barrier belongs to the bond, however many torsions are about it: all together they have the
# stiffness of so many.
TORSIONS_OF_A_BOND = 4.0
# Stiffness of displacements, kJ/mol/nm^2: of one molecule that nothing surrounds, whose internal
# coordinates know all that is stiff; of several, between which the model knows next to nothing.
ALONE, AMONG_OTHERS = 100.0, 1000.0


@dataclass(frozen=True)
class InternalModel:
    """What steps along internal coordinates are made of.

    Attributes
    ----------
    internals : RedundantInternals
    stiffness : (M,) array
        Of each coordinate, in kJ/mol/nm^2 and kJ/mol/rad^2.
    molecules : (N,) int array
        The molecule of each atom, by bonds.
    shift : float
        Of displacements, in kJ/mol/nm^2: 100 for one molecule, 1000 where there are several.
    """

    internals: RedundantInternals
    stiffness: np.ndarray
    molecules: np.ndarray
    shift: float


def internal_model(potential: Potential, positions: np.ndarray) -> InternalModel | None:
    """Return internal coordinates and constants of all terms with an atom that moves.

    Parameters
    ----------
    potential : Potential
        Bonds are those of its topology; where it has none, covalent radii decide.
    positions : (N, 3) array
        In nm: what is near or straight, and all constants, are those there.

    Returns
    -------
    InternalModel or None
        None where elements are not known, or nothing is bonded or near.
    """
    atoms = np.flatnonzero(~potential.virtual_sites)
    numbers = atomic_numbers_of(potential, atoms)
    if numbers is None:  # masses tell nothing of atoms that have none
        atoms = np.flatnonzero(potential.moves)
        numbers = atomic_numbers_of(potential, atoms)
    if numbers is None:
        return None
    box = potential.box()
    bonds = topology_bonds(potential.topology, atoms)
    local = internal_terms(numbers[atoms], positions[atoms], bonds, box)
    whole = {kind: atoms[found] for kind, found in vars(local).items()}
    moving = {kind: t[potential.moves[t].any(axis=1)] for kind, t in whole.items()}
    if not any(map(len, moving.values())):
        return None
    terms = InternalTerms(**moving)
    internals = RedundantInternals(terms, positions, box)
    constants = internal_stiffness(terms, ModelConstants(numbers), positions, box)
    molecules = _molecules(whole["bonds"], potential.num_particles)
    shift = AMONG_OTHERS if len(np.unique(molecules[atoms])) > 1 else ALONE
    return InternalModel(internals, internals.of_terms(constants), molecules, shift)


def internal_stiffness(
    terms: InternalTerms,
    constants: ModelConstants,
    positions: np.ndarray,
    box: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the model constants of all terms by kind, (T,) each.

    Those of torsions are shared out: a rotatable bond has the same stiffness whether four torsions
    are about it or nine.

    Parameters
    ----------
    terms : InternalTerms
    constants : ModelConstants
    positions : (N, 3) array
        In nm.
    box : (3, 3) array, optional

    Examples
    --------
    >>> numbers = np.array([8, 8, 1, 1])
    >>> x = np.array([[0, 0, 0], [0.145, 0, 0], [-0.02, 0.09, 0], [0.165, 0, 0.09]])
    >>> terms = internal_terms(numbers, x)
    >>> stiffness = internal_stiffness(terms, ModelConstants(numbers), x)
    >>> {kind: len(found) for kind, found in stiffness.items()}
    {'bonds': 3, 'angles': 2, 'torsions': 1, 'out_of_plane': 0, 'pairs': 0}
    """
    found = {
        kind: constants(atoms, positions, box, planar=kind == "out_of_plane")
        for kind, atoms in vars(terms).items()
    }
    middles = np.sort(terms.torsions[:, 1:3], axis=1)
    _, which, counts = np.unique(middles, axis=0, return_inverse=True, return_counts=True)
    found["torsions"] = found["torsions"] * TORSIONS_OF_A_BOND / counts[which.ravel()]
    return found


def _molecules(bonds: np.ndarray, size: int) -> np.ndarray:
    """Return the molecule of each atom, (N,)."""
    entries = (np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1]))
    return connected_components(sp.coo_array(entries, shape=(size, size)), directed=False)[1]
