"""What slow modes tell: a table of collectivities and residues, and motions to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from openmm import app

from ..potentials.potential import Potential
from ..structure.residues import residue_label
from .slow_modes import SlowModes, molecular_slow_modes

__all__ = [
    "EIGENVALUE_UNITS",
    "ModeTable",
    "collectivity",
    "coupling_graph_modes",
    "mode_displacements",
]

EIGENVALUE_UNITS = {"hessian": "kJ/mol/nm^2", "coupling-graph": "(kJ/mol/nm^2)^2"}
# Relative to the fastest mode asked for: below this a Laplacian's eigenvalue is zero.
ZERO_EIGENVALUE = 1e-9


@dataclass(frozen=True)
class ModeTable:
    """Slow modes and what people ask of them.

    Attributes
    ----------
    kind : {"hessian", "coupling-graph"}
    modes : SlowModes
        Without rigid motions; vectors are (3N, k) or, of a coupling graph, (N, k).
    topology : openmm.app.Topology
    """

    kind: str
    modes: SlowModes
    topology: app.Topology

    @property
    def atom_weights(self) -> np.ndarray:
        """Each atom's share of each mode's squared length, (k, N)."""
        vectors = self.modes.vectors.T
        squares = vectors**2
        if self.kind == "hessian":
            squares = squares.reshape(len(vectors), -1, 3).sum(axis=2)
        return squares / squares.sum(axis=1, keepdims=True)

    @property
    def residue_weights(self) -> np.ndarray:
        """Each residue's share of each mode's squared length, (k, residues)."""
        residues = [atom.residue.index for atom in self.topology.atoms()]
        weights = np.zeros((len(self.modes), self.topology.getNumResidues()))
        np.add.at(weights.T, residues, self.atom_weights.T)
        return weights

    def rows(self, residues: int = 3) -> list[dict[str, Any]]:
        """Return for each mode its number, eigenvalue, collectivity and top residues.

        Parameters
        ----------
        residues : int
            How many of the residues that move most.
        """
        labels = [residue_label(residue) for residue in self.topology.residues()]
        rows = []
        for k, (weights, shares) in enumerate(
            zip(self.atom_weights, self.residue_weights, strict=True)
        ):
            top = np.argsort(-shares, kind="stable")[:residues]
            rows.append(
                {
                    "mode": k + 1,
                    "eigenvalue": float(self.modes.eigenvalues[k]),
                    "collectivity": collectivity(weights),
                    "residues": {labels[r]: float(shares[r]) for r in top},
                }
            )
        return rows

    def __str__(self) -> str:
        lines = [f"mode  eigenvalue, {EIGENVALUE_UNITS[self.kind]:<17}collectivity  moves most"]
        for row in self.rows():
            shares = ", ".join(f"{name} {100 * w:.0f} %" for name, w in row["residues"].items())
            lines.append(
                f"{row['mode']:4d}  {row['eigenvalue']:<29.5g}{row['collectivity']:<14.2f}{shares}"
            )
        return "\n".join(lines)


def collectivity(weights: np.ndarray) -> float:
    """Return the share of atoms that take part in a mode, 1/N to 1.

    Parameters
    ----------
    weights : (N,) array
        Squared displacements, which sum to one.

    References
    ----------
    Brueschweiler, R. Collective protein dynamics and nuclear spin relaxation. J. Chem. Phys.
    1995, 102, 3396.

    Examples
    --------
    >>> round(collectivity(np.full(10, 0.1)), 6), round(collectivity(np.eye(10)[3]), 6)
    (1.0, 0.1)
    """
    present = weights[weights > 0]
    return float(np.exp(-(present * np.log(present)).sum()) / len(weights))


def coupling_graph_modes(
    potential: Potential, positions: np.ndarray, count: int, source: str = "bonded"
) -> SlowModes:
    """Slow modes of the coupling graph's Laplacian, the uniform translation left out.

    Parameters
    ----------
    potential : Potential
    positions : (N, 3) array
        In nm.
    count : int
    source : {"bonded", "full"}
        Which Hessian, see `molecular_slow_modes`.

    Returns
    -------
    SlowModes
        Eigenvalues in (kJ/mol/nm^2)^2, vectors (N, k).

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> potential = Potential(peptide("GA").simulation("Reference").context)
    >>> modes = coupling_graph_modes(potential, potential.positions(), 4)
    >>> bool(np.abs(modes.vectors.sum(axis=0)).max() < 1e-6)
    True
    """
    modes = molecular_slow_modes(
        potential, positions, min(count + 1, len(positions)), source=source
    )
    largest = max(abs(modes.next_eigenvalue), np.abs(modes.eigenvalues).max())
    zero = np.abs(modes.eigenvalues) < ZERO_EIGENVALUE * largest
    if not zero.any():
        return SlowModes(modes.eigenvalues[:count], modes.vectors[:, :count], modes.next_eigenvalue)
    # Every separate chain has a null vector; what all of them share is the translation.
    uniform = (np.abs(modes.vectors).max(axis=1) > 0) / 1.0
    uniform /= np.linalg.norm(uniform)
    null = modes.vectors[:, zero]
    null = null - np.outer(uniform, uniform @ null)
    null = np.linalg.svd(null, full_matrices=False)[0][:, : zero.sum() - 1]
    vectors = np.hstack([null, modes.vectors[:, ~zero]])
    values = np.concatenate([np.zeros(null.shape[1]), modes.eigenvalues[~zero]])
    return SlowModes(values[:count], vectors[:, :count], modes.next_eigenvalue)


def mode_displacements(table: ModeTable, positions: np.ndarray, mode: int) -> np.ndarray:
    """Return a mode as displacements of atoms.

    A mode of a coupling graph has one number for each atom and no direction: it is shown along the
    molecule's long axis.

    Parameters
    ----------
    table : ModeTable
    positions : (N, 3) array
        In nm.
    mode : int
        Its number in the table, from 1.

    Returns
    -------
    (N, 3) array
        Of length 1 in all.
    """
    vector = table.modes.vectors[:, mode - 1]
    if table.kind == "hessian":
        return vector.reshape(-1, 3)
    centred = positions - positions.mean(axis=0)
    long_axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    return np.outer(vector, long_axis)
