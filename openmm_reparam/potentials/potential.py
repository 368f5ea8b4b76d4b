"""Energies and forces of an OpenMM Context: the only module that evaluates OpenMM."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import openmm as mm
from scipy.spatial import cKDTree

from .. import compiled
from ..errors import BudgetExhausted, EvaluationError, NonFiniteError
from .interruption import raise_interruption
from .nonbonded import NonbondedParameters

if TYPE_CHECKING:
    import torch

__all__ = ["EvaluationCounter", "Potential", "constraints_of"]

# Two atoms nearer than this (nm) stand on one spot: there is no direction in which to part them.
COINCIDENT = 1e-6
# Energies below zero have rounding errors of a force field's size, not of the electrons' energies
# that quantum chemistry counts from: no more than those of so many kJ/mol an atom.
LARGEST_BINDING = 500.0
# CUDA, OpenCL and HIP add up forces in fixed point: none is larger than 2^31 kJ/mol/nm, and NaN is
# lost. Beyond this, OpenMM's own minimizer asks the CPU, too.
UNBOUNDED = ("Reference", "CPU")
LARGEST_FIXED = 2e9
# Relative rounding error of energies (standard deviation, proteins in vacuum, GBn2 and water): on
# the CPU platform up to 3e-7; on OpenCL up to 2e-6 in single, 1.4e-7 in mixed precision.
ENERGY_NOISE, SINGLE_ENERGY_NOISE = 1e-7, 1e-6


@dataclass
class EvaluationCounter:
    """Force evaluations by where they were made.

    Attributes
    ----------
    context : int
        Whole force field on the user's Context.
    side : int
        Whole force field on a side Context: in double precision (finite differences), or on the
        CPU where forces overflow on a GPU.
    bonded : int
        Bonded forces alone on a side Context (coloured Hessians); these cost a small fraction
        of a whole evaluation.
    surrogate : int
        Of a cheap energy that stands in for the force field; these are not in the total.
    limit : int or None
        The evaluation that would pass this total raises `BudgetExhausted` instead.
    """

    context: int = 0
    side: int = 0
    bonded: int = 0
    surrogate: int = 0
    limit: int | None = None

    @property
    def total(self) -> int:
        """All force evaluations, whatever they cost; those of surrogates are not among them."""
        return self.context + self.side + self.bonded

    @property
    def left(self) -> float:
        """Force evaluations left of the limit; infinite where there is none."""
        return math.inf if self.limit is None else self.limit - self.total

    def require(self, count: int) -> None:
        """Raise `BudgetExhausted` where fewer than ``count`` evaluations are left."""
        if self.limit is not None and self.total + count > self.limit:
            raise BudgetExhausted(
                f"the budget of {self.limit} force evaluations is used up"
                if count == 1
                else f"{count} force evaluations are needed and {self.left} are left of the budget"
            )

    def add(self, kind: str) -> None:
        """Count one evaluation of the given kind before it is made."""
        if kind != "surrogate":
            self.require(1)
        setattr(self, kind, getattr(self, kind) + 1)


class Potential:
    """Energy E(X) and forces F(X) of an OpenMM Context, every evaluation counted.

    Parameters
    ----------
    context : openmm.Context
        Whose positions each evaluation sets. The integrator's force groups are honoured.
    topology : openmm.app.Topology, optional
        Names residues and atoms in messages.
    counter : EvaluationCounter, optional
        Shared with side Contexts; a new one by default.
    kind : {"context", "side", "bonded", "surrogate"}
        What evaluations of this Potential are counted as.

    Attributes
    ----------
    moves : (N,) bool array
        Atoms that a minimizer may move: neither massless nor virtual sites.
    virtual_sites : (N,) bool array
        Particles whose positions OpenMM computes from others.

    Examples
    --------
    >>> import numpy as np
    >>> from openmm_reparam.testsystems import lennard_jones_cluster
    >>> cluster = lennard_jones_cluster(13, seed=0)
    >>> potential = Potential(cluster.simulation("Reference").context)
    >>> energy, forces = potential.evaluate(potential.positions())
    >>> forces.shape, potential.counter.total
    ((13, 3), 1)
    """

    def __init__(
        self,
        context: mm.Context,
        topology=None,
        counter: EvaluationCounter | None = None,
        kind: str = "context",
    ) -> None:
        self.context = context
        self.topology = topology
        self.counter = counter if counter is not None else EvaluationCounter()
        self.kind = kind
        self.system = context.getSystem()
        self.num_particles = self.system.getNumParticles()
        self.groups = context.getIntegrator().getIntegrationForceGroups()
        self.masses, sites = compiled.particles(compiled.address(self.system))
        self.virtual_sites = sites.astype(bool)
        self.moves = (self.masses > 0) & ~self.virtual_sites
        self._made: dict[str, Any] = {}
        self._moves_if_any_stays = None if self.moves.all() else self.moves
        self._periodic = self.system.usesPeriodicBoundaryConditions()
        self._has_virtual_sites = bool(self.virtual_sites.any())
        platform = context.getPlatform()
        self._fixed_point = platform.getName() not in UNBOUNDED
        single = "Precision" in platform.getPropertyNames() and (
            platform.getPropertyValue(context, "Precision") == "single"
        )
        self._relative_noise = SINGLE_ENERGY_NOISE if single else ENERGY_NOISE

    def noise(self, energy: float) -> float:
        """Return the rounding error of an energy, to its order of magnitude, in kJ/mol."""
        largest = LARGEST_BINDING * self.num_particles
        return self._relative_noise * (energy if energy > 0 else min(-energy, largest))

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what was made for this Potential under a name; make it the first time."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    @cached_property
    def nonbonded(self) -> NonbondedParameters | None:
        """Parameters of the NonbondedForce in the force groups; None where there is none."""
        for force in self.system.getForces():
            if isinstance(force, mm.NonbondedForce) and self.groups >> force.getForceGroup() & 1:
                return NonbondedParameters(force, dict(self.context.getParameters()))
        return None

    @cached_property
    def carriers(self) -> dict[int, list[int]]:
        """Atoms that move and take a virtual site along, by site."""
        carriers: dict[int, list[int]] = {
            s: [] for s in np.flatnonzero(self.virtual_sites).tolist()
        }
        pairs, _ = compiled.virtual_sites(compiled.address(self.system))
        for site, parent in pairs[self.moves[pairs[:, 1]]].tolist():
            carriers[site].append(parent)
        return carriers

    @cached_property
    def constraints(self) -> tuple[np.ndarray, np.ndarray]:
        """Constrained pairs (M, 2) and their distances (M,) in nm."""
        return constraints_of(self.system)

    def positions(self) -> np.ndarray:
        """Return the Context's positions, (N, 3) in nm; molecules are never re-imaged."""
        return compiled.positions(compiled.address(self.context))

    def box(self) -> np.ndarray | None:
        """Return the periodic box vectors, (3, 3) in nm, or None for a System that has none."""
        if not self._periodic:
            return None
        return compiled.box(compiled.address(self.context))

    def set_positions(self, positions: np.ndarray) -> None:
        """Set the Context's positions, (N, 3) in nm, virtual sites computed from their parents."""
        compiled.set_positions(compiled.address(self.context), positions, self._has_virtual_sites)

    def evaluate(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy and forces at given positions.

        Parameters
        ----------
        positions : (N, 3) array
            In nm. Those of virtual sites are ignored: their parents decide.

        Returns
        -------
        energy : float
            In kJ/mol.
        forces : (N, 3) float64 array
            In kJ/mol/nm; zero on massless atoms and virtual sites, whose share OpenMM has passed
            on to their parents. Where a GPU cannot hold them (above 2e9 in a component), they and
            the energy come from a side Context on the CPU, counted as one evaluation more.

        Raises
        ------
        NonFiniteError
            A position, the energy or a force is not finite; the message names the worst atoms.
        EvaluationError
            OpenMM, or a potential behind it, raised an exception; the message carries its own.
        BudgetExhausted
            The evaluation would pass ``counter.limit``.
        """
        positions = np.asarray(positions, dtype=np.float64)
        if positions.shape != (self.num_particles, 3):
            raise ValueError(
                f"positions have shape {positions.shape}; this System needs "
                f"({self.num_particles}, 3)"
            )
        self.refuse_non_finite(positions)
        self.counter.add(self.kind)
        try:
            energy, forces, largest = compiled.evaluate(
                compiled.address(self.context),
                positions,
                self.groups,
                self._has_virtual_sites,
                self._moves_if_any_stays,
            )
        except mm.OpenMMException as error:
            raise_interruption(error)
            # Ctrl-C inside a PythonForce of others arrives without a message, and must not pass for
            # a potential that has failed to converge.
            if not str(error):
                raise
            raise EvaluationError(f"the energy could not be evaluated: {error}") from error
        if self._fixed_point and not (math.isfinite(energy) and largest < LARGEST_FIXED):
            self._on_the_cpu.follow(self)
            return self._on_the_cpu.evaluate(positions)
        if not (math.isfinite(energy) and math.isfinite(largest)):
            self._refuse_forces(positions, energy, forces)
        return energy, forces

    def apply_constraints(self, positions: np.ndarray, tolerance: float) -> np.ndarray:
        """Positions, (N, 3) in nm, after OpenMM has satisfied constraints and virtual sites."""
        return compiled.constrained(
            compiled.address(self.context), positions, tolerance, self._has_virtual_sites
        )

    def retract(
        self, constraints: compiled.Constraints, positions: np.ndarray, tolerance: float
    ) -> tuple[np.ndarray, float, int]:
        """Satisfy constraints and virtual sites, by OpenMM or, where that gives up, by Newton.

        Returns
        -------
        (N, 3) array
            In nm.
        float, int
            The largest relative error, and the constraint it belongs to.
        """
        return constraints.retract(
            compiled.address(self.context), positions, tolerance, self._has_virtual_sites
        )

    def energy(self, positions: torch.Tensor) -> torch.Tensor:
        """Energy as a differentiable torch scalar.

        Parameters
        ----------
        positions : (N, 3) tensor
            In nm, any floating dtype and device.

        Returns
        -------
        () float64 tensor
            In kJ/mol, on the CPU; its gradient with respect to ``positions`` is -F, from the
            same single evaluation.

        Raises
        ------
        NonFiniteError, BudgetExhausted
            As `evaluate`.
        """
        # Here, because torch takes seconds to import and most runs need none of it.
        from .torch_energy import torch_energy

        return torch_energy(positions, self.evaluate)

    def side_potential(
        self, kind: str = "side", system: mm.System | None = None, platform: str = "Reference"
    ) -> Potential:
        """Return a Potential on another Context, in double precision on the Reference platform.

        Parameters
        ----------
        kind : {"side", "bonded", "surrogate"}
            How its evaluations are counted (in the same counter).
        system : openmm.System, optional
            Evaluated in place of the whole System; same particles.
        platform : str
            Its name.

        Returns
        -------
        Potential
            With a Context of its own that has this Context's box and global parameters.
        """
        integrator = mm.VerletIntegrator(0.001)
        if system is None:
            integrator.setIntegrationForceGroups(self.groups)
            # Contexts share a System without changing it; a copy would fail where a force
            # (a PythonForce around a local function, say) cannot be serialized.
            system = self.system
        chosen = mm.Platform.getPlatformByName(platform)
        side = Potential(mm.Context(system, integrator, chosen), self.topology, self.counter, kind)
        side.follow(self)
        return side

    @cached_property
    def _on_the_cpu(self) -> Potential:
        return self.side_potential(platform="CPU")

    def follow(self, other: Potential) -> None:
        """Take over the box and the global parameters of another Potential's Context."""
        state = other.context.getState(parameters=True)
        self.context.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
        mine = set(self.context.getParameters())
        for name, value in state.getParameters().items():
            if name in mine:
                self.context.setParameter(name, value)

    def label(self, atom: int) -> str:
        """Name an atom for a person: ``"CB of ALA 5 (atom 42)"``, or ``"atom 42"``."""
        if self.topology is None or atom >= self.topology.getNumAtoms():
            return f"atom {atom}"
        named = self._atoms[atom]
        chain = f" of chain {named.residue.chain.id}" if self.topology.getNumChains() > 1 else ""
        return f"{named.name} of {named.residue.name} {named.residue.id}{chain} (atom {atom})"

    @cached_property
    def _atoms(self):
        return list(self.topology.atoms())

    def refuse_non_finite(self, positions: np.ndarray) -> None:
        """Raise `NonFiniteError` for NaN or infinite positions; costs no force evaluation."""
        if not compiled.all_finite(positions):
            self._refuse_positions(positions)

    def coincident_pairs(self, positions: np.ndarray) -> list[tuple[int, int]]:
        """Pairs i < j of atoms on one spot, at (N, 3) positions in nm; virtual sites left out."""
        atoms = np.flatnonzero(~self.virtual_sites)
        near = cKDTree(positions[atoms]).query_pairs(COINCIDENT, output_type="ndarray")
        return sorted(tuple(sorted(pair)) for pair in atoms[near].tolist())

    def _refuse_positions(self, positions: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
        raise NonFiniteError(
            f"the positions of {len(bad)} of {self.num_particles} atoms are NaN or infinite: "
            f"{self._name(bad)}. Set finite positions first.",
            tuple(int(i) for i in bad),
        )

    def _refuse_forces(self, positions: np.ndarray, energy: float, forces: np.ndarray) -> None:
        finite = np.isfinite(forces).all(axis=1)
        pairs = self.coincident_pairs(positions)
        # Others may overlap on purpose.
        pairs = [pair for pair in pairs if not finite[list(pair)].all()] or pairs
        if pairs:
            named = "; ".join(f"{self.label(i)} and {self.label(j)}" for i, j in pairs[:5])
            more = f" and {len(pairs) - 5} pairs more" if len(pairs) > 5 else ""
            raise NonFiniteError(
                f"the energy or forces are NaN or infinite, and atoms stand on one spot: {named}"
                f"{more}. Move them apart before minimizing (a duplicated atom or molecule is the "
                "usual cause).",
                tuple(dict.fromkeys(a for pair in pairs for a in pair)),
            )
        bad = np.flatnonzero(~finite)
        if not len(bad):
            bad = np.argsort(-np.abs(np.nan_to_num(forces)).max(axis=1))[:5]
            what = f"the energy is {energy}; the largest forces act on"
        else:
            what = f"the forces on {len(bad)} of {self.num_particles} atoms are NaN or infinite"
            # Non-finite forces spread (through constraints, PME, GB): the clash is where atoms
            # are nearest, so that is what is named first.
            tree = cKDTree(positions)
            nearest = tree.query(positions[bad], k=min(2, self.num_particles))[0]
            bad = bad[np.argsort(nearest.reshape(len(bad), -1)[:, -1], kind="stable")]
            what += "; worst:"
        raise NonFiniteError(
            f"{what} {self._name(bad)}. Look for overlapping atoms or wrong parameters there.",
            tuple(int(i) for i in bad),
        )

    def _name(self, atoms: np.ndarray, most: int = 5) -> str:
        named = ", ".join(self.label(int(i)) for i in atoms[:most])
        return named + (f" and {len(atoms) - most} more" if len(atoms) > most else "")


def constraints_of(system: mm.System) -> tuple[np.ndarray, np.ndarray]:
    """Return constrained pairs (M, 2) and their distances (M,) in nm."""
    return compiled.constraints(compiled.address(system))
