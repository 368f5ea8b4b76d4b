"""Torsion coordinates against finite differences and dense algebra, and quenches in them."""

import copy

import numpy as np
import openmm as mm
import pytest
from openmm import app

from openmm_reparam import Potential
from openmm_reparam.compiled import MIN_TORSION_STIFFNESS, TORSION_RIDGE
from openmm_reparam.optimizers.lbfgs import Descent, lbfgs_init, lbfgs_step
from openmm_reparam.potentials.bond_graph import bond_graph
from openmm_reparam.potentials.constraints import constraint_manifold
from openmm_reparam.potentials.evaluator import Evaluator
from openmm_reparam.potentials.point import Point, rms
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import SearchContext, SearchSettings
from openmm_reparam.search.quench import Quench
from openmm_reparam.search.torsion_coordinates import TorsionCoordinates
from openmm_reparam.search.torsion_kinematics import TorsionKinematics, TorsionRotation
from openmm_reparam.search.torsion_metric import TorsionMetric
from openmm_reparam.search.torsions import TorsionTopology


class Molecule:
    """A peptide, what evaluates it, and its torsions."""

    def __init__(self, sequence="AFYS", platform="Reference", **settings):
        built = peptide(sequence, "random-coil", seed=1, **settings)
        self.potential = Potential(built.simulation(platform).context, built.topology)
        self.graph = bond_graph(self.potential)
        self.topology = TorsionTopology(self.potential, self.graph)
        self.kinematics = TorsionKinematics(self.topology)
        self.start = self.potential.positions()
        self.manifold = constraint_manifold(self.potential)

    def evaluate(self, positions):
        if self.manifold is None:
            energy, forces = self.potential.evaluate(positions)
            return Point(positions, energy, forces)
        positions = self.manifold.retract(positions)
        energy, forces = self.potential.evaluate(positions)
        return Point(positions, energy, self.manifold.project(positions, forces))

    def quench(self, **settings):
        """Return a quench of up to 400 steps."""
        evaluator, rng = Evaluator(self.potential), np.random.default_rng(0)
        context = SearchContext.of(evaluator, SearchSettings(quench_evaluations=400), rng)
        return Quench(context, **settings)

    def coordinates(self):
        """Return the coordinates, and their chart at the start."""
        coordinates = TorsionCoordinates(self.kinematics)
        return coordinates, coordinates.begin(self.start)

    def metric(self):
        metric = TorsionMetric(self.kinematics, Preconditioner(self.potential, shift=1e4))
        metric.update(self.start)
        return metric

    def step(self, rng, angle, displacement):
        """Draw a step whose angles and displacements are of these sizes."""
        angles = angle * rng.standard_normal(len(self.topology.axes))
        return np.concatenate([angles, displacement * rng.standard_normal(self.start.size)])

    def displaced(self, rng):
        angles = rng.uniform(-np.pi, np.pi, len(self.topology.axes))
        return self.kinematics.rotated(self.start, TorsionRotation(np.arange(len(angles)), angles))

    def rms(self, point):
        return rms(point.forces, len(point.forces))


@pytest.fixture(scope="module")
def molecule():
    return Molecule()


def test_forces_are_the_slopes_of_the_energy_along_the_steps(molecule):
    rng, (coordinates, chart) = np.random.default_rng(0), molecule.coordinates()
    # Two steps away from where the frames began: they have turned.
    x = molecule.start
    for _ in range(2):
        x, chart = coordinates.moved(chart, x, molecule.step(rng, 0.3, 1e-3))
    forces = coordinates.forces(chart, molecule.evaluate(x))
    for _ in range(10):
        step = molecule.step(rng, 1e-5, 1e-7)
        ahead, behind = (
            molecule.evaluate(coordinates.moved(chart, x, sign * step)[0]).energy
            for sign in (1, -1)
        )
        assert (behind - ahead) / 2 == pytest.approx(forces @ step, rel=1e-5, abs=1e-8)


def test_turned_bonds_and_angles_stay_and_displacements_turn_with_them(molecule):
    rng, x = np.random.default_rng(1), molecule.start
    coordinates, chart = molecule.coordinates()
    turn, shake = molecule.step(rng, 1.0, 0.0), molecule.step(rng, 0.0, 1e-3)
    turned, along = coordinates.moved(chart, x, turn)
    ends = [(i, k) for j in molecule.graph for i in molecule.graph[j] for k in molecule.graph[j]]
    pairs = np.array([*molecule.graph.edges, *[(i, k) for i, k in ends if i < k]])

    def lengths(x):
        return np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1)

    assert np.abs(turned - x).max() > 0.3
    assert lengths(turned) == pytest.approx(lengths(x), abs=1e-9)
    assert turned == pytest.approx(
        molecule.kinematics.rotated(x, TorsionRotation(*_all(turn, molecule)))
    )
    # Displacements turn as the bonds around an atom do: within what turns as one they change
    # lengths as before, and along an axis, from whose end the next part begins.
    frames = molecule.kinematics.rotated_frames(x, turn[: len(molecule.topology.axes)])[1]
    bonds = np.array(molecule.graph.edges)
    i, j = bonds.T
    one = np.abs(frames[i] - frames[j]).max(axis=(1, 2)) < 1e-9
    assert one.sum() == len(bonds) - len(molecule.topology.axes)
    before, _ = coordinates.moved(chart, x, shake)
    after, _ = coordinates.moved(along, turned, shake)
    assert np.linalg.norm(after[i] - after[j], axis=1)[one] == pytest.approx(
        np.linalg.norm(before[i] - before[j], axis=1)[one], abs=1e-9
    )
    moved = np.einsum("nij,nj->ni", frames, before - x)
    assert after - turned == pytest.approx(moved, abs=1e-9)


def _all(step, molecule):
    count = len(molecule.topology.axes)
    return np.arange(count), step[:count]


def test_the_longest_way_is_that_of_the_atom_that_moves_most(molecule):
    rng, x = np.random.default_rng(2), molecule.start
    coordinates, chart = molecule.coordinates()
    for angle, displacement in ((1e-6, 0.0), (0.0, 1e-7), (1e-6, 1e-7)):
        step = molecule.step(rng, angle, displacement)
        moved = np.linalg.norm(coordinates.moved(chart, x, step)[0] - x, axis=1).max()
        assert coordinates.longest(chart, x, step) == pytest.approx(moved, rel=1e-4)


def test_the_metric_is_the_stiffness_that_either_kind_of_step_meets(molecule):
    rng, x, metric = np.random.default_rng(3), molecule.start, molecule.metric()
    coordinates, chart = molecule.coordinates()
    preconditioner = Preconditioner(molecule.potential, shift=1e4)
    preconditioner.update(x)
    count = len(molecule.topology.axes)
    columns = []
    for torsion in range(count):  # motions by finite differences
        turn = np.zeros(count + x.size)
        turn[torsion] = 1e-6
        ahead, behind = (coordinates.moved(chart, x, sign * turn)[0] for sign in (1, -1))
        columns.append((ahead - behind).ravel() / 2e-6)
    motions = np.array(columns).T
    stiffness = motions.T @ (preconditioner.stiffness() @ motions)
    of_angles = stiffness + MIN_TORSION_STIFFNESS * motions.T @ motions
    of_angles += TORSION_RIDGE * np.diag(stiffness).max() * np.eye(count)
    vector = molecule.step(rng, 1.0, 1.0)
    solved = metric.solve(vector)
    assert of_angles @ solved[:count] == pytest.approx(vector[:count], rel=1e-5, abs=1e-5)
    assert preconditioner.matrix() @ solved[count:] == pytest.approx(vector[count:], abs=1e-6)
    # Until its next update it is the same one, in frames that turn along.
    assert coordinates.solve(metric, chart, vector) == pytest.approx(solved)
    # Updated after a turn, it is that of space seen from frames that have turned.
    turned, (frames,) = coordinates.moved(chart, x, molecule.step(rng, 1.0, 0.0))
    metric.update(turned)
    preconditioner.update(turned)
    seen = np.einsum("nij,nj->ni", frames, vector[count:].reshape(-1, 3))
    expected = np.einsum("nji,nj->ni", frames, preconditioner.solve(seen))
    solved = coordinates.solve(metric, (frames,), vector)
    assert solved[count:] == pytest.approx(expected.ravel())
    metric.raise_shift()
    assert 0 < vector @ coordinates.solve(metric, (frames,), vector) < vector @ solved


def test_quenches_end_at_rest_in_fewer_evaluations_than_along_straight_lines(platform):
    molecule = Molecule(platform=platform)
    rng, counter = np.random.default_rng(4), molecule.potential.counter
    curved, straight = molecule.quench(), molecule.quench(curvilinear=False)
    spent = {"curved": [], "straight": []}
    for _ in range(8):
        start = molecule.evaluate(molecule.displaced(rng))
        for name, quench in (("curved", curved), ("straight", straight)):
            before = counter.total
            end = quench(start, 5.0)
            spent[name].append(counter.total - before)
            assert molecule.rms(end) <= 5.0
            assert end.energy < start.energy
            assert molecule.evaluate(end.positions).energy == pytest.approx(end.energy, abs=1e-3)
    assert sum(spent["curved"]) < 0.75 * sum(spent["straight"])


def test_a_state_goes_on_where_it_stood(molecule):
    """A copy of the state goes on alike, whatever the original has done meanwhile."""
    coordinates, _ = molecule.coordinates()
    start = molecule.evaluate(molecule.displaced(np.random.default_rng(7)))
    metric = molecule.metric()
    metric.update(start.positions)
    descent = Descent(molecule.evaluate, coordinates, metric, refresh=(999, 999))
    state = lbfgs_init(descent, start)
    for _ in range(5):
        lbfgs_step(descent, state)
    kept = copy.deepcopy(state)
    whole = [lbfgs_step(descent, state) for _ in range(5)]
    assert state.failures == 0
    for point in whole:
        assert np.array_equal(lbfgs_step(descent, kept).positions, point.positions)


def test_a_state_of_another_molecule_is_refused(molecule):
    other = Molecule("AG")
    states = []
    for owner in (molecule, other):
        metric = owner.metric()
        descent = Descent(owner.evaluate, owner.coordinates()[0], metric)
        states.append((descent, lbfgs_init(descent, owner.evaluate(owner.start))))
    with pytest.raises(ValueError, match="other coordinates"):
        lbfgs_step(states[0][0], states[1][1])


def test_a_metric_that_has_not_been_updated_says_so(molecule):
    metric = TorsionMetric(molecule.kinematics, Preconditioner(molecule.potential))
    with pytest.raises(RuntimeError, match="update"):
        metric.solve(np.ones(len(molecule.topology.axes) + molecule.start.size))


def test_a_quench_that_begins_at_rest_stays(molecule):
    quench = molecule.quench()
    rest = quench(molecule.evaluate(molecule.start), 0.1)
    again = quench(rest, 0.01)
    assert again.energy == pytest.approx(rest.energy, abs=0.01)
    assert again.positions == pytest.approx(rest.positions, abs=2e-3)
    before = molecule.potential.counter.total
    assert quench(again, 0.01) is again
    assert molecule.potential.counter.total == before


@pytest.mark.parametrize("constraints", [app.HBonds, app.AllBonds, app.HAngles])
def test_constraints_hold_and_slopes_are_those_on_them(constraints):
    molecule = Molecule("AFYS", constraints=constraints)
    molecule.start = molecule.manifold.retract(molecule.start)
    rng, x = np.random.default_rng(5), molecule.start
    coordinates, chart = molecule.coordinates()
    forces = coordinates.forces(chart, molecule.evaluate(x))
    for _ in range(5):
        step = molecule.step(rng, 1e-4, 1e-6)
        step = coordinates.project(molecule.manifold.project, chart, x, step)
        ahead, behind = (
            molecule.evaluate(coordinates.moved(chart, x, sign * step)[0]).energy
            for sign in (1, -1)
        )
        assert (behind - ahead) / 2 == pytest.approx(forces @ step, rel=1e-3, abs=1e-6)
    quench = molecule.quench()
    end = quench(molecule.evaluate(molecule.displaced(rng)), 5.0)
    assert molecule.rms(end) <= 5.0
    pairs, lengths = molecule.potential.constraints
    i, j = end.positions[pairs].transpose(1, 0, 2)
    assert np.linalg.norm(i - j, axis=1) == pytest.approx(lengths, rel=1e-5)


def test_fixed_atoms_stay(make_context):
    built = peptide("AFYS", "random-coil", seed=1)
    for atom in built.topology.atoms():
        if atom.name == "CA" and atom.residue.index == 1:
            built.system.setParticleMass(atom.index, 0.0)
            fixed = atom.index
    context = mm.Context(
        built.system, mm.VerletIntegrator(0.001), mm.Platform.getPlatform("Reference")
    )
    context.setPositions(built.positions)
    search = make_context(context, SearchSettings(quench_evaluations=400), topology=built.topology)
    x = search.potential.positions()
    end = Quench(search)(search.evaluator.evaluate(x), 5.0)
    assert np.array_equal(end.positions[fixed], x[fixed])
    assert np.abs(end.positions - x).max() > 0.01
    assert search.evaluator.rms(end) <= 5.0


def test_negative_curvatures_along_torsions_leave_the_metric_positive():
    built = peptide("AFYS", "random-coil", seed=1)
    force = mm.CustomCompoundBondForce(4, "-1e5 * dihedral(p1, p2, p3, p4)^2")
    kinematics = Molecule().kinematics
    for i, j, k, m in kinematics.topology.quadruples.tolist():
        force.addBond([i, j, k, m], [])
    built.system.addForce(force)
    potential = Potential(built.simulation("Reference").context, built.topology)
    metric = TorsionMetric(kinematics, Preconditioner(potential, shift=1e4))
    metric.update(potential.positions())
    assert np.linalg.eigvalsh(metric.torsion_stiffness).min() < -1e3
    rng = np.random.default_rng(6)
    for _ in range(10):
        vector = rng.standard_normal(len(kinematics.topology.axes) + potential.positions().size)
        assert vector @ metric.solve(vector) > 0


def test_a_straight_molecule_has_torsions_that_move_nothing(make_context):
    # H-C-C-H in a line: its middle bond can turn.
    system, positions = mm.System(), np.zeros((4, 3))
    for mass in (1.0, 12.0, 12.0, 1.0):
        system.addParticle(mass)
    positions[:, 0] = [0.0, 0.11, 0.23, 0.34]
    bonds = mm.HarmonicBondForce()
    for i, length in enumerate((0.105, 0.12, 0.105)):
        bonds.addBond(i, i + 1, length, 2e5)
    system.addForce(bonds)
    context = mm.Context(system, mm.VerletIntegrator(0.001), mm.Platform.getPlatform("Reference"))
    context.setPositions(positions)
    search = make_context(context, SearchSettings(quench_evaluations=100))
    assert len(search.topology.axes)
    end = Quench(search)(search.evaluator.evaluate(positions), 1e-3)
    assert np.diff(end.positions[:, 0]) == pytest.approx([0.105, 0.12, 0.105], abs=1e-6)


def test_a_metric_that_costs_evaluations_is_renewed_rarely(make_context):
    built = peptide("AFYS", "random-coil", seed=1)
    force = mm.CustomTorsionForce("1 + cos(3 * theta)")
    free = Molecule()
    for quadruple in free.topology.quadruples.tolist():
        force.addTorsion(*quadruple)
    built.system.addForce(force)
    openmm_context = built.simulation("Reference").context
    settings = SearchSettings(quench_evaluations=400)
    search = make_context(openmm_context, settings, topology=built.topology)
    quench = Quench(search)
    assert not quench.preconditioner.free
    start = search.evaluator.evaluate(free.displaced(np.random.default_rng(4)))
    before = search.potential.counter.context
    assert free.rms(quench(start, 5.0)) <= 5.0
    steps = search.potential.counter.context - before
    assert quench.preconditioner.updates <= 1 + steps / 20
    # Of Amber's forces alone it costs nothing, and follows the way down.
    quench = free.quench()
    before = free.potential.counter.total
    quench(free.evaluate(free.displaced(np.random.default_rng(4))), 5.0)
    assert quench.preconditioner.free
    assert quench.preconditioner.updates > (free.potential.counter.total - before) / 20
