"""Minimization of an expensive energy on its surrogate, every step verified by genuine forces."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..errors import NonFiniteError
from ..geometry.covalent_radii import bonded_pairs
from ..optimizers.lbfgs import lbfgs
from ..optimizers.line_search import LineSearchError
from ..potentials.evaluator import Evaluator
from ..potentials.point import Point, rms
from ..precon.model_hessian import internal_terms
from ..precon.preconditioner import Preconditioner
from .difference import DifferenceModel
from .record import SurrogateRecord
from .stiff_features import StiffFeatures
from .surrogate import Surrogate

__all__ = ["MOST_ATOMS", "SurrogateStage"]

# Expensive atoms up to which the difference is learnt: its covariance grows with their square.
MOST_ATOMS = 100
# How far an expensive atom may move (nm) until the next genuine evaluation: at first, at most, at
# least; and no further than this, times a promise kept to three quarters, or not to a quarter.
RADIUS, LARGEST_RADIUS, SMALLEST_RADIUS = 0.02, 0.06, 0.001
KEPT, BROKEN = 0.75, 0.25
# The surrogate is minimized to this share of the tolerance, or of the genuine force where that is
# larger, in so many steps at most.
OF_TOLERANCE, OF_FORCE, INNER_STEPS = 0.1, 0.02, 1000
# Evaluations of the surrogate for one of the genuine energy at most: of a molecule, and where its
# surroundings relax, too.
OF_A_MOLECULE, WITH_SURROUNDINGS = 500, 5000
# Up to this multiple of the sum of covalent radii a pair has formed a bond.
FORMED = 1.15
# Between two genuine evaluations no step of the descent on the surrogate moves an atom further.
INNER_STEP = 0.02
# Fewest and most of its steps between updates of a preconditioner that cost no force evaluation;
# others stay as they were at the start.
REFRESH = (20, 50)
# Genuine evaluations in a row without a lower energy, and without a force smaller by a tenth: the
# surrogate does not help any more.
WORSE, SLOW = 4, 10
# Steps of the surrogate are none where no atom moves further (nm) along an axis.
UNMOVED = 1e-9


class SurrogateStage:
    """Steps of a trust-region method whose model is surrogate + learnt difference.

    Parameters
    ----------
    evaluator : Evaluator
        Of the genuine energy.
    surrogate : Surrogate or None
        None is an energy of zero: all is learnt.
    atoms : (n,) int array
        The expensive ones: the difference depends on their positions.
    numbers : (n,) int array
        Their atomic numbers.
    bonds : (B, 2) int array or None
        Between them, by places in ``atoms``; from distances by default.
    begin : Point
    tolerance : float
        RMS force in kJ/mol/nm.
    surrogate_first : bool or None
        Whether the first step goes to the surrogate's own minimum, however far that is; None: where
        the surrogate's force at the start is no smaller than half the genuine one.
    metric : str or callable
        Of the `Preconditioner` of descents on the surrogate.
    watch_bonds : bool
        Whether to end where a bond forms.
    record : SurrogateRecord, optional
        To go on with.
    known : list of Point
        Evaluated before, to learn from.

    Attributes
    ----------
    record : SurrogateRecord
    seen : list of Point
        All that was evaluated.
    rebonded : bool
        Whether it ended because a bond has formed: features and surrogate stand for the old ones.
    placed : bool
        Whether the difference depends on where the atoms are as a whole; see `StiffFeatures`.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        surrogate: Surrogate | None,
        atoms: np.ndarray,
        numbers: np.ndarray,
        bonds: np.ndarray | None,
        begin: Point,
        tolerance: float,
        *,
        surrogate_first: bool | None = None,
        metric="auto",
        placed: bool = False,
        watch_bonds: bool = False,
        record: SurrogateRecord | None = None,
        known: Sequence[Point] = (),
    ) -> None:
        self._evaluator, self._surrogate = evaluator, surrogate
        self._atoms, self._tolerance = atoms, tolerance
        here = begin.positions[atoms]
        terms = internal_terms(numbers, here, bonds)
        features = StiffFeatures(terms, numbers, here, placed=placed)
        self._difference = DifferenceModel(features, evaluator.potential.moves[atoms])
        self._metric = Preconditioner(evaluator.potential, metric=metric)
        self._first = surrogate_first
        self._numbers, self._bonds = numbers, set(map(tuple, terms.bonds.tolist()))
        self._known = known
        self.seen: list[Point] = []
        self._watch_bonds, self.rebonded = watch_bonds, False
        self.record = record or SurrogateRecord(
            "learnt energy" if surrogate is None else surrogate.name
        )

    def points(self, begin: Point) -> Iterator[Point]:
        """Go down from a point; yields every structure with a lower energy.

        Ends where the surrogate stops being of use, and says so in its record.
        """
        known = self._surrogate_energy(begin.positions)[1]
        for point in self._known:
            if point is not begin:
                self._learn(point)
        self._learn(begin)
        if self._first is None:
            self._first = rms(known, 1) > 0.5 * rms(begin.forces, 1)
        try:
            yield from self._steps(begin)
        except NonFiniteError as error:
            # Of the surrogate: those of the genuine energy are steps too long.
            self.record.message = f"the surrogate is left: {error}"

    def _steps(self, best: Point) -> Iterator[Point]:
        radius, worse, slow = RADIUS, 0, 0
        smallest = self._evaluator.rms(best)
        reach = np.inf if self._surrogate is not None and self._first else radius
        while worse <= WORSE and slow <= SLOW:
            positions, promised, held = self._proposal(best, reach)
            learnt, reach = reach is not np.inf, radius
            if learnt and np.abs(positions - best.positions).max() < UNMOVED:
                break
            try:
                trial = self._evaluator.evaluate(positions)
            except NonFiniteError as error:
                radius = reach = radius / 4
                worse += 1
                if worse > WORSE:
                    self.record.message = f"steps on the surrogate lead where {error}"
                    return
                continue
            fall = best.energy - trial.energy
            self.record.promised.append(promised)
            self.record.fallen.append(fall)
            if learnt and held and fall > KEPT * promised:
                radius = min(2 * radius, LARGEST_RADIUS)
            elif learnt and fall < BROKEN * promised:
                radius = max(radius / 2, SMALLEST_RADIUS)
            reach = radius
            force = self._evaluator.rms(trial)
            if self._is_better(best, trial, promised):
                best, worse = trial, 0
                yield trial
                if self._watch_bonds and self._has_new_bonds(trial):
                    self.rebonded = True
                    self.record.message = "a bond has formed"
                    return
            else:
                worse += 1
            slow = 0 if force < 0.9 * smallest else slow + 1
            smallest = min(smallest, force)
            # The last, since a surrogate may fail where the genuine energy does not.
            self._learn(trial)
        self.record.message = "the surrogate stopped being of use"

    def _has_new_bonds(self, point: Point) -> bool:
        """Whether atoms have come to be bonded that were not: a proton has moved."""
        here = point.positions[self._atoms]
        found = bonded_pairs(self._numbers, here, stretched=FORMED)
        return not set(map(tuple, found.tolist())) <= self._bonds

    def _is_better(self, best: Point, trial: Point, promised: float) -> bool:
        if self._evaluator.collapse.refuses(best, trial, promised):
            return False
        fall, noise = best.energy - trial.energy, 10 * self._evaluator.noise(best.energy)
        smaller = self._evaluator.rms(trial) < self._evaluator.rms(best)
        return fall > 0 or (smaller and fall > -noise)

    def _proposal(self, best: Point, reach: float) -> tuple[np.ndarray, float, bool]:
        """Return where the model is lowest within reach, its fall, and whether reach held it."""
        evaluate = self._model if np.isfinite(reach) else self._surrogate_alone
        whole = len(self._atoms) == self._evaluator.potential.num_particles
        start = point = evaluate(best.positions)
        if not self._metric.updates:
            self._metric.update(best.positions)
        elif self._metric.free:
            with contextlib.suppress(NonFiniteError):
                self._metric.update(best.positions)
        force = OF_FORCE * self._evaluator.rms(best)
        enough = max(OF_TOLERANCE * self._tolerance, force if np.isfinite(reach) else 0.0)
        steps = lbfgs(
            _at_most(OF_A_MOLECULE if whole else WITH_SURROUNDINGS, evaluate),
            start,
            metric=self._metric,
            project=self._evaluator.project,
            max_step=INNER_STEP,
            refresh=REFRESH if self._metric.free else (INNER_STEPS, INNER_STEPS),
            refuses=self._evaluator.collapse.refuses,
        )
        with contextlib.suppress(LineSearchError):
            for following in itertools.islice(steps, INNER_STEPS):
                moved = self._furthest(best, following.positions)
                if moved > reach:
                    # Back along the last step, to where reach ends.
                    before = self._furthest(best, point.positions)
                    share = (reach - before) / (moved - before)
                    way = point.positions + share * (following.positions - point.positions)
                    point = evaluate(self._evaluator.retract(way))
                    return point.positions, start.energy - point.energy, True
                point = following
                if self._evaluator.rms(point) < enough:
                    break
        return point.positions, start.energy - point.energy, False

    def _furthest(self, best: Point, positions: np.ndarray) -> float:
        moved = (positions - best.positions)[self._atoms]
        return float(np.sqrt((moved**2).sum(axis=1).max()))

    def _learn(self, point: Point) -> None:
        self.seen.append(point)
        forces = self._surrogate_energy(point.positions)[1]
        known = self._evaluator.tangent(point.positions, forces)
        self._difference.add(point.positions[self._atoms], (known - point.forces)[self._atoms])

    def _model(self, positions: np.ndarray) -> Point:
        positions = self._evaluator.retract(positions)
        energy, forces = self._surrogate_energy(positions)
        difference, gradient = self._difference(positions[self._atoms])
        forces = np.array(forces)
        forces[self._atoms] -= gradient
        return self._point(positions, energy + difference, forces)

    def _surrogate_alone(self, positions: np.ndarray) -> Point:
        positions = self._evaluator.retract(positions)
        return self._point(positions, *self._surrogate_energy(positions))

    def _point(self, positions: np.ndarray, energy: float, forces: np.ndarray) -> Point:
        forces = np.where(self._evaluator.potential.moves[:, None], forces, 0.0)
        return Point(positions, energy, self._evaluator.tangent(positions, forces))

    def _surrogate_energy(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        if self._surrogate is None:
            return 0.0, np.zeros_like(positions)
        return self._surrogate.evaluate(positions)


def _at_most(count: int, evaluate: Callable[[np.ndarray], Point]) -> Callable[[np.ndarray], Point]:
    """Return a function that ends a descent after so many evaluations."""
    left = itertools.repeat(None, count)

    def limited(positions: np.ndarray) -> Point:
        if next(left, left) is left:
            raise LineSearchError("enough for one step")
        return evaluate(positions)

    return limited
