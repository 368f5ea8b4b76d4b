"""Heavy atoms of a peptide chain from its sequence: extended, or a random coil.

PeptideBuilder: Tien, Sydykova, Meyer, Wilke, PeerJ 2013, 1, e80.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import PeptideBuilder
from openmm import app
from PeptideBuilder.Geometry import geometry
from scipy.spatial.distance import cdist

__all__ = ["capped_chain", "extended_chain", "random_coil"]

# Basins of the Ramachandran map: weight, phi, psi in degrees. Drawn 20 degrees wide.
_BASINS = ((0.35, -120, 135), (0.35, -70, 145), (0.25, -65, -40), (0.05, 57, 45))
_BASIN_WIDTH = 20.0

_EXTENDED = (-120.0, 140.0)
_PROLINE_PHI = -65.0

# Atoms of a residue that a cap keeps, and their names there.
_ACE = {"CA": "CH3", "C": "C", "O": "O"}
_NME = {"N": "N", "CA": "C"}

# Heavy atoms of residues two or more apart stay farther from each other than this, in angstrom.
_CLASH = 2.5


def extended_chain(letters: str) -> tuple[app.Topology, np.ndarray]:
    """Build an extended chain.

    Parameters
    ----------
    letters : str
        One-letter codes.

    Returns
    -------
    openmm.app.Topology, (n, 3) array
        Of the heavy atoms, positions in nm.
    """
    phi, psi = _EXTENDED
    structure = PeptideBuilder.initialize_res(geometry(letters[0]))
    for letter in letters[1:]:
        _add_residue(structure, letter, _PROLINE_PHI if letter == "P" else phi, psi)
    return _as_openmm(_add_terminal_oxygen(structure))


def random_coil(letters: str, rng: np.random.Generator) -> tuple[app.Topology, np.ndarray]:
    """Grow a random coil, going back a few residues wherever a new one clashes.

    Parameters
    ----------
    letters : str
        One-letter codes.
    rng : numpy Generator

    Returns
    -------
    openmm.app.Topology, (n, 3) array
        Of the heavy atoms, positions in nm.

    Raises
    ------
    ValueError
        If no coil free of clashes was found.
    """
    structure = PeptideBuilder.initialize_res(geometry(letters[0]))
    chain = structure[0]["A"]
    angles = [_draw_angles(letters[0], rng)]
    tries = 200 * len(letters)
    while len(angles) < len(letters):
        tries -= 1
        if tries < 0:
            raise ValueError(
                f"no random coil of {letters} without clashes was found: try another seed"
            )
        letter = letters[len(angles)]
        drawn = _draw_angles(letter, rng)
        _add_residue(structure, letter, drawn[0], angles[-1][1])
        angles.append(drawn)
        if len(angles) == len(letters):
            _add_terminal_oxygen(structure)
        # A new residue also moves the oxygen of the one before it.
        if _clashes(chain, -1) or _clashes(chain, -2):
            # The first residue has no angle that moves it alone, so it always stays.
            for _ in range(min(len(angles) - 1, int(rng.integers(1, 5)))):
                chain.detach_child(chain.child_list[-1].id)
                angles.pop()
            angles[-1] = (angles[-1][0], _draw_angles(letters[len(angles) - 1], rng)[1])
    return _as_openmm(structure)


def capped_chain(topology: app.Topology, positions: np.ndarray) -> tuple[app.Topology, np.ndarray]:
    """Cut the first and the last residue of a chain down to the caps ACE and NME.

    Parameters
    ----------
    topology : openmm.app.Topology
        Of heavy atoms.
    positions : (n, 3) array

    Returns
    -------
    openmm.app.Topology, (m, 3) array
    """
    capped = app.Topology()
    chain = capped.addChain("A")
    kept: dict[Any, Any] = {}
    caps = {0: ("ACE", _ACE), topology.getNumResidues() - 1: ("NME", _NME)}
    for residue in topology.residues():
        name, names = caps.get(residue.index, (residue.name, None))
        made = capped.addResidue(name, chain, str(residue.index))
        for atom in residue.atoms():
            if names is None or atom.name in names:
                renamed = atom.name if names is None else names[atom.name]
                kept[atom] = capped.addAtom(renamed, atom.element, made)
    for first, second in topology.bonds():
        if first in kept and second in kept:
            capped.addBond(kept[first], kept[second])
    return capped, positions[[atom.index for atom in kept]]


def _add_residue(chain: Any, letter: str, phi: float, psi_before: float) -> None:
    PeptideBuilder.add_residue(chain, letter, phi=phi, psi_im1=psi_before, omega=180.0)


def _add_terminal_oxygen(structure: Any) -> Any:
    # Where O is exactly opposite N, Bio.PDB divides zero by zero in a comparison without effect.
    with np.errstate(invalid="ignore"):
        return PeptideBuilder.add_terminal_OXT(structure)


def _draw_angles(letter: str, rng: np.random.Generator) -> tuple[float, float]:
    """Return random (phi, psi) of one residue in degrees."""
    weights = [weight for weight, _, _ in _BASINS]
    _, *centre = _BASINS[rng.choice(len(_BASINS), p=weights)]
    phi, psi = rng.normal(centre, _BASIN_WIDTH)
    if letter == "G" and rng.random() < 0.5:  # glycine's map is symmetric
        phi, psi = -phi, -psi
    if letter == "P":  # the ring fixes phi, and leaves psi of beta and alpha-R
        phi = rng.normal(_PROLINE_PHI, _BASIN_WIDTH / 2)
    return float(phi), float(psi)


def _clashes(chain: Any, which: int) -> bool:
    """Return whether residue `which`, counted from the end, is too close to earlier ones."""
    residues = [[atom.coord for atom in residue] for residue in chain]
    if len(residues) < 2 - which:
        return False
    earlier = np.concatenate(residues[: which - 1])
    return bool(cdist(earlier, residues[which]).min() < _CLASH)


def _as_openmm(structure: Any) -> tuple[app.Topology, np.ndarray]:
    """Return the topology with bonds and the positions in nm of a PeptideBuilder structure."""
    topology = app.Topology()
    chain = topology.addChain("A")
    positions = []
    for source in structure[0]["A"]:
        residue = topology.addResidue(source.resname, chain, str(source.id[1]))
        for atom in source:
            topology.addAtom(atom.name, app.Element.getBySymbol(atom.element), residue)
            positions.append(atom.coord)
    topology.createStandardBonds()
    return topology, np.array(positions, dtype=float) / 10
