"""Whole runs with surrogates that fail, lie or are written carelessly."""

import itertools
import threading
import time

import numpy as np
import openmm as mm
import pytest
from morse_molecule import MorseMolecule
from openmm import app, unit

from openmm_reparam import minimize_reparam
from openmm_reparam.errors import NonFiniteError
from openmm_reparam.minimization import surrogate_descent
from openmm_reparam.surrogates.oracles import molecule_simulation, python_force
from openmm_reparam.surrogates.programs import MMFF94


def simulation_of(acetic_acid, oracle, positions, fixed=(), forces=()):
    """Return a Simulation of acetic acid by an oracle, with its bonds and elements."""
    numbers, _, bonds = acetic_acid
    topology, system = app.Topology(), mm.System()
    residue = topology.addResidue("ACT", topology.addChain())
    atoms = []
    for k, number in enumerate(numbers):
        element = app.Element.getByAtomicNumber(int(number))
        atoms.append(topology.addAtom(element.symbol, element, residue))
        system.addParticle(0.0 if k in fixed else element.mass)
    for i, j in bonds:
        topology.addBond(atoms[i], atoms[j])
    for force in (python_force(oracle), *forces):
        system.addForce(force)
    platform = mm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(topology, system, mm.VerletIntegrator(0.001), platform)
    simulation.context.setPositions(positions)
    return simulation


@pytest.fixture
def start(acetic_acid):
    return acetic_acid[1] + 0.006 * np.random.default_rng(3).normal(size=acetic_acid[1].shape)


@pytest.fixture
def genuine(acetic_acid):
    return MorseMolecule(acetic_acid)


@pytest.fixture
def surrogate(acetic_acid):
    return MorseMolecule(acetic_acid, scale=1.03, depth=550)


@pytest.mark.parametrize("first", [4, 12, 40])
def test_a_surrogate_that_fails_later_is_left(first, acetic_acid, start, genuine, surrogate):
    """The run goes on without it and says why."""
    calls = itertools.count()

    def failing(x):
        if next(calls) >= first:
            raise RuntimeError("license server is gone")
        return surrogate(x)

    simulation = simulation_of(acetic_acid, genuine, start)
    result = minimize_reparam(simulation, tolerance=1, surrogate=failing)
    assert result.converged
    assert result.energy == pytest.approx(0.0, abs=0.01)
    assert "license server is gone" in result.surrogate_record.message


def test_a_surrogate_that_fails_where_the_genuine_energy_does_not(acetic_acid, start, genuine):
    """What has been evaluated there is not lost."""
    seen = set()

    def defined_at_the_start(x):
        seen.add(x.tobytes())
        if len(seen) > 2:
            raise RuntimeError("out of its domain")
        return 0.0, np.zeros_like(x)

    simulation = simulation_of(acetic_acid, genuine, start)
    result = minimize_reparam(simulation, tolerance=1, surrogate=defined_at_the_start)
    assert result.converged
    assert result.history["stage"][0] == 0


def test_a_surrogate_that_fails_at_the_start_raises(acetic_acid, start, genuine):
    """In its own words; the Context stays."""

    def broken(x):
        raise RuntimeError("no parameters")

    simulation = simulation_of(acetic_acid, genuine, start)
    with pytest.raises(NonFiniteError, match="no parameters"):
        minimize_reparam(simulation, surrogate=broken)
    state = simulation.context.getState(positions=True)
    np.testing.assert_array_equal(state.getPositions(asNumpy=True)._value, start)


def test_a_surrogate_may_write_into_its_argument(acetic_acid, start, genuine, surrogate):
    """As it would with positions of its own."""

    def careless(x):
        found = surrogate(x)
        x -= x.mean(axis=0)
        return found

    results = [
        minimize_reparam(simulation_of(acetic_acid, genuine, start), tolerance=1, surrogate=given)
        for given in (surrogate, careless)
    ]
    assert results[0].energy == results[1].energy
    assert results[0].force_evaluations == results[1].force_evaluations


def test_a_surrogate_may_return_quantities_and_arrays(acetic_acid, start, genuine, surrogate):
    """In whatever unit, and an energy of shape (1,)."""
    kilocalories = unit.kilocalorie_per_mole

    def in_kilocalories(x):
        energy, forces = surrogate(x)
        return energy / 4.184 * kilocalories, forces / 41.84 * kilocalories / unit.angstrom

    def in_arrays(x):
        energy, forces = surrogate(x)
        return np.array([energy]), forces.tolist()

    energies = [
        minimize_reparam(simulation_of(acetic_acid, genuine, start), surrogate=given).energy
        for given in (surrogate, in_kilocalories, in_arrays)
    ]
    assert energies == pytest.approx([energies[0]] * 3, abs=1e-6)


def test_a_surrogate_that_returns_no_numbers_is_refused(acetic_acid, start, genuine):
    simulation = simulation_of(acetic_acid, genuine, start)
    with pytest.raises(TypeError, match="must return a number"):
        minimize_reparam(simulation, surrogate=lambda x: ("low", np.zeros_like(x)))


def test_nothing_is_evaluated_twice_where_the_model_has_no_step(acetic_acid, start, genuine):
    """A surrogate of zero that cannot be told from the genuine energy's start."""
    places = []

    def noting(x):
        places.append(x.tobytes())
        return genuine(x)

    simulation = simulation_of(acetic_acid, noting, start)
    minimize_reparam(simulation, surrogate=lambda x: (0.0, np.zeros_like(x)), surrogate_first=False)
    assert len(places) == len(set(places))


def test_replicas_do_not_mix_up_their_structures(acetic_acid, start, genuine):
    """An oracle that keeps the positions between two calls, as programs do."""

    class TwoCalls:
        def __call__(self, x):
            self.positions = np.array(x)
            time.sleep(1e-3)  # other threads run
            return genuine(self.positions)

    own = mm.PythonForce(_of_state(TwoCalls()))
    simulation = simulation_of(acetic_acid, lambda x: (0.0, np.zeros_like(x)), start, (), [own])
    result = minimize_reparam(simulation, tolerance=1, replicas=3)
    for one, positions in zip(result.replicas.results, result.replicas.positions, strict=True):
        assert one.converged
        assert one.energy == pytest.approx(genuine(positions)[0], abs=1e-6)


def _of_state(oracle):
    return lambda state: oracle(state.getPositions(asNumpy=True)._value)


def test_oracles_of_one_system_take_turns():
    """Contexts in several threads."""
    inside = []

    def oracle(x):
        inside.append(1)
        assert len(inside) == 1
        time.sleep(1e-3)
        inside.pop()
        return 0.0, np.zeros_like(x)

    system = mm.System()
    system.addParticle(1.0)
    system.addForce(python_force(oracle))
    platform = mm.Platform.getPlatformByName("Reference")
    errors = []

    def evaluate():
        context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
        context.setPositions(np.zeros((1, 3)))
        try:
            for _ in range(20):
                context.getState(energy=True)
        except mm.OpenMMException as error:
            errors.append(error)

    threads = [threading.Thread(target=evaluate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_evaluations_of_the_surrogate_are_those_of_all_replicas(
    acetic_acid, start, genuine, surrogate
):
    simulation = simulation_of(acetic_acid, genuine, start)
    result = minimize_reparam(simulation, surrogate=surrogate, replicas=2)
    each = [one.surrogate_evaluations for one in result.replicas.results]
    assert result.surrogate_evaluations == sum(each)
    assert min(each) > 0


@pytest.mark.parametrize("fixed", [(0,), (0, 1, 2)])
def test_fixed_atoms_cost_no_evaluations(fixed, acetic_acid, start, genuine, surrogate):
    """What atoms that move feel of fixed ones is learnt, too."""
    counts = []
    for those in ((), fixed):
        simulation = simulation_of(acetic_acid, genuine, start, those)
        result = minimize_reparam(simulation, tolerance=1, surrogate=surrogate)
        assert result.converged
        counts.append(result.force_evaluations)
    state = simulation.context.getState(positions=True)
    kept = state.getPositions(asNumpy=True)._value[list(fixed)]
    np.testing.assert_array_equal(kept, start[list(fixed)])
    assert counts[1] <= counts[0] + 3


def external(expression, count):
    force = mm.CustomExternalForce(expression)
    for k in range(count):
        force.addParticle(k, [])
    return force


@pytest.mark.parametrize("expression", ["500*(x^2+y^2+z^2)", "100*z^2", "300*x*y+400*(x^2+y^2)"])
@pytest.mark.parametrize("has_surrogate", [False, True])
def test_what_pulls_from_outside_is_learnt(
    expression, has_surrogate, acetic_acid, start, genuine, surrogate
):
    """Restraints beside a network, whose forces or torques do not cancel."""
    forces = [external(expression, len(start))]
    given = surrogate if has_surrogate else None
    simulation = simulation_of(acetic_acid, genuine, start, forces=forces)
    result = minimize_reparam(simulation, tolerance=1, surrogate=given)
    assert result.converged
    assert result.force_evaluations <= 35


def test_a_surrogate_is_of_use_beyond_a_hundred_atoms():
    """Of many atoms a few structures are remembered."""
    chem = pytest.importorskip("rdkit.Chem", reason="rdkit is not installed")
    embed = pytest.importorskip("rdkit.Chem.AllChem")
    molecule = chem.AddHs(chem.MolFromSmiles("C" * 34))
    assert embed.EmbedMolecule(molecule, randomSeed=1) == 0
    embed.MMFFOptimizeMolecule(molecule, maxIters=5000)
    field = MMFF94(molecule)

    def longer(x):
        energy, forces = field(0.99 * x)
        return energy, 0.99 * forces

    simulation = molecule_simulation(molecule, longer)
    result = minimize_reparam(simulation, tolerance=1, surrogate="mmff")
    assert result.converged
    assert result.surrogate_record.promised
    assert result.force_evaluations <= 12


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_metric_that_is_not_finite_is_done_without(value, acetic_acid, start, genuine):
    simulation = simulation_of(acetic_acid, genuine, start)
    size = start.size
    result = minimize_reparam(
        simulation, tolerance=10, metric=lambda x: np.full((size, size), value)
    )
    assert result.converged
    assert "the metric has values that are NaN or infinite" in result.surrogate_record.message


def test_the_learnt_energy_can_be_turned_off(acetic_acid, start, genuine):
    """Then there is the last stage alone."""
    simulation = simulation_of(acetic_acid, genuine, start)
    result = minimize_reparam(simulation, tolerance=1, surrogate=False)
    assert result.converged
    assert [stage.name for stage in result.stages] == ["preconditioned L-BFGS"]
    assert result.surrogate_record is None


@pytest.mark.parametrize("wrong", [{"surrogate": "mmf"}, {"metric": "hessian"}])
def test_an_unknown_word_is_refused_at_once(wrong, acetic_acid, start, genuine):
    """Also where the start is a minimum already."""
    simulation = simulation_of(acetic_acid, genuine, start)
    minimize_reparam(simulation, tolerance=1)
    with pytest.raises(ValueError, match="must be one of"):
        minimize_reparam(simulation, tolerance=10, **wrong)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda acid: {"elements": False}, "elements are not known"),
        (lambda acid: {"most": 3}, "8 atoms are expensive, more than 3"),
    ],
)
def test_a_surrogate_that_is_not_used_says_why(
    make, why, acetic_acid, start, genuine, surrogate, monkeypatch
):
    """Not in silence: the user has asked for it."""
    case = make(acetic_acid)
    simulation = simulation_of(acetic_acid, genuine, start)
    if "most" in case:
        monkeypatch.setattr(surrogate_descent, "MOST_WITH_SURROGATE", case["most"])
    if not case.get("elements", True):
        for atom in simulation.topology.atoms():
            atom.element = None
    result = minimize_reparam(simulation, tolerance=10, surrogate=surrogate)
    assert why in result.stages[0].message
    assert result.surrogate_record is None
    assert repr(result)
