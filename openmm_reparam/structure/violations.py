"""Violations of good geometry in a structure: clashes, bonds, angles, chirality, cis peptides.

What predicted structures are relaxed for. A structure from an X-ray or NMR experiment has few.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import openmm as mm
import scipy.sparse as sp
from openmm import app, unit

from ..geometry.neighbors import near_pairs, nearest_image
from ..potentials.bonded import bonded_parameters
from ..potentials.potential import constraints_of
from ..units import positions_in_nanometers
from .residues import residue_label
from .stereochemistry import Stereochemistry

__all__ = ["Violations", "find_violations"]

# Van der Waals radii in nm. Those of C, N, O and S are AlphaFold's; a hydrogen's is Rowland and
# Taylor's (J. Phys. Chem. 1996, 100, 7384). Atoms of other elements (metals) clash with nothing.
VAN_DER_WAALS_RADII = {
    **{"C": 0.170, "N": 0.155, "O": 0.152, "S": 0.180, "P": 0.180, "Se": 0.190},
    **{"F": 0.147, "Cl": 0.175, "Br": 0.185, "I": 0.198, "H": 0.110},
}
# Atoms clash where they overlap by more than this, in nm.
OVERLAP_TOLERANCE = 0.15
# nm and degrees away from the force field's value.
BOND_TOLERANCE = 0.02
ANGLE_TOLERANCE = 20.0

# A label's last residue is a proline: "GLY 3-PRO 4", "A:GLY 3-A:PRO 4 (residue index 3)".
_BEFORE_PROLINE = re.compile(r"[-:]PRO \S+( \(residue index \d+\))?$")

_TITLES = {
    "clashes": "clashes of heavy atoms",
    "hydrogen_clashes": "clashes of hydrogens",
    "bonds": "bond outliers",
    "angles": "angle outliers",
    "chirality": "wrong chirality",
    "cis_peptides": "cis peptides, not proline",
    "cis_prolines": "cis prolines",
}


@dataclass(frozen=True, repr=False)
class Violations:
    """What is wrong with a structure: readable lines by kind, the worst first.

    Attributes
    ----------
    clashes : tuple of str
        Pairs of heavy atoms: ``"ALA 5 CB - GLY 9 O: 0.142 nm (allowed from 0.172)"``.
    hydrogen_clashes : tuple of str
        Pairs with a hydrogen.
    bonds, angles : tuple of str, or None
        Far from the force field's equilibrium values; None where no System was given.
    chirality : tuple of str
        Of C-alpha, and of C-beta of isoleucine and threonine: ``"ALA 5 CA: D"``.
    cis_peptides : tuple of str
        Not before proline.
    cis_prolines : tuple of str
        Before proline, where some 5 % are cis in nature: not counted in `total`.
    """

    clashes: tuple[str, ...] = ()
    hydrogen_clashes: tuple[str, ...] = ()
    bonds: tuple[str, ...] | None = None
    angles: tuple[str, ...] | None = None
    chirality: tuple[str, ...] = ()
    cis_peptides: tuple[str, ...] = ()
    cis_prolines: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int | None]:
        """Number of each kind; None for those not looked for."""
        return {kind: None if lines is None else len(lines) for kind, lines in self._kinds()}

    @property
    def total(self) -> int:
        """Number of all, cis prolines left out."""
        return sum(n or 0 for kind, n in self.counts.items() if kind != "cis_prolines")

    def to_dict(self) -> dict[str, Any]:
        """Return counts and lines as plain Python values, ready for JSON."""
        lines = {kind: None if found is None else list(found) for kind, found in self._kinds()}
        return {"total": self.total, "counts": self.counts, "lines": lines}

    def table(self, after: Violations | None = None, worst: int = 3) -> str:
        """Return the counts as a table, and the worst lines of each kind under it.

        Parameters
        ----------
        after : Violations, optional
            Of the same molecule later: a second column, and the lines are its own.
        worst : int
            Lines of each kind.

        Returns
        -------
        str
        """
        columns = [self] if after is None else [self, after]
        head = f"{'Violations':<28}" + ("" if after is None else f"{'before':>8}{'after':>8}")
        rows = [head.rstrip()]
        for kind, title in _TITLES.items():
            counts = [violations.counts[kind] for violations in columns]
            if None not in counts:
                rows.append(f"  {title:<26}" + "".join(f"{count:>8}" for count in counts))
        for kind, lines in columns[-1]._kinds():
            if lines and worst:
                more = f" (and {len(lines) - worst} more)" if len(lines) > worst else ""
                rows.append(f"{_TITLES[kind]}: {'; '.join(lines[:worst])}{more}")
        return "\n".join(rows)

    def __repr__(self) -> str:
        return self.table()

    def _kinds(self):
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


def find_violations(
    topology: app.Topology, positions: Any, system: mm.System | None = None
) -> Violations:
    """Look for clashes, bond and angle outliers, wrong chirality and cis peptide bonds.

    Parameters
    ----------
    topology : openmm.app.Topology
        With its bonds: atoms one or two bonds apart do not clash.
    positions : (N, 3) array in nm, or Quantity
    system : openmm.System, optional
        Its harmonic bonds and angles say what lengths and angles should be. In a periodic one
        clashes are looked for over images of its default box, too.

    Returns
    -------
    Violations

    Raises
    ------
    TypeError, ValueError
        If the positions have a wrong unit or shape or are not finite, or the System is of another
        number of particles.

    Notes
    -----
    - Clash: two atoms more than two bonds apart, nearer than the sum of their van der Waals radii
      less 0.15 nm. Two sulfurs of cysteines are left out, they may be a disulfide.
    - Bond outlier: more than 0.02 nm from its equilibrium length. Constrained bonds and the 1-3
      springs of CHARMM (Urey-Bradley) are left out.
    - Angle outlier: more than 20 degrees from its equilibrium.

    References
    ----------
    Jumper, J. et al. Highly accurate protein structure prediction with AlphaFold. Nature 2021,
    596, 583 (supplementary information, section 1.9.11: clashes).

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("GAP")
    >>> find_violations(molecule.topology, molecule.positions, molecule.system).total
    0
    """
    size = topology.getNumAtoms()
    x = positions_in_nanometers(positions, size)
    if system is not None and system.getNumParticles() != size:
        raise ValueError(
            f"the system has {system.getNumParticles()} particles, the topology {size} atoms: "
            "pass the topology the system was made from"
        )
    atoms = list(topology.atoms())
    names = _AtomNames(topology, atoms)
    box = None
    if system is not None and system.usesPeriodicBoundaryConditions():
        vectors = system.getDefaultPeriodicBoxVectors()
        box = np.array([vector.value_in_unit(unit.nanometer) for vector in vectors])
    bonded = _adjacency(topology, size)
    heavy, hydrogens = _clashes(atoms, names, x, box, bonded)
    bonds = angles = None
    if system is not None:
        pairs = constraints_of(system)[0]
        constrained = _keys(pairs[:, 0], pairs[:, 1], size)
        bonds = _bond_outliers(system, names, x, box, bonded, constrained)
        angles = _angle_outliers(system, names, x, box, constrained)
    stereochemistry = Stereochemistry(topology)
    cis = [label for label, state in stereochemistry.peptide_bonds(x).items() if state == "cis"]
    prolines = [label for label in cis if _BEFORE_PROLINE.search(label)]
    return Violations(
        heavy,
        hydrogens,
        bonds,
        angles,
        tuple(
            f"{label}: {state}"
            for label, state in stereochemistry.chirality(x).items()
            if state != _natural_state(label)
        ),
        tuple(f"{label}: cis" for label in cis if label not in prolines),
        tuple(f"{label}: cis" for label in prolines),
    )


class _AtomNames:
    """Names atoms for people, with their chain where there are several."""

    def __init__(self, topology: app.Topology, atoms: list[app.Atom]) -> None:
        self._atoms = atoms
        self._several_chains = topology.getNumChains() > 1

    def __call__(self, index: int) -> str:
        atom = self._atoms[index]
        chain = f"{atom.residue.chain.id}:" if self._several_chains else ""
        return f"{chain}{residue_label(atom.residue)} {atom.name}"

    def pair(self, i: int, j: int) -> str:
        return f"{self(i)} - {self(j)}"


def _natural_state(label: str) -> str:
    """Return the state that nature gives the centre of a label such as ``"ILE 7 CB"``."""
    if not label.endswith(" CB"):
        return "L"
    return "S" if re.search(r"(^|:)ILE ", label) else "R"


def _keys(i: np.ndarray, j: np.ndarray, size: int) -> np.ndarray:
    """Return one integer for each unordered pair."""
    return np.minimum(i, j) * size + np.maximum(i, j)


def _adjacency(topology: app.Topology, size: int) -> sp.csr_array:
    """Return which atoms are bonded as a sparse (N, N) matrix."""
    pairs = [(first.index, second.index) for first, second in topology.bonds()]
    i, j = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    ones = np.ones(2 * len(i), dtype=np.int64)
    entries = (ones, (np.concatenate([i, j]), np.concatenate([j, i])))
    return sp.coo_array(entries, shape=(size, size)).tocsr()


def _pairs_of(matrix: sp.csr_array, size: int) -> np.ndarray:
    entries = matrix.tocoo()
    return _keys(entries.row.astype(np.int64), entries.col.astype(np.int64), size)


def _clashes(atoms, names, x, box, bonded) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return lines of clashing pairs of heavy atoms, and of those with a hydrogen."""
    symbols = ["" if atom.element is None else atom.element.symbol for atom in atoms]
    radii = np.array([VAN_DER_WAALS_RADII.get(symbol, 0.0) for symbol in symbols])
    if not radii.any():
        return (), ()
    is_hydrogen = np.array([symbol == "H" for symbol in symbols])
    is_cystine = np.array(
        [a.name == "SG" and a.residue.name in ("CYS", "CYX", "CYM") for a in atoms], dtype=bool
    )
    i, j, vectors = near_pairs(x, 2 * radii.max() - OVERLAP_TOLERANCE, box)
    allowed = radii[i] + radii[j] - OVERLAP_TOLERANCE
    apart = np.linalg.norm(vectors, axis=1)
    near = (apart < allowed) & (radii[i] > 0) & (radii[j] > 0) & ~(is_cystine[i] & is_cystine[j])
    i, j, allowed, apart = i[near], j[near], allowed[near], apart[near]
    excluded = _pairs_of(bonded + bonded @ bonded, len(atoms))
    free = ~np.isin(_keys(i, j, len(atoms)), excluded)
    i, j, allowed, apart = i[free], j[free], allowed[free], apart[free]
    lines: tuple[list[str], list[str]] = [], []
    for k in np.argsort(apart - allowed, kind="stable"):
        with_hydrogen = int(is_hydrogen[i[k]] or is_hydrogen[j[k]])
        pair = names.pair(min(i[k], j[k]), max(i[k], j[k]))
        lines[with_hydrogen].append(f"{pair}: {apart[k]:.3f} nm (allowed from {allowed[k]:.3f})")
    return tuple(lines[0]), tuple(lines[1])


def _bond_outliers(system, names, x, box, bonded, constrained) -> tuple[str, ...]:
    """Return lines of the System's harmonic bonds that are too long or too short."""
    size = len(x)
    springs = np.setdiff1d(_pairs_of(bonded @ bonded, size), _pairs_of(bonded, size))
    found = []
    for force in _forces(system, mm.HarmonicBondForce):
        pairs, parameters = bonded_parameters(force)
        lengths, constants = parameters.T
        counts = (constants > 0) & ~np.isin(
            _keys(pairs[:, 0], pairs[:, 1], size), np.concatenate([constrained, springs])
        )
        pairs, lengths = pairs[counts], lengths[counts]
        vectors = x[pairs[:, 0]] - x[pairs[:, 1]]
        periodic = force.usesPeriodicBoundaryConditions()
        apart = np.linalg.norm(nearest_image(vectors, box, periodic), axis=1)
        off = np.abs(apart - lengths)
        for k in np.flatnonzero(off > BOND_TOLERANCE):
            found.append(
                (off[k], f"{names.pair(*pairs[k])}: {apart[k]:.3f} nm (usual {lengths[k]:.3f})")
            )
    return _worst_first(found)


def _angle_outliers(system, names, x, box, constrained) -> tuple[str, ...]:
    """Return lines of the System's harmonic angles that are too wide or too narrow."""
    found = []
    for force in _forces(system, mm.HarmonicAngleForce):
        triples, parameters = bonded_parameters(force)
        usual, constants = np.degrees(parameters[:, 0]), parameters[:, 1]
        ends = _keys(triples[:, 0], triples[:, 2], len(x))
        counts = (constants > 0) & ~np.isin(ends, constrained)
        triples, usual = triples[counts], usual[counts]
        periodic = force.usesPeriodicBoundaryConditions()
        first, last = (
            nearest_image(x[triples[:, k]] - x[triples[:, 1]], box, periodic) for k in (0, 2)
        )
        # Unlike arccos, exact near 0 and 180 degrees, and 0 where two atoms coincide.
        sines = np.linalg.norm(np.cross(first, last), axis=1)
        angles = np.degrees(np.arctan2(sines, np.einsum("ti,ti->t", first, last)))
        off = np.abs(angles - usual)
        for k in np.flatnonzero(off > ANGLE_TOLERANCE):
            label = " - ".join(names(atom) for atom in triples[k])
            found.append((off[k], f"{label}: {angles[k]:.0f} degrees (usual {usual[k]:.0f})"))
    return _worst_first(found)


def _forces(system: mm.System, kind: type) -> list[mm.Force]:
    return [force for force in system.getForces() if isinstance(force, kind)]


def _worst_first(found: list[tuple[float, str]]) -> tuple[str, ...]:
    return tuple(line for _, line in sorted(found, key=lambda entry: -entry[0]))
