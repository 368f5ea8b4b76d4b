"""From a topology to an OpenMM System: force field, hydrogens, solvent, constraints."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from ..geometry.placement import opposite
from ..structure.residues import residue_label
from ..structure.selections import is_ion, is_water
from ..units import in_unit, positions_in_nanometers
from .molecular_system import MolecularSystem, platform_by_name

__all__ = [
    "SOLVENTS",
    "add_hydrogens",
    "build_system",
    "explained_template_errors",
    "load_forcefield",
    "python_random_seed",
    "removal_lines",
]

SOLVENTS = ("vacuum", "gbn2", "obc2", "tip3p")

_IMPLICIT_FILES = {"gbn2": "implicit/gbn2.xml", "obc2": "implicit/obc2.xml"}

# The TIP3P file (with ions) made for each family of force fields, by how the family's names start.
_TIP3P_FILES = {
    "amber14": "amber14/tip3p.xml",
    "amber19": "amber19/tip3p.xml",
    "charmm36_2024": "charmm36_2024/water.xml",
    "charmm36": "charmm36/water.xml",
    "amber": "tip3p.xml",
}

_CONSTRAINTS = {
    "none": None,
    "hbonds": app.HBonds,
    "allbonds": app.AllBonds,
    "hangles": app.HAngles,
}

# A box holds 33 waters per nm^3; a crystal structure shows far fewer of its own.
_SOLVATED_DENSITY = 5.0

# Reference is reproducible but slow: above this many atoms OpenMM chooses.
_REFERENCE_ATOMS = 5000


def build_system(
    topology: app.Topology,
    positions: Any,
    *,
    name: str = "system",
    forcefield: str | Sequence[str] | app.ForceField = ("amber14-all.xml",),
    solvent: str = "vacuum",
    constraints: Any = "auto",
    rigid_water: bool | None = None,
    padding: Any = 1.0 * unit.nanometer,
    cutoff: Any = 1.0 * unit.nanometer,
    ionic_strength: Any = 0.0 * unit.molar,
    seed: int = 0,
    repairs: Sequence[str] = (),
) -> MolecularSystem:
    """Return a System of a molecule with all its atoms, in vacuum or a solvent.

    Parameters
    ----------
    topology : openmm.app.Topology
        With every hydrogen the force field expects; `prepare_file` and
        `openmm_reparam.testsystems.peptide` add them.
    positions : (N, 3) array in nm, or Quantity
    name : str
        What to call the system.
    forcefield : str, sequence of str or openmm.app.ForceField
        Force field files that OpenMM ships or paths of your own. The solvent's file is added:
        name a water file yourself to take that one. A ForceField is taken as it is, so its
        solvent has to be in it.
    solvent : {"vacuum", "gbn2", "obc2", "tip3p"}
        Vacuum and implicit solvents have no cutoff and drop waters and ions of the input.
        TIP3P adds a cubic box of water, neutralized by ions, with particle mesh Ewald; an input
        that already fills a periodic box with water keeps it.
    constraints : str, openmm.app constant or None
        "none", "HBonds", "AllBonds", "HAngles" or OpenMM's constants of these names. "auto" is
        HBonds in TIP3P and none otherwise.
    rigid_water : bool or None
        None is rigid in TIP3P.
    padding : float in nm, or Quantity
        Water between the molecule and the box (TIP3P only).
    cutoff : float in nm, or Quantity
        Of the direct-space nonbonded interactions (TIP3P only).
    ionic_strength : float in mol/l, or Quantity
        Of salt beyond the ions that neutralize (TIP3P only).
    seed : int
        Of the places of ions. Python's global random state is left alone.
    repairs : sequence of str
        Lines to carry into the result, before those of this call.

    Returns
    -------
    MolecularSystem
        Its topology is a copy; the one passed in is not changed.

    Raises
    ------
    TypeError
        If a quantity has a wrong unit.
    ValueError
        If a solvent, force field file or constraint is unknown, the positions do not fit the
        topology, or the force field has no template for a residue (which one is named).

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> vacuum = peptide("GA")
    >>> build_system(vacuum.topology, vacuum.positions, name="GA", solvent="gbn2")
    <MolecularSystem GA: 20 atoms, 2 residues>
    """
    if solvent not in SOLVENTS:
        raise ValueError(f"solvent {solvent!r} is unknown: choose one of {', '.join(SOLVENTS)}")
    explicit = solvent == "tip3p"
    padding = in_unit(padding, unit.nanometer, "padding")
    cutoff = in_unit(cutoff, unit.nanometer, "cutoff")
    ionic_strength = in_unit(ionic_strength, unit.molar, "ionic_strength")
    chosen_constraints = _constraints(constraints, explicit)
    field = load_forcefield(forcefield, solvent)

    x = positions_in_nanometers(positions, topology.getNumAtoms())
    modeller = app.Modeller(topology, x * unit.nanometer)
    dropped = [] if explicit else [r for r in topology.residues() if is_water(r) or is_ion(r)]
    if len(dropped) == topology.getNumResidues() > 0:
        raise ValueError(f"{name} is only water and ions, which solvent={solvent!r} drops")
    modeller.delete(dropped)  # deleting nothing still copies the caller's topology
    if topology.getNumAtoms() == 0:
        raise ValueError(f"{name} has no atoms")

    options: dict[str, Any] = {"nonbondedMethod": app.NoCutoff, "rigidWater": bool(rigid_water)}
    with explained_template_errors(modeller.topology, name):
        if explicit:
            if not _fills_its_box(modeller.topology, cutoff):
                with python_random_seed(seed):
                    modeller.addSolvent(
                        field,
                        padding=padding * unit.nanometer,
                        ionicStrength=ionic_strength * unit.molar,
                    )
            options = {
                "nonbondedMethod": app.PME,
                "nonbondedCutoff": cutoff * unit.nanometer,
                "rigidWater": True if rigid_water is None else rigid_water,
            }
        else:
            # The 1 A box of an NMR entry means nothing here.
            modeller.topology.setPeriodicBoxVectors(None)
        system = field.createSystem(modeller.topology, constraints=chosen_constraints, **options)

    final = positions_in_nanometers(modeller.positions, modeller.topology.getNumAtoms())
    lines = (*repairs, *removal_lines(dropped), *(_charge_lines(system) if explicit else ()))
    return MolecularSystem(name, modeller.topology, system, final * unit.nanometer, lines)


def load_forcefield(
    forcefield: str | Sequence[str] | app.ForceField, solvent: str = "vacuum"
) -> app.ForceField:
    """Load force field files, with the file of the solvent added.

    Parameters
    ----------
    forcefield : str, sequence of str or openmm.app.ForceField
        Files that OpenMM ships or paths of your own. A ForceField comes back as it is.
    solvent : {"vacuum", "gbn2", "obc2", "tip3p"}

    Returns
    -------
    openmm.app.ForceField

    Raises
    ------
    ValueError
        If a file is missing or unreadable, or no TIP3P file is known for this force field.
    """
    if isinstance(forcefield, app.ForceField):
        return forcefield
    named = [forcefield] if isinstance(forcefield, str | Path) else forcefield
    files = [str(file) for file in named]
    if not files:
        raise ValueError('forcefield names no file: name one, such as "amber14-all.xml"')
    if solvent in _IMPLICIT_FILES:
        files.append(_IMPLICIT_FILES[solvent])
    elif solvent == "tip3p" and not any(_is_water_file(file) for file in files):
        files.append(_tip3p_file(files[0]))
    try:
        return app.ForceField(*files)
    except Exception as error:  # OpenMM and its XML reader raise many kinds
        raise ValueError(
            f"could not load the force field {', '.join(files)}: {error}. Name a file that OpenMM "
            "ships (amber14-all.xml, amber19-all.xml, charmm36.xml, ...) or the path of your own"
        ) from error


def add_hydrogens(
    modeller: app.Modeller,
    forcefield: app.ForceField,
    *,
    ph: float = 7.0,
    seed: int = 0,
    states: Sequence[str | None] | None = None,
) -> list[str]:
    """Add the missing hydrogens, reproducibly, and say so.

    Hydrogens that are there are kept, unless the force field cannot use them: then all are
    replaced.

    Parameters
    ----------
    modeller : openmm.app.Modeller
        Changed in place.
    forcefield : openmm.app.ForceField
        The added hydrogens are relaxed in it.
    ph : float
    seed : int
        Modeller draws starting places from Python's `random`, whose global state is kept.
    states : sequence of str or None, optional
        A protonation state for each residue, as in ``Modeller.addHydrogens``; None chooses it.

    Returns
    -------
    list of str
        What was done, such as ``["added 72 hydrogens"]``.

    Raises
    ------
    ValueError
        If the force field has no template for a residue.
    """
    kept = _names(modeller.topology)
    platform = platform_by_name("Reference") if len(kept) <= _REFERENCE_ATOMS else None
    lines = []
    with python_random_seed(seed):
        try:
            modeller.addHydrogens(forcefield, pH=ph, variants=states, platform=platform)
        except ValueError as error:
            present = [a for a in modeller.topology.atoms() if a.element is app.element.hydrogen]
            if "nonbonded method" in str(error):
                # AMOEBA lacks the cutoff Modeller asks for: geometry alone places them.
                modeller.addHydrogens(None, pH=ph, variants=states, platform=platform)
            elif present:
                modeller.delete(present)
                lines.append(f"removed {len(present)} hydrogens the force field has no place for")
                kept = _names(modeller.topology)
                modeller.addHydrogens(forcefield, pH=ph, variants=states, platform=platform)
            else:
                raise
    _turn_to_their_sides(modeller, kept)
    final = _names(modeller.topology)
    removed, added = len(kept - final), len(final - kept)
    if removed:
        lines.append(f"removed {removed} hydrogen{'s' if removed > 1 else ''}")
    return [*lines, f"added {added} hydrogen{'s' if added > 1 else ''}"] if added else lines


def _names(topology: app.Topology) -> set[tuple[int, str]]:
    return {(atom.residue.index, atom.name) for atom in topology.atoms()}


def _turn_to_their_sides(modeller: app.Modeller, kept: set[tuple[int, str]]) -> None:
    """Put each added hydrogen opposite to its atom's three other neighbours, if it is not there.

    Modeller minimizes from random places, and next to atoms that stand badly one can end on the
    wrong side, which changes the chirality.
    """
    atoms = list(modeller.topology.atoms())
    x = positions_in_nanometers(modeller.positions, len(atoms))
    neighbors: list[list[int]] = [[] for _ in atoms]
    for first, second in modeller.topology.bonds():
        neighbors[first.index].append(second.index)
        neighbors[second.index].append(first.index)
    for atom in atoms:
        is_new = (atom.residue.index, atom.name) not in kept
        if atom.element is not app.element.hydrogen or not is_new or not neighbors[atom.index]:
            continue
        parent = neighbors[atom.index][0]
        others = [k for k in neighbors[parent] if k != atom.index]
        arm, away = x[atom.index] - x[parent], opposite(x[others] - x[parent])
        if len(others) == 3 and arm @ away < 0:
            x[atom.index] = x[parent] + float(np.linalg.norm(arm)) * away
    modeller.positions = x * unit.nanometer


@contextmanager
def python_random_seed(seed: int) -> Iterator[None]:
    """Seed Python's `random` inside the block and put its state back after it.

    OpenMM's Modeller draws from the global generator, which belongs to the user.

    Parameters
    ----------
    seed : int

    Examples
    --------
    >>> with python_random_seed(0):
    ...     random.random()
    0.8444218515250481
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def explained_template_errors(topology: app.Topology, name: str) -> Iterator[None]:
    """Turn a force field's template error into one that says what to do.

    Parameters
    ----------
    topology : openmm.app.Topology
        The one whose residues the error counts.
    name : str
        What the error calls the molecule.

    Raises
    ------
    ValueError
        In place of the one raised inside the block.
    """
    try:
        yield
    except ValueError as error:
        found = re.search(r"No template found for residue (\d+)", str(error))
        if found is None:
            raise
        residue = next((r for r in topology.residues() if r.index == int(found[1])), None)
        where = f" (chain {residue.chain.id}, {residue_label(residue)})" if residue else ""
        raise ValueError(
            f"the force field does not fit {name}{where}: {error} Missing atoms or hydrogens are "
            "added by prepare_file; for another kind of molecule add a force field file that has "
            "its template, or remove the residue."
        ) from error


def _constraints(constraints: Any, explicit: bool) -> Any:
    """Return OpenMM's constant for a constraint given by name or as itself."""
    if constraints is None or any(constraints is known for known in _CONSTRAINTS.values()):
        return constraints
    if constraints == "auto":
        return app.HBonds if explicit else None
    if str(constraints).lower() in _CONSTRAINTS:
        return _CONSTRAINTS[str(constraints).lower()]
    raise ValueError(
        f"constraints {constraints!r} is unknown: choose auto, none, HBonds, AllBonds or HAngles"
    )


def _is_water_file(file: str) -> bool:
    return re.match(r"(tip\d|spc|opc|water|swm)", Path(file).stem.lower()) is not None


def _tip3p_file(file: str) -> str:
    """Return the TIP3P file that goes with a force field file."""
    family = Path(file).parts[0] if not Path(file).is_absolute() else Path(file).name
    for start, water in _TIP3P_FILES.items():
        if family.startswith(start):
            return water
    raise ValueError(
        f"no TIP3P file is known to go with {file}: name a water file that does after it, "
        "or choose another force field"
    )


def _fills_its_box(topology: app.Topology, cutoff: float) -> bool:
    """Return whether a topology is a periodic box of water already, not a crystal's unit cell."""
    vectors = topology.getPeriodicBoxVectors()
    if vectors is None:
        return False
    box = np.array(vectors.value_in_unit(unit.nanometer))
    if np.diag(box).min() < 2 * cutoff:
        return False
    n_waters = sum(is_water(residue) for residue in topology.residues())
    return n_waters / abs(np.linalg.det(box)) > _SOLVATED_DENSITY


def _charge_lines(system: openmm.System) -> list[str]:
    """Return a line about a periodic box that is not neutral: new water is, water kept need not."""
    charge = 0.0
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            count = force.getNumParticles()
            charge += sum(force.getParticleParameters(k)[0]._value for k in range(count))
    if abs(charge) < 0.5:
        return []
    return [
        f"the box has a net charge of {charge:+.0f}: keep its ions (keep_heterogens=True), or let "
        "new water and ions be added"
    ]


def removal_lines(dropped: list[app.Residue]) -> list[str]:
    """Return a line for each kind of residue that was removed."""
    counts = Counter(residue.name for residue in dropped)
    return [f"removed {count} {name}" for name, count in sorted(counts.items())]
