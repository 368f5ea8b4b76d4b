"""Which energy stands in for the expensive one: what the user names, or what fits."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import openmm as mm
from openmm import app, unit

from ..errors import NonFiniteError
from ..potentials.bonded import CONSTRAINT_STIFFNESS
from ..potentials.potential import Potential, constraints_of
from .programs import GFNFF, MMFF94
from .surrogate import Surrogate
from .topology_molecule import molecule_of_topology

__all__ = ["NAMES", "choose_surrogate"]

NAMES = ("auto", "mmff", "gfnff")


def choose_surrogate(
    given, potential: Potential, positions: np.ndarray, everything: bool
) -> Surrogate | None:
    """Return the surrogate of a System.

    Parameters
    ----------
    given : str, openmm.System, Simulation, Context, rdkit.Chem.Mol, callable or None
        "mmff" (RDKit's MMFF94 for the topology's molecule), "gfnff" (GFN-FF), "auto" (the first of
        these that is installed and has parameters, or none); a System, Simulation or Context with
        the same particles; an RDKit molecule with the same atoms, by MMFF94; or (N, 3) positions in
        nm -> energy in kJ/mol, forces (N, 3) in kJ/mol/nm.
    potential : Potential
        Of the expensive System. Its counter counts the surrogate's evaluations.
    positions : (N, 3) array
        In nm, of the start.
    everything : bool
        Whether all particles are expensive: "auto" has nothing for others.

    Returns
    -------
    Surrogate or None

    Raises
    ------
    TypeError, ValueError
        Another thing or word, or other particles.
    ImportError
        A package that the surrogate needs is not installed.
    """
    if given is None:
        return None
    if isinstance(given, str):
        return _named(given, potential, positions, everything)
    if isinstance(given, mm.System | mm.Context | app.Simulation):
        return _of_system(given, potential)
    if hasattr(given, "GetNumConformers"):
        _refuse_other_count(given.GetNumAtoms(), potential)
        return _counted("MMFF94", MMFF94(given), potential)
    if callable(given):
        return _counted(getattr(given, "__name__", type(given).__name__), given, potential)
    raise TypeError(
        f"surrogate is a {type(given).__name__}; pass one of {NAMES}, an OpenMM System, Simulation "
        "or Context, an RDKit molecule, or a function of positions"
    )


def _named(name, potential, positions, everything) -> Surrogate | None:
    if name not in NAMES:
        raise ValueError(f"surrogate is {name!r}; it must be one of {NAMES}")
    if name == "auto":
        return _automatic(potential, positions) if everything else None
    if potential.topology is None:
        raise ValueError(f"surrogate={name!r} needs a topology: pass a Simulation, not a Context")
    make = _mmff if name == "mmff" else _gfnff
    return make(potential, positions)


def _automatic(potential: Potential, positions: np.ndarray) -> Surrogate | None:
    if potential.topology is None:
        return None
    for make in (_mmff, _gfnff):
        try:
            surrogate = make(potential, positions)
            surrogate.evaluate(positions)
        except Exception:  # whatever it is, this one does not fit
            continue
        return surrogate
    return None


def _mmff(potential: Potential, positions: np.ndarray) -> Surrogate:
    molecule = molecule_of_topology(potential.topology, positions)
    return _counted("MMFF94", MMFF94(molecule), potential)


def _gfnff(potential: Potential, positions: np.ndarray) -> Surrogate:
    atoms = list(potential.topology.atoms())
    _refuse_other_count(len(atoms), potential)
    for atom in atoms:
        if atom.element is None:
            raise ValueError(f"{atom.name} has no element")
    charge = sum(int(getattr(atom, "formalCharge", None) or 0) for atom in atoms)
    bonds = [(a.index, b.index) for a, b in potential.topology.bonds()]
    return _counted("GFN-FF", GFNFF(atoms, positions, charge, bonds or None), potential)


def _of_system(given, potential: Potential) -> Surrogate:
    """Return another System's energy, on a Context of its own."""
    context = getattr(given, "context", given)
    system = context if isinstance(context, mm.System) else context.getSystem()
    _refuse_other_count(system.getNumParticles(), potential)
    system = _with_springs(system, potential)
    name = potential.context.getPlatform().getName()
    side = potential.side_potential("surrogate", system, "CPU" if name == "Reference" else name)
    if isinstance(context, mm.Context):
        for parameter, value in context.getParameters().items():
            side.context.setParameter(parameter, value)
    if (side.moves != potential.moves).any():
        raise ValueError(
            "other particles are massless or virtual sites in the surrogate than in the System"
        )
    return Surrogate("System", side.evaluate, side)


def _with_springs(system: mm.System, potential: Potential) -> mm.System:
    """Return a System with springs for constraints that the expensive one does not have.

    Force fields have no bond term where they constrain a bond.
    """
    kept = {frozenset(pair) for pair in potential.constraints[0].tolist()}
    pairs, lengths = constraints_of(system)
    free = [k for k, pair in enumerate(pairs.tolist()) if frozenset(pair) not in kept]
    if not free:
        return system
    copied = copy.deepcopy(system)
    springs = mm.HarmonicBondForce()
    for k in free:
        springs.addBond(*pairs[k].tolist(), lengths[k], CONSTRAINT_STIFFNESS)
    for k in reversed(free):
        copied.removeConstraint(k)
    copied.addForce(springs)
    return copied


def _refuse_other_count(count: int, potential: Potential) -> None:
    if count != potential.num_particles:
        raise ValueError(
            f"the surrogate has {count} particles; it must have the same "
            f"{potential.num_particles} as the System, in the same order"
        )


def _counted(name: str, evaluate: Callable, potential: Potential) -> Surrogate:
    """Return a function as a surrogate whose evaluations are counted and checked."""

    def counted(positions: np.ndarray) -> tuple[float, np.ndarray]:
        potential.counter.add("surrogate")
        try:
            # A copy: what a function does to its argument must not move the structure.
            energy, forces = evaluate(np.array(positions))
        except Exception as error:
            raise NonFiniteError(f"the surrogate {name} failed: {error}") from error
        energy, forces = _bare(name, energy, forces)
        if forces.shape != positions.shape:
            raise ValueError(
                f"the surrogate {name} returned forces of shape {forces.shape}; they must have "
                f"the positions' shape {positions.shape}"
            )
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise NonFiniteError(f"the surrogate {name} has no finite energy or forces there")
        return energy, forces

    return Surrogate(name, counted)


def _bare(name: str, energy, forces) -> tuple[float, np.ndarray]:
    """Return what a function returned in kJ/mol and nm, as a float and an array."""
    if unit.is_quantity(energy):
        energy = energy.value_in_unit(unit.kilojoule_per_mole)
    if unit.is_quantity(forces):
        forces = forces.value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    try:
        return np.asarray(energy, dtype=float).item(), np.array(forces, dtype=float)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the surrogate {name} must return a number and an (N, 3) array of forces: {error}"
        ) from error
