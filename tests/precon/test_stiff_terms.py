"""Rows of the stiff terms: R^T R against Hessians, and on atoms that coincide."""

import copy

import numpy as np
import openmm as mm
import pytest

from openmm_reparam import Potential, dense_hessian
from openmm_reparam.errors import BudgetExhausted
from openmm_reparam.geometry.internal_coordinates import dihedrals
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.precon.stiff_terms import stiff_terms


def potential_of(force, positions):
    system = mm.System()
    for _ in positions:
        system.addParticle(12.0)
    system.addForce(force)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    return Potential(context)


def gauss_newton(terms, positions, **how):
    """Return R^T R as a dense (3N, 3N) array, with every floating-point fault an error."""
    size = positions.size
    hessian = np.zeros((size, size))
    with np.errstate(all="raise"):
        for term in terms:
            rows = term.rows(positions, None, **how)
            assert rows.shape == (*term.atoms.shape, 3)
            for atoms, row in zip(term.atoms, rows, strict=True):
                columns = (3 * atoms[:, None] + np.arange(3)).ravel()
                np.add.at(hessian, np.ix_(columns, columns), np.outer(row, row))
    return hessian


def custom_bond(energy):
    force = mm.CustomBondForce(energy)
    force.addBond(0, 1, [])
    return force


def harmonic_bond(length, constant):
    force = mm.HarmonicBondForce()
    force.addBond(0, 1, length, constant)
    return force


CHAIN = np.array([[0.1, 0.1, 0.02], [0, 0, 0], [0.15, 0, 0], [0.2, 0.09, 0.11]])
APART = np.array([0.1, -0.25, 0.2])
FLAT_BOTTOM = "900*step(r-0.2)*(r-0.2)^2"
FENE = "-2000*log(1-(r/0.5)^2)"


@pytest.mark.parametrize("away", [0.0, 1e-9, 0.01, 1.0])
@pytest.mark.parametrize("force", [harmonic_bond(0.0, 800.0), custom_bond("400*r^2")])
def test_a_bond_that_holds_two_atoms_on_one_spot_is_k_times_the_identity(force, away):
    positions = np.stack([np.ones(3), np.ones(3) + away * APART])
    terms, others = stiff_terms(potential_of(copy.deepcopy(force), positions))
    expected = 800.0 * np.kron([[1, -1], [-1, 1]], np.eye(3))
    assert not others
    assert np.allclose(gauss_newton(terms, positions), expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("size", [2, 9])
def test_rows_of_length_zero_reach_the_factors_of_small_and_large_molecules(size):
    """An anchor on the first atom of a chain that is held by nothing else."""
    positions = np.zeros((size, 3))
    positions[2:, 0] = 0.15 * np.arange(1, size - 1)
    force = harmonic_bond(0.0, 800.0)
    for i in range(2, size):
        force.addBond(0 if i == 2 else i - 1, i, 0.15, 0.0)
    preconditioner = Preconditioner(potential_of(force, positions), shift=10.0)
    preconditioner.update(positions)
    expected = 800.0 * np.kron([[1, -1], [-1, 1]], np.eye(3)) + 10.0 * np.eye(6)
    assert np.allclose(preconditioner.matrix().toarray()[:6, :6], expected)
    vector = np.zeros((size, 3))
    vector[:2] = [[1.0, 2, 3], [-3, 0, 5]]
    solution = np.linalg.solve(expected, vector[:2].ravel())
    assert np.allclose(preconditioner.solve(vector)[:2].ravel(), solution)


def positive_part(hessian):
    values, vectors = np.linalg.eigh(hessian)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T


@pytest.mark.parametrize("energy", [FLAT_BOTTOM, FENE, "1e4*r^4", "-50*exp(-9*r^2)"])
@pytest.mark.parametrize("away", [0.3, 0.7, 1.2])
def test_restraints_to_one_spot_are_the_positive_part_of_the_hessian(energy, away):
    positions = np.stack([np.ones(3), np.ones(3) + away * APART])
    potential = potential_of(custom_bond(energy), positions)
    expected = positive_part(dense_hessian(potential, positions))
    got = gauss_newton(stiff_terms(potential)[0], positions)
    assert np.abs(got - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize(
    ("energy", "asked"),
    [
        ("1e5*(r-0.25)^2", 1),
        ("40*((0.29/r)^12-(0.29/r)^6)", 1),
        # A soft core: atoms on one spot stay there, but a barrier keeps others out.
        ("500/(x^2+0.01)-500/(x+0.06); x=(r/0.28)^6", 2),
    ],
)
def test_stretched_bonds_stiffen_along_themselves_alone(energy, asked):
    """What a bond does when it is short is asked once."""
    positions = np.stack([np.ones(3), np.ones(3) + APART])
    potential = potential_of(custom_bond(energy), positions)
    terms = stiff_terms(potential)[0]
    first = gauss_newton(terms, positions)
    assert potential.counter.bonded == potential.counter.total == terms[0].cost + asked
    assert np.array_equal(gauss_newton(terms, positions), first)
    assert potential.counter.total == 2 * terms[0].cost + asked
    u = np.concatenate([APART, -APART])
    along = u @ dense_hessian(potential, positions) @ u / (u @ u)
    assert along > 0
    assert np.allclose(first, along * np.outer(u, u) / (u @ u), rtol=1e-4, atol=1e-3)


def every_kind():
    """Return a force of each kind that `stiff_terms` knows, on the first atoms of four."""
    angle, torsion = mm.HarmonicAngleForce(), mm.PeriodicTorsionForce()
    angle.addAngle(0, 1, 2, 2.0, 400.0)
    torsion.addTorsion(0, 1, 2, 3, 3, 0.7, 20.0)
    custom_angle = mm.CustomAngleForce("200*(theta-2)^2")
    custom_angle.addAngle(0, 1, 2, [])
    custom_torsion = mm.CustomTorsionForce("100*theta^2")
    custom_torsion.addTorsion(0, 1, 2, 3, [])
    constants = (9.0, -13.0, 4.0, 21.0, -3.0, 2.0)
    ryckaert_bellemans = mm.RBTorsionForce()
    ryckaert_bellemans.addTorsion(0, 1, 2, 3, *constants)
    bonds = [harmonic_bond(0.0, 2e5), harmonic_bond(0.15, 2e5), custom_bond("1e5*(r-0.15)^2")]
    return [*bonds, angle, torsion, ryckaert_bellemans, custom_angle, custom_torsion]


@pytest.mark.parametrize("force", every_kind(), ids=lambda force: type(force).__name__)
@pytest.mark.parametrize("coincident", [(0, 1), (1, 2), (2, 3), (0, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("apart", [0.0, 1e-9, 1e-4])
def test_rows_are_bounded_on_coincident_atoms(force, coincident, apart):
    positions = CHAIN.copy()
    for place, atom in enumerate(coincident):
        positions[atom] = positions[coincident[0]] + place * np.array([0, apart, 0])
    terms, others = stiff_terms(potential_of(copy.deepcopy(force), positions))
    assert not others
    stiffness = gauss_newton(terms, positions)
    assert np.isfinite(stiffness).all()
    assert np.abs(stiffness).max() < 1e8


@pytest.mark.parametrize("kind", [harmonic_bond(0.15, 3e5), custom_bond("1.5e5*(r-0.15)^2")])
def test_a_collapsed_bond_is_as_stiff_as_ever(kind):
    positions = np.zeros((2, 3))
    terms = stiff_terms(potential_of(copy.deepcopy(kind), positions))[0]
    assert np.linalg.eigvalsh(gauss_newton(terms, positions))[-1] == pytest.approx(6e5, rel=1e-5)


@pytest.mark.parametrize("kind", ["angle", "torsion"])
def test_custom_angles_and_torsions_at_their_minimum_are_the_exact_hessian(kind):
    if kind == "angle":
        cosine = CHAIN[0] @ CHAIN[2] / np.linalg.norm(CHAIN[0]) / np.linalg.norm(CHAIN[2])
        minimum = np.arccos(cosine)
        force = mm.CustomAngleForce("k*(1-cos(theta-theta0))")
        add, atoms = force.addAngle, (0, 1, 2)
        force.addPerAngleParameter("theta0")
    else:
        i, j, k, m = CHAIN
        minimum = dihedrals((i - j)[None], (k - j)[None], (k - m)[None])[0][0]
        force = mm.CustomTorsionForce("k*(1-cos(theta-theta0))")
        add, atoms = force.addTorsion, (0, 1, 2, 3)
        force.addPerTorsionParameter("theta0")
    force.addGlobalParameter("k", 1.0)
    add(*atoms, [minimum])
    potential = potential_of(force, CHAIN)
    potential.context.setParameter("k", 350.0)
    terms = stiff_terms(potential)[0]
    got = gauss_newton(terms, CHAIN)
    assert potential.counter.total == potential.counter.bonded == 2
    expected = dense_hessian(potential, CHAIN)
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


def test_impropers_of_charmm36_are_the_exact_hessian_for_two_evaluations(charmm_peptide):
    positions = np.array(charmm_peptide.positions._value)
    (found,) = (
        f for f in charmm_peptide.system.getForces() if isinstance(f, mm.CustomTorsionForce)
    )
    force = copy.deepcopy(found)
    # Each in its minimum: there the Gauss-Newton Hessian is the whole one.
    for term in range(force.getNumTorsions()):
        *atoms, (constant, _) = force.getTorsionParameters(term)
        i, j, k, m = positions[atoms][:, None]
        minimum = dihedrals(i - j, k - j, k - m)[0][0]
        force.setTorsionParameters(term, *atoms, (constant, minimum))
    potential = potential_of(force, positions)
    terms, others = stiff_terms(potential)
    assert (terms[0].cost, others) == (2, [])
    got = gauss_newton(terms, positions)
    assert potential.counter.total == potential.counter.bonded == 2
    expected = dense_hessian(potential, positions)
    assert np.abs(expected).max() > 1e4
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


def test_without_budget_the_last_curvatures_stay():
    force = mm.CustomTorsionForce("-k*cos(theta)")
    force.addGlobalParameter("k", 30.0)
    force.addTorsion(0, 1, 2, 3, [])
    potential = potential_of(force, CHAIN)
    terms = stiff_terms(potential)[0]
    assert not terms[0].free
    assert not gauss_newton(terms, CHAIN, spend=False).any()
    first = gauss_newton(terms, CHAIN)
    potential.context.setParameter("k", 60.0)
    potential.counter.limit = 3
    assert np.array_equal(gauss_newton(terms, CHAIN, spend=False), first)
    with pytest.raises(BudgetExhausted):
        terms[0].rows(CHAIN, None)
    assert potential.counter.total == 2
    potential.counter.limit = None
    assert np.allclose(gauss_newton(terms, CHAIN), 2 * first)


def test_the_last_curvatures_stay_where_a_term_is_not_finite():
    """A FENE bond so near its end that a difference would leave it."""
    positions = np.array([[0.0, 0, 0], [0.4, 0, 0]])
    terms = stiff_terms(potential_of(custom_bond(FENE), positions))[0]
    rows = terms[0].rows(positions, None)
    positions[1, 0] = 0.49999
    # Along it, as before; across it, as its length has changed.
    assert np.array_equal(terms[0].rows(positions, None)[0], rows[0])


def test_cusps_are_stiff_but_not_without_bound():
    """A dihedral of pi is one where theta^2 jumps."""
    force = mm.CustomTorsionForce("-1e5*theta^2")
    force.addTorsion(0, 1, 2, 3, [])
    trans = np.array([[0.0, 0.1, 0], [0, 0, 0], [0.15, 0, 0], [0.15, -0.1, 0]])
    stiffness = gauss_newton(stiff_terms(potential_of(force, trans))[0], trans)
    assert 1e6 < np.linalg.eigvalsh(stiffness)[-1] < 1e9


def test_springs_of_negative_constant_are_left_to_the_shift():
    positions = np.stack([np.zeros(3), APART])
    terms = stiff_terms(potential_of(harmonic_bond(0.1, -500.0), positions))[0]
    assert not gauss_newton(terms, positions).any()


def test_atoms_that_do_not_move_have_no_rows_of_any_kind():
    acting = 0
    for force in every_kind():
        potential = potential_of(force, CHAIN)
        potential.moves[1] = False
        (term,) = stiff_terms(potential)[0]
        rows = term.rows(CHAIN, None)
        assert not rows[term.atoms == 1].any()
        acting += rows.any()
    assert acting >= 6
