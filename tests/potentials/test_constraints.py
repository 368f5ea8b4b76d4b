"""The constraint manifold: tangent projections and retractions."""

import numpy as np
import openmm as mm
import pytest
from openmm import app

from openmm_reparam import NonFiniteError, Potential, compiled
from openmm_reparam.potentials.constraints import ConstraintManifold, constraint_manifold
from openmm_reparam.prepare.peptides import peptide


def waters(count=4, seed=0):
    """Return topology, System and positions of rigid TIP3P waters, none clashing."""
    topology = app.Topology()
    chain = topology.addChain()
    rng = np.random.default_rng(seed)
    oxygen, hydrogen = app.element.oxygen, app.element.hydrogen
    shape = np.array([[0, 0, 0], [0.09572, 0, 0], [-0.0239872, 0.0926627, 0]])
    positions = []
    for k in range(count):
        residue = topology.addResidue("HOH", chain)
        atoms = [topology.addAtom("O", oxygen, residue)]
        atoms += [topology.addAtom(f"H{n}", hydrogen, residue) for n in (1, 2)]
        topology.addBond(atoms[0], atoms[1])
        topology.addBond(atoms[0], atoms[2])
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        positions.append(shape @ turn.T + 0.32 * np.array([k % 2, k // 2 % 2, k // 4]))
    system = app.ForceField("tip3p.xml").createSystem(topology)
    return system, np.concatenate(positions)


def over_determined():
    """Return a methane held by all its 10 distances, one more than rigidity needs."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    x = np.concatenate([[[0.0, 0, 0]], 0.109 * corners])
    system = mm.System()
    for mass in (12.0, 1.0, 1.0, 1.0, 1.0):
        system.addParticle(mass)
    for i in range(5):
        for j in range(i):
            system.addConstraint(i, j, np.linalg.norm(x[i] - x[j]))
    return system, x


def built(sequence, constraints):
    molecule = peptide(sequence, constraints=constraints)
    return molecule.system, molecule.positions._value


CASES = {
    "waters": waters,
    "CH3 CH2 NH3": lambda: built("AK", "HBonds"),
    "AllBonds": lambda: built("AWP", "AllBonds"),
    "HAngles": lambda: built("AKS", "HAngles"),
    "redundant": over_determined,
}


@pytest.fixture(params=list(CASES))
def constrained(request):
    """Return the manifold of each case and positions that satisfy it."""
    system, x = CASES[request.param]()
    platform = mm.Platform.getPlatformByName("Reference")
    integrator = mm.VerletIntegrator(0.001)
    integrator.setConstraintTolerance(1e-6)
    context = mm.Context(system, integrator, platform)
    context.setPositions(x)
    context.applyConstraints(1e-6)
    manifold = ConstraintManifold(Potential(context))
    return manifold, manifold._potential.positions()


def gradients(manifold, x):
    """Return (M, N, 3) unit gradients of the constraints."""
    rows = np.zeros((len(manifold.pairs), *x.shape))
    for row, (i, j) in zip(rows, manifold.pairs, strict=True):
        row[i] = (x[i] - x[j]) / np.linalg.norm(x[i] - x[j])
        row[j] = -row[i]
    return rows


def test_projected_vectors_are_orthogonal_to_every_constraint_gradient(constrained):
    manifold, x = constrained
    rng = np.random.default_rng(0)
    for scale in (1.0, 1e5):
        vector = scale * rng.standard_normal(x.shape)
        projected = manifold.project(x, vector)
        parts = np.einsum("mni,ni->m", gradients(manifold, x), projected)
        assert np.abs(parts).max() < 1e-8 * np.linalg.norm(vector)


def test_projection_is_idempotent_and_symmetric(constrained):
    manifold, x = constrained
    rng = np.random.default_rng(1)
    u, v = rng.standard_normal((2, *x.shape))
    pu, pv = manifold.project(x, u), manifold.project(x, v)
    assert np.allclose(manifold.project(x, pu), pu, atol=1e-8)
    assert np.vdot(pu, v) == pytest.approx(np.vdot(u, pv), abs=1e-7)


def test_projection_is_that_of_a_dense_least_squares_solver(constrained, tangent_part):
    manifold, x = constrained
    vector = np.random.default_rng(2).standard_normal(x.shape)
    expected = tangent_part(manifold._potential.system, x, vector)
    assert np.allclose(manifold.project(x, vector), expected, atol=1e-6)


def test_projection_keeps_what_is_tangent(constrained):
    """Translations and rotations change no distance."""
    manifold, x = constrained
    axis = np.array([0.3, -0.8, 0.5])
    for rigid in (np.broadcast_to(axis, x.shape), np.cross(axis, x)):
        assert np.allclose(manifold.project(x, rigid), rigid, atol=1e-8)


def test_projection_follows_the_positions(constrained):
    manifold, x = constrained
    vector = np.random.default_rng(3).standard_normal(x.shape)
    first = manifold.project(x, vector)
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    turned = manifold.project(x @ turn.T, vector @ turn.T)
    assert np.allclose(turned, first @ turn.T, atol=1e-7)


def test_positions_changed_in_place_are_seen():
    system, x = waters()
    platform = mm.Platform.getPlatformByName("Reference")
    manifold = ConstraintManifold(
        Potential(mm.Context(system, mm.VerletIntegrator(0.001), platform))
    )
    vector = np.random.default_rng(3).standard_normal(x.shape)
    moved = x @ np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    expected = manifold.project(moved.copy(), vector)
    manifold.project(x, vector)
    x[:] = moved
    assert np.allclose(manifold.project(x, vector), expected, atol=1e-7)


def test_retraction_satisfies_the_constraints(constrained):
    manifold, x = constrained
    direction = np.random.default_rng(5).standard_normal(x.shape)
    step = manifold.project(x, direction)
    retracted = manifold.retract(x + 0.01 * step / np.abs(step).max())
    assert manifold.errors(retracted).max() <= 1.01e-6
    lengths = np.linalg.norm(
        retracted[manifold.pairs[:, 0]] - retracted[manifold.pairs[:, 1]], axis=1
    )
    assert np.allclose(lengths, manifold.lengths, rtol=1.01e-6)


def test_retraction_of_what_is_on_the_manifold_is_the_same(constrained):
    manifold, x = constrained
    assert np.allclose(manifold.retract(x), x, atol=1e-7)


def test_tangent_steps_leave_the_manifold_to_second_order(constrained):
    manifold, x = constrained
    step = manifold.project(x, np.random.default_rng(6).standard_normal(x.shape))
    step /= np.abs(step).max()
    first, second = manifold.pairs.T

    def change(h):
        y = x + h * step
        before = np.linalg.norm(x[first] - x[second], axis=1)
        return np.abs(np.linalg.norm(y[first] - y[second], axis=1) - before).max()

    assert change(1e-4) < change(1e-3) / 50


def test_errors_are_relative(constrained):
    manifold, x = constrained
    assert np.allclose(manifold.errors(1.5 * x), 0.5, atol=1e-5)


def test_a_system_without_constraints_has_no_manifold(tripeptide):
    assert constraint_manifold(Potential(tripeptide.simulation("Reference").context)) is None


def test_positions_far_from_the_constraints_are_brought_back():
    molecule = peptide("GG", constraints="AllBonds")
    manifold = ConstraintManifold(Potential(molecule.simulation("Reference").context))
    x = np.array(molecule.positions._value)
    x[9] += [0.3, 0, 0]
    assert manifold.errors(manifold.retract(x)).max() <= manifold.tolerance


def test_contradictory_constraints_are_refused_by_name():
    """No chain of two residues is 5 nm long."""
    molecule = peptide("GG", constraints="AllBonds")
    molecule.system.addConstraint(0, molecule.system.getNumParticles() - 1, 5.0)
    simulation = molecule.simulation("Reference")
    potential = Potential(simulation.context, simulation.topology)
    with pytest.raises(NonFiniteError, match="GLY"):
        ConstraintManifold(potential).retract(potential.positions())


def test_constraints_between_massless_atoms_are_not_the_minimizers():
    """OpenMM ignores them, so a frozen crystal water need not have the model's geometry."""
    system, x = waters(3)
    for atom in range(3):
        system.setParticleMass(atom, 0.0)
    x[1] *= 1.1
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(x)
    manifold = ConstraintManifold(Potential(context))
    retracted = manifold.retract(x)
    assert np.array_equal(retracted[:3], x[:3])


def dense_projection(pairs, x, vectors):
    """Project by a pseudo-inverse of all gradients of the constraints."""
    jacobian = np.zeros((len(pairs), *x.shape))
    for row, (i, j) in zip(jacobian, pairs, strict=True):
        row[i] = (x[i] - x[j]) / np.linalg.norm(x[i] - x[j])
        row[j] = -row[i]
    jacobian = jacobian.reshape(len(pairs), -1)
    taken = np.linalg.pinv(jacobian, rcond=1e-8) @ (jacobian @ vectors.ravel())
    return vectors - taken.reshape(x.shape)


PLANAR_SQUARE = np.array([[0.0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0.1, 0]])
ALL_OF_FOUR = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [0, 2], [1, 3]])


@pytest.mark.parametrize(
    ("pairs", "x"),
    [
        (np.array([[0, 1], [1, 2], [2, 0]]), PLANAR_SQUARE),
        # The six distances of four atoms in a plane tell one more than their gradients.
        (ALL_OF_FOUR, PLANAR_SQUARE),
        (np.array([[0, 1], [1, 0], [2, 3]]), PLANAR_SQUARE),
        # A chain longer than the dense blocks.
        (np.stack([np.arange(39), np.arange(1, 40)], axis=1), None),
    ],
    ids=["triangle", "planar", "twice the same", "chain"],
)
def test_projections_are_those_of_a_dense_pseudo_inverse(pairs, x):
    rng = np.random.default_rng(0)
    if x is None:
        x = np.cumsum(rng.normal(size=(40, 3)), axis=0)
    vectors = rng.normal(size=x.shape)
    constraints = compiled.Constraints(pairs, np.full(len(pairs), 0.1), len(x))
    for _ in range(2):
        found = constraints.project(x, vectors)
        np.testing.assert_allclose(found, dense_projection(pairs, x, vectors), atol=1e-6)
        x = x + rng.normal(0, 0.001, x.shape) * [1, 1, 0]


def test_constraints_of_atoms_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="does not exist"):
        compiled.Constraints(np.array([[0, 5]]), np.array([0.1]), 3)
