"""Positions go into a Context, and energies and forces come out, as by OpenMM's own methods."""

import threading

import numpy as np
import openmm as mm
import pytest
from openmm import app

from openmm_reparam import NonFiniteError, Potential, compiled, minimize_reparam
from openmm_reparam.errors import EvaluationError
from openmm_reparam.prepare.peptides import peptide


@pytest.fixture(scope="module")
def molecule():
    return peptide("ACD", constraints="HBonds")


def test_energies_and_forces_are_bit_for_bit_openmms(molecule):
    context = molecule.simulation("Reference").context
    potential = Potential(context)
    x = potential.positions() + np.random.default_rng(0).normal(0, 0.003, (len(potential.moves), 3))
    energy, forces = potential.evaluate(x)
    context.setPositions(x)
    state = context.getState(energy=True, forces=True, positions=True)
    assert energy == state.getPotentialEnergy()._value
    assert np.array_equal(forces, state.getForces(asNumpy=True)._value)
    assert np.array_equal(potential.positions(), x)
    held = potential.apply_constraints(x, 1e-6)
    context.setPositions(x)
    context.applyConstraints(1e-6)
    assert np.array_equal(held, context.getState(positions=True).getPositions(asNumpy=True)._value)


def test_arrays_of_any_layout_are_taken(molecule):
    potential = Potential(molecule.simulation("Reference").context)
    x = potential.positions()
    expected = potential.evaluate(x)[0]
    assert potential.evaluate(np.asfortranarray(x))[0] == expected
    assert potential.evaluate(np.repeat(x, 2, axis=0)[::2])[0] == expected


def test_what_a_python_force_raises_arrives_with_its_words():
    def fail(state):
        raise RuntimeError("no such density")

    system = mm.System()
    system.addParticle(1.0)
    system.addForce(mm.PythonForce(fail))
    context = mm.Context(system, mm.VerletIntegrator(0.001), mm.Platform.getPlatform("Reference"))
    context.setPositions(np.zeros((1, 3)))
    with pytest.raises(EvaluationError, match="no such density"):
        Potential(context).evaluate(np.zeros((1, 3)))


def test_positions_of_another_number_are_refused(molecule):
    context = molecule.simulation("Reference").context
    with pytest.raises(ValueError, match="positions has 3 values"):
        compiled.evaluate(compiled.address(context), np.zeros((1, 3)), -1, False, None)
    with pytest.raises(NonFiniteError):
        Potential(context).evaluate(np.full((len(molecule.positions), 3), np.nan))


def test_two_threads_at_once_agree_with_serial_runs(molecule):
    def run(results, k):
        results[k] = minimize_reparam(molecule.simulation("Reference"), tolerance=10)

    alone: dict = {}
    run(alone, 0)
    results: dict = {}
    threads = [threading.Thread(target=run, args=(results, k)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results.values():
        assert result.energy == alone[0].energy
        assert result.force_evaluations == alone[0].force_evaluations


def test_a_rounding_error_below_zero_is_zero():
    # OpenMM's Reference platform misplaces such charges on its PME grid: -40 kJ/mol, not -8.
    field, topology, places = app.ForceField("amber14/tip3p.xml"), app.Topology(), []
    chain = topology.addChain()
    for x in (0.0, 0.28):
        residue = topology.addResidue("HOH", chain)
        oxygen, *hydrogens = [
            topology.addAtom(name, app.element.get_by_symbol(name[0]), residue)
            for name in ("O", "H1", "H2")
        ]
        for hydrogen in hydrogens:
            topology.addBond(oxygen, hydrogen)
        places += [[x, 0, 0], [x + 0.0957, 0, 0], [x - 0.024, 0.0927, 0]]
    topology.setPeriodicBoxVectors(2.5 * np.eye(3))
    system = field.createSystem(topology, nonbondedMethod=app.PME)
    platform = mm.Platform.getPlatform("Reference")
    potential = Potential(mm.Context(system, mm.VerletIntegrator(0.001), platform))
    x = np.array(places)
    expected = potential.evaluate(x)[0]
    assert potential.evaluate(x - [1e-18, 0, 0])[0] == pytest.approx(expected, abs=1e-6)
    assert potential.evaluate(x - [0, 0, 1e-17])[0] == pytest.approx(expected, abs=1e-6)
