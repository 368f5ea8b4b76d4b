"""Scores of a protein structure in the manner of MolProbity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from openmm import app

from ..structure.residues import residue_labels
from ..units import positions_in_nanometers
from .all_atom_contacts import clashscore
from .contours import FAVOURED, OUTLIER, ramachandran_state, rotamer_is_common
from .torsions import residue_torsions

__all__ = ["StructureScores", "molprobity_like_score", "structure_scores"]


@dataclass(frozen=True)
class StructureScores:
    """How a structure compares with well-resolved crystal structures.

    Attributes
    ----------
    clashscore : float
        Clashes of all atoms in 1000 atoms, see `all_atom_contacts.clashscore`.
    ramachandran_favoured : float
        Percent of the residues with phi and psi; nan without any.
    ramachandran_outliers : tuple of str
        Residues, with phi and psi in degrees.
    rotamer_outliers : tuple of str
        Residues.
    rotamers_judged : int
        Side chains that could be judged.
    molprobity_like : float
        See `molprobity_like_score`; nan where there is nothing to judge.
    """

    clashscore: float
    ramachandran_favoured: float
    ramachandran_outliers: tuple[str, ...]
    rotamer_outliers: tuple[str, ...]
    rotamers_judged: int
    molprobity_like: float

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as plain Python values, ready for JSON; nan as None."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }


def structure_scores(topology: app.Topology, positions: Any) -> StructureScores:
    """Score a protein structure with its hydrogens.

    Parameters
    ----------
    topology : openmm.app.Topology
        With hydrogens and bonds.
    positions : (N, 3) array in nm, or Quantity

    Returns
    -------
    StructureScores

    Raises
    ------
    TypeError, ValueError
        If the positions have a wrong unit or shape or are not finite.

    Notes
    -----
    Ramachandran and rotamer regions are the contours of the Top8000 structures at MolProbity's
    levels, read at the nearest bin where MolProbity interpolates. Arginine and lysine are not
    judged as rotamers.

    References
    ----------
    Williams, C. J. et al. MolProbity: more and better reference data for improved all-atom
    structure validation. Protein Sci. 2018, 27, 293.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("AVAV")
    >>> scores = structure_scores(molecule.topology, molecule.positions)
    >>> scores.rotamers_judged, scores.ramachandran_outliers
    (2, ())
    """
    x = positions_in_nanometers(positions, topology.getNumAtoms())
    torsions = residue_torsions(topology, x)
    residues = list(topology.residues())
    labels = residue_labels(residues)
    states = list(_ramachandran(residues, torsions))
    favoured = [state == FAVOURED for _, state in states]
    rotamers = list(_rotamers(residues, torsions))
    rare = [residue for residue, common in rotamers if not common]
    percent = 100.0 * float(np.mean(favoured)) if favoured else math.nan
    clashes = clashscore(topology, x)
    return StructureScores(
        clashes,
        percent,
        tuple(
            f"{labels[residue]}: phi {torsions['phi'][residue.index]:.0f}, "
            f"psi {torsions['psi'][residue.index]:.0f}"
            for residue, state in states
            if state == OUTLIER
        ),
        tuple(labels[residue] for residue in rare),
        len(rotamers),
        molprobity_like_score(clashes, 100.0 * len(rare) / max(len(rotamers), 1), percent),
    )


def molprobity_like_score(
    clashscore: float, rotamer_outliers: float, ramachandran_favoured: float
) -> float:
    """Return MolProbity's score: lower is better, and near the resolution of such a crystal.

    Parameters
    ----------
    clashscore : float
        Clashes in 1000 atoms.
    rotamer_outliers : float
        Percent.
    ramachandran_favoured : float
        Percent.

    Returns
    -------
    float
        ``0.426 ln(1 + clashscore) + 0.33 ln(1 + max(0, rotamer_outliers - 1))
        + 0.25 ln(1 + max(0, 98 - ramachandran_favoured)) + 0.5``. The formula is MolProbity's,
        what goes into it is counted here: compare values of this package with each other only.

    References
    ----------
    Chen, V. B. et al. MolProbity: all-atom structure validation for macromolecular
    crystallography. Acta Cryst. D 2010, 66, 12.

    Examples
    --------
    >>> molprobity_like_score(0.0, 0.0, 100.0)
    0.5
    """
    return (
        0.426 * math.log(1 + clashscore)
        + 0.33 * math.log(1 + max(0.0, rotamer_outliers - 1))
        + 0.25 * math.log(1 + max(0.0, 98 - ramachandran_favoured))
        + 0.5
    )


def _ramachandran(
    residues: list[app.Residue], torsions: dict[str, dict[int, float]]
) -> Iterator[tuple[app.Residue, int]]:
    """Yield residues that have phi and psi, and their states."""
    for residue in residues:
        if residue.index in torsions["phi"] and residue.index in torsions["psi"]:
            # With a psi there is a residue after it.
            after = residues[residue.index + 1]
            kind = _ramachandran_class(residue, after, torsions["omega"].get(residue.index))
            phi, psi = (torsions[name][residue.index] for name in ("phi", "psi"))
            yield residue, ramachandran_state(kind, phi, psi)


def _ramachandran_class(residue: app.Residue, after: app.Residue, omega: float | None) -> str:
    if residue.name == "GLY":
        return "glycine"
    if residue.name == "PRO":
        return "cis_proline" if omega is not None and abs(omega) < 90 else "trans_proline"
    if after.name == "PRO":
        return "before_proline"
    return "ile_val" if residue.name in ("ILE", "VAL") else "general"


def _rotamers(
    residues: list[app.Residue], torsions: dict[str, dict[int, float]]
) -> Iterator[tuple[app.Residue, bool]]:
    """Yield residues whose side chain can be judged, and whether it is common."""
    for residue in residues:
        chis = []
        for name in ("chi1", "chi2", "chi3"):
            if residue.index not in torsions[name]:
                break
            chis.append(torsions[name][residue.index])
        common = rotamer_is_common(residue.name, chis)
        if common is not None:
            yield residue, common
