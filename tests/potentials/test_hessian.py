"""Hessians by finite differences against closed forms, null spaces and each other."""

import copy

import numpy as np
import openmm as mm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmm_reparam import BondedHessian, Potential, dense_hessian, hessian_vector_product
from openmm_reparam.potentials import hessian
from openmm_reparam.potentials.bonded import bonded_potential
from openmm_reparam.prepare.peptides import peptide


def potential_of(system, positions, platform="Reference"):
    integrator = mm.VerletIntegrator(0.001)
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName(platform))
    context.setPositions(positions)
    return Potential(context)


def particles(count, mass=12.0):
    system = mm.System()
    for _ in range(count):
        system.addParticle(mass)
    return system


def pair_block(difference, slope, curvature):
    """Return the 3x3 block of u(r): u'' n n^T + u'/r (I - n n^T)."""
    r = np.linalg.norm(difference)
    n = difference / r
    outer = np.outer(n, n)
    return curvature * outer + slope / r * (np.eye(3) - outer)


def relative_error(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


def test_harmonic_bond_agrees_with_its_closed_form(platform):
    k, r0 = 2.5e5, 0.15
    system = particles(2)
    force = mm.HarmonicBondForce()
    force.addBond(0, 1, r0, k)
    system.addForce(force)
    x = np.array([[0.01, 0.02, -0.03], [0.11, 0.09, 0.05]])
    difference = x[0] - x[1]
    block = pair_block(difference, k * (np.linalg.norm(difference) - r0), k)
    expected = np.block([[block, -block], [-block, block]])
    potential = potential_of(system, x, platform)
    assert relative_error(dense_hessian(potential, x), expected) < 1e-5
    assert relative_error(BondedHessian(potential).evaluate(x).toarray(), expected) < 1e-5


def test_lennard_jones_pair_agrees_with_its_closed_form(platform):
    sigma, epsilon = 0.34, 1.2
    system = particles(2)
    force = mm.NonbondedForce()
    for _ in range(2):
        force.addParticle(0.0, sigma, epsilon)
    system.addForce(force)
    for r in (0.33, 0.3816, 0.5):
        x = np.array([[0.0, 0.0, 0.0], r * np.array([2.0, -1.0, 2.0]) / 3])
        sixth = (sigma / r) ** 6
        slope = 4 * epsilon * (6 * sixth - 12 * sixth**2) / r
        curvature = 4 * epsilon * (156 * sixth**2 - 42 * sixth) / r**2
        block = pair_block(x[0] - x[1], slope, curvature)
        expected = np.block([[block, -block], [-block, block]])
        assert relative_error(dense_hessian(potential_of(system, x, platform), x), expected) < 1e-5


def test_harmonic_angle_at_equilibrium_agrees_with_its_closed_form():
    """H = k grad(theta) grad(theta)^T there; the gradient is elementary for legs a and b."""
    k, theta, a, b = 500.0, 1.9, 0.11, 0.14
    system = particles(3)
    force = mm.HarmonicAngleForce()
    force.addAngle(0, 1, 2, theta, k)
    system.addForce(force)
    x = np.array([[a, 0, 0], [0, 0, 0], [b * np.cos(theta), b * np.sin(theta), 0]])
    end = np.array([0, -1 / a, 0])
    other = np.array([-np.sin(theta), np.cos(theta), 0]) / b
    gradient = np.concatenate([end, -end - other, other])
    expected = k * np.outer(gradient, gradient)
    potential = potential_of(system, x)
    assert relative_error(dense_hessian(potential, x), expected) < 1e-5
    assert relative_error(BondedHessian(potential).evaluate(x).toarray(), expected) < 1e-5


def test_harmonic_angle_off_equilibrium_agrees_with_mixed_derivatives():
    """In the plane, for a leg fixed along x, theta = atan2(y, x): all derivatives elementary."""
    k, theta0 = 500.0, 1.5
    system = particles(3)
    force = mm.HarmonicAngleForce()
    force.addAngle(0, 1, 2, theta0, k)
    system.addForce(force)
    p = np.array([-0.05, 0.12])
    x = np.array([[0.1, 0, 0], [0, 0, 0], [*p, 0]])
    r2 = p @ p
    gradient = np.array([-p[1], p[0]]) / r2
    second = np.array([[2 * p[0] * p[1], p[1] ** 2 - p[0] ** 2], [0, -2 * p[0] * p[1]]]) / r2**2
    second[1, 0] = second[0, 1]
    strain = np.arctan2(p[1], p[0]) - theta0
    expected = k * (np.outer(gradient, gradient) + strain * second)
    block = dense_hessian(potential_of(system, x), x)[6:8, 6:8]
    assert relative_error(block, expected) < 1e-5


@settings(max_examples=12, deadline=None)
@given(
    count=st.integers(3, 7),
    seed=st.integers(0, 10_000),
    formula=st.sampled_from(
        [
            "4*((0.3/r)^12-(0.3/r)^6)",
            "50*exp(-r/0.2)",
            "q1*q2/r",
            "100*(r-0.4)^2",
        ]
    ),
)
def test_hessian_of_a_pair_potential_is_a_graph_laplacian(count, seed, formula):
    """For each pair of spatial indices: symmetric between atoms, and rows of blocks sum to 0."""
    rng = np.random.default_rng(seed)
    x = 0.35 * np.stack(np.unravel_index(np.arange(count), (2, 2, 2)), axis=1)
    x = x + rng.uniform(-0.05, 0.05, x.shape)
    system = particles(count)
    force = mm.CustomNonbondedForce(formula)
    if "q1" in formula:
        force.addPerParticleParameter("q")
    for _ in range(count):
        force.addParticle([rng.uniform(-1, 1)] if "q1" in formula else [])
    system.addForce(force)
    blocks = dense_hessian(potential_of(system, x), x).reshape(count, 3, count, 3)
    largest = np.abs(blocks).max()
    assert largest > 0
    assert np.abs(blocks.sum(axis=2)).max() < 1e-6 * largest
    assert np.abs(blocks - blocks.transpose(2, 1, 0, 3)).max() < 1e-6 * largest


def test_translations_and_rotations_of_a_minimized_peptide_are_soft(tripeptide):
    simulation = tripeptide.simulation("Reference")
    mm.LocalEnergyMinimizer.minimize(simulation.context, 1e-5)
    potential = Potential(simulation.context)
    x = potential.positions()
    matrix = dense_hessian(potential, x)
    values = np.sort(np.abs(np.linalg.eigvalsh(matrix)))
    assert values[5] < 1e-8 * values[-1]
    assert values[6] > 1e3 * values[5]
    centred = x - x.mean(axis=0)
    for axis in np.eye(3):
        for rigid in (np.broadcast_to(axis, x.shape), np.cross(axis, centred)):
            unit_mode = rigid.ravel() / np.linalg.norm(rigid)
            assert np.abs(matrix @ unit_mode).max() < 1e-7 * values[-1]


def test_dense_hessian_costs_six_evaluations_an_atom_and_leaves_the_context_alone(
    tripeptide, snapshot
):
    simulation = tripeptide.simulation("CPU")
    before = snapshot(simulation.context)
    potential = Potential(simulation.context)
    done = []
    matrix = dense_hessian(potential, potential.positions(), progress=done.append)
    assert potential.counter.side == potential.counter.total == 6 * 33
    assert done == sorted(done)
    assert done[-1] == 1
    assert np.array_equal(matrix, matrix.T)
    assert snapshot(simulation.context) == before


def test_hessian_vector_product_is_the_matrix_times_the_vector(tripeptide):
    potential = Potential(tripeptide.simulation("Reference").context)
    x = potential.positions()
    matrix = dense_hessian(potential, x)
    rng = np.random.default_rng(4)
    for scale in (1e-3, 1.0, 1e4):
        vector = scale * rng.standard_normal(x.shape)
        expected = matrix @ vector.ravel()
        flat = hessian_vector_product(potential, x, vector.ravel())
        assert flat.shape == (99,)
        assert relative_error(flat, expected) < 1e-5
        assert relative_error(hessian_vector_product(potential, x, vector).ravel(), expected) < 1e-5
    assert not hessian_vector_product(potential, x, np.zeros_like(x)).any()


def with_massless(molecule, atoms):
    system = copy.deepcopy(molecule.system)
    for atom in atoms:
        system.setParticleMass(atom, 0.0)
    return system


def test_rows_and_columns_of_fixed_atoms_are_zero(tripeptide):
    fixed = [0, 10, 11]
    system = with_massless(tripeptide, fixed)
    x = tripeptide.positions._value
    potential = potential_of(system, x)
    whole = dense_hessian(potential_of(tripeptide.system, x), x).reshape(33, 3, 33, 3)
    keep = np.setdiff1d(np.arange(33), fixed)
    got = dense_hessian(potential, x).reshape(33, 3, 33, 3)
    assert not got[fixed].any()
    assert not got[:, :, fixed].any()
    assert np.allclose(got[keep][:, :, keep], whole[keep][:, :, keep], rtol=1e-9, atol=1e-4)
    assert potential.counter.total == 6 * 30


@pytest.mark.parametrize("count", [200_000])
def test_a_dense_hessian_too_large_is_refused_with_its_size(count):
    potential = potential_of(particles(count), np.zeros((count, 3)))
    size = 8 * (3 * count) ** 2 / 2**30
    with pytest.raises(MemoryError, match="GiB") as caught:
        dense_hessian(potential, np.zeros((count, 3)))
    told = float(str(caught.value).split(" GiB")[0].split()[-1])
    assert size <= told <= 3 * size
    assert potential.counter.total == 0


def test_the_limit_follows_the_machines_memory(monkeypatch, tripeptide):
    potential = Potential(tripeptide.simulation("Reference").context)
    sizes = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 100_000}
    monkeypatch.setattr(hessian.os, "sysconf", sizes.__getitem__)
    with pytest.raises(MemoryError, match="GiB"):
        dense_hessian(potential, potential.positions())
    assert potential.counter.total == 0


def assert_coloured_is_dense(potential, x):
    """The sparse Hessian equals the dense one of the same bonded System."""
    bonded = bonded_potential(potential)
    expected = dense_hessian(bonded, x, side=False)
    before = potential.counter.bonded
    coloured = BondedHessian(potential)
    got = coloured.evaluate(x)
    assert potential.counter.bonded - before == coloured.num_evaluations
    assert potential.counter.context == 0
    assert np.abs(expected).max() > 0
    assert np.abs(got.toarray() - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("constraints", ["none", "HBonds", "AllBonds", "HAngles"])
def test_coloured_hessian_is_the_dense_one_in_amber14(constraints):
    molecule = peptide("AWP", constraints=constraints)
    rng = np.random.default_rng(0)
    x = molecule.positions._value + rng.normal(0, 0.003, molecule.positions.shape)
    potential = potential_of(molecule.system, x)
    assert_coloured_is_dense(potential, x)
    assert BondedHessian(potential).num_evaluations < 6 * potential.num_particles


@pytest.mark.parametrize(
    "field", ["amber19-all.xml", pytest.param("charmm36.xml", marks=pytest.mark.slow)]
)
def test_coloured_hessian_is_the_dense_one_with_cmap(field):
    molecule = peptide("GAV", forcefield=field, constraints="HBonds")
    kinds = {type(force) for force in molecule.system.getForces()}
    assert mm.CMAPTorsionForce in kinds
    x = molecule.positions._value
    assert_coloured_is_dense(potential_of(molecule.system, x), x)


def custom_system():
    system = particles(9)
    bond = mm.CustomBondForce("k*(r-0.15)^4")
    bond.addGlobalParameter("k", 3e6)
    angle = mm.CustomAngleForce("k2*(theta-1.9)^2")
    angle.addPerAngleParameter("k2")
    torsion = mm.CustomTorsionForce("30*cos(2*theta)")
    compound = mm.CustomCompoundBondForce(
        5, "200*(distance(p1,p5)-0.3)^2 + 5*dihedral(p1,p2,p3,p4)^2 + 40*x5*y1"
    )
    external = mm.CustomExternalForce("900*((x-x0)^2+2*y^4+x*z)")
    external.addPerParticleParameter("x0")
    ryckaert = mm.RBTorsionForce()
    for i in range(8):
        bond.addBond(i, i + 1, [])
    for i in range(7):
        angle.addAngle(i, i + 1, i + 2, [400.0 + i])
    for i in range(0, 6, 2):
        torsion.addTorsion(i, i + 1, i + 2, i + 3, [])
        ryckaert.addTorsion(i, i + 1, i + 2, i + 3, 1, 2, 3, 4, 5, 6)
    compound.addBond([8, 2, 5, 0, 1], [])
    compound.addBond([3, 4, 5, 6, 7], [])
    external.addParticle(4, [0.2])
    external.addParticle(8, [0.1])
    for force in (bond, angle, torsion, compound, external, ryckaert):
        system.addForce(force)
    return system


def test_coloured_hessian_is_the_dense_one_for_custom_forces():
    rng = np.random.default_rng(3)
    x = np.array([[0.12 * i, 0.05 * (i % 2), 0.04 * (i % 3)] for i in range(9)])
    x = x + rng.normal(0, 0.01, x.shape)
    potential = potential_of(custom_system(), x)
    potential.context.setParameter("k", 1e6)
    assert_coloured_is_dense(potential, x)
    # Everything is bonded here, so the dense Hessian of the whole System agrees too.
    expected = dense_hessian(potential, x)
    got = BondedHessian(potential).evaluate(x).toarray()
    assert np.abs(got - expected).max() < 1e-6 * np.abs(expected).max()


def test_coloured_hessian_follows_a_parameter_changed_later():
    x = np.array([[0.12 * i, 0.05 * (i % 2), 0.04 * (i % 3)] for i in range(9)])
    potential = potential_of(custom_system(), x)
    coloured = BondedHessian(potential)
    before = coloured.evaluate(x)
    potential.context.setParameter("k", 3e7)
    assert np.abs((coloured.evaluate(x) - before).toarray()).max() > 1e3


def test_coloured_hessian_leaves_fixed_atoms_and_other_groups_out(tripeptide):
    system = with_massless(tripeptide, [4, 6])
    for force in system.getForces():
        if isinstance(force, mm.HarmonicAngleForce):
            force.setForceGroup(5)
    integrator = mm.VerletIntegrator(0.001)
    integrator.setIntegrationForceGroups(0xFFFFFFFF & ~(1 << 5))
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
    x = tripeptide.positions._value
    context.setPositions(x)
    assert_coloured_is_dense(Potential(context), x)
    got = BondedHessian(Potential(context)).evaluate(x).toarray().reshape(33, 3, 33, 3)
    assert not got[[4, 6]].any()


def test_colours_do_not_grow_with_the_chain():
    counts = [
        BondedHessian(Potential(peptide(s).simulation("Reference").context)).num_evaluations
        for s in ("A" * 4, "A" * 16)
    ]
    assert counts[1] <= 1.3 * counts[0]


def test_dense_hessian_sees_periodic_images():
    """Two atoms across a face interact as if side by side."""
    system = mm.System()
    for _ in range(2):
        system.addParticle(39.9)
    force = mm.NonbondedForce()
    force.setNonbondedMethod(mm.NonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(0.9)
    force.setUseDispersionCorrection(False)
    for _ in range(2):
        force.addParticle(0, 0.3, 1)
    system.addForce(force)
    system.setDefaultPeriodicBoxVectors([2, 0, 0], [0, 2, 0], [0, 0, 2])
    inside = np.array([[0.9, 1, 1], [1.25, 1.02, 1]])
    across = inside + [[1.0, 0, 0], [-1.0, 0, 0]]
    first = dense_hessian(potential_of(system, inside), inside)
    second = dense_hessian(potential_of(system, across), across)
    assert relative_error(second, first) < 1e-6
