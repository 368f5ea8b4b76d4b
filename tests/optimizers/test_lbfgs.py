"""Preconditioned L-BFGS against problems whose minima are known, and against scipy."""

import itertools
import pickle

import numpy as np
import pytest
import scipy.optimize

from openmm_reparam import NonFiniteError
from openmm_reparam.optimizers.coordinates import Cartesian
from openmm_reparam.optimizers.lbfgs import Descent, lbfgs, lbfgs_init, lbfgs_step
from openmm_reparam.optimizers.line_search import LineSearchError
from openmm_reparam.potentials.point import Point


class ExactMetric:
    """The inverse of a known matrix."""

    complete = True

    def __init__(self, matrix):
        self.matrix, self.inverse = matrix, np.linalg.inv(matrix)
        self.updates = self.raised = 0

    def update(self, positions):
        self.updates += 1

    def raise_shift(self):
        self.raised += 1

    def solve(self, vectors):
        return (self.inverse @ vectors.ravel()).reshape(vectors.shape)


def quadratic(spectrum, seed=0):
    """Return a matrix with this spectrum, its minimum, and x -> Point."""
    rng = np.random.default_rng(seed)
    size = len(spectrum)
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    matrix = (basis * spectrum) @ basis.T
    minimum = rng.normal(size=(size // 3, 3))

    def evaluate(x):
        gradient = (matrix @ (x - minimum).ravel()).reshape(x.shape)
        return Point(x, 0.5 * float(np.vdot(x - minimum, gradient)), -gradient)

    return matrix, minimum, evaluate


def descend(points, steps, done=lambda point: False):
    """Return the points of at most this many steps, the last one done."""
    taken = []
    for point in itertools.islice(points, steps):
        taken.append(point)
        if done(point):
            break
    return taken


@pytest.mark.parametrize("spread", [1.0, 1e3, 1e6])
def test_an_exact_metric_needs_a_handful_of_steps(spread):
    matrix, minimum, evaluate = quadratic(np.geomspace(1, spread, 30))
    start = evaluate(minimum + np.random.default_rng(1).normal(size=(10, 3)))
    taken = descend(
        lbfgs(evaluate, start, metric=ExactMetric(matrix), max_step=100.0),
        5,
        lambda p: np.abs(p.positions - minimum).max() < 1e-9,
    )
    assert np.abs(taken[-1].positions - minimum).max() < 1e-9


def test_without_a_metric_few_distinct_eigenvalues_need_few_steps():
    """Memory covers the 3 eigenvalues, so that a dozen steps suffice (Nocedal 1980)."""
    _, minimum, evaluate = quadratic(np.repeat([1.0, 10.0, 100.0], 10))
    start = evaluate(minimum + np.random.default_rng(1).normal(size=(10, 3)))
    points = lbfgs(evaluate, start, max_step=100.0)
    taken = descend(points, 40, lambda p: p.energy < 1e-10 * start.energy)
    assert taken[-1].energy < 1e-10 * start.energy


def test_a_metric_that_is_wrong_by_a_constant_costs_little():
    matrix, minimum, evaluate = quadratic(np.geomspace(1, 1e5, 30))
    start = evaluate(minimum + np.random.default_rng(1).normal(size=(10, 3)))
    points = lbfgs(evaluate, start, metric=ExactMetric(50 * matrix), max_step=100.0)
    taken = descend(points, 8, lambda p: p.energy < 1e-12 * start.energy)
    assert taken[-1].energy < 1e-12 * start.energy


def rosenbrock(x):
    flat = x.ravel()
    energy = scipy.optimize.rosen(flat)
    return Point(x, float(energy), -scipy.optimize.rosen_der(flat).reshape(x.shape))


def test_rosenbrock_ends_where_scipys_minimizer_does():
    x0 = np.array([[-0.5, 0.8, 1.2], [0.3, -0.2, 0.6]])
    peer = scipy.optimize.minimize(
        scipy.optimize.rosen, x0.ravel(), jac=scipy.optimize.rosen_der, method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500},
    )  # fmt: skip
    points = lbfgs(rosenbrock, rosenbrock(x0), max_step=1.0, memory=10)
    taken = descend(points, 150, lambda p: np.abs(p.forces).max() < 1e-7)
    assert np.abs(taken[-1].forces).max() < 1e-7
    assert np.allclose(taken[-1].positions.ravel(), peer.x, atol=1e-5)
    energies = [p.energy for p in taken]
    assert all(b <= a for a, b in itertools.pairwise(energies))


def lennard_jones(x):
    """Return a Lennard-Jones cluster's Point in reduced units."""
    difference = x[:, None] - x
    square = (difference**2).sum(axis=2)
    np.fill_diagonal(square, 1.0)
    if square.min() < 1e-4:
        raise NonFiniteError("overlap")
    sixth = square**-3
    np.fill_diagonal(sixth, 0.0)
    energy = 2 * float((sixth**2 - sixth).sum())
    scale = 24 * (2 * sixth**2 - sixth) / square
    return Point(x, energy, (scale[:, :, None] * difference).sum(axis=1))


@pytest.mark.parametrize("seed", range(3))
def test_a_perturbed_cluster_relaxes_to_the_minimum_scipy_finds(seed):
    golden = (1 + 5**0.5) / 2
    ring = [(0, a, b * golden) for a in (1, -1) for b in (1, -1)]
    shell = [tuple(np.roll(p, n)) for p in ring for n in range(3)]
    x = np.array([(0.0, 0, 0), *shell]) * 1.08 / (1 + golden**2) ** 0.5
    x = x + np.random.default_rng(seed).normal(0, 0.06, x.shape)
    peer = scipy.optimize.minimize(
        lambda y: lennard_jones(y.reshape(-1, 3)).energy,
        x.ravel(),
        jac=lambda y: -lennard_jones(y.reshape(-1, 3)).forces.ravel(),
        method="BFGS",
        options={"gtol": 1e-8},
    )
    points = lbfgs(lennard_jones, lennard_jones(x), max_step=0.2)
    taken = descend(points, 300, lambda p: np.abs(p.forces).max() < 1e-7)
    assert taken[-1].energy == pytest.approx(peer.fun, abs=1e-9)
    assert taken[-1].energy == pytest.approx(-44.326801, abs=1e-6)


def test_no_atom_moves_further_than_max_step():
    _, minimum, evaluate = quadratic(np.geomspace(1, 100, 12))
    start = evaluate(minimum + 50.0)
    previous = start
    for point in descend(lbfgs(evaluate, start, max_step=0.3), 20):
        lengths = np.linalg.norm(point.positions - previous.positions, axis=1)
        assert lengths.max() <= 0.3 * (1 + 1e-9)
        previous = point


def test_the_bound_grows_for_a_start_far_away_and_never_passes_the_largest():
    """1e4 nm from the minimum of a parabola; at 0.05 nm a step that would take 200 000 steps."""
    _, minimum, evaluate = quadratic(np.geomspace(10, 100, 12))
    start = evaluate(minimum + 1e4)
    points = lbfgs(evaluate, start, largest_step=1e3, coordinates=Cartesian(np.arange(4)))
    taken = descend(points, 100, lambda p: np.abs(p.forces).max() < 1e-6)
    assert np.abs(taken[-1].positions - minimum).max() < 1e-6
    path = np.array([p.positions for p in [start, *taken]])
    lengths = np.linalg.norm(np.diff(path, axis=0), axis=2).max(axis=1)
    assert lengths[:5].max() <= 0.05 * (1 + 1e-9)
    assert 10 < lengths.max() <= 1e3 * (1 + 1e-9)


def test_a_molecule_far_away_is_carried_and_not_torn():
    """One bound of three atoms is 0.05 nm; what moves all of them alike goes further."""
    bonds = np.array([[1, -1, 0], [-1, 2, -1], [0, -1, 1]])

    def evaluate(x):
        along = x[:, 0] - 1e3
        stretch = 1e3 * bonds @ (x - shape)
        restraint = np.zeros_like(x)
        restraint[:, 0] = 10 * along
        energy = 0.5 * np.vdot(x - shape, stretch) + 5 * along @ along
        return Point(x, float(energy), -stretch - restraint)

    shape = np.array([[0.0, 0, 0], [0.1, 0.1, 0], [0.3, 0, 0]])
    start = evaluate(shape)
    matrix = np.kron(1e3 * bonds, np.eye(3)) + 10 * np.eye(9)
    points = lbfgs(evaluate, start, metric=ExactMetric(matrix), largest_step=np.inf)
    previous = start
    for point in descend(points, 60, lambda p: np.abs(p.forces).max() < 1e-6):
        step = point.positions - previous.positions
        assert np.linalg.norm(step - step.mean(axis=0), axis=1).max() <= 0.05 * (1 + 1e-9)
        previous = point
    assert np.abs(previous.forces).max() < 1e-6


def test_a_bound_that_has_grown_shrinks_again_where_a_step_breaks_its_promise():
    """A slope that ends in a much steeper valley."""

    def evaluate(x):
        valley = np.abs(x[0, 0]) < 1.0
        energy = 100 * x[0, 0] ** 2 if valley else 200 * abs(x[0, 0]) - 100
        force = -200 * (x[0, 0] if valley else np.sign(x[0, 0]))
        return Point(x, float(energy), np.array([[force, 0.0, 0.0]]))

    start = evaluate(np.array([[1000.3, 0.0, 0.0]]))
    taken = descend(
        lbfgs(evaluate, start, largest_step=np.inf), 200, lambda p: np.abs(p.forces).max() < 1e-6
    )
    assert abs(taken[-1].positions[0, 0]) < 1e-6


def test_a_step_that_is_refused_is_shortened():
    _, minimum, evaluate = quadratic(np.ones(6))
    refused = []

    def refuses(before, after, promised):
        assert before.energy > after.energy
        assert promised >= before.energy - after.energy
        too_far = np.linalg.norm(after.positions - before.positions) > 0.01
        refused.append(too_far)
        return too_far

    start = evaluate(minimum + 0.1)
    point = next(lbfgs(evaluate, start, refuses=refuses, metric=ExactMetric(np.eye(6))))
    assert refused == [True] * (len(refused) - 1) + [False]
    assert len(refused) > 1
    assert 0 < np.linalg.norm(point.positions - start.positions) <= 0.01


def test_energies_that_are_not_finite_shorten_the_step():
    """A wall right behind the minimum: the line search steps back from it."""
    matrix, minimum, evaluate = quadratic(np.geomspace(1, 1e3, 12))
    refused = []

    def walled(x):
        if np.linalg.norm(x - minimum) > 2.0:
            refused.append(x)
            raise NonFiniteError("beyond the wall")
        return evaluate(x)

    direction = np.random.default_rng(3).normal(size=(4, 3))
    start = evaluate(minimum + 1.99 * direction / np.linalg.norm(direction))
    # A metric far too soft makes steps that overshoot.
    metric = ExactMetric(1e-4 * matrix)
    points = lbfgs(walled, start, metric=metric, max_step=1e6, refresh=(999, 999))
    taken = descend(points, 60, lambda p: p.energy < 1e-10)
    assert refused
    assert taken[-1].energy < 1e-10
    # It shortened its steps, and never started anew.
    assert metric.updates == 0


def test_an_error_of_another_kind_passes_through():
    _, minimum, evaluate = quadratic(np.ones(6))

    def failing(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(lbfgs(failing, evaluate(minimum + 1.0)))


@pytest.mark.parametrize("metric", [None, ExactMetric(np.eye(6))])
def test_forces_that_contradict_the_energy_end_in_an_error(metric):
    """Without the allowance for rounding, which would let it creep uphill by 1e-7 a step."""
    _, minimum, evaluate = quadratic(np.ones(6))

    def wrong(x):
        point = evaluate(x)
        return Point(x, point.energy, -point.forces)

    start = wrong(minimum + 0.1)
    with pytest.raises(LineSearchError):
        descend(lbfgs(wrong, start, metric=metric, noise=lambda energy: 0.0), 50)


@pytest.mark.parametrize("noise", [1e-7, 1e-6, 1e-5])
def test_it_gets_through_energies_that_are_wrong_by_rounding(noise):
    """As on a GPU in single precision: an energy too low by luck would stop it otherwise."""
    _, minimum, evaluate = quadratic(np.geomspace(1e4, 1e5, 30))
    rng = np.random.default_rng(1)

    def rounded(x):
        point = evaluate(x)
        return point._replace(energy=(point.energy - 400.0) * (1 + noise * rng.normal()))

    for seed in range(20):
        start = rounded(minimum + np.random.default_rng(seed).normal(0, 0.1, minimum.shape))
        metric = ExactMetric(3e4 * np.eye(30))
        points = lbfgs(rounded, start, metric=metric, noise=lambda energy: noise * abs(energy))
        taken = descend(points, 300, lambda point: np.abs(point.forces).max() < 0.1)
        assert np.abs(taken[-1].forces).max() < 0.1


def test_zero_forces_end_in_an_error():
    _, minimum, evaluate = quadratic(np.ones(6))
    with pytest.raises(LineSearchError):
        next(lbfgs(evaluate, evaluate(minimum)))


def test_everywhere_non_finite_ends_in_an_error():
    _, minimum, evaluate = quadratic(np.ones(6))

    def never(x):
        raise NonFiniteError("never finite")

    with pytest.raises(LineSearchError):
        next(lbfgs(never, evaluate(minimum + 1.0)))


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 2), (10.0, 8), (0.1, 8)])
def test_the_metric_is_refreshed_when_it_is_stale_or_old(scale, expected):
    """A metric of the right curvature stays in use for long, one ten times off does not."""
    _, minimum, evaluate = quadratic(np.ones(30))
    start = evaluate(minimum + np.random.default_rng(0).normal(size=(10, 3)))
    metric = ExactMetric(scale * np.eye(30))
    # Steps so short that it is under way all the time.
    points = lbfgs(evaluate, start, metric=metric, refresh=(5, 20), max_step=0.01)
    descend(points, 40)
    assert metric.updates == expected


def test_a_failed_line_search_ends_in_plain_descent_after_two_other_resorts():
    """A metric that points along a wall: every step is refused, until the plain forces are used."""
    refused = []

    class Sideways(ExactMetric):
        def solve(self, vectors):
            return np.full_like(vectors, 1.0) * np.sign(vectors.sum())

    def walled(x):
        if np.ptp(x - start.positions) < 1e-12 and np.abs(x - start.positions).max() > 0:
            refused.append(x)
            raise NonFiniteError("a wall")
        return evaluate(x)

    _, minimum, evaluate = quadratic(np.ones(6))
    start = evaluate(minimum + np.array([[0.3, -0.1, 0.2], [0.1, 0.4, 0.2]]))
    metric = Sideways(np.eye(6))
    first = next(lbfgs(walled, start, metric=metric))
    assert first.energy < start.energy
    assert len(refused) == 3 * 12
    assert (metric.updates, metric.raised) == (1, 1)


def test_rounding_noise_does_not_stop_the_descent_early():
    """Energies rounded to single precision: forces still lead to the minimum."""
    matrix, minimum, evaluate = quadratic(np.geomspace(1, 1e3, 30))

    def rounded(x):
        point = evaluate(x)
        return Point(x, float(np.float32(point.energy - 1e5)), point.forces)

    start = rounded(minimum + np.random.default_rng(0).normal(size=(10, 3)))
    points = lbfgs(rounded, start, metric=ExactMetric(matrix), max_step=10.0)
    taken = descend(points, 40, lambda p: np.abs(p.forces).max() < 1e-6)
    assert np.abs(taken[-1].forces).max() < 1e-6


def test_on_a_sphere_it_finds_the_smallest_eigenvector():
    """min x.A x on |x| = 1, projected and retracted: the manifold form."""
    rng = np.random.default_rng(0)
    matrix, _, _ = quadratic(np.linspace(1, 50, 12))

    def project(x, v):
        return v - np.vdot(x, v) / np.vdot(x, x) * x

    def evaluate(x):
        x = x / np.linalg.norm(x)
        gradient = (matrix @ x.ravel()).reshape(x.shape)
        return Point(x, 0.5 * float(np.vdot(x, gradient)), -project(x, gradient))

    start = evaluate(rng.normal(size=(4, 3)))
    points = lbfgs(evaluate, start, project=project, max_step=0.3)
    taken = descend(points, 200, lambda p: np.abs(p.forces).max() < 1e-7)
    assert taken[-1].energy == pytest.approx(0.5, abs=1e-9)


def test_a_state_goes_on_where_it_stood():
    """Stepwise, with a copy of the state half way: the same points as in one go."""
    matrix, minimum, evaluate = quadratic(np.geomspace(1, 1e3, 30))
    start = evaluate(minimum + np.random.default_rng(0).normal(size=(10, 3)))
    metric = ExactMetric(np.diag(np.diag(matrix)))
    whole = descend(lbfgs(evaluate, start, metric=metric), 20)
    descent = Descent(evaluate, Cartesian(), metric)
    state = lbfgs_init(descent, start)
    for _ in range(10):
        lbfgs_step(descent, state)
    kept = pickle.loads(pickle.dumps(state))
    lbfgs_step(descent, state)
    for point in whole[10:]:
        lbfgs_step(descent, kept)
        assert np.array_equal(kept.point.positions, point.positions)


class Witness(Cartesian):
    """Coordinates whose chart holds the positions: each method is given the one of its place."""

    def begin(self, positions):
        return (positions,)

    def moved(self, chart, positions, step):
        assert np.array_equal(chart[0], positions)
        return positions + step, (positions + step,)

    def forces(self, chart, point):
        assert np.array_equal(chart[0], point.positions)
        return point.forces

    def solve(self, metric, chart, vectors):
        assert np.array_equal(chart[0], metric.updated_at)
        return metric.solve(vectors)

    def project(self, projection, chart, positions, step):
        assert np.array_equal(chart[0], positions)
        return projection(positions, step)

    def longest(self, chart, positions, step):
        assert np.array_equal(chart[0], positions)
        return super().longest(chart, positions, step)


def test_coordinates_are_given_the_chart_of_each_place():
    """Along a way of refused steps, failed line searches and updates of the metric."""

    class Dated(ExactMetric):
        def update(self, positions):
            super().update(positions)
            if self.updates == 3:
                raise NonFiniteError("the one before stays in use")
            self.updated_at = np.array(positions)

    matrix, minimum, evaluate = quadratic(np.geomspace(1, 1e4, 30))
    start = evaluate(minimum + np.random.default_rng(0).normal(size=(10, 3)))
    rough = np.random.default_rng(1)

    def rounded(x):
        point = evaluate(x)
        return point._replace(energy=point.energy * (1 + 1e-4 * rough.normal()))

    metric = Dated(np.diag(np.diag(matrix)))
    metric.update(start.positions)
    points = lbfgs(
        rounded,
        start,
        metric=metric,
        coordinates=Witness(),
        project=lambda x, v: v,
        refuses=lambda before, after, promised: after.energy < before.energy < 0.1 * start.energy,
        refresh=(2, 4),
    )
    with pytest.raises(LineSearchError):
        descend(points, 300)
    assert metric.updates > 5
    assert metric.raised


def test_small_molecules_turn_as_a_whole():
    """A couple turns three atoms and stretches nothing; a larger molecule goes along chords."""
    x = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [-0.03, 0.09, 0.0]])
    x = np.concatenate([x, np.random.default_rng(0).normal(size=(7, 3)) + 1.0])
    r = x[:3] - x[:3].mean(axis=0)
    forces = np.zeros_like(x)
    forces[:3] = 10 * np.cross([0.3, 0.5, 1.0], r)
    forces[3:] = np.cross([0.3, 0.5, 1.0], x[3:] - x[3:].mean(axis=0))
    molecules = np.array([0] * 3 + [1] * 7)

    def evaluate(positions):
        return Point(positions, -float(np.vdot(forces, positions)), forces)

    def distances(y):
        return np.linalg.norm(y[:, None] - y[None], axis=2)

    def first(turning):
        points = lbfgs(
            evaluate,
            evaluate(x),
            metric=ExactMetric(20 * np.eye(30)),
            coordinates=Cartesian(molecules),
            turning=turning,
            max_step=0.5,
        )
        return next(points).positions

    turned, straight = first(np.full(10, True)), first(None)
    assert np.abs(turned - x)[:3].max() > 0.01
    assert np.allclose(distances(turned[:3]), distances(x[:3]), rtol=1e-12)
    assert np.abs(distances(straight[:3]) - distances(x[:3])).max() > 1e-4
    assert np.array_equal(turned[3:], straight[3:])
    # One atom that does not move holds the molecule.
    held = np.full(10, True)
    held[1] = False
    assert np.array_equal(first(held), straight)


@pytest.mark.parametrize("bend", [1e-3, 1e-5])
def test_a_molecule_nearly_in_a_line_goes_where_one_in_a_line_goes(bend):
    """What pulls atoms off their line does not spin them about it."""
    straight = np.array([[0.0, 0.0, 0.0], [0.116, 0.0, 0.0], [-0.116, 0.0, 0.0]])
    forces = np.array([[0.0, 0.0, 1.0], [0.0, 2.0, -0.5], [0.0, -2.0, -0.5]])

    def first(x):
        points = lbfgs(
            lambda y: Point(y, -float(np.vdot(forces, y)), forces),
            Point(x, -float(np.vdot(forces, x)), forces),
            metric=ExactMetric(100 * np.eye(9)),
            coordinates=Cartesian(np.zeros(3, dtype=int)),
            turning=np.full(3, True),
        )
        return next(points).positions

    bent = straight.copy()
    bent[0, 1] = bend
    assert np.abs(first(straight) - straight).max() > 0.015
    assert np.abs(first(bent) - first(straight)).max() < 2 * bend


class TrimerMetric:
    """Springs of three atoms where the metric was updated, and a little of everything."""

    complete = True

    def __init__(self, pairs):
        self.pairs = pairs

    def update(self, positions):
        size = positions.size
        matrix = 10.0 * np.eye(size)
        for i, j in self.pairs:
            row = np.zeros(positions.shape)
            row[i] = (positions[i] - positions[j]) / np.linalg.norm(positions[i] - positions[j])
            row[j] = -row[i]
            matrix += 1e5 * np.outer(row, row)
        self.inverse = np.linalg.inv(matrix)

    def solve(self, vectors):
        return (self.inverse @ vectors.ravel()).reshape(vectors.shape)


def stiff_trimer(x0, pulls):
    """Three stiff bonds in a field that turns them: minimum with the same bonds."""
    pairs = [(0, 1), (0, 2), (1, 2)]
    lengths = [np.linalg.norm(x0[i] - x0[j]) for i, j in pairs]

    def evaluate(x):
        energy, forces = -float(np.vdot(pulls, x)) + 5 * float((x**2).sum()), pulls - 10 * x
        for (i, j), length in zip(pairs, lengths, strict=True):
            d = x[i] - x[j]
            r = np.linalg.norm(d)
            energy += 0.5e5 * (r - length) ** 2
            forces[i] -= 1e5 * (r - length) * d / r
            forces[j] += 1e5 * (r - length) * d / r
        return Point(x, energy, forces)

    return TrimerMetric(pairs), evaluate


def test_a_stiff_molecule_that_turns_keeps_its_metric():
    """Along straight lines bonds are stretched at each step, and P becomes wrong on the way."""
    x0 = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [-0.03, 0.09, 0.0]])
    metric, evaluate = stiff_trimer(x0, np.array([[1.0, 0, 0], [-1.0, 0.5, 0.5], [0, 0, 1.0]]))

    def steps(turning):
        metric.update(x0)
        points = lbfgs(
            evaluate,
            evaluate(x0),
            metric=metric,
            coordinates=Cartesian(np.zeros(3, dtype=int)),
            turning=turning,
            refresh=(999, 999),
        )
        return len(descend(points, 200, lambda p: np.abs(p.forces).max() < 1e-3))

    assert steps(np.full(3, True)) < 0.5 * steps(None)


def test_a_state_with_frames_goes_on_where_it_stood():
    x0 = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [-0.03, 0.09, 0.0]])
    metric, evaluate = stiff_trimer(x0, np.array([[1.0, 0, 0], [-1.0, 0.5, 0.5], [0, 0, 1.0]]))
    metric.update(x0)
    coordinates = Cartesian(np.zeros(3, dtype=int))
    descent = Descent(evaluate, coordinates, metric, turning=np.full(3, True))
    state = lbfgs_init(descent, evaluate(x0))
    for _ in range(5):
        lbfgs_step(descent, state)
    kept = pickle.loads(pickle.dumps(state))
    for _ in range(5):
        point = lbfgs_step(descent, state)
        lbfgs_step(descent, kept)
        assert np.array_equal(kept.point.positions, point.positions)
