"""The stage that minimizes an expensive energy on its surrogate, and whether there is one."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from ..optimizers.stage_end import StageEnd
from ..potentials.bond_graph import are_bonded, topology_bonds
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point
from ..potentials.potential import Potential
from ..precon.metric_terms import unknown_atoms
from ..precon.model_hessian import atomic_numbers_of
from ..surrogates.choose import choose_surrogate
from ..surrogates.record import SurrogateRecord
from ..surrogates.stage import MOST_ATOMS, SurrogateStage
from ..surrogates.surrogate import Surrogate
from .settings import MinimizationSettings

__all__ = ["ChosenSurrogate", "SurrogateDescent", "surrogate_descent"]

# Where genuine and surrogate forces differ by more than this (kJ/mol/nm) and this share of the
# largest difference, an atom is one of the expensive ones.
DIFFERS, DIFFERS_RELATIVELY = 1.0, 1e-3
# An energy of internal coordinates has no net force, up to this share of all forces.
NET_FORCE = 1e-3
# Of a difference to a surrogate fewer structures have to be known than of a whole energy.
MOST_WITH_SURROGATE = 200
# Fixed atoms so near (nm) share terms with expensive ones.
NEAR = 0.35
# So many times a bond may form until the last stage takes over.
MOST_REBONDINGS = 4
# A surrogate left at a force beyond so many tolerances has misled; nearer, the last stage will do.
STILL_FAR = 10.0
# Bonds (nm) of a molecule that no periodic boundary cuts.
WHOLE = 0.4


class SurrogateDescent:
    """Descent on a surrogate and the learnt difference to it, as a stage of a run.

    Parameters
    ----------
    evaluator : Evaluator
    settings : MinimizationSettings
    surrogate : Surrogate or None
    atoms : (n,) int array
        The expensive ones.
    numbers : (n,) int array
        Their atomic numbers.
    placed : bool
        Whether something pulls at them from outside that the surrogate does not know.

    Attributes
    ----------
    name, label : str
    searches : bool
        False.
    record : SurrogateRecord or None
        Since it began.
    """

    searches = False

    def __init__(
        self,
        evaluator: Evaluator,
        settings: MinimizationSettings,
        surrogate: Surrogate | None,
        atoms: np.ndarray,
        numbers: np.ndarray,
        placed: bool,
    ) -> None:
        self._evaluator, self._settings = evaluator, settings
        self._surrogate, self._atoms, self._numbers = surrogate, atoms, numbers
        self._placed = placed
        # Of the rest of a mixed System nothing could be learnt without its surrogate.
        self._alone = len(atoms) == evaluator.potential.num_particles
        self.name = self.label = (
            "learnt energy" if surrogate is None else f"surrogate {surrogate.name}"
        )
        self.record: SurrogateRecord | None = None

    def points(self, begin: Point) -> Generator[Point, None, None]:
        """Yield every lower structure; `StageEnd` says why the surrogate was left."""
        bonds = topology_bonds(self._evaluator.potential.topology, self._atoms)
        surrogate = self._surrogate
        stage = self._stage(begin, surrogate, bonds, self._settings.surrogate_first)
        self.record = stage.record
        for _ in range(MOST_REBONDINGS):
            for point in stage.points(begin):
                begin = point
                yield point
            far = self._evaluator.rms(begin) > STILL_FAR * self._settings.tolerance
            misled = far and surrogate is not None and self._alone
            if not (stage.rebonded or misled):
                break
            # The surrogate misleads, or stands for other bonds: what follows is learnt.
            surrogate = None
            stage = self._stage(begin, None, None, False, stage.seen)
        raise StageEnd(stage.record.message)

    def _stage(
        self,
        begin: Point,
        surrogate: Surrogate | None,
        bonds: np.ndarray | None,
        first: bool | None,
        known: Sequence[Point] = (),
    ) -> SurrogateStage:
        return SurrogateStage(
            self._evaluator,
            surrogate,
            self._atoms,
            self._numbers,
            bonds,
            begin,
            self._settings.tolerance,
            surrogate_first=first,
            metric=self._settings.preconditioner_settings.get("metric", "auto"),
            placed=self._placed,
            watch_bonds=self._alone,
            record=self.record,
            known=known,
        )


class ChosenSurrogate(NamedTuple):
    """What comes of the user's ``surrogate``.

    Attributes
    ----------
    stage : SurrogateDescent or None
        None where there is nothing to descend on.
    surrogate : Surrogate or None
    why_not : str
        Why there is no stage; empty where there is one.
    """

    stage: SurrogateDescent | None
    surrogate: Surrogate | None
    why_not: str = ""


def surrogate_descent(
    evaluator: Evaluator, settings: MinimizationSettings, begin: Point
) -> ChosenSurrogate:
    """Choose the surrogate, and whether the part it is for is small enough to descend on it.

    Parameters
    ----------
    evaluator : Evaluator
    settings : MinimizationSettings
        ``surrogate`` is what the user has given; False for no such stage.
    begin : Point

    Raises
    ------
    TypeError, ValueError, ImportError
        As `choose_surrogate`.
    """
    if settings.surrogate is False:
        return ChosenSurrogate(None, None)
    potential = evaluator.potential
    unknown = unknown_atoms(potential)
    everything = len(unknown) == evaluator.num_moving
    surrogate = choose_surrogate(settings.surrogate, potential, begin.positions, everything)
    difference = begin.forces - _tangent_forces(evaluator, surrogate, begin)
    if surrogate is None:
        atoms = np.flatnonzero(~potential.virtual_sites) if everything else np.empty(0, int)
    else:
        atoms = _differing(difference, unknown)
        atoms = _with_fixed(potential, atoms, begin.positions)
    most = MOST_ATOMS if surrogate is None else MOST_WITH_SURROGATE
    if len(atoms) < 2:
        why = "there is no part of two atoms or more that a force of unknown terms acts on"
        return ChosenSurrogate(None, surrogate, why)
    if len(atoms) > most:
        why = f"{len(atoms)} atoms are expensive, more than {most}"
        return ChosenSurrogate(None, surrogate, why)
    numbers = atomic_numbers_of(potential, atoms)
    if numbers is None:
        why = "elements are not known: pass a Simulation whose topology has them"
        return ChosenSurrogate(None, surrogate, why)
    if surrogate is None and not are_bonded(potential):
        why = "the topology does not have bonds of all atoms: there are no features to learn from"
        return ChosenSurrogate(None, None, why)
    bonds = topology_bonds(potential.topology, atoms)
    if not _whole(begin.positions[atoms], bonds):
        why = "a periodic boundary cuts the expensive part: make it whole"
        return ChosenSurrogate(None, surrogate, why)
    placed = bool(potential.moves.all()) and _pulled_from_outside(begin.positions, difference)
    if placed and surrogate is None and callable(settings.preconditioner_settings.get("metric")):
        return ChosenSurrogate(None, None)  # the user's Hessian knows what pulls
    stage = SurrogateDescent(evaluator, settings, surrogate, atoms, numbers[atoms], placed)
    return ChosenSurrogate(stage, surrogate)


def _tangent_forces(evaluator, surrogate: Surrogate | None, begin: Point) -> np.ndarray:
    """Return the surrogate's forces along which atoms can move; none without a surrogate."""
    if surrogate is None:
        return np.zeros_like(begin.forces)
    forces = surrogate.evaluate(begin.positions)[1]
    known = np.where(evaluator.potential.moves[:, None], forces, 0.0)
    return evaluator.tangent(begin.positions, known)


def _differing(difference: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return the atoms that forces differ on, or that no term is known of."""
    sizes = np.linalg.norm(difference, axis=1)
    differs = sizes > max(DIFFERS, DIFFERS_RELATIVELY * sizes.max(initial=0.0))
    differs[unknown] = True
    return np.flatnonzero(differs)


def _with_fixed(potential: Potential, atoms: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return atoms and the fixed ones near them, on which no force tells whether they differ."""
    fixed = np.flatnonzero(~potential.moves & ~potential.virtual_sites)
    if not len(fixed) or not len(atoms):
        return atoms
    near = cKDTree(positions[atoms]).query(positions[fixed], distance_upper_bound=NEAR)[0] < NEAR
    return np.union1d(atoms, fixed[near])


def _pulled_from_outside(positions: np.ndarray, forces: np.ndarray) -> bool:
    """Whether forces and torques do not cancel, as those of internal coordinates do."""
    arms = positions - positions.mean(axis=0)
    force, torque = forces.sum(axis=0), np.cross(arms, forces).sum(axis=0)
    sizes = np.linalg.norm(forces, axis=1)
    turning = (np.linalg.norm(arms, axis=1) * sizes).sum()
    return bool(
        np.linalg.norm(force) > NET_FORCE * sizes.sum()
        or np.linalg.norm(torque) > NET_FORCE * turning
    )


def _whole(positions: np.ndarray, bonds: np.ndarray | None) -> bool:
    """Whether no bond reaches over a periodic boundary."""
    if bonds is None:
        return True
    i, j = bonds.T
    return bool(np.linalg.norm(positions[i] - positions[j], axis=1).max() < WHOLE)
