"""What is sampled: the Boltzmann distribution of one molecule, in internal coordinates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm as mm
import torch
from scipy.spatial.transform import Rotation

from ..constants import BOLTZMANN
from ..errors import UnsupportedSystemError
from ..potentials.bond_graph import bond_graph, planar_bonds
from ..potentials.potential import Potential
from ..precon.model_hessian import atomic_numbers_of
from ..units import in_unit
from .batch_energy import BatchEnergy
from .internal_map import InternalMap
from .observables import Measure, observable
from .zmatrix import build_zmatrix, refuse_several, with_free_torsions

__all__ = ["Target", "boltzmann_target", "refuse_unsupported"]

# An energy that changes by more than this (kJ/mol, and in units of its rounding error) when the
# molecule is turned and moved depends on where it is.
LARGEST_CHANGE, LARGEST_NOISE = 0.01, 100.0


@dataclass(frozen=True, eq=False)
class Target:
    """The density exp(-E(X) / kT) of one molecule, up to rigid motion.

    Attributes
    ----------
    potential : Potential
        Of the user's Context, which names atoms; evaluating it would move that Context's atoms.
    energy : BatchEnergy
        Evaluates structures elsewhere, and counts.
    internal : InternalMap
    reference : (N, 3) array
        Positions of the Context, in nm.
    temperature : float
        In K.
    """

    potential: Potential
    energy: BatchEnergy
    internal: InternalMap
    reference: np.ndarray
    temperature: float

    @property
    def beta(self) -> float:
        """1 / kT in mol/kJ."""
        return 1.0 / (BOLTZMANN * self.temperature)

    def log_density(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return -E / kT, unnormalized and exact, (B,), and the energies, (B,) in kJ/mol."""
        energies, _ = self.energy(positions)
        return -self.beta * energies, energies


def boltzmann_target(
    simulation: Any,
    temperature: Any,
    latents: str | Iterable[Measure] = "auto",
    reference: np.ndarray | None = None,
) -> Target:
    """Return the Boltzmann distribution of what a Simulation holds.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        With positions set. It is not changed.
    temperature : float or Quantity
        In K.
    latents : "auto" or iterable of str or Observable
        Torsions that rotate freely, such as ``("phi", "psi")``; by default those about acyclic
        single bonds.
    reference : (N, 3) array, optional
        In nm, in place of the Simulation's positions.

    Returns
    -------
    Target

    Raises
    ------
    UnsupportedSystemError
        It is not one molecule with all its bonds known, in vacuum or implicit solvent: says what
        is in the way and what to do.
    TypeError, ValueError
        The temperature is none, or zero; a latent is no torsion that can rotate.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("A", capped=True, constraints=None)
    >>> target = boltzmann_target(molecule.simulation("Reference"), 300)
    >>> target.internal.num_coordinates, len(target.internal.free), target.internal.folds.tolist()
    (60, 2, [3, 3, 3])
    """
    kelvin = in_unit(temperature, mm.unit.kelvin, "temperature")
    if not kelvin:
        raise ValueError("temperature is 0: pass one above zero")
    context = simulation.context
    potential = Potential(context, simulation.topology)
    numbers, bonds = _molecule(potential)
    if reference is None:
        reference = potential.positions()
    potential.refuse_non_finite(reference)
    _refuse_coincident(potential, reference)
    planar = planar_bonds(potential.system, bonds)
    zmatrix = build_zmatrix(numbers, bonds, reference, planar, potential.label)
    if not (isinstance(latents, str) and latents == "auto"):
        chosen = _torsions(latents, simulation.topology)
        zmatrix = with_free_torsions(zmatrix, chosen, potential.label)
    internal = InternalMap(zmatrix, reference, _fixed_lengths(potential, zmatrix.bonds))
    energy = BatchEnergy(context)
    _refuse_fields(potential, energy, reference)
    return Target(potential, energy, internal, reference, kelvin)


def refuse_unsupported(simulation: Any) -> None:
    """Refuse what is not one free molecule, before anything that takes long.

    Parameters
    ----------
    simulation : openmm.app.Simulation

    Raises
    ------
    UnsupportedSystemError
        As `boltzmann_target`, as far as positions do not matter.
    """
    _molecule(Potential(simulation.context, simulation.topology))


def _molecule(potential: Potential) -> tuple[np.ndarray, np.ndarray]:
    """Return atomic numbers (N,) and bonds (B, 2) of one molecule; refuse what is none."""
    _refuse_kinds(potential)
    numbers = atomic_numbers_of(potential, np.arange(potential.num_particles))
    if numbers is None:
        raise UnsupportedSystemError(
            "elements of some atoms are not known, and bonds that rotate cannot be told: pass a "
            "Simulation whose topology names them"
        )
    graph = bond_graph(potential)
    if not graph.number_of_edges():
        raise UnsupportedSystemError(
            "no bonds are known, neither from the topology nor from the System: add them with "
            "topology.createStandardBonds() or topology.addBond()"
        )
    refuse_several(graph, potential.label)
    return numbers, np.array(sorted(graph.edges))


def _torsions(latents: str | Iterable[Measure], topology: Any) -> list[tuple[int, ...]]:
    if isinstance(latents, str) or not isinstance(latents, Iterable):
        raise ValueError(
            f'latents is {latents!r}: pass "auto", or names of torsions such as ("phi", "psi")'
        )
    found = [observable(latent, topology) for latent in latents]
    for torsion in found:
        if torsion.atoms is None or len(torsion.atoms) != 4:
            raise ValueError(f"a latent has to be a torsion, and {torsion.name!r} is none")
    return [torsion.atoms for torsion in found if torsion.atoms]


def _refuse_kinds(potential: Potential) -> None:
    """Refuse what has no internal coordinates of one free molecule."""
    if potential.system.usesPeriodicBoundaryConditions():
        raise UnsupportedSystemError(
            "the System is periodic, and structures are drawn for one molecule alone: make a "
            "System of the molecule in vacuum or implicit solvent (nonbondedMethod=NoCutoff)"
        )
    if any(isinstance(force, mm.DrudeForce) for force in potential.system.getForces()):
        raise UnsupportedSystemError(
            "the System has Drude particles, which are no atoms with bonds: take a force field "
            "without them"
        )
    for kind, which in (
        ("virtual sites", potential.virtual_sites),
        ("massless, that is fixed, atoms", potential.masses <= 0),
    ):
        if which.any():
            first = potential.label(int(np.flatnonzero(which)[0]))
            raise UnsupportedSystemError(
                f"the System has {kind} ({first} first), which cannot be sampled in internal "
                "coordinates: make a System without them"
            )


def _refuse_coincident(potential: Potential, positions: np.ndarray) -> None:
    pairs = potential.coincident_pairs(positions)
    if pairs:
        first, second = map(potential.label, pairs[0])
        raise UnsupportedSystemError(
            f"{first} and {second} are on one spot: set the Context's positions, and minimize first"
        )


def _fixed_lengths(potential: Potential, bonds: np.ndarray) -> dict[frozenset[int], float]:
    """Return the constrained bond lengths in nm; refuse other constraints."""
    known = set(map(frozenset, bonds.tolist()))
    lengths = {}
    for pair, distance in zip(*potential.constraints, strict=True):
        ends = frozenset(pair.tolist())
        if ends not in known:
            named = " and ".join(potential.label(int(i)) for i in pair)
            raise UnsupportedSystemError(
                f"the distance of {named} is constrained, and it is no bond length of the internal "
                "coordinates (an angle or a ring is held): make the System with constraints=None "
                "or HBonds, and rigidWater=False"
            )
        lengths[ends] = float(distance)
    return lengths


def _refuse_fields(potential: Potential, energy: BatchEnergy, positions: np.ndarray) -> None:
    """Refuse energies that rigid motion changes: restraints to places, external fields."""
    rotation = Rotation.from_rotvec([0.5, 1.0, -0.7])
    moved = rotation.apply(positions - positions.mean(axis=0)) + [0.3, -0.2, 0.4]
    (here, there), _ = energy(np.stack([positions, moved]))
    if not np.isfinite(here):
        raise UnsupportedSystemError(
            "the energy of the Simulation's positions is not finite: minimize it first"
        )
    largest = max(LARGEST_CHANGE, LARGEST_NOISE * potential.noise(float(here)))
    if abs(here - there) > largest:
        raise UnsupportedSystemError(
            f"the energy changes by {there - here:.3g} kJ/mol when the molecule is moved and "
            "turned: a restraint or a field ties it to a place. Remove that force from the System"
        )
