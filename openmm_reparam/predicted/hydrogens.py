"""Hydrogens of proteins and nucleic acids from geometry alone: no force field, no minimization.

OpenMM's Modeller minimizes each structure's hydrogens, which takes longer than relaxing it. Which
hydrogens a residue has is read from the same definitions.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from openmm import app
from scipy.spatial import cKDTree

from ..geometry.internal_coordinates import directions
from ..geometry.placement import opposite

__all__ = ["with_hydrogens"]

# Lengths in nm, by the element of the heavy atom.
_BOND_LENGTHS = {"C": 0.109, "N": 0.101, "O": 0.096, "S": 0.134}
_TETRAHEDRAL, _TRIGONAL = np.radians(109.47), np.radians(120.0)
# A hydrogen of histidine goes to ND1 unless only NE2 has an acceptor so near, in nm, and within
# 50 degrees of the bond: the rule of Modeller.
_ACCEPTOR_DISTANCE, _ACCEPTOR_COSINE = 0.35, np.cos(np.radians(50.0))
# nm that a hydroxyl's hydrogen keeps from others: less from those that it may be bonded to.
_CONTACT, _ACCEPTOR_CONTACT = 0.24, 0.16
_HYDROXYL_TORSIONS = np.radians(np.arange(60.0, 420.0, 30.0))
_ACCEPTORS = ("N", "O")


class _Definition(NamedTuple):
    """A hydrogen that a residue may have."""

    name: str
    parent: str
    terminal: str
    largest_ph: float
    variants: tuple[str, ...]


class _Site(NamedTuple):
    """A heavy atom that gets hydrogens."""

    atom: app.Atom
    names: list[str]
    neighbors: list[int]


def with_hydrogens(
    topology: app.Topology,
    x: np.ndarray,
    ph: float = 7.0,
    states: Sequence[str | None] | None = None,
) -> tuple[app.Topology, np.ndarray]:
    """Add all hydrogens to a structure that has none.

    Parameters
    ----------
    topology : openmm.app.Topology
        Complete heavy atoms of proteins and nucleic acids, with bonds; each chain unbroken.
    x : (N, 3) array in nm
    ph : float
        Decides which hydrogens there are, as in OpenMM's ``Modeller.addHydrogens``.
    states : sequence of str or None, optional
        A protonation state for each residue, such as "HIE" or "ASH"; None chooses it.

    Returns
    -------
    openmm.app.Topology
        A new one. Hydrogens come after the heavy atoms of their residue.
    (M, 3) array
        In nm. A hydroxyl's hydrogen points where most room is.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("GS")
    >>> modeller = app.Modeller(molecule.topology, molecule.positions)
    >>> modeller.delete([a for a in molecule.topology.atoms() if a.element.symbol == "H"])
    >>> heavy = np.array(modeller.positions.value_in_unit(modeller.positions.unit))
    >>> topology, x = with_hydrogens(modeller.topology, heavy)
    >>> topology.getNumAtoms() == molecule.topology.getNumAtoms()
    True
    """
    neighbors: list[list[int]] = [[] for _ in range(topology.getNumAtoms())]
    for first, second in topology.bonds():
        neighbors[first.index].append(second.index)
        neighbors[second.index].append(first.index)
    sites = list(_sites(topology, x, neighbors, ph, states))
    places = _places(topology, x, sites, neighbors)
    return _joined(topology, x, sites, places)


@cache
def _definitions() -> dict[str, list[_Definition]]:
    path = Path(app.__file__).parent / "data" / "hydrogens.xml"
    return {
        residue.attrib["name"]: [
            _Definition(
                entry.attrib["name"],
                entry.attrib["parent"],
                entry.attrib.get("terminal", ""),
                float(entry.attrib.get("maxph", "inf")),
                tuple(filter(None, entry.attrib.get("variant", "").split(","))),
            )
            for entry in residue.findall("H")
        ]
        for residue in ET.parse(path).getroot().findall("Residue")
    }


def _sites(
    topology: app.Topology,
    x: np.ndarray,
    neighbors: list[list[int]],
    ph: float,
    states: Sequence[str | None] | None,
) -> Iterator[_Site]:
    """Yield the atoms that get hydrogens, residue by residue."""
    atoms = list(topology.atoms())
    acceptors = np.array([a.element.symbol in _ACCEPTORS for a in atoms], dtype=bool)
    for chain in topology.chains():
        residues = list(chain.residues())
        for residue in residues:
            ends = {"N": residue is residues[0], "C": residue is residues[-1]}
            ends["-"] = not (ends["N"] or ends["C"])
            variant = states[residue.index] if states else None
            variant = variant or _variant(residue, atoms, x, neighbors, acceptors, ph)
            wanted: dict[str, list[str]] = {}
            for hydrogen in _definitions().get(residue.name, []):
                has_end = not hydrogen.terminal or any(ends[end] for end in hydrogen.terminal)
                if has_end and _is_present(hydrogen, variant, ph):
                    wanted.setdefault(hydrogen.parent, []).append(hydrogen.name)
            for atom in residue.atoms():
                if atom.name in wanted and neighbors[atom.index]:
                    yield _Site(atom, wanted[atom.name], neighbors[atom.index])


def _is_present(hydrogen: _Definition, variant: str | None, ph: float) -> bool:
    if variant is not None and hydrogen.variants:
        return variant in hydrogen.variants
    return ph <= hydrogen.largest_ph


def _variant(
    residue: app.Residue,
    atoms: list[app.Atom],
    x: np.ndarray,
    neighbors: list[list[int]],
    acceptors: np.ndarray,
    ph: float,
) -> str | None:
    """Return the form of a cysteine or histidine; None for all others."""
    by_name = {atom.name: atom.index for atom in residue.atoms()}
    if residue.name == "CYS" and "SG" in by_name:
        partners = [atoms[k].residue for k in neighbors[by_name["SG"]]]
        return "CYX" if any(partner is not residue for partner in partners) else None
    if residue.name != "HIS" or not {"ND1", "NE2"} <= by_name.keys():
        return None
    if ph <= 6.5:
        return "HIP"
    others = acceptors.copy()
    others[list(by_name.values())] = False
    bonded = [
        _has_acceptor(x, by_name[name], neighbors[by_name[name]], x[others])
        for name in ("ND1", "NE2")
    ]
    return "HIE" if bonded == [False, True] else "HID"


def _has_acceptor(x: np.ndarray, atom: int, neighbors: list[int], acceptors: np.ndarray) -> bool:
    """Return whether a hydrogen of a ring nitrogen would point at an acceptor."""
    outward = directions((x[atom] - x[neighbors]).sum(axis=0, keepdims=True))[1][0]
    near = acceptors[np.linalg.norm(acceptors - x[atom], axis=1) < _ACCEPTOR_DISTANCE]
    _, towards = directions(near - (x[atom] + _BOND_LENGTHS["N"] * outward))
    return bool((towards @ outward > _ACCEPTOR_COSINE).any())


def _places(
    topology: app.Topology,
    x: np.ndarray,
    sites: list[_Site],
    neighbors: list[list[int]],
) -> list[np.ndarray]:
    """Return the places of each site's hydrogens in nm, (n, 3) each."""
    symbols = [atom.element.symbol for atom in topology.atoms()]
    tree, contacts = (
        cKDTree(x),
        np.array([_ACCEPTOR_CONTACT if symbol in _ACCEPTORS else _CONTACT for symbol in symbols]),
    )
    places = []
    for site in sites:
        index, count = site.atom.index, len(site.names)
        length = _BOND_LENGTHS.get(symbols[index], 0.109)
        if len(site.neighbors) == 1:
            before = site.neighbors[0]
            reference = next((k for k in neighbors[before] if k != index), None)
            if count == 1:
                found = _hydroxyl(x, index, before, reference, length, tree, contacts)
            else:
                angle = _TETRAHEDRAL if count == 3 else _TRIGONAL
                torsions = np.radians([180.0, 60.0, 300.0]) if count == 3 else np.array([0, np.pi])
                found = _around(x, index, before, reference, length, angle, torsions)
        else:
            found = x[index] + length * _opposite(x, index, site.neighbors, count)
        places.append(found)
    return places


def _opposite(x: np.ndarray, atom: int, neighbors: list[int], count: int) -> np.ndarray:
    """Return unit vectors away from two or three neighbours: one, or a pair across their plane."""
    _, arms = directions(x[neighbors] - x[atom])
    outward = opposite(arms)
    if count == 1:
        return outward[None]
    half = _TETRAHEDRAL / 2
    across = _unit(np.cross(arms[0], arms[1]))
    return np.array([np.cos(half) * outward + sign * np.sin(half) * across for sign in (1.0, -1.0)])


def _around(
    x: np.ndarray,
    atom: int,
    before: int,
    reference: int | None,
    length: float,
    angle: float,
    torsions: np.ndarray,
) -> np.ndarray:
    """Return places at torsions around the bond to a heavy atom's only neighbour."""
    axis = _unit(x[atom] - x[before])
    arm = x[reference] - x[before] if reference is not None else np.eye(3)[np.argmin(np.abs(axis))]
    cis = _unit(arm - (arm @ axis) * axis)
    across = np.cross(axis, cis)
    ring = np.cos(torsions)[:, None] * cis + np.sin(torsions)[:, None] * across
    return x[atom] + length * (-np.cos(angle) * axis + np.sin(angle) * ring)


def _hydroxyl(
    x: np.ndarray,
    atom: int,
    before: int,
    reference: int | None,
    length: float,
    tree: cKDTree,
    contacts: np.ndarray,
) -> np.ndarray:
    """Return the place of a hydrogen on a single bond that has most room."""
    tried = _around(x, atom, before, reference, length, _TETRAHEDRAL, _HYDROXYL_TORSIONS)
    near = [k for k in tree.query_ball_point(x[atom], 0.4) if k not in (atom, before)]
    if not near:
        return tried[:1]
    gaps = np.linalg.norm(tried[:, None] - x[near], axis=2) - contacts[near]
    return tried[[np.argmax(gaps.min(axis=1))]]


def _unit(vector: np.ndarray) -> np.ndarray:
    """Return a vector of length one; along x where there is no direction."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-6 else np.array([1.0, 0.0, 0.0])


def _joined(
    topology: app.Topology, x: np.ndarray, sites: list[_Site], places: list[np.ndarray]
) -> tuple[app.Topology, np.ndarray]:
    """Return a copy of the topology with the hydrogens, and all positions."""
    hydrogens: dict[app.Residue, list[tuple[_Site, np.ndarray]]] = {}
    for site, found in zip(sites, places, strict=True):
        hydrogens.setdefault(site.atom.residue, []).append((site, found))
    joined, positions = app.Topology(), []
    copies: dict[app.Atom, app.Atom] = {}
    for chain in topology.chains():
        new_chain = joined.addChain(chain.id)
        for residue in chain.residues():
            copied = joined.addResidue(residue.name, new_chain, residue.id, residue.insertionCode)
            for atom in residue.atoms():
                copies[atom] = joined.addAtom(atom.name, atom.element, copied)
                positions.append(x[atom.index])
            for site, found in hydrogens.get(residue, []):
                for name, place in zip(site.names, found, strict=True):
                    hydrogen = joined.addAtom(name, app.element.hydrogen, copied)
                    joined.addBond(copies[site.atom], hydrogen)
                    positions.append(place)
    for bond in topology.bonds():
        joined.addBond(copies[bond[0]], copies[bond[1]], bond.type, bond.order)
    return joined, np.array(positions)
