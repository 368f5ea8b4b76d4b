"""What is measured of structures: torsions, distances, the radius of gyration, own functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import mdtraj
import numpy as np
from mdtraj.geometry import dihedral
from openmm.app import Topology

__all__ = ["Measure", "Observable", "observable"]

#: A name ("phi", "psi 3", "rg", "distance 0 5", "torsion 4 6 8 14") or a function
#: (n, N, 3) positions in nm -> (n,) values.
Measure: TypeAlias = "str | Callable[[np.ndarray], np.ndarray] | Observable"

# Atoms of torsions by name; + is the next residue, - the one before. Caps have their methyl's name.
_NAMED_TORSIONS: dict[str, Sequence[Sequence[str]]] = {
    "phi": [("-C", "N", "CA", "C")],
    "psi": [("N", "CA", "C", "+N")],
    "omega": [(a, "C", "+N", b) for a in ("CA", "CH3") for b in ("+CA", "+CH3", "+C")],
    "chi1": dihedral.CHI1_ATOMS,
    "chi2": dihedral.CHI2_ATOMS,
    "chi3": dihedral.CHI3_ATOMS,
    "chi4": dihedral.CHI4_ATOMS,
}
_OF_ATOMS = {"distance": 2, "angle": 3, "torsion": 4}
_ADVICE = (
    'pass "phi", "psi", "omega" or "chi1" to "chi4", with the residue\'s number where there are '
    'several ("phi 3"); "rg"; "distance i j", "angle i j k" or "torsion i j k l" of atoms, counted '
    "from 0; or a function of (n, N, 3) positions in nm"
)


@dataclass(frozen=True)
class Observable:
    """A number of each structure.

    Attributes
    ----------
    name : str
    function : callable
        (n, N, 3) positions in nm -> (n,) values.
    atoms : tuple of int or None
        Of a torsion, an angle or a distance.
    periodic : bool
        Whether values are angles in radians from -pi to pi.
    unit : str
        "rad" or "nm"; empty where not known.
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]
    atoms: tuple[int, ...] | None = None
    periodic: bool = False
    unit: str = ""

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Return the values (n,) of positions (n, N, 3) in nm."""
        values = np.asarray(self.function(positions), dtype=np.float64)
        if values.shape != positions.shape[:1]:
            raise ValueError(
                f"{self.name} gives an array of shape {values.shape} for {len(positions)} "
                "structures: it has to give one number each"
            )
        return values


def observable(measure: Measure, topology: Topology) -> Observable:
    """Return what a name or a function measures.

    Parameters
    ----------
    measure : str, callable or Observable
        See `Measure`.
    topology : openmm.app.Topology

    Returns
    -------
    Observable

    Raises
    ------
    ValueError
        The name is unknown, fits no torsion or several, or an atom does not exist.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("A", capped=True)
    >>> phi = observable("phi", molecule.topology)
    >>> phi.atoms, phi(molecule.positions._value[None]).round(1).tolist()
    ((4, 6, 8, 10), [-2.1])
    """
    if isinstance(measure, Observable):
        return measure
    if callable(measure):
        return Observable(getattr(measure, "__name__", "value"), measure)
    if not isinstance(measure, str):
        raise TypeError(f"{measure!r} is nothing that can be measured: {_ADVICE}")
    name, *numbers = re.split(r"[\s:,]+|(?<=\w)-", measure.strip().lower())
    if name == "rg" and not numbers:
        return Observable("rg", _gyration_radius, unit="nm")
    if not all(number.isdigit() for number in numbers):
        raise ValueError(f"{measure!r} is nothing that can be measured: {_ADVICE}")
    given = [int(number) for number in numbers]
    if name in _NAMED_TORSIONS and len(given) < 2:
        return _torsion(measure, _named_atoms(name, given, topology))
    if len(given) != _OF_ATOMS.get(name) or len(set(given)) < len(given):
        raise ValueError(f"{measure!r} is nothing that can be measured: {_ADVICE}")
    if max(given) >= topology.getNumAtoms():
        raise ValueError(
            f"{measure!r} names atom {max(given)}, and the atoms are 0 to "
            f"{topology.getNumAtoms() - 1}"
        )
    return _of_atoms(measure, given)


def _of_atoms(name: str, atoms: list[int]) -> Observable:
    if len(atoms) == 4:
        return _torsion(name, atoms)
    compute = mdtraj.compute_distances if len(atoms) == 2 else mdtraj.compute_angles

    def values(positions: np.ndarray) -> np.ndarray:
        return compute(_trajectory(positions), [atoms])[:, 0]

    return Observable(name, values, tuple(atoms), unit="nm" if len(atoms) == 2 else "rad")


def _torsion(name: str, atoms: list[int]) -> Observable:
    def values(positions: np.ndarray) -> np.ndarray:
        found = mdtraj.compute_dihedrals(_trajectory(positions), [atoms])[:, 0]
        return np.clip(found.astype(np.float64), -np.pi, np.pi)  # pi in single precision is more

    return Observable(name, values, tuple(atoms), periodic=True, unit="rad")


def _named_atoms(name: str, given: list[int], topology: Topology) -> list[int]:
    """Return the atoms of a backbone or side chain torsion."""
    of = list(_torsions_of_residues(_NAMED_TORSIONS[name], topology))
    chosen = [atoms for residue, atoms in of if not given or residue.id == str(given[0])]
    if len(chosen) == 1:
        return chosen[0]
    there = ", ".join(f'"{name} {residue.id}" ({residue.name})' for residue, _ in of)
    number = f" of residue {given[0]}" if given else ""
    raise ValueError(
        f"there are {len(chosen)} torsions {name}{number}: "
        + (f"name one of {there}" if there else _ADVICE)
    )


def _torsions_of_residues(
    wanted: Sequence[Sequence[str]], topology: Topology
) -> Iterator[tuple[Any, list[int]]]:
    """Yield each residue that has all atoms of one of some torsions, and their indices."""
    for chain in topology.chains():
        residues = list(chain.residues())
        names = [{atom.name: atom.index for atom in residue.atoms()} for residue in residues]
        for here, residue in enumerate(residues):
            there = dict(names[here])
            for sign, other in (("-", here - 1), ("+", here + 1)):
                if 0 <= other < len(residues):
                    there |= {sign + name: index for name, index in names[other].items()}
            known = (atoms for atoms in wanted if all(name in there for name in atoms))
            if (atoms := next(known, None)) is not None:
                yield residue, [there[name] for name in atoms]


def _trajectory(positions: np.ndarray) -> mdtraj.Trajectory:
    # mdtraj keeps single precision: centring first keeps its digits for the shape.
    return mdtraj.Trajectory(positions - positions.mean(axis=1, keepdims=True), None)


def _gyration_radius(positions: np.ndarray) -> np.ndarray:
    """Return the root mean square distance of all atoms from their centre, (n,)."""
    centred = positions - positions.mean(axis=1, keepdims=True)
    return np.sqrt((centred**2).sum(axis=2).mean(axis=1))
