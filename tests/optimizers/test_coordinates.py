"""Coordinates of descents: what each method returns depends on its arguments alone, and is true."""

import itertools

import numpy as np
import pytest

from openmm_reparam import Potential
from openmm_reparam.optimizers.coordinates import Cartesian
from openmm_reparam.optimizers.translations import Translations
from openmm_reparam.potentials.bond_graph import bond_graph
from openmm_reparam.potentials.point import Point
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search.torsion_coordinates import TorsionCoordinates
from openmm_reparam.search.torsion_kinematics import TorsionKinematics
from openmm_reparam.search.torsions import TorsionTopology


class Diagonal:
    """A metric that solves by division."""

    complete = True

    def update(self, positions):
        raise AssertionError("coordinates update no metric")

    def raise_shift(self):
        raise AssertionError("coordinates raise no shift")

    def solve(self, vectors):
        return vectors / np.linspace(1, 2, vectors.size).reshape(vectors.shape)


class Case:
    """Coordinates, and a place two steps from where they began."""

    def __init__(self, make, start, shape):
        self.make, self.shape, self.rng = make, shape, np.random.default_rng(0)
        self.anchor = start + self.rng.normal(size=start.shape)
        self.positions, self.chart = start, make().begin(start)
        for _ in range(2):
            self.positions, self.chart = self.moved(make(), self.step(0.3))
        self.earlier = make().begin(start)
        self.point = self.evaluate(self.positions)
        for array in (self.positions, self.point.forces, *self.chart, *self.earlier):
            array.flags.writeable = False

    def step(self, size):
        step = size * self.rng.standard_normal(self.shape)
        step.flags.writeable = False
        return step

    def moved(self, coordinates, step):
        return coordinates.moved(self.chart, self.positions, step)

    def evaluate(self, positions):
        """Return the Point of springs to anchors, of another stiffness for each coordinate."""
        stiffness = np.linspace(1, 3, positions.size).reshape(positions.shape)
        stretch = positions - self.anchor
        return Point(positions, 0.5 * float(np.vdot(stiffness, stretch**2)), -stiffness * stretch)


def _chain():
    built = peptide("AFS", "random-coil", seed=1)
    potential = Potential(built.simulation("Reference").context, built.topology)
    return TorsionTopology(potential, bond_graph(potential)), potential.positions()


@pytest.fixture(params=["Cartesian", "Translations", "TorsionCoordinates"])
def case(request):
    rng, molecules = np.random.default_rng(1), np.array([0, 0, 1, 1, 1, 2])
    if request.param == "Cartesian":
        return Case(lambda: Cartesian(molecules), rng.normal(size=(6, 3)), (6, 3))
    if request.param == "Translations":
        moves = np.ones(6, dtype=bool)
        return Case(lambda: Translations(molecules, moves), rng.normal(size=(6, 3)), (3, 3))
    topology, start = _chain()
    size = len(topology.axes) + start.size
    return Case(lambda: TorsionCoordinates(TorsionKinematics(topology)), start, (size,))


def _half(positions, vectors):
    return vectors * (np.arange(len(vectors)) % 2)[:, None]


def _calls(case):
    """Return the methods' calls at two places, with steps of their own."""
    long, short, x = case.step(0.5), case.step(0.01), case.positions
    following = case.evaluate(case.moved(case.make(), short)[0])
    calls = [
        lambda c: c.begin(x),
        lambda c: c.step_taken(case.point, following, short),
    ]
    for chart in (case.chart, case.earlier):
        calls += [
            lambda c, chart=chart: c.moved(chart, x, long),
            lambda c, chart=chart: c.moved(chart, x, short),
            lambda c, chart=chart: c.forces(chart, case.point),
            lambda c, chart=chart: c.solve(Diagonal(), chart, long),
            lambda c, chart=chart: c.project(_half, chart, x, long),
            lambda c, chart=chart: c.longest(chart, x, long),
            lambda c, chart=chart: c.longest_within(chart, x, short),
        ]
    return calls


def _flat(result):
    """Return the arrays of a result."""
    if isinstance(result, tuple):
        return [array for part in result for array in _flat(part)]
    return [np.array(result)]


def test_the_order_of_calls_changes_nothing(case):
    """Each call as on an object that has never been called before."""
    calls = _calls(case)
    alone = [_flat(call(case.make())) for call in calls]
    coordinates = case.make()
    for seed in range(5):
        for k in np.random.default_rng(seed).integers(0, len(calls), 3 * len(calls)):
            for once, again in zip(alone[k], _flat(calls[k](coordinates)), strict=True):
                assert np.array_equal(once, again)


def test_forces_are_the_slopes_of_the_energy_along_steps(case):
    coordinates = case.make()
    forces = coordinates.forces(case.chart, case.point)
    assert forces.shape == case.shape
    for _ in range(10):
        step = case.step(1e-5)
        ahead, behind = (
            case.evaluate(case.moved(coordinates, sign * step)[0]).energy for sign in (1, -1)
        )
        assert (behind - ahead) / 2 == pytest.approx(np.vdot(forces, step), rel=1e-5, abs=1e-9)


def test_the_longest_way_is_that_of_the_atom_that_moves_most(case):
    coordinates, step = case.make(), case.step(1e-6)
    moves = case.moved(coordinates, step)[0] - case.positions
    longest = coordinates.longest(case.chart, case.positions, step)
    assert longest == pytest.approx(np.linalg.norm(moves, axis=1).max(), rel=1e-4)
    assert coordinates.longest_within(case.chart, case.positions, step) <= 2 * longest


def test_a_step_and_its_way_back_lead_to_the_start(case):
    """Of first order, for what moves along curves."""
    coordinates, step = case.make(), case.step(1e-5)
    positions, chart = case.moved(coordinates, step)
    back, _ = coordinates.moved(chart, positions, -step)
    way = np.abs(positions - case.positions).max()
    assert np.abs(back - case.positions).max() < 1e-3 * way


def test_a_symmetric_metric_stays_symmetric_and_a_projection_one(case):
    coordinates, (a, b) = case.make(), (case.step(1.0), case.step(1.0))
    left = np.vdot(a, coordinates.solve(Diagonal(), case.chart, b))
    assert left == pytest.approx(np.vdot(b, coordinates.solve(Diagonal(), case.chart, a)))
    once = coordinates.project(_half, case.chart, case.positions, a)
    assert coordinates.project(_half, case.chart, case.positions, once) == pytest.approx(once)


def test_displacements_keep_what_a_retraction_has_made_of_them():
    before, after = np.zeros((2, 3)), np.full((2, 3), 0.1)
    points = [Point(x, 0.0, x) for x in (before, after)]
    step = Cartesian().step_taken(*points, np.full((2, 3), 0.2))
    assert np.array_equal(step, after)


def test_relative_to_its_molecule_an_atom_moves_less():
    step = np.array([[1.0, 0, 0], [3.0, 0, 0], [0, 5.0, 0]])
    coordinates = Cartesian(np.array([0, 0, 1]))
    assert coordinates.longest_within((), step, step) == pytest.approx(1.0)
    assert coordinates.longest((), step, step) == pytest.approx(5.0)


def test_molecules_with_a_fixed_atom_stay_and_the_others_feel_the_sum():
    molecules, moves = np.array([0, 0, 1, 1]), np.array([True, True, True, False])
    coordinates = Translations(molecules, moves)
    forces = np.arange(12.0).reshape(4, 3)
    summed = coordinates.forces((), Point(forces, 0.0, forces))
    assert np.array_equal(summed, [[3.0, 5.0, 7.0], [0.0, 0.0, 0.0]])
    assert np.array_equal(coordinates.means(forces), summed / 2)
    moved, _ = coordinates.moved((), forces, summed)
    for first, second in itertools.pairwise(range(2)):
        assert np.array_equal(moved[second] - moved[first], forces[second] - forces[first])
