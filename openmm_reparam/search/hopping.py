"""Slow-mode hopping: kicks along the softest directions, a whitened quench, Metropolis.

The low-mode search of Kolossvary and Guida (J. Am. Chem. Soc. 1996, 118, 5011) joined to basin
hopping (Wales, Doye, J. Phys. Chem. A 1997, 101, 5111). The modes are those of the whitening's
stiffness, which costs no force evaluation.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse.linalg import LinearOperator, lobpcg

from ..contacts import near_pairs
from ..errors import NonFiniteError
from ..nonrigid_modes import rigid_motions
from ..optimizers.lbfgs import LineSearchError, Point, lbfgs
from ..potential import Potential
from ..whitening import Whitening

__all__ = ["HoppingSettings", "Minimum", "hop"]

BOLTZMANN = 0.00831446261815324  # kJ/mol/K
# Atoms that are not bonded come no nearer (nm) in any sound structure.
COLLAPSED = 0.11
# Quenches end at this RMS force (kJ/mol/nm) at the latest.
LOOSE = 10.0
# Hops that the temperature is taken from.
REMEMBERED = 20
# Up to so many coordinates modes come from a dense matrix.
DENSE = 3000


@dataclass(frozen=True)
class HoppingSettings:
    """How a search hops.

    Attributes
    ----------
    modes : int
        Softest non-rigid modes that a kick combines.
    amplitude : float
        RMS displacement of a kick to begin with, in nm; adapts between a third and twice of it.
    quench_evaluations : int
        Force evaluations of one quench at most.
    quench_tolerance : float, optional
        RMS force at which a quench ends, in kJ/mol/nm; by default ten times the run's tolerance,
        and no more than 10.
    temperature : float, optional
        Of the Metropolis rule, in K; by default such that kT is a quarter of the median change of
        energy of the last hops, which suits argon and proteins alike.
    acceptance : float
        Share of accepted hops that the amplitude is adapted to.
    """

    modes: int = 60
    amplitude: float = 0.2
    quench_evaluations: int = 250
    quench_tolerance: float | None = None
    temperature: float | None = None
    acceptance: float = 0.3

    def __post_init__(self) -> None:
        for name in ("modes", "quench_evaluations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be 1 or more")
        for name in ("amplitude", "quench_tolerance", "temperature"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be positive")
        if not 0 < self.acceptance < 1:
            raise ValueError(f"acceptance is {self.acceptance!r}; it must be between 0 and 1")


@dataclass(frozen=True)
class Minimum:
    """A quenched structure.

    Attributes
    ----------
    energy : float
        In kJ/mol, at the quench's tolerance.
    positions : (N, 3) array
        In nm.
    force_evaluations : int
        Of the whole run, when it was found.
    """

    energy: float
    positions: np.ndarray = field(repr=False)
    force_evaluations: int


@dataclass
class Hops:
    """What a search has done so far.

    Attributes
    ----------
    tried, accepted : int
    rejected : dict
        Hops that a guard refused, by its name: "stereochemistry", "collapsed atoms", "overflow".
    minima : list of Minimum
        All sound minima in the order they were found.
    """

    tried: int = 0
    accepted: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    minima: list[Minimum] = field(default_factory=list)

    def add(self, point: Point, evaluations: int) -> None:
        """Keep a sound minimum."""
        self.minima.append(Minimum(point.energy, point.positions, evaluations))

    def sorted_minima(self) -> tuple[Minimum, ...]:
        """Return all sound minima, lowest first."""
        return tuple(sorted(self.minima, key=lambda minimum: minimum.energy))

    def __str__(self) -> str:
        refused = ", ".join(f"{count} for {why}" for why, count in self.rejected.items())
        return f"{self.tried} hops, {self.accepted} accepted, refused {refused or 'none'}"

    def reject(self, why: str) -> None:
        """Count a hop that a guard refused."""
        self.rejected[why] = self.rejected.get(why, 0) + 1


def hop(
    potential: Potential,
    evaluate: Callable[[np.ndarray], Point],
    start: Point,
    settings: HoppingSettings,
    rng: np.random.Generator,
    *,
    rms: Callable[[Point], float],
    project: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    changes: Callable[[np.ndarray], list] | None = None,
    hops: Hops | None = None,
) -> Iterator[Point]:
    """Hop from minimum to minimum until whoever consumes the points has had enough.

    Parameters
    ----------
    potential : Potential
    evaluate : callable
        (N, 3) positions -> Point.
    start : Point
        A minimum.
    settings : HoppingSettings
    rng : numpy Generator
    rms : callable
        Point -> RMS force.
    project : callable, optional
        As `lbfgs` takes it.
    changes : callable, optional
        Positions -> stereochemical changes against the first start; any is a reason to refuse.
    hops : Hops, optional
        Filled.

    Yields
    ------
    Point
        Every sound minimum, accepted or not.
    """
    hops = hops if hops is not None else Hops()
    whitening = Whitening(potential)
    amplitude, current = settings.amplitude, start
    rises: deque[float] = deque(maxlen=REMEMBERED)
    modes = _soft_modes(whitening, potential, current.positions, settings.modes, rng)
    hops.add(start, potential.counter.total)
    while True:
        kick = (modes @ rng.standard_normal(modes.shape[1])).reshape(-1, 3)
        kick *= amplitude / np.sqrt((kick[potential.moves] ** 2).sum(axis=1).mean())
        hops.tried += 1
        try:
            found = _quench(evaluate, current.positions + kick, whitening, project, rms, settings)
        except NonFiniteError:
            hops.reject("overflow")
            amplitude = max(settings.amplitude / 3, 0.9 * amplitude)
            continue
        why = _unsound(potential, found.positions, changes)
        if why:
            hops.reject(why)
            amplitude = max(settings.amplitude / 3, 0.97 * amplitude)
            continue
        hops.add(found, potential.counter.total)
        yield found
        rise = found.energy - current.energy
        rises.append(abs(rise))
        kt = float(np.median(rises)) / 4
        if settings.temperature is not None:
            kt = BOLTZMANN * settings.temperature
        taken = rise <= 0 or rng.random() < math.exp(-rise / kt)
        # Robbins and Monro: at the wanted rate, steps up and down balance.
        amplitude *= math.exp(0.1 * (taken - settings.acceptance))
        amplitude = min(max(amplitude, settings.amplitude / 3), 2 * settings.amplitude)
        if taken:
            hops.accepted += 1
            current = found
            modes = _soft_modes(whitening, potential, current.positions, settings.modes, rng)


def _quench(evaluate, positions, whitening, project, rms, settings) -> Point:
    """Go down from kicked positions as far as the settings ask."""
    tolerance = settings.quench_tolerance or LOOSE
    best = evaluate(positions)
    whitening.update(best.positions)
    points = lbfgs(evaluate, best, metric=whitening, project=project)
    try:
        for count, point in enumerate(points, start=1):
            best = point
            if rms(point) <= tolerance or count >= settings.quench_evaluations:
                break
    except LineSearchError:
        pass
    return best


def _unsound(potential: Potential, positions: np.ndarray, changes) -> str:
    """Name the guard that refuses a structure; empty where none does."""
    i, j, _ = near_pairs(positions, COLLAPSED, potential.box())
    for a, b in zip(i.tolist(), j.tolist(), strict=True):
        if (min(a, b), max(a, b)) not in potential.excluded_pairs:
            return "collapsed atoms"
    if changes is not None and changes(positions):
        return "stereochemistry"
    return ""


def _soft_modes(
    whitening: Whitening, potential: Potential, positions: np.ndarray, count: int, rng
) -> np.ndarray:
    """Softest non-rigid modes of the whitening's stiffness at given positions, (3N, count)."""
    stiffness = whitening.stiffness(positions)
    rigid = rigid_motions(potential, positions)
    moving = np.repeat(potential.moves, 3)
    count = min(count, int(moving.sum()) - rigid.shape[1])
    if positions.size <= DENSE:
        dense = stiffness.toarray()[np.ix_(moving, moving)]
        basis = rigid[moving]
        complement = np.eye(len(dense)) - basis @ basis.T
        top = np.abs(dense).sum(axis=1).max()
        deflated = complement @ dense @ complement + 2 * top * basis @ basis.T
        vectors = np.linalg.eigh(deflated)[1][:, :count]
        modes = np.zeros((positions.size, count))
        modes[moving] = vectors
        return modes
    whitening.update(positions)

    def precondition(block: np.ndarray) -> np.ndarray:
        solved = [whitening.solve(v.reshape(-1, 3)).ravel() for v in np.atleast_2d(block.T)]
        return np.stack(solved, axis=1)

    size = positions.size
    start = rng.standard_normal((size, count)) * moving[:, None]
    operator = LinearOperator((size, size), matvec=precondition, matmat=precondition, dtype=float)
    return lobpcg(
        stiffness,
        precondition(start),
        M=operator,
        Y=rigid if rigid.size else None,
        largest=False,
        tol=1e-2 * whitening.shift,
        maxiter=20,
    )[1]
