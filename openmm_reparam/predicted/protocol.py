"""Rounds of restrained minimization that release the residues with violations."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Set
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from openmm import unit

from ..errors import ConvergenceWarning
from ..minimization.api import minimize_reparam
from ..prepare.molecular_system import MolecularSystem
from ..prepare.restraints import restrain_heavy_atoms
from ..structure.selections import heavy_solute_atoms
from ..units import positions_in_nanometers
from .side_chain_turns import turned_side_chains
from .stereo_guards import add_stereo_guards
from .violating_residues import violating_residues

__all__ = ["Relaxed", "RelaxationRound", "RelaxationSettings", "relax_molecule"]

# One kcal/mol/A^2.
_RESTRAINT_UNIT = unit.kilocalories_per_mole / unit.angstrom**2
# Force groups: energies are reported without what holds atoms.
_FORCE_FIELD, _HELD = 0, 1


@dataclass(frozen=True)
class RelaxationSettings:
    """How a prediction is relaxed: AlphaFold's protocol by default.

    Attributes
    ----------
    forcefield : str
        A file that OpenMM ships, or the path of your own.
    restraint : float
        Force constant of the heavy atoms in kcal/mol/A^2; 0 restrains nothing.
    tolerance : float
        RMS force at which a round ends, in kJ/mol/nm. 10 is the 2.39 kcal/mol/nm of AlphaFold's
        code.
    max_rounds : int
        Rounds at most. AlphaFold recommends 20; its and ColabFold's pipelines stop after 3.
    max_force_evaluations : int or None
        In each round.
    keep_stereo : bool
        Pull chirality and cis/trans states back where they are about to change; see
        `stereo_guards`. AlphaFold does not.
    turn_side_chains : bool
        Where releasing residues does not help, start once more from side chains that are turned
        out of others' way, such as those that go through a ring. AlphaFold does not.
    ph : float
        Decides which hydrogens are added.
    seed : int
    platform : str or None
        None lets OpenMM choose.
    threads : int or None
        Of the CPU platform.

    Raises
    ------
    ValueError
        A number is out of range.
    """

    forcefield: str = "amber99sb.xml"
    restraint: float = 10.0
    tolerance: float = 10.0
    max_rounds: int = 20
    max_force_evaluations: int | None = None
    keep_stereo: bool = True
    turn_side_chains: bool = True
    ph: float = 7.0
    seed: int = 0
    platform: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("restraint", "tolerance"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (name == "tolerance" and value == 0):
                raise ValueError(f"{name} is {value}: a number above zero is needed")
        if self.max_rounds < 1:
            raise ValueError(f"max_rounds is {self.max_rounds}: at least one round is needed")


@dataclass(frozen=True)
class RelaxationRound:
    """One round.

    Attributes
    ----------
    released : int
        Residues without restraints.
    violating : int
        Residues with violations at its end.
    force_evaluations : int
    converged : bool
    message : str
        Why the minimization ended.
    rms_force : float
        kJ/mol/nm, restraints included.
    seconds : float
    """

    released: int
    violating: int
    force_evaluations: int
    converged: bool
    message: str
    rms_force: float
    seconds: float


@dataclass(frozen=True)
class Relaxed:
    """What the rounds led to.

    Attributes
    ----------
    positions : (N, 3) array
        In nm.
    rounds : tuple of RelaxationRound
    stopped : str
        Why there was no further round.
    converged : bool
        Of the round that the positions are of.
    released : frozenset of int
        Indices of residues without restraints in that round.
    turned : frozenset of int
        Indices of residues whose side chains were turned out of others' way.
    violating : frozenset of int
        Indices of residues with violations.
    initial_energy, final_energy : float
        Of the force field, in kJ/mol, restraints left out.
    histories : tuple of structured array
        Of each round, see `MinimizationResult`; energies with restraints.
    """

    positions: np.ndarray
    rounds: tuple[RelaxationRound, ...]
    stopped: str
    converged: bool
    released: frozenset[int]
    turned: frozenset[int]
    violating: frozenset[int]
    initial_energy: float
    final_energy: float
    histories: tuple[np.ndarray, ...]


def relax_molecule(molecule: MolecularSystem, settings: RelaxationSettings) -> Relaxed:
    """Relax a molecule in rounds until no residue has a violation.

    Parameters
    ----------
    molecule : MolecularSystem
        Unrestrained.
    settings : RelaxationSettings

    Returns
    -------
    Relaxed
        Of the round with the fewest residues in violations, the last of these.

    Raises
    ------
    NonFiniteError
        The force field has no finite energy for the start; the worst atoms are named.

    Notes
    -----
    Each round minimizes with harmonic restraints on the heavy atoms of all residues that were not
    released, at their places at its start. Residues with violations at its end are released from
    the next one on. As in AlphaFold's relaxation, a round starts where the last one ended. Unlike
    there, hydrogens are not placed anew in each round, and rounds end early where one releases no
    residue and leaves the same violations.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> settings = RelaxationSettings(platform="Reference")
    >>> relaxed = relax_molecule(peptide("GAG"), settings)
    >>> relaxed.stopped, len(relaxed.rounds)
    ('no violations', 1)
    """
    start = positions_in_nanometers(molecule.positions, molecule.topology.getNumAtoms())
    steps = _rounds(molecule, start, start, frozenset(), settings, settings.max_rounds)
    left, turned = settings.max_rounds - len(steps), frozenset[int]()
    if settings.turn_side_chains and left and _is_stuck(steps):
        last = steps[-1]
        x = turned_side_chains(molecule.topology, start, last.violating)
        more = _rounds(molecule, start, x, last.released, settings, left)
        if min(len(step.violating) for step in more) < len(last.violating):
            turned = last.violating
        steps += more
    best = min(reversed(steps), key=lambda step: len(step.violating))
    return Relaxed(
        best.positions,
        tuple(step.record for step in steps),
        _reason(steps),
        best.record.converged,
        best.released,
        turned,
        best.violating,
        steps[0].initial_energy,
        best.final_energy,
        tuple(step.history for step in steps),
    )


class _Step(NamedTuple):
    """A round with the structure at its end."""

    positions: np.ndarray
    released: frozenset[int]
    violating: frozenset[int]
    initial_energy: float
    final_energy: float
    history: np.ndarray
    record: RelaxationRound


def _rounds(
    molecule: MolecularSystem,
    start: np.ndarray,
    x: np.ndarray,
    released: frozenset[int],
    settings: RelaxationSettings,
    most: int,
) -> list[_Step]:
    """Return rounds from x until there is no violation, or no residue left to release."""
    steps: list[_Step] = []
    while True:
        steps.append(_step(molecule, start, x, released, settings))
        last = steps[-1]
        if not last.violating or len(steps) == most or _is_stuck(steps):
            return steps
        x, released = last.positions, last.released | last.violating


def _is_stuck(steps: list[_Step]) -> bool:
    last = steps[-1]
    return (
        len(steps) > 1
        and bool(last.violating)
        and last.violating <= last.released
        and last.violating == steps[-2].violating
    )


def _reason(steps: list[_Step]) -> str:
    """Return why there was no further round."""
    if not steps[-1].violating:
        return "no violations"
    if _is_stuck(steps):
        return "the same violations, and no residue left to release"
    return f"{len(steps)} round{'s' if len(steps) > 1 else ''}"


def _step(
    molecule: MolecularSystem,
    start: np.ndarray,
    x: np.ndarray,
    released: frozenset[int],
    settings: RelaxationSettings,
) -> _Step:
    """Minimize from x with the residues that are not released restrained to their places there.

    The states of the stereocentres are those of ``start``.
    """
    began = time.perf_counter()
    held = _held_atoms(molecule, released) if settings.restraint > 0 else np.zeros(0, dtype=int)
    system = copy.deepcopy(molecule.system)
    if settings.keep_stereo:
        add_stereo_guards(system, molecule.topology, start).setForceGroup(_HELD)
    if len(held):
        restraint = restrain_heavy_atoms(
            system, molecule.topology, x, settings.restraint * _RESTRAINT_UNIT, atoms=held
        )
        restraint.setForceGroup(_HELD)
    restrained = replace(molecule, system=system, positions=x * unit.nanometer)
    platform = "CPU" if settings.platform is None and settings.threads else settings.platform
    simulation = restrained.simulation(platform, threads=settings.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the round says so
        result = minimize_reparam(
            simulation,
            settings.tolerance,
            max_force_evaluations=settings.max_force_evaluations,
            seed=settings.seed,
            progress=False,
        )
    state = simulation.context.getState(positions=True, energy=True, groups={_FORCE_FIELD})
    end = state.getPositions(asNumpy=True)._value
    violating = violating_residues(molecule.topology, molecule.system, end)
    return _Step(
        end,
        released,
        violating,
        result.initial_energy,
        state.getPotentialEnergy()._value,
        result.history,
        RelaxationRound(
            len(released),
            len(violating),
            result.force_evaluations,
            result.converged,
            result.message,
            result.rms_force,
            time.perf_counter() - began,
        ),
    )


def _held_atoms(molecule: MolecularSystem, released: Set[int]) -> np.ndarray:
    """Return the heavy atoms of the residues that are not released."""
    heavy = heavy_solute_atoms(molecule.topology)
    residues = np.array([atom.residue.index for atom in molecule.topology.atoms()], dtype=int)
    return heavy[~np.isin(residues[heavy], list(released))]
