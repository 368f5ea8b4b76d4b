"""Descents on a surrogate: verified at every step, whatever the surrogate is like."""

import itertools

import numpy as np
import openmm as mm
import pytest
from morse_molecule import MorseMolecule
from openmm import app

from openmm_reparam.errors import NonFiniteError
from openmm_reparam.potentials.evaluator import Evaluator
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.surrogates.oracles import python_force
from openmm_reparam.surrogates.stage import SurrogateStage
from openmm_reparam.surrogates.surrogate import Surrogate


def evaluator_of(acetic_acid, oracle, positions, fixed=()):
    numbers, _, bonds = acetic_acid
    topology, system = app.Topology(), mm.System()
    residue = topology.addResidue("ACT", topology.addChain())
    for k, number in enumerate(numbers):
        element = app.Element.getByAtomicNumber(int(number))
        topology.addAtom(element.symbol, element, residue)
        system.addParticle(0.0 if k in fixed else element.mass)
    system.addForce(python_force(oracle))
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(positions)
    return Evaluator(Potential(context, topology))


@pytest.fixture
def start(acetic_acid):
    return acetic_acid[1] + 0.006 * np.random.default_rng(3).normal(size=acetic_acid[1].shape)


def descend(acetic_acid, evaluator, surrogate, begin, tolerance=1.0, most=60, **settings):
    """Return the points until the tolerance or the end, and the record."""
    numbers, _, bonds = acetic_acid
    atoms = np.arange(len(numbers))
    stage = SurrogateStage(
        evaluator, surrogate, atoms, numbers, bonds, begin, tolerance, **settings
    )
    points = [begin]
    for point in itertools.islice(stage.points(begin), most):
        points.append(point)
        if evaluator.rms(point) <= tolerance:
            break
    return points, stage.record


SURROGATES = {
    "none": lambda acid: None,
    "stiffer bonds": lambda acid: MorseMolecule(acid, depth=550),
    "longer bonds": lambda acid: MorseMolecule(acid, scale=1.03),
}


@pytest.mark.parametrize("name", SURROGATES)
def test_it_converges_to_the_genuine_minimum(name, acetic_acid, start):
    """In few evaluations; energies fall, and what was promised is written down."""
    genuine = MorseMolecule(acetic_acid)
    evaluator = evaluator_of(acetic_acid, genuine, start)
    make = SURROGATES[name](acetic_acid)
    surrogate = make and Surrogate(name, make)
    points, record = descend(acetic_acid, evaluator, surrogate, evaluator.evaluate(start))
    assert evaluator.rms(points[-1]) <= 1.0
    assert points[-1].energy == pytest.approx(0.0, abs=0.01)
    assert evaluator.potential.counter.context <= 20
    energies = [point.energy for point in points]
    assert all(b < a + 1e-6 for a, b in itertools.pairwise(energies))
    assert len(record.promised) == len(record.fallen) == evaluator.potential.counter.context - 1
    assert sum(f for f in record.fallen if f > 0) == pytest.approx(energies[0] - energies[-1])


def test_a_good_surrogate_saves_evaluations(acetic_acid, start):
    """Against the same descent without one."""
    counts = []
    for surrogate in (None, Surrogate("close", MorseMolecule(acetic_acid, depth=420))):
        evaluator = evaluator_of(acetic_acid, MorseMolecule(acetic_acid), start)
        descend(acetic_acid, evaluator, surrogate, evaluator.evaluate(start))
        counts.append(evaluator.potential.counter.context)
    assert counts[1] < counts[0]


def test_three_evaluations_suffice_where_the_surrogate_has_the_hessian(acetic_acid, start):
    """A quadratic energy, and a surrogate with its Hessian and another minimum."""
    size = start.size
    root = np.random.default_rng(0).normal(size=(size, size))
    hessian = 300 * root @ root.T / size + 1000 * np.eye(size)
    centre = acetic_acid[1]
    shift = 0.0005 * np.random.default_rng(1).normal(size=centre.shape)

    def quadratic(x, at):
        force = -(hessian @ (x - at).ravel()).reshape(x.shape)
        return float(-0.5 * (x - at).ravel() @ force.ravel()), force

    evaluator = evaluator_of(acetic_acid, lambda x: quadratic(x, centre), start)
    surrogate = Surrogate("same Hessian", lambda x: quadratic(x, centre + shift))
    near = centre + 0.002 * (start - centre) / 0.006
    points, _ = descend(
        acetic_acid,
        evaluator,
        surrogate,
        evaluator.evaluate(near),
        metric=lambda x: hessian,
    )
    assert evaluator.rms(points[-1]) <= 1.0
    assert evaluator.potential.counter.context <= 3


WRONG = {
    "atoms exchanged": lambda acid: MorseMolecule(acid, order=[1, 0, 3, 2, 7, 5, 6, 4]),
    "upside down": lambda acid: lambda x: tuple(-np.asarray(p) for p in MorseMolecule(acid)(x)),
    "far too long": lambda acid: MorseMolecule(acid, scale=1.5),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_surrogate_never_raises_the_energy(name, acetic_acid, start):
    """It ends at the genuine minimum, or gives up saying so, lower than it began."""
    evaluator = evaluator_of(acetic_acid, MorseMolecule(acetic_acid), start)
    surrogate = Surrogate(name, WRONG[name](acetic_acid))
    begin = evaluator.evaluate(start)
    points, record = descend(acetic_acid, evaluator, surrogate, begin)
    energies = [point.energy for point in points]
    assert all(b < a + 1e-6 for a, b in itertools.pairwise(energies))
    assert evaluator.rms(points[-1]) <= 1.0 or record.message


def test_failures_of_the_genuine_energy_are_steps_too_long(acetic_acid, start):
    """An oracle that fails now and then."""
    calls = itertools.count()
    genuine = MorseMolecule(acetic_acid)

    def failing(x):
        if next(calls) in (2, 3):
            raise RuntimeError("SCF not converged")
        return genuine(x)

    evaluator = evaluator_of(acetic_acid, failing, start)
    points, _ = descend(acetic_acid, evaluator, None, evaluator.evaluate(start))
    assert evaluator.rms(points[-1]) <= 1.0


def test_a_surrogate_that_fails_at_the_start_is_an_error(acetic_acid, start):
    """In the user's words, not a traceback of the package's."""
    evaluator = evaluator_of(acetic_acid, MorseMolecule(acetic_acid), start)

    def broken(x):
        raise NonFiniteError("no parameters")

    with pytest.raises(NonFiniteError, match="no parameters"):
        descend(acetic_acid, evaluator, Surrogate("broken", broken), evaluator.evaluate(start))


def test_fixed_atoms_stay(acetic_acid, start):
    """Bit by bit, and the others relax."""
    evaluator = evaluator_of(acetic_acid, MorseMolecule(acetic_acid), start, fixed=(0, 1))
    points, _ = descend(acetic_acid, evaluator, None, evaluator.evaluate(start))
    np.testing.assert_array_equal(points[-1].positions[:2], start[:2])
    assert evaluator.rms(points[-1]) <= 1.0
