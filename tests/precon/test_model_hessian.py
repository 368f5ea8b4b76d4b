"""The model Hessian: from elements and distances, for what a System's own terms leave out."""

import numpy as np
import openmm as mm
import pytest
from openmm import app

from openmm_reparam import minimize_reparam
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.precon.metric_terms import metric_terms
from openmm_reparam.precon.model_hessian import atomic_numbers_of, internal_terms, model_terms
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide


class Opaque:
    """A force of which nothing can be read; harmonic around the start."""

    def __init__(self, centre):
        self.centre = centre

    def __call__(self, state):
        offset = state.getPositions(asNumpy=True)._value - self.centre
        return float(50 * (offset**2).sum()), -100 * offset


def opaque_simulation(symbols, positions, bonds=()):
    """A System that holds an opaque force alone."""
    topology, system = app.Topology(), mm.System()
    residue = topology.addResidue("X", topology.addChain())
    elements = [app.Element.getBySymbol(symbol) for symbol in symbols]
    atoms = [topology.addAtom(e.symbol, e, residue) for e in elements]
    for element in elements:
        system.addParticle(element.mass)
    for i, j in bonds:
        topology.addBond(atoms[i], atoms[j])
    positions = np.array(positions, dtype=float)
    system.addForce(mm.PythonForce(Opaque(positions)))
    simulation = app.Simulation(
        topology,
        system,
        mm.VerletIntegrator(0.001),
        mm.Platform.getPlatformByName("Reference"),
    )
    simulation.context.setPositions(positions)
    return simulation


def potential_of(*arguments):
    simulation = opaque_simulation(*arguments)
    return Potential(simulation.context, simulation.topology)


WATER = [[0, 0, 0], [0.0958, 0, 0], [-0.024, 0.0927, 0]]
ACETYLENE = [[0, 0, 0], [0.12, 0, 0], [-0.106, 0, 0], [0.226, 0, 0]]
# Elements, some far from what the constants were made for, at distances of their compounds.
MOLECULES = {
    "water": (["O", "H", "H"], WATER),
    "acetylene": (["C", "C", "H", "H"], ACETYLENE),
    "sodium chloride": (["Na", "Cl"], [[0, 0, 0], [0.236, 0, 0]]),
    "one ion": (["Zn"], [[0, 0, 0]]),
    "gold cluster": (
        ["Au"] * 4,
        [[0, 0, 0], [0.27, 0, 0], [0.135, 0.234, 0], [0.135, 0.078, 0.22]],
    ),
    "iron carbonyl": (
        ["Fe", "C", "O", "C", "O", "C", "O"],
        [[0, 0, 0], [0.18, 0, 0], [0.295, 0, 0], [-0.18, 0, 0], [-0.295, 0, 0], [0, 0.18, 0]]
        + [[0, 0.295, 0]],
    ),
    "uranium hexafluoride": (
        ["U", *["F"] * 6],
        np.concatenate([[[0, 0, 0]], 0.2 * np.eye(3), -0.2 * np.eye(3)]),
    ),
    "fallen onto each other": (["C", "C", "O"], [[0, 0, 0], [0, 0, 0], [0.12, 0, 0]]),
}


@pytest.mark.parametrize("name", MOLECULES)
def test_the_preconditioner_is_positive_definite(name):
    """For metals, ions, straight angles and coincident atoms, at the smallest shift."""
    potential = potential_of(*MOLECULES[name])
    preconditioner = Preconditioner(potential)
    preconditioner.update(potential.positions())
    eigenvalues = np.linalg.eigvalsh(preconditioner.matrix().toarray())
    assert np.isfinite(eigenvalues).all()
    assert eigenvalues.min() > 0.999 * preconditioner.shift
    assert preconditioner.shift == Preconditioner(potential).shift


@pytest.mark.parametrize("name", ["water", "acetylene", "gold cluster", "uranium hexafluoride"])
def test_moving_and_turning_a_molecule_costs_nothing(name):
    """H has no stiffness against rigid motions."""
    potential = potential_of(*MOLECULES[name])
    x = potential.positions()
    hessian = Preconditioner(potential).stiffness(x).toarray()
    for axis in np.eye(3):
        for motion in (np.tile(axis, (len(x), 1)), np.cross(axis, x)):
            assert np.abs(hessian @ motion.ravel()).max() < 1e-6 * np.abs(hessian).max()


def test_straight_angles_bend_in_both_directions():
    """The stiffness of a bend across the axis, in closed form: k (d/r1 + d/r2)^2."""
    length, other = 0.106, 0.12
    potential = potential_of(["H", "C", "N"], [[-length, 0, 0], [0, 0, 0], [other, 0, 0]])
    hessian = Preconditioner(potential).stiffness(potential.positions()).toarray()
    across = hessian[3:6, 3:6][1:, 1:]
    bend = across[0, 0] / (1 / length + 1 / other) ** 2
    np.testing.assert_allclose(across, across[0, 0] * np.eye(2), atol=1e-6 * across[0, 0])
    assert 50 < bend < 2000  # kJ/mol/rad^2, as of real bends


def test_stretches_of_known_molecules_are_of_the_right_size():
    """Harmonic force constants (Herzberg) within a factor of two."""
    known = {("C", "H", 0.109): 2.9e5, ("C", "O", 0.113): 11.5e5, ("H", "Cl", 0.1275): 3.1e5}
    for (a, b, length), constant in known.items():
        potential = potential_of([a, b], [[0, 0, 0], [length, 0, 0]])
        hessian = Preconditioner(potential).stiffness(potential.positions()).toarray()
        assert constant / 2.2 < hessian[0, 0] < 2.2 * constant


def test_terms_of_a_molecule():
    """Formaldehyde: bonds, angles, one out-of-plane term; propyne: no torsion about its axis."""
    formaldehyde = np.array([[0, 0, 0], [0.12, 0, 0], [-0.06, 0.094, 0], [-0.06, -0.094, 0]])
    terms = internal_terms(np.array([6, 8, 1, 1]), formaldehyde)
    assert [len(t) for t in vars(terms).values()] == [3, 3, 0, 1, 0]
    terms = internal_terms(np.array([6, 6, 1, 1]), np.array(ACETYLENE))
    assert [len(t) for t in vars(terms).values()] == [3, 2, 0, 0, 0]


def test_only_what_a_system_leaves_out_is_modelled():
    """Terms of a side chain taken out of a force field come back; the others are not doubled."""
    simulation = peptide("AFA").simulation("Reference")
    system = simulation.system
    removed = {a.index for a in simulation.topology.atoms() if a.residue.name == "PHE"}
    gone = {2: set(), 3: set()}
    for force in system.getForces():
        if isinstance(force, mm.HarmonicBondForce):
            for k in range(force.getNumBonds()):
                i, j, length, _ = force.getBondParameters(k)
                if {i, j} <= removed:
                    gone[2].add((min(i, j), max(i, j)))
                    force.setBondParameters(k, 0, 1, length, 0)
    stripped = mm.System()
    for k in range(system.getNumParticles()):
        stripped.addParticle(system.getParticleMass(k))
    for force in system.getForces():
        kept = mm.XmlSerializer.clone(force)
        if isinstance(force, mm.HarmonicBondForce):
            kept = mm.HarmonicBondForce()
            for k in range(force.getNumBonds()):
                i, j, length, constant = force.getBondParameters(k)
                if constant._value:
                    kept.addBond(i, j, length, constant)
        if isinstance(force, mm.HarmonicAngleForce):
            kept = mm.HarmonicAngleForce()
            for k in range(force.getNumAngles()):
                *atoms, angle, constant = force.getAngleParameters(k)
                if set(atoms) <= removed:
                    gone[3].add(min(tuple(atoms), tuple(atoms[::-1])))
                else:
                    kept.addAngle(*atoms, angle, constant)
        stripped.addForce(kept)
    positions = simulation.context.getState(positions=True).getPositions()
    stripped.addForce(mm.PythonForce(Opaque(np.array(positions._value))))
    context = mm.Context(stripped, mm.VerletIntegrator(0.001))
    context.setPositions(positions)
    potential = Potential(context, simulation.topology)
    atoms = np.array(sorted(removed))
    terms = model_terms(potential, atoms, atomic_numbers_of(potential, atoms))
    found = {2: set(), 3: set()}
    for term in terms:
        for row in np.unique(term.atoms, axis=0).tolist():
            if len(row) == 3 or (len(row) == 2 and tuple(sorted(row)) in gone[2]):
                found[len(row)].add(min(tuple(row), tuple(row[::-1])))
    assert gone[2]
    assert found == gone


def test_elements_by_masses_where_there_is_no_topology():
    """Only where all of them are masses of elements, and not of hydrogens alone."""
    simulation = opaque_simulation(["O", "H", "H"], WATER)
    potential = Potential(simulation.context)
    assert atomic_numbers_of(potential, np.arange(3)).tolist() == [8, 1, 1]
    assert atomic_numbers_of(potential, np.array([1, 2])) is None
    simulation.system.setParticleMass(0, 100.0)
    simulation.context.reinitialize(preserveState=True)
    assert atomic_numbers_of(Potential(simulation.context), np.arange(3)) is None


def test_the_user_chooses_where_the_metric_comes_from():
    """Terms alone, the model alone, or a Hessian of one's own; anything else is refused."""
    simulation = peptide("AG").simulation("Reference")
    potential = Potential(simulation.context, simulation.topology)
    x = potential.positions()
    by_terms = Preconditioner(potential, metric="terms").stiffness(x).toarray()
    np.testing.assert_array_equal(by_terms, Preconditioner(potential).stiffness(x).toarray())
    by_model = Preconditioner(potential, contacts=False, metric="model").stiffness(x).toarray()
    assert not np.allclose(by_terms, by_model, rtol=0.01)
    given = np.diag(np.arange(1.0, x.size + 1))
    own = Preconditioner(potential, contacts=False, metric=lambda _: given)
    np.testing.assert_allclose(own.stiffness(x).toarray(), given)
    with pytest.raises(ValueError, match="one of"):
        metric_terms(potential, "modl")
    with pytest.raises(ValueError, match="must be \\(3N, 3N\\)"):
        Preconditioner(potential, metric=lambda _: np.eye(3)).update(x)
    bare = Potential(simulation.context)
    simulation.system.setParticleMass(0, 7.77)
    simulation.context.reinitialize(preserveState=True)
    with pytest.raises(ValueError, match="elements"):
        metric_terms(Potential(bare.context), "model")


def test_a_given_hessian_that_is_exact_leaves_one_step():
    """On a quadratic energy whose Hessian the user gives."""
    simulation = opaque_simulation(["O", "H", "H"], WATER)
    x = np.array(WATER)
    simulation.context.setPositions(x + 0.01 * np.random.default_rng(1).normal(size=x.shape))
    result = minimize_reparam(
        simulation, tolerance=0.1, metric=lambda p: 100 * np.eye(p.size), shift=1e-3
    )
    assert result.converged
    assert result.force_evaluations <= 3
