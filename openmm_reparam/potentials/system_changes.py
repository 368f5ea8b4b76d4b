"""Refuses a System that was changed after its Context was made.

A Context copies particles, masses, constraints and forces when it is made, and keeps the copy until
``reinitialize()``. Every question here is answered by the Context itself, without a force
evaluation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openmm as mm
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from ..errors import NonFiniteError, UnsupportedSystemError
from .constraints import ConstraintManifold
from .contexts import platform_properties
from .potential import Potential

__all__ = ["refuse_changed_system"]

# nm: atoms are displaced this far at random, so that constraints must show what they hold. A
# Context moves an atom by no more than a tenth of it otherwise than the System asks.
SHAKE = 1e-3
SAME_PLACE = 0.1 * SHAKE
# Relative error of masses where a GPU keeps their inverse in single precision.
MASS_ERROR = 3e-7
# A distance is another one where it is off by so many times the tolerance (at least 1e-5).
CLEARLY = 10.0
UNSET = "positions have not been set"


def refuse_changed_system(potential: Potential, manifold: ConstraintManifold | None) -> None:
    """Raise where a Context is not that of its System as it is now, or has no positions.

    Positions, velocities and everything else in the Context stay as they are, bit for bit.

    Parameters
    ----------
    potential : Potential
        On the Context.
    manifold : ConstraintManifold or None
        Of the System's constraints on atoms that move.

    Raises
    ------
    UnsupportedSystemError
        Particles or global parameters were added, masses set to zero or from zero, or constraints
        added, changed or removed.
    NonFiniteError
        The positions were never set.

    Notes
    -----
    Not seen: forces added without a global parameter of a new name, and parameters of forces that
    were changed without ``updateParametersInContext``. Both would take a force evaluation. Masses
    of atoms without a constraint are not seen where the kinetic energy is not the usual one: that
    of a CustomIntegrator with an expression of its own, and a thermostatted NoseHooverIntegrator's
    for masses that became zero. A mass that changed from one positive value to another does a
    minimization no harm.
    """
    positions = potential.positions()
    if len(positions) != potential.num_particles:
        # First of all: OpenMM reads and writes past its arrays in such a Context.
        _refuse(
            potential,
            f"the System has {potential.num_particles} particles and its Context {len(positions)}: "
            "particles were added",
        )
    _refuse_unset_positions(potential, positions)
    _refuse_new_parameters(potential)
    if not np.isfinite(positions).all():
        return
    same_masses = _refuse_new_masses(potential)
    try:
        _refuse_new_constraints(potential, manifold, same_masses, positions)
    except mm.OpenMMException:
        return  # positions that OpenMM's solver cannot take; the run says so
    finally:
        potential.context.setPositions(positions)


def _refuse(potential: Potential, what: str) -> None:
    context = "context" if potential.topology is None else "simulation.context"
    raise UnsupportedSystemError(
        f"{what} after the Context was made, and a Context keeps what it was made of. Call "
        f"{context}.reinitialize(preserveState=True), then minimize again."
    )


def _refuse_massless(potential: Potential, atom: int) -> None:
    _refuse(potential, f"the mass of {potential.label(atom)} was set to zero")


def _refuse_unset_positions(potential: Potential, positions: np.ndarray) -> None:
    if positions.any():
        return
    try:
        potential.context.getState(energy=True, groups=0)
    except mm.OpenMMException as error:
        if UNSET in str(error):
            context = "context" if potential.topology is None else "simulation.context"
            raise NonFiniteError(
                f"the Context has no positions yet: call {context}.setPositions(...) first"
            ) from None


def _refuse_new_parameters(potential: Potential) -> None:
    known = set(potential.context.getParameters())
    for index, force in enumerate(potential.system.getForces()):
        missing = [name for name in _global_parameters(force) if name not in known]
        if missing:
            _refuse(
                potential,
                f"{force.getName()} (force {index}) has the global parameter {missing[0]!r}, which "
                "the Context does not have: the force was added or changed",
            )


def _global_parameters(force: mm.Force) -> list[str]:
    if hasattr(force, "getGlobalParameters"):  # PythonForce
        return list(force.getGlobalParameters())
    if not hasattr(force, "getNumGlobalParameters"):
        return []
    return [force.getGlobalParameterName(i) for i in range(force.getNumGlobalParameters())]


def _refuse_new_masses(potential: Potential) -> bool:
    """Refuse masses that became zero or left it; return whether all are known to be the same."""
    if not _has_standard_kinetic_energy(potential.context.getIntegrator()):
        return False
    context, masses = potential.context, potential.masses
    velocities = np.array(context.getState(velocities=True).getVelocities(asNumpy=True)._value)

    def weigh(speeds: np.ndarray) -> float:
        """Sum of m v^2 by the Context's own masses, for (N,) speeds along x."""
        moving = np.zeros((len(speeds), 3))
        moving[:, 0] = speeds
        context.setVelocities(moving)
        # Of no force group: OpenMM then evaluates nothing, and shifts no velocity by forces.
        return 2 * context.getState(energy=True, groups=0).getKineticEnergy()._value

    try:
        # One speed for all that is constrained, so that constraints have nothing to do.
        total = weigh(np.where(masses > 0, 1.0, 2.0))
        if abs(total - masses.sum()) <= MASS_ERROR * masses.sum():
            return True
        late = _with_mass(weigh, masses)
        if late is not None:
            _refuse_massless(potential, late)
        early = _without_mass(weigh, potential)
        if early is not None:
            _refuse(potential, f"the mass of {potential.label(early)} was zero and was set")
        return False
    finally:
        context.setVelocities(velocities)


def _has_standard_kinetic_energy(integrator: mm.Integrator) -> bool:
    if isinstance(integrator, mm.CompoundIntegrator):
        integrator = integrator.getIntegrator(integrator.getCurrentIntegrator())
    if isinstance(integrator, mm.NoseHooverIntegrator):
        # Of the particles that have a thermostat alone.
        return not integrator.hasSubsystemThermostats()
    if not isinstance(integrator, mm.CustomIntegrator):
        return True
    standard = mm.CustomIntegrator(0.001).getKineticEnergyExpression()
    return integrator.getKineticEnergyExpression() == standard


def _with_mass(weigh: Callable[[np.ndarray], float], masses: np.ndarray) -> int | None:
    """Return a particle that is massless in the System and not in the Context."""

    def have_mass(particles: np.ndarray) -> bool:
        return weigh(_ones(particles, len(masses))) > 0

    massless = np.flatnonzero(masses == 0)
    if not len(massless) or not have_mass(massless):
        return None
    return _narrowed(massless, have_mass)


def _without_mass(weigh: Callable[[np.ndarray], float], potential: Potential) -> int | None:
    """Return a particle that is massless in the Context and not in the System."""
    masses, (pairs, _) = potential.masses, potential.constraints
    count = len(masses)
    links = sp.coo_array((np.ones(len(pairs)), pairs.T), shape=(count, count))
    # What is constrained together moves together, or the constraints would take part of it.
    groups = connected_components(links, directed=False)[1]

    def weigh_groups(some: np.ndarray) -> tuple[float, float]:
        speeds = np.isin(groups, some).astype(float)
        return weigh(speeds), masses @ speeds

    def lack_mass(some: np.ndarray) -> bool:
        there, asked = weigh_groups(some)
        return there < asked * (1 - MASS_ERROR)

    every = np.unique(groups[masses > 0])
    if not lack_mass(every):
        return None
    group = _narrowed(every, lack_mass)
    there, asked = weigh_groups(np.array([group]))
    return int(np.flatnonzero(groups == group)[0]) if there < MASS_ERROR * asked else None


def _narrowed(candidates: np.ndarray, guilty: Callable[[np.ndarray], bool]) -> int:
    """Return one of the candidates that makes the whole guilty, by halving."""
    while len(candidates) > 1:
        half = len(candidates) // 2
        candidates = candidates[:half] if guilty(candidates[:half]) else candidates[half:]
    return int(candidates[0])


def _ones(particles: np.ndarray, count: int) -> np.ndarray:
    speeds = np.zeros(count)
    speeds[particles] = 1.0
    return speeds


def _refuse_new_constraints(
    potential: Potential,
    manifold: ConstraintManifold | None,
    same_masses: bool,
    positions: np.ndarray,
) -> None:
    """Shake the atoms, and compare where the Context's constraints bring them with the System's."""
    tolerance = potential.context.getIntegrator().getConstraintTolerance()
    held = positions
    if manifold is not None:
        try:
            held = manifold.retract(positions)
        except NonFiniteError:
            return  # too far away; the run says so
    rng = np.random.default_rng(0)
    shaken = held + rng.uniform(-SHAKE, SHAKE, held.shape) * ~potential.virtual_sites[:, None]
    settled = potential.apply_constraints(shaken, tolerance)
    still = ~potential.moves & ~potential.virtual_sites
    displaced = np.flatnonzero(still & ~_at_one_place(settled, shaken))
    if len(displaced):
        _refuse_massless(potential, int(displaced[0]))
    clearly = CLEARLY * max(tolerance, 1e-5)
    with np.errstate(all="ignore"):
        errors = np.zeros(0) if manifold is None else manifold.errors(settled)
        astray = _astray(potential, manifold, same_masses, shaken, settled)
    if errors.max(initial=0.0) <= clearly and astray.max() <= SAME_PLACE:
        return
    # OpenMM's solver may fail: then a new Context of the same constraints fails the same way.
    if not _at_one_place(potential.apply_constraints(settled, tolerance), settled).all():
        return
    expected = _settled_anew(potential, shaken, tolerance)
    wanted = np.zeros(0) if manifold is None else manifold.errors(expected)
    if not wanted.max(initial=0.0) <= clearly:
        return
    if manifold is not None and errors.max(initial=0.0) > clearly:
        _refuse_distance(potential, manifold, settled, int(np.argmax(errors)))
    if not _at_one_place(settled, expected)[potential.moves].all():
        atom = potential.label(int(np.argmax(astray)))
        _refuse(potential, f"constraints (or masses) were removed or changed near {atom}")


def _at_one_place(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one - other).max(axis=1) <= SAME_PLACE


def _astray(
    potential: Potential,
    manifold: ConstraintManifold | None,
    same_masses: bool,
    shaken: np.ndarray,
    settled: np.ndarray,
) -> np.ndarray:
    """How far (nm) the Context moved each atom where no constraint of the System pulls, (N,)."""
    masses = np.where(potential.moves, potential.masses, np.inf)[:, None]
    moved = np.where(potential.moves[:, None], settled - shaken, 0.0)
    if manifold is not None:
        pulls = np.where(potential.moves[:, None], potential.masses[:, None] * moved, 0.0)
        free = manifold.project(shaken, pulls) / masses
        if not same_masses:
            # Other masses share the work otherwise; atoms without a constraint stay all the same.
            free[manifold.pairs] = 0.0
        moved = free
    return np.nan_to_num(np.linalg.norm(moved, axis=1), nan=np.inf)


def _settled_anew(potential: Potential, positions: np.ndarray, tolerance: float) -> np.ndarray:
    """Positions that a Context made of the System's constraints as they are now settles to."""
    system = mm.System()
    for mass in potential.masses:
        system.addParticle(mass)
    for (i, j), length in zip(*potential.constraints, strict=True):
        system.addConstraint(int(i), int(j), float(length))
    integrator = mm.VerletIntegrator(0.001)
    platform = potential.context.getPlatform()
    properties = platform_properties(potential.context, single_threaded=False)
    context = mm.Context(system, integrator, platform, properties)
    context.setPositions(positions)
    context.applyConstraints(tolerance)
    return np.array(context.getState(positions=True).getPositions(asNumpy=True)._value)


def _refuse_distance(
    potential: Potential, manifold: ConstraintManifold, settled: np.ndarray, worst: int
) -> None:
    i, j = (int(a) for a in manifold.pairs[worst])
    distance = np.linalg.norm(settled[i] - settled[j])
    _refuse(
        potential,
        f"the constraint between {potential.label(i)} and {potential.label(j)} is of "
        f"{manifold.lengths[worst]:.5g} nm in the System, and the Context has them "
        f"{distance:.5g} nm apart: it was added or changed",
    )
