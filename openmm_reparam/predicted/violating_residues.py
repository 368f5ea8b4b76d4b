"""Residues with violations, by the rules of AlphaFold's relaxation: who is released next."""

from __future__ import annotations

import numpy as np
import openmm as mm
from openmm import app

from ..structure.outliers import angle_outliers, bond_outliers, clashing_pairs
from ..structure.selections import is_heavy

__all__ = ["violating_residues"]

# Between residues, from AlphaFold's residue constants: lengths in nm and cosines of the angles
# CA-C-N and C-N-CA, with their standard deviations; twelve of them are allowed.
_PEPTIDE_BOND, _PEPTIDE_BOND_BEFORE_PROLINE = (0.1329, 0.0014), (0.1341, 0.0016)
_CA_C_N, _C_N_CA = (-0.4473, 0.0311), (-0.5203, 0.0353)
_DEVIATIONS = 12.0


def violating_residues(topology: app.Topology, system: mm.System, x: np.ndarray) -> frozenset[int]:
    """Return the indices of residues that take part in a violation of heavy atoms.

    Parameters
    ----------
    topology : openmm.app.Topology
    system : openmm.System
        Its harmonic bonds and angles say what is usual.
    x : (N, 3) array in nm

    Returns
    -------
    frozenset of int

    Notes
    -----
    As AlphaFold counts:

    - two heavy atoms overlap by more than 0.15 nm;
    - a peptide bond is more than 12 standard deviations (0.017 nm, before proline 0.019 nm) from
      its usual length, or the cosine of an angle at it is;
    - inside a residue, a bond or angle of heavy atoms is an outlier. AlphaFold allows 12 standard
      deviations of each bond's and angle's own, around 0.02 nm and 20 degrees: here the limits are
      0.02 nm and 20 degrees from the force field's values, which a System has for all residues.

    References
    ----------
    Jumper, J. et al. Highly accurate protein structure prediction with AlphaFold. Nature 2021,
    596, 583 (supplementary information, section 1.9.11).
    """
    atoms = list(topology.atoms())
    heavy = np.array([is_heavy(atom) for atom in atoms], dtype=bool)
    residues = np.array([atom.residue.index for atom in atoms], dtype=int)
    found: set[int] = set(_badly_joined(topology, x))
    for outliers in (
        clashing_pairs(topology, x, None),
        bond_outliers(topology, system, x, None),
        angle_outliers(system, x, None),
    ):
        involved = outliers.atoms[heavy[outliers.atoms].all(axis=1)]
        found |= set(residues[involved].ravel().tolist())
    return frozenset(found)


def _badly_joined(topology: app.Topology, x: np.ndarray) -> list[int]:
    """Return the residues on both sides of a bad peptide bond."""
    found = []
    for first, second in topology.bonds():
        if {first.name, second.name} != {"C", "N"} or first.residue is second.residue:
            continue
        carbon, nitrogen = (first, second) if first.name == "C" else (second, first)
        alphas = [
            next((atom.index for atom in atom_of.residue.atoms() if atom.name == "CA"), None)
            for atom_of in (carbon, nitrogen)
        ]
        if None not in alphas and _is_bad_bond(
            x[[alphas[0], carbon.index, nitrogen.index, alphas[1]]], nitrogen.residue.name == "PRO"
        ):
            found += [carbon.residue.index, nitrogen.residue.index]
    return found


def _is_bad_bond(x: np.ndarray, before_proline: bool) -> bool:
    """Return whether CA, C, N, CA (nm) are farther from a peptide bond than is allowed."""
    arms = np.diff(x, axis=0)
    lengths = np.maximum(np.linalg.norm(arms, axis=1), 1e-6)
    units = arms / lengths[:, None]
    usual = _PEPTIDE_BOND_BEFORE_PROLINE if before_proline else _PEPTIDE_BOND
    measured = (
        (lengths[1], usual),
        (-float(units[0] @ units[1]), _CA_C_N),
        (-float(units[1] @ units[2]), _C_N_CA),
    )
    return any(abs(value - mean) > _DEVIATIONS * sigma for value, (mean, sigma) in measured)
