"""Steps along internal coordinates: exact work, curves, fixed atoms, boxes, constraints."""

import itertools

import numpy as np
import openmm as mm
import pytest

from openmm_reparam.geometry.redundant_internals import RedundantInternals
from openmm_reparam.optimizers.internal_steps import InternalSteps
from openmm_reparam.optimizers.lbfgs import lbfgs
from openmm_reparam.potentials.evaluator import Evaluator
from openmm_reparam.potentials.point import Point, rms
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.precon.internal_model import internal_model, internal_stiffness
from openmm_reparam.precon.model_hessian import ModelConstants, internal_terms
from openmm_reparam.prepare.peptides import peptide

# nm; propyne, HCN, methanol.
PROPYNE = (
    [6, 6, 6, 1, 1, 1, 1],
    [[0, 0, 0], [0.146, 0, 0], [0.266, 0, 0], [0.372, 0, 0], [-0.04, 0.103, 0],
     [-0.04, -0.051, 0.089], [-0.04, -0.051, -0.089]],
)  # fmt: skip
HCN = ([1, 6, 7], [[-0.107, 0, 0], [0, 0, 0], [0.115, 0, 0]])
METHANOL = (
    [6, 8, 1, 1, 1, 1],
    [[0, 0, 0], [0.143, 0, 0], [-0.035, 0.103, 0], [-0.035, -0.051, 0.089],
     [-0.035, -0.051, -0.089], [0.174, -0.045, 0.078]],
)  # fmt: skip
MOLECULES = {"propyne": PROPYNE, "HCN": HCN, "methanol": METHANOL}


class Case:
    """A molecule, its internal coordinates and steps along them."""

    def __init__(self, numbers, positions, moves=None, box=None, bonds=None):
        self.x = np.array(positions, dtype=float)
        numbers = np.array(numbers)
        self.moves = np.full(len(self.x), True) if moves is None else np.array(moves)
        terms = internal_terms(numbers, self.x, bonds, box)
        self.internals = RedundantInternals(terms, self.x, box)
        found = internal_stiffness(terms, ModelConstants(numbers), self.x, box)
        self.stiffness = self.internals.of_terms(found)
        self.size = self.internals.count + 3 * int(self.moves.sum())

    def coordinates(self, **settings):
        return InternalSteps(self.internals, self.stiffness, self.moves, **settings)

    def random(self, size, seed=0):
        """Return a step whose parts move atoms by so many nm."""
        moves = size * np.random.default_rng(seed).normal(size=self.x.shape)
        moves[~self.moves] = 0.0
        jacobian = self.internals(self.x)[1]
        return np.concatenate([jacobian @ moves.ravel(), moves[self.moves].ravel()])

    def displaced(self, size, seed=0):
        noise = np.random.default_rng(seed).normal(size=self.x.shape)
        return self.x + size * noise * self.moves[:, None]


class Springs:
    """Springs between all atoms of the given distances."""

    def __init__(self, positions, moves, stiffness=2e5):
        self.pairs = np.array(list(itertools.combinations(range(len(positions)), 2)))
        self.moves, self.lengths = moves, self._distances(positions)[0]
        self.stiffness = stiffness * (0.1 / self.lengths) ** 4

    def _distances(self, positions):
        i, j = self.pairs.T
        vectors = positions[i] - positions[j]
        lengths = np.linalg.norm(vectors, axis=1)
        return lengths, vectors / lengths[:, None]

    def __call__(self, positions):
        lengths, units = self._distances(positions)
        stretch = lengths - self.lengths
        pulls = (self.stiffness * stretch)[:, None] * units
        forces = np.zeros_like(positions)
        np.add.at(forces, self.pairs[:, 0], -pulls)
        np.add.at(forces, self.pairs[:, 1], pulls)
        forces[~self.moves] = 0.0
        return Point(positions, 0.5 * float(self.stiffness @ stretch**2), forces)


def descended(evaluate, start, coordinates, tolerance, most=60, **settings):
    """Return the points of a descent to an RMS force."""
    points = [evaluate(start)]
    steps = lbfgs(
        evaluate, points[0], metric=coordinates.metric(), coordinates=coordinates, **settings
    )
    count = np.any(points[0].forces, axis=1).sum()
    for point in itertools.islice(steps, most):
        points.append(point)
        if rms(point.forces, count) < tolerance:
            return points
    raise AssertionError(f"RMS force {rms(points[-1].forces, count)} after {most} steps")


@pytest.fixture(params=MOLECULES)
def case(request):
    return Case(*MOLECULES[request.param])


def test_the_work_of_forces_along_any_step_is_exact(case):
    coordinates, x, rng = case.coordinates(), case.displaced(0.005), np.random.default_rng(1)
    forces = rng.normal(size=x.shape)
    along = coordinates.forces((), Point(x, 0.0, forces))
    for _ in range(5):
        step = rng.normal(size=case.size)
        # To first order: a step so small that its curve is none.
        scale = 1e-9 / coordinates.longest((), x, step)
        moves = (coordinates.moved((), x, scale * step)[0] - x) / scale
        work, size = np.vdot(forces, moves), np.linalg.norm(forces) * np.linalg.norm(moves)
        assert abs(np.vdot(along, step) - work) < 1e-5 * size
        projected = coordinates.project(lambda _, moves: moves, (), x, step)
        moves = projected[-x.size :].reshape(x.shape)
        assert np.vdot(along, step) == pytest.approx(np.vdot(forces, moves), rel=1e-9, abs=1e-9)


def test_the_first_direction_is_that_of_the_preconditioner(case):
    coordinates, x, shift = case.coordinates(shift=300.0), case.displaced(0.005), 300.0
    forces = np.random.default_rng(1).normal(size=x.shape)
    jacobian = case.internals(x)[1].toarray()
    matrix = jacobian.T @ (case.stiffness[:, None] * jacobian) + shift * np.eye(x.size)
    expected = np.linalg.solve(matrix, forces.ravel())
    along = coordinates.forces((), Point(x, 0.0, forces))
    direction = coordinates.solve(coordinates.metric(), (), along)
    assert direction[-x.size :] == pytest.approx(expected, rel=1e-8)
    assert direction[: -x.size] == pytest.approx(jacobian @ expected, rel=1e-8, abs=1e-12)
    assert np.vdot(along, direction) == pytest.approx(np.vdot(forces.ravel(), expected))


def test_a_step_ends_where_the_coordinates_have_changed_as_asked(case):
    coordinates, step = case.coordinates(), case.random(0.01)
    before, jacobian = case.internals(case.x)
    asked = jacobian @ step[-case.x.size :]

    def error(positions):
        left = case.internals.differences(case.internals(positions)[0], before) - asked
        return np.sqrt(case.stiffness @ left**2)

    found = coordinates.moved((), case.x, step)[0]
    straight = case.x + step[-case.x.size :].reshape(-1, 3)
    assert error(found) < 0.3 * error(straight)


def test_a_torsion_turns_about_its_bond():
    """Displacements alone would stretch the bonds; 40 degrees is far."""
    case = Case(*METHANOL)
    way = np.zeros_like(case.x)
    way[5] = 0.7 * np.cross([1.0, 0, 0], case.x[5])
    straight = case.x + way
    step = np.concatenate([case.internals(case.x)[1] @ way.ravel(), way.ravel()])
    turned = case.coordinates().moved((), case.x, step)[0]
    before, after, torn = (np.linalg.norm(x[5] - x[1]) for x in (case.x, turned, straight))
    assert abs(torn - before) > 0.01
    assert abs(after - before) < 0.002


def test_a_step_whose_curve_is_not_found_is_straight():
    case = Case(*METHANOL)
    step = case.random(1.0)
    moves = step[-case.x.size :].reshape(-1, 3)
    found = case.coordinates().moved((), case.x, step)[0]
    assert np.isfinite(found).all()
    assert found == pytest.approx(case.x + moves)


def test_a_pair_holds_what_has_changed():
    case = Case(*METHANOL)
    coordinates, after = case.coordinates(), case.displaced(0.01)
    points = [Point(x, 0.0, np.zeros_like(x)) for x in (case.x, after)]
    taken = coordinates.step_taken(*points, case.random(1.0))
    assert taken[-case.x.size :] == pytest.approx((after - case.x).ravel())
    dihedrals = taken[: case.internals.count][case.internals.dihedral]
    assert np.abs(dihedrals).max() < 0.6  # one of them crosses 180 degrees


def test_the_order_of_calls_changes_nothing(case):
    places = [case.x, case.displaced(0.01), case.displaced(0.02, seed=1)]
    step, forces = case.random(0.01), np.random.default_rng(3).normal(size=case.x.shape)
    calls = []
    for x in places:
        calls += [
            lambda c, x=x: c.moved((), x, step)[0],
            lambda c, x=x: c.forces((), Point(x, 0.0, forces)),
            lambda c, x=x: c.longest((), x, step),
            lambda c, x=x: c.longest_within((), x, step),
            lambda c, x=x: c.project(lambda _, v: v / 2, (), x, step),
        ]
    alone = [call(case.coordinates()) for call in calls]
    coordinates = case.coordinates()
    for k in np.random.default_rng(0).integers(0, len(calls), 100):
        assert np.array_equal(calls[k](coordinates), alone[k])


def test_fixed_atoms_stay_bit_by_bit():
    moves = [False, True, True, False, True, True]
    case = Case(*METHANOL, moves=moves)
    coordinates, evaluate = case.coordinates(), Springs(case.x, case.moves)
    start = case.displaced(0.02)
    assert len(coordinates.forces((), evaluate(start))) == case.size
    for point in descended(evaluate, start, coordinates, 0.1):
        assert np.array_equal(point.positions[~case.moves], case.x[~case.moves])
    assert not np.allclose(point.positions, start)


def test_a_molecule_across_the_boundary_moves_as_a_whole_one():
    box = np.diag([1.0, 1.1, 1.2])
    cells = np.array([[0, 0, 0], [1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 1]])
    whole, split = Case(*METHANOL), Case(METHANOL[0], METHANOL[1] + cells @ box, box=box)
    step, way = whole.random(0.02), cells @ box
    moved = whole.coordinates().moved((), whole.x, step)[0]
    assert split.coordinates().moved((), split.x, step)[0] - way == pytest.approx(moved, abs=1e-9)
    longest = [c.coordinates().longest((), c.x, step) for c in (whole, split)]
    assert longest[0] == pytest.approx(longest[1])


def test_two_molecules_move_apart():
    numbers = METHANOL[0] + HCN[0]
    case = Case(numbers, np.array(METHANOL[1] + (np.array(HCN[1]) + [0.1, 0.35, 0]).tolist()))
    end = case.x + np.where(np.arange(9) < 6, 0.0, 0.1)[:, None]
    labels = np.where(np.arange(9) < 6, 0, 1)
    coordinates = case.coordinates(shift=1e3, molecules=labels)
    points = descended(Springs(end, case.moves), case.displaced(0.01), coordinates, 1.0)
    assert points[-1].energy < 1e-2
    apart = np.concatenate(
        [case.internals(case.x)[1] @ (end - case.x).ravel(), (end - case.x).ravel()]
    )
    assert coordinates.longest((), case.x, apart) == pytest.approx(0.1 * np.sqrt(3))
    assert coordinates.longest_within((), case.x, apart) < 1e-9


def test_a_molecule_that_turns_beside_another_keeps_its_bonds():
    """Pairs between them are too soft to say where a step ends, and must not hold it up."""
    case = Case(METHANOL[0] + HCN[0], [*METHANOL[1], *(np.array(HCN[1]) + [0.1, 0.3, 0])])
    way = np.zeros_like(case.x)
    way[:6] = 0.4 * np.cross([0.0, 0.6, 0.8], case.x[:6] - case.x[:6].mean(axis=0))
    step = np.concatenate([case.internals(case.x)[1] @ way.ravel(), way.ravel()])
    turned = case.coordinates(shift=1e3).moved((), case.x, step)[0]
    bonds = [[0, 1], [0, 2], [0, 3], [0, 4], [1, 5]]
    lengths = [
        np.linalg.norm(np.diff(x[bonds], axis=1), axis=-1) for x in (case.x, case.x + way, turned)
    ]
    assert np.abs(lengths[1] - lengths[0]).max() > 5e-3
    assert np.abs(lengths[2] - lengths[0]).max() < 5e-4


def test_a_straight_molecule_comes_back_from_a_bend(case):
    points = descended(Springs(case.x, case.moves), case.displaced(0.015), case.coordinates(), 0.1)
    assert points[-1].energy < 1e-4


def test_a_quadratic_energy_of_the_known_stiffness_takes_two_steps():
    """Near its minimum B hardly changes: the first direction is Newton's."""
    case = Case(*PROPYNE)
    jacobian, shift = case.internals(case.x)[1].toarray(), 100.0
    hessian = jacobian.T @ (case.stiffness[:, None] * jacobian) + shift * np.eye(case.x.size)

    def evaluate(positions):
        forces = -(hessian @ (positions - case.x).ravel())
        energy = -0.5 * float(forces @ (positions - case.x).ravel())
        return Point(positions, energy, forces.reshape(-1, 3))

    points = descended(evaluate, case.displaced(1e-4), case.coordinates(shift=shift), 1.0)
    first = rms(points[0].forces, len(case.x))
    assert len(points) <= 3
    assert rms(points[1].forces, len(case.x)) < 0.02 * first
    last = descended(evaluate, case.displaced(1e-4), case.coordinates(shift=shift), 1e-5)[-1]
    assert last.positions == pytest.approx(case.x, abs=1e-8)


def test_a_raised_shift_shortens_steps_until_the_next_update():
    case = Case(*METHANOL)
    coordinates = case.coordinates()
    metric, vector = (
        coordinates.metric(),
        coordinates.forces((), Springs(case.displaced(0.01), case.moves)(case.x)),
    )
    plain = coordinates.solve(metric, (), vector)
    metric.raise_shift()
    raised = coordinates.solve(metric, (), vector)
    assert raised[-case.x.size :] == pytest.approx(plain[-case.x.size :] / 10)
    assert np.vdot(raised, vector) > 0
    metric.update(case.x)
    assert np.array_equal(coordinates.solve(metric, (), vector), plain)


def test_constraints_hold_and_a_force_field_is_minimized():
    """A peptide with constrained bonds to hydrogen."""
    simulation = peptide("AG", constraints="HBonds").simulation("Reference")
    potential = Potential(simulation.context, simulation.topology)
    evaluator, start = Evaluator(potential), potential.positions()
    assert evaluator.project is not None
    model = internal_model(potential, start)
    coordinates = InternalSteps(model.internals, model.stiffness, potential.moves)
    points = descended(
        evaluator.evaluate, start, coordinates, 5.0, most=150, project=evaluator.project,
        noise=evaluator.noise,
    )  # fmt: skip
    for point in points[1:]:
        assert evaluator.constraint_error(point.positions) < 1e-5
    assert points[-1].energy < points[0].energy - 10


def test_unknown_elements_have_no_model():
    system = mm.System()
    for mass in (0.0, 3.3, 3.3):
        system.addParticle(mass)
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(np.eye(3))
    assert internal_model(Potential(context), np.eye(3)) is None


def test_several_molecules_are_held_by_a_larger_shift():
    simulation = peptide("AG").simulation("Reference")
    potential = Potential(simulation.context, simulation.topology)
    model = internal_model(potential, potential.positions())
    assert len(model.stiffness) == model.internals.count
    assert not model.molecules.any()
    argon = mm.System()
    for _ in range(2):
        argon.addParticle(39.948)
    context = mm.Context(
        argon, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    positions = np.array([[0, 0, 0], [0.34, 0, 0]])
    context.setPositions(positions)
    pair = internal_model(Potential(context), positions)
    assert pair.molecules.tolist() == [0, 1]
    assert pair.internals(positions)[0] == pytest.approx([0.34])
    assert pair.shift > model.shift


@pytest.mark.parametrize(("smiles", "most"), [("c1ccccc1", 8), ("CC(=O)Oc1ccccc1C(=O)O", 24)])
def test_gfn2_takes_fewer_evaluations_than_displacements(smiles, most):
    """From a minimum of MMFF to RMS 1; 38 for aspirin along displacements in a like metric."""
    pytest.importorskip("tblite.interface")
    oracles = pytest.importorskip("openmm_reparam.surrogates.oracles")
    chem = pytest.importorskip("rdkit.Chem")
    all_chem = pytest.importorskip("rdkit.Chem.AllChem")
    molecule = chem.AddHs(chem.MolFromSmiles(smiles))
    all_chem.EmbedMolecule(molecule, randomSeed=7)
    all_chem.MMFFOptimizeMolecule(molecule, maxIters=5000)
    simulation = oracles.molecule_simulation(molecule, "gfn2")
    potential = Potential(simulation.context, simulation.topology)
    evaluator, start = Evaluator(potential), potential.positions()
    model = internal_model(potential, start)
    coordinates = InternalSteps(model.internals, model.stiffness, potential.moves)
    points = descended(evaluator.evaluate, start, coordinates, 1.0, noise=evaluator.noise)
    assert potential.counter.total <= most
    assert points[-1].energy < points[0].energy
