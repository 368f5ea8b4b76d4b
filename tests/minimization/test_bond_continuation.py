"""Bonds caught outside their wells get into them; bonds inside stay where they are."""

import numpy as np
import openmm as mm
import pytest

from openmm_reparam import Potential, minimize_reparam
from openmm_reparam.minimization.bond_continuation import HarmonicContinuation
from openmm_reparam.optimizers.stage_end import StageEnd
from openmm_reparam.potentials.evaluator import Evaluator
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.testsystems import coil, coil_lower_bound


def relaxed(context, groups=None):
    if groups is not None:
        context.getIntegrator().setIntegrationForceGroups(groups)
    evaluator = Evaluator(Potential(context))
    potential = evaluator.potential
    start = evaluator.evaluate(potential.positions())
    points = []
    with pytest.raises(StageEnd, match="wells? were pulled in|no bond is out"):
        points.extend(HarmonicContinuation(evaluator).points(start))
    return potential, start, points


@pytest.mark.parametrize("kind", ["bond-lj", "lj"])
def test_every_coupling_of_a_coil_gets_into_its_minimum(kind):
    system = coil(120, kind, seed=1)
    potential, start, points = relaxed(system.simulation("Reference").context)
    assert len(points) == 1
    assert points[0].energy < start.energy
    x = points[0].positions / system.length_unit
    near = np.linalg.norm(x[1:] - x[:-1], axis=1)
    far = np.linalg.norm(x[10:] - x[:-10], axis=1)
    assert np.allclose(near, 1.0 if kind == "bond-lj" else 1.13217, atol=0.05)
    assert np.allclose(far, 1.13217, atol=0.05)
    # What is left above the bound is the repulsion.
    assert system.reduced_energy(points[0].energy) < 0.95 * coil_lower_bound(120, kind) + 0.003
    assert potential.counter.context == 2
    assert potential.counter.bonded < 500


def test_bonds_in_their_wells_are_left_alone():
    system = coil(60, seed=2)
    context = system.simulation("Reference").context
    _, _, points = relaxed(context)
    context.setPositions(points[0].positions)
    assert relaxed(context)[2] == []


def test_a_system_without_custom_bonds_is_left_alone():
    potential, _, points = relaxed(peptide("AG").simulation("Reference").context)
    assert points == []
    assert potential.counter.total == 1


def morse_peptide():
    """Return a peptide with a Morse bond between its ends, whose well is at 0.4 nm."""
    molecule = peptide("AAAA")
    force = mm.CustomBondForce("5000*(1-exp(-15*(r-0.4)))^2")
    last = molecule.system.getNumParticles() - 1
    force.addBond(0, last, [])
    force.setForceGroup(3)
    molecule.system.addForce(force)
    return molecule.simulation("Reference").context, last


def test_a_torn_bond_closes_a_peptide_and_its_own_bonds_hold():
    context, last = morse_peptide()
    _, start, points = relaxed(context)
    before, after = start.positions, points[0].positions
    assert np.linalg.norm(before[0] - before[last]) > 0.8
    assert np.linalg.norm(after[0] - after[last]) == pytest.approx(0.4, abs=0.02)
    bonds = next(f for f in context.getSystem().getForces() if isinstance(f, mm.HarmonicBondForce))
    for k in range(bonds.getNumBonds()):
        i, j, length, _ = bonds.getBondParameters(k)
        assert np.linalg.norm(after[i] - after[j]) == pytest.approx(length._value, abs=0.02)


def test_force_groups_that_do_not_act_are_not_springs():
    context, _ = morse_peptide()
    assert relaxed(context, groups={0})[2] == []


def test_bonds_between_nearest_images_are_short():
    """Across the face of a 3 nm box two atoms are 0.45 nm apart: in their well, and left there."""
    system, force = mm.System(), mm.CustomBondForce("5000*(1-exp(-15*(r-0.45)))^2")
    for _ in range(2):
        system.addParticle(1.0)
    force.addBond(0, 1, [])
    force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)
    system.setDefaultPeriodicBoxVectors(*(3 * np.eye(3)))
    context = mm.Context(system, mm.VerletIntegrator(0.001))
    context.setPositions([[0.1, 0, 0], [2.65, 0, 0]])
    assert relaxed(context)[2] == []
    context.setPositions([[0.1, 0, 0], [2.1, 0, 0]])
    after = relaxed(context)[2][0].positions
    assert after[0, 0] + 3 - after[1, 0] == pytest.approx(0.45, abs=1e-3)


STAGES = ["harmonic continuation", "preconditioned L-BFGS"]


def test_minimize_reparam_with_harmonic_continuation():
    system = coil(100, "lj", seed=3)
    plain, sprung = (
        minimize_reparam(system.simulation("Reference"), harmonic_continuation=continued)
        for continued in (False, True)
    )
    assert [stage.name for stage in sprung.stages] == STAGES
    assert sprung.energy < plain.energy
    assert system.reduced_energy(sprung.energy) < 0.98 * coil_lower_bound(100, "lj") + 0.003
    peptide_alone = minimize_reparam(
        peptide("AG").simulation("Reference"), harmonic_continuation=True
    )
    assert peptide_alone.stages[0].iterations == 0
    assert "no bond is out of its well" in peptide_alone.stages[0].message
    assert "pulled in" in sprung.stages[0].message
    assert peptide_alone.converged


def test_the_first_versions_name_warns_at_the_call_and_works():
    system = coil(40, "lj", seed=3)
    with pytest.warns(DeprecationWarning, match="harmonic_continuation") as warned:
        result = minimize_reparam(system.simulation("Reference"), bond_springs=True)
    assert warned[0].filename == __file__
    assert [stage.name for stage in result.stages] == STAGES
