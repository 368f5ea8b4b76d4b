"""Violations of good geometry in a structure: clashes, bonds, angles, chirality, cis peptides.

What predicted structures are relaxed for. A structure from an X-ray or NMR experiment has few.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import openmm as mm
from openmm import app, unit

from ..units import positions_in_nanometers
from .outliers import Outliers, angle_outliers, bond_outliers, clashing_pairs
from .residues import residue_label
from .selections import is_heavy
from .stereochemistry import Stereochemistry

__all__ = ["Violations", "find_violations"]

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
    topology: app.Topology,
    positions: Any,
    system: mm.System | None = None,
    *,
    stereochemistry: Stereochemistry | None = None,
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
    stereochemistry : Stereochemistry, optional
        Of the topology, where several of its structures are looked at.

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
    names = _AtomNames(topology)
    box = None
    if system is not None and system.usesPeriodicBoundaryConditions():
        vectors = system.getDefaultPeriodicBoxVectors()
        box = np.array([vector.value_in_unit(unit.nanometer) for vector in vectors])
    heavy, hydrogens = _clash_lines(topology, names, clashing_pairs(topology, x, box))
    bonds = angles = None
    if system is not None:
        bonds = tuple(
            _bond_line(names, *outlier)
            for outlier in zip(*bond_outliers(topology, system, x, box), strict=True)
        )
        angles = tuple(
            _angle_line(names, *outlier)
            for outlier in zip(*angle_outliers(system, x, box), strict=True)
        )
    stereochemistry = stereochemistry or Stereochemistry(topology)
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

    def __init__(self, topology: app.Topology) -> None:
        self._atoms = list(topology.atoms())
        self._several_chains = topology.getNumChains() > 1

    def __call__(self, index: int) -> str:
        atom = self._atoms[index]
        chain = f"{atom.residue.chain.id}:" if self._several_chains else ""
        return f"{chain}{residue_label(atom.residue)} {atom.name}"

    def join(self, indices: np.ndarray) -> str:
        return " - ".join(self(index) for index in indices)


def _natural_state(label: str) -> str:
    """Return the state that nature gives the centre of a label such as ``"ILE 7 CB"``."""
    if not label.endswith(" CB"):
        return "L"
    return "S" if re.search(r"(^|:)ILE ", label) else "R"


def _clash_lines(
    topology: app.Topology, names: _AtomNames, found: Outliers
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return lines of clashing pairs of heavy atoms, and of those with a hydrogen."""
    heavy = np.array([is_heavy(atom) for atom in topology.atoms()], dtype=bool)
    lines: tuple[list[str], list[str]] = [], []
    for pair, apart, allowed in zip(found.atoms, found.values, found.usual, strict=True):
        line = f"{names.join(pair)}: {apart:.3f} nm (allowed from {allowed:.3f})"
        lines[int(not heavy[pair].all())].append(line)
    return tuple(lines[0]), tuple(lines[1])


def _bond_line(names: _AtomNames, atoms: np.ndarray, length: float, usual: float) -> str:
    return f"{names.join(atoms)}: {length:.3f} nm (usual {usual:.3f})"


def _angle_line(names: _AtomNames, atoms: np.ndarray, angle: float, usual: float) -> str:
    return f"{names.join(atoms)}: {angle:.0f} degrees (usual {usual:.0f})"
