"""P = H + mu I: closed forms against finite differences, definiteness, and its inverse."""

import copy

import numpy as np
import openmm as mm
import pytest
import scipy.optimize
import scipy.sparse as sp

from openmm_reparam import Potential, dense_hessian
from openmm_reparam.potentials.bonded import CONSTRAINT_STIFFNESS
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide


def potential_of(system, positions):
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    return Potential(context)


def only(system, *kinds):
    """Return a System with copies of the forces of these kinds and no constraints."""
    kept = mm.System()
    for i in range(system.getNumParticles()):
        kept.addParticle(system.getParticleMass(i))
    for force in system.getForces():
        if isinstance(force, kinds):
            kept.addForce(copy.deepcopy(force))
    return kept


def at_equilibrium(system, x):
    """Set every bond's length and angle's value to what they are at x."""
    for force in system.getForces():
        if isinstance(force, mm.HarmonicBondForce):
            for t in range(force.getNumBonds()):
                i, j, _, k = force.getBondParameters(t)
                force.setBondParameters(t, i, j, np.linalg.norm(x[i] - x[j]), k)
        elif isinstance(force, mm.HarmonicAngleForce):
            for t in range(force.getNumAngles()):
                i, j, k, _, constant = force.getAngleParameters(t)
                u, v = x[i] - x[j], x[k] - x[j]
                cosine = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
                force.setAngleParameters(t, i, j, k, np.arccos(cosine), constant)
    return system


def test_bonds_and_angles_at_their_minimum_are_the_exact_hessian(tripeptide):
    rng = np.random.default_rng(0)
    x = tripeptide.positions._value + rng.normal(0, 0.005, (33, 3))
    system = only(tripeptide.system, mm.HarmonicBondForce, mm.HarmonicAngleForce)
    potential = potential_of(at_equilibrium(system, x), x)
    expected = dense_hessian(potential, x)
    got = Preconditioner(potential).stiffness(x).toarray()
    assert np.abs(got - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["periodic", "ryckaert-bellemans"])
def test_a_torsion_at_its_minimum_is_the_exact_hessian(kind):
    system = mm.System()
    for _ in range(4):
        system.addParticle(12.0)
    x = np.array([[0.1, 0.1, 0.02], [0, 0, 0], [0.15, 0, 0], [0.2, 0.09, 0.11]])
    if kind == "periodic":
        force = mm.PeriodicTorsionForce()
        force.addTorsion(0, 1, 2, 3, 3, 0.7, 25.0)
    else:
        force = mm.RBTorsionForce()
        force.addTorsion(0, 1, 2, 3, 9.0, -13.0, 4.0, 21.0, -3.0, 2.0)
    system.addForce(force)
    potential = potential_of(system, x)

    def turned(angle):
        """Return x with the last atom turned about the axis x."""
        cosine, sine = np.cos(angle), np.sin(angle)
        y = x.copy()
        y[3, 1:] = [[cosine, -sine], [sine, cosine]] @ x[3, 1:]
        return y

    angles = np.linspace(0, 2 * np.pi, 25)
    rough = min(angles, key=lambda a: potential.evaluate(turned(a))[0])
    best = scipy.optimize.minimize_scalar(
        lambda a: potential.evaluate(turned(a))[0],
        bracket=(rough - 0.2, rough, rough + 0.2),
        options={"xtol": 1e-10},
    ).x
    y = turned(best)
    expected = dense_hessian(potential, y)
    got = Preconditioner(potential).stiffness(y).toarray()
    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


def test_negative_torsion_curvature_is_left_to_the_shift():
    system = mm.System()
    for _ in range(4):
        system.addParticle(12.0)
    force = mm.PeriodicTorsionForce()
    force.addTorsion(0, 1, 2, 3, 1, 0.0, 25.0)
    system.addForce(force)
    x = np.array([[0.1, 0.1, 0.0], [0, 0, 0], [0.15, 0, 0], [0.2, 0.09, 0.0]])
    assert not Preconditioner(potential_of(system, x)).stiffness(x).toarray().any()


def test_constraints_are_stiff_springs():
    molecule = peptide("GG", constraints="AllBonds")
    x = molecule.positions._value
    kept = mm.System()
    springs = mm.HarmonicBondForce()
    for _ in range(molecule.system.getNumParticles()):
        kept.addParticle(12.0)
    for k in range(molecule.system.getNumConstraints()):
        i, j, _ = molecule.system.getConstraintParameters(k)
        springs.addBond(i, j, np.linalg.norm(x[i] - x[j]), CONSTRAINT_STIFFNESS)
    kept.addForce(springs)
    only_constraints = only(molecule.system)
    for k in range(molecule.system.getNumConstraints()):
        only_constraints.addConstraint(*molecule.system.getConstraintParameters(k))
    expected = dense_hessian(potential_of(kept, x), x)
    got = Preconditioner(potential_of(only_constraints, x)).stiffness(x).toarray()
    assert np.abs(got - expected).max() < 1e-6 * np.abs(expected).max()


def test_custom_bonded_forces_enter_by_counted_differences():
    system = mm.System()
    for _ in range(3):
        system.addParticle(12.0)
    force = mm.CustomCompoundBondForce(2, "k*(distance(p1,p2)-0.15)^2")
    force.addGlobalParameter("k", 1.0)
    force.addBond([0, 1], [])
    force.addBond([1, 2], [])
    system.addForce(force)
    x = np.array([[0, 0, 0], [0.16, 0, 0], [0.2, 0.15, 0.01]])
    potential = potential_of(system, x)
    potential.context.setParameter("k", 2e4)
    got = Preconditioner(potential).stiffness(x).toarray()
    counted = potential.counter.bonded
    assert counted == potential.counter.total > 0
    expected = dense_hessian(potential, x)
    assert np.abs(got - expected).max() < 1e-6 * np.abs(expected).max()


def morse(lengths):
    """Return a chain of Morse bonds of given lengths, their wells at 0.15 nm."""
    system = mm.System()
    force = mm.CustomBondForce("D*(1-exp(-20*(r-0.15)))^2")
    force.addGlobalParameter("D", 1.0)
    system.addParticle(12.0)
    for i in range(len(lengths)):
        system.addParticle(12.0)
        force.addBond(i, i + 1, [])
    system.addForce(force)
    steps = np.random.default_rng(0).standard_normal((len(lengths), 3))
    steps *= (np.array(lengths) / np.linalg.norm(steps, axis=1))[:, None]
    potential = potential_of(system, np.vstack([np.zeros(3), np.cumsum(steps, axis=0)]))
    potential.context.setParameter("D", 50.0)
    return potential


def test_custom_bonds_in_their_wells_are_the_exact_hessian_for_two_evaluations():
    potential = morse([0.15, 0.15, 0.15])
    x = potential.positions()
    got = Preconditioner(potential).stiffness(x).toarray()
    assert (potential.counter.total, potential.counter.bonded) == (2, 2)
    expected = dense_hessian(potential, x)
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


def test_torn_custom_bonds_leave_the_shift_and_the_other_bonds_as_they_are():
    """Their curvature is negative: a shift that made up for it would hold everything still."""
    potential = morse([0.15, 0.3, 0.15])
    x = potential.positions()
    preconditioner = Preconditioner(potential)
    preconditioner.update(x)
    assert preconditioner.shift == 1000
    stiffness = preconditioner.stiffness(x).toarray()
    assert np.abs(stiffness[3:6, 6:9]).max() == 0
    u = (x[1] - x[0]) / 0.15
    assert np.allclose(stiffness[:3, :3], 2 * 50 * 20**2 * np.outer(u, u), rtol=1e-5)


@pytest.mark.parametrize("constraints", ["none", "HBonds", "HAngles"])
@pytest.mark.parametrize("contacts", [True, False])
def test_solve_is_the_inverse_of_a_positive_definite_matrix(constraints, contacts):
    molecule = peptide("AFG", "random-coil", seed=2, constraints=constraints)
    potential = potential_of(molecule.system, molecule.positions)
    preconditioner = Preconditioner(potential, contacts=contacts)
    rng = np.random.default_rng(1)
    for spread in (0.0, 0.02):
        x = potential.positions() + rng.normal(0, spread, molecule.positions.shape)
        preconditioner.update(x)
        dense = preconditioner.matrix().toarray()
        assert np.array_equal(dense, dense.T)
        assert np.linalg.eigvalsh(dense)[0] >= preconditioner.shift * (1 - 1e-6)
        expected = preconditioner.stiffness(x).toarray() + preconditioner.shift * np.eye(len(dense))
        assert np.allclose(dense, expected, rtol=1e-9, atol=1e-6)
        vector = rng.standard_normal(x.shape)
        solution = np.linalg.solve(dense, vector.ravel()).reshape(x.shape)
        assert np.allclose(preconditioner.solve(vector), solution, rtol=1e-7, atol=1e-12)
    assert preconditioner.updates == 2
    assert potential.counter.total == 0


def test_an_indefinite_custom_force_raises_the_shift_until_p_is_positive():
    system = mm.System()
    for _ in range(2):
        system.addParticle(12.0)
    force = mm.CustomCompoundBondForce(2, "-20000*distance(p1,p2)^2")
    force.addBond([0, 1], [])
    system.addForce(force)
    x = np.array([[0, 0, 0], [0.2, 0, 0]])
    preconditioner = Preconditioner(potential_of(system, x), shift=10.0)
    preconditioner.update(x)
    assert preconditioner.shift > 10
    assert np.linalg.eigvalsh(preconditioner.matrix().toarray())[0] > 0


@pytest.mark.parametrize("shift", [0.0, -1.0, np.nan, np.inf])
def test_a_shift_that_cannot_be_raised_is_refused(tripeptide, shift):
    """0 x 3 stays 0: update() would try for ever."""
    potential = potential_of(tripeptide.system, tripeptide.positions)
    with pytest.raises(ValueError, match="shift"):
        Preconditioner(potential, shift=shift)


@pytest.mark.parametrize("kind", ["massless", "virtual"])
def test_atoms_that_do_not_move_are_not_moved(tripeptide, kind):
    system = copy.deepcopy(tripeptide.system)
    fixed = [0, 4, 8, 12]
    for atom in fixed:
        system.setParticleMass(atom, 0.0)
        if kind == "virtual":
            system.setVirtualSite(atom, mm.TwoParticleAverageSite(1, 9, 0.5, 0.5))
    potential = potential_of(system, tripeptide.positions)
    x = potential.positions()
    preconditioner = Preconditioner(potential)
    preconditioner.update(x)
    vector = np.random.default_rng(0).standard_normal(x.shape)
    vector[fixed] = 0
    assert not preconditioner.solve(vector)[fixed].any()


def test_other_force_groups_do_not_count(tripeptide):
    system = copy.deepcopy(tripeptide.system)
    for force in system.getForces():
        force.setForceGroup(2)
    integrator = mm.VerletIntegrator(0.001)
    integrator.setIntegrationForceGroups({0})
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, integrator, platform)
    context.setPositions(tripeptide.positions)
    potential = Potential(context)
    assert (
        not sp.csr_array(Preconditioner(potential).stiffness(potential.positions())).toarray().any()
    )


def test_terms_across_a_triclinic_box_are_those_of_the_whole_molecule():
    box = np.array([[2.0, 0, 0], [0.6, 2.1, 0], [-0.5, 0.7, 1.9]])
    molecule = peptide("GG")
    kinds = (mm.HarmonicBondForce, mm.HarmonicAngleForce, mm.PeriodicTorsionForce)
    system = only(molecule.system, *kinds)
    for force in system.getForces():
        force.setUsesPeriodicBoundaryConditions(True)
    system.setDefaultPeriodicBoxVectors(*box)
    x = molecule.positions._value
    torn = x + np.random.default_rng(0).integers(-1, 2, x.shape) @ box
    whole = Preconditioner(potential_of(system, x)).stiffness(x).toarray()
    assert np.abs(whole).max() > 1e5
    got = Preconditioner(potential_of(system, torn)).stiffness(torn).toarray()
    assert np.allclose(got, whole, rtol=1e-8, atol=1e-5)


@pytest.mark.parametrize("rigid_water", [True, False])
def test_waters_ions_and_chains_side_by_side(rigid_water):
    """Molecules of several sizes, in dense batches and sparse, in no particular order."""
    molecule = peptide(
        "AG",
        solvent="tip3p",
        padding=0.25,
        cutoff=0.5,
        ionic_strength=2.0,
        rigid_water=rigid_water,
        seed=0,
    )
    system = copy.deepcopy(molecule.system)
    # A frozen water, and one whose oxygen alone stands still.
    waters = [r for r in molecule.topology.residues() if r.name == "HOH"]
    frozen = [atom.index for atom in waters[0].atoms()] + [next(waters[1].atoms()).index]
    for atom in frozen:
        system.setParticleMass(atom, 0.0)
    for k in reversed(range(system.getNumConstraints())):
        if set(system.getConstraintParameters(k)[:2]) & set(frozen):
            system.removeConstraint(k)
    potential = potential_of(system, molecule.positions)
    x = potential.positions()
    preconditioner = Preconditioner(potential)
    preconditioner.update(x)
    dense = preconditioner.matrix().toarray()
    assert np.array_equal(dense, dense.T)
    assert np.linalg.eigvalsh(dense)[0] >= preconditioner.shift * (1 - 1e-9)
    vector = np.random.default_rng(0).standard_normal(x.shape)
    expected = np.linalg.solve(dense, vector.ravel()).reshape(x.shape)
    expected[frozen] = 0
    assert np.allclose(preconditioner.solve(vector), expected, rtol=1e-7, atol=1e-12)
    assert potential.counter.total == 0


def test_an_order_of_atoms_that_scatters_molecules_changes_nothing():
    """Two water models' worth of dense batches whose atoms are not consecutive."""
    rng = np.random.default_rng(0)
    shape = np.array([[0, 0, 0], [0.0957, 0, 0], [-0.024, 0.0927, 0]])
    x = (shape + 0.4 * np.arange(5)[:, None, None] + rng.normal(0, 0.004, (5, 3, 3))).reshape(-1, 3)
    order = rng.permutation(15)
    place = np.argsort(order)

    def waters(index):
        system, bonds, angles = mm.System(), mm.HarmonicBondForce(), mm.HarmonicAngleForce()
        for _ in range(15):
            system.addParticle(10.0)
        for w in range(5):
            o, h1, h2 = (int(index[3 * w + k]) for k in range(3))
            bonds.addBond(o, h1, 0.0957, 4e5)
            bonds.addBond(h2, o, 0.0957, 4e5)
            angles.addAngle(h1, o, h2, 1.8, 400)
        system.addForce(bonds)
        system.addForce(angles)
        return system

    plain = Preconditioner(potential_of(waters(np.arange(15)), x))
    shuffled = Preconditioner(potential_of(waters(place), x[order]))
    plain.update(x)
    shuffled.update(x[order])
    vector = rng.standard_normal(x.shape)
    assert np.allclose(shuffled.solve(vector[order]), plain.solve(vector)[order], rtol=1e-10)


def test_stiffening_lasts_until_the_next_update(tripeptide):
    potential = potential_of(tripeptide.system, tripeptide.positions)
    preconditioner = Preconditioner(potential)
    x = potential.positions()
    preconditioner.update(x)
    before = preconditioner.matrix().toarray()
    preconditioner.raise_shift()
    assert preconditioner.shift == pytest.approx(1e4)
    assert np.allclose(preconditioner.matrix().toarray(), before + 9e3 * np.eye(99))
    preconditioner.update(x)
    assert np.allclose(preconditioner.matrix().toarray(), before)
