"""Every run ends by itself, and says why: no bottom, cusps, far starts, small budgets."""

import contextlib
import copy

import numpy as np
import openmm as mm
import pytest
import scipy.optimize
from openmm import app, unit

from openmm_reparam import EvaluationError, NonFiniteError, Potential, minimize_reparam
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide

REFERENCE = mm.Platform.getPlatformByName("Reference")


def context_of(positions, *forces, mass=23.0, platform="Reference"):
    """Return a Context of particles with these forces."""
    system = mm.System()
    for _ in positions:
        system.addParticle(mass)
    for force in forces:
        system.addForce(force)
    chosen = mm.Platform.getPlatformByName(platform)
    context = mm.Context(system, mm.VerletIntegrator(0.001), chosen)
    context.setPositions(positions)
    return context


def external(expression, number):
    """Return a CustomExternalForce on every particle."""
    force = mm.CustomExternalForce(expression)
    for particle in range(number):
        force.addParticle(particle)
    return force


def quiet_ions(number):
    """Return a NonbondedForce of ions, plus and minus by turns, with cores."""
    force = mm.NonbondedForce()
    for particle in range(number):
        force.addParticle((-1) ** particle, 0.3, 0.5)
    return force


@pytest.mark.parametrize("expression", ["-100*z", "-100*z^2", "-1e3*exp(z)"])
def test_a_fall_without_bound_ends_and_leaves_the_atoms_near(expression, platform):
    start = np.random.default_rng(0).uniform(0, 2.5, (6, 3))
    context = context_of(start, quiet_ions(6), external(expression, 6), platform=platform)
    with pytest.warns(match="falls without bound"):
        result = minimize_reparam(context)
    assert not result.converged
    assert result.energy < result.initial_energy
    assert result.force_evaluations < 1000
    assert np.abs(Potential(context).positions() - start).max() < 10


def test_a_fall_towards_one_spot_ends():
    """Nothing but distance tells that -1/r has no bottom where no charge is known."""
    force = mm.CustomNonbondedForce("-50/r")
    for _ in range(3):
        force.addParticle([])
    context = context_of([[0, 0, 0], [0.4, 0, 0], [0, 0.5, 0.1]], force)
    with pytest.warns(match="above the tolerance"):
        result = minimize_reparam(context, 1)
    assert result.force_evaluations < 5000


def test_a_cusp_ends_on_its_edge():
    start = np.random.default_rng(1).uniform(0, 1.0, (8, 3))
    context = context_of(start, external("50*abs(z)", 8))
    with pytest.warns(match="cusp|precision"):
        minimize_reparam(context)
    assert np.abs(Potential(context).positions()[:, 2]).max() < 1e-3


@pytest.mark.parametrize("away", [1e2, 1e4])
def test_an_atom_far_from_its_restraint_arrives(away, platform):
    force = mm.CustomExternalForce("100*((x-x0)^2+y^2+z^2)")
    force.addPerParticleParameter("x0")
    for particle in range(2):
        force.addParticle(particle, [0.5 * particle])
    context = context_of([[away, 0, 0], [0.5, away, 0]], force, platform=platform)
    result = minimize_reparam(context, 1)
    assert result.converged
    assert result.force_evaluations < 200
    assert np.allclose(Potential(context).positions(), [[0, 0, 0], [0.5, 0, 0]], atol=0.01)


@pytest.mark.parametrize("force", [0.5, 20.0, 60.0])
def test_a_constant_force_ends_however_weak(force):
    context = context_of(np.eye(3), external(f"-{force}*z", 3))
    with pytest.warns(match="falls without bound"):
        result = minimize_reparam(context, force / 2)
    assert result.force_evaluations < 500
    assert np.abs(Potential(context).positions() - np.eye(3)).max() < 10


@pytest.mark.parametrize("search", [None, "auto"])
def test_a_charged_molecule_in_a_field_is_not_torn(search):
    molecule = peptide("KAAK")
    field = mm.CustomExternalForce("-100*q*z")
    field.addPerParticleParameter("q")
    charges = next(f for f in molecule.system.getForces() if isinstance(f, mm.NonbondedForce))
    for k in range(molecule.system.getNumParticles()):
        field.addParticle(k, [charges.getParticleParameters(k)[0]])
    molecule.system.addForce(field)
    simulation = molecule.simulation("Reference")
    options = {} if search is None else {"search": search, "max_force_evaluations": 3000}
    with pytest.warns(match="falls without bound"):
        result = minimize_reparam(simulation, 1, **options)
    assert result.force_evaluations < 1500
    x = Potential(simulation.context).positions()
    bonds = np.array([(a.index, b.index) for a, b in molecule.topology.bonds()])
    assert np.linalg.norm(x[bonds[:, 0]] - x[bonds[:, 1]], axis=1).max() < 0.2
    assert np.abs(x).max() < 12


@pytest.mark.parametrize("away", [5.0, 1e4])
def test_a_peptide_far_from_its_restraints_arrives_whole(away):
    molecule = peptide("AAA")
    force = mm.CustomExternalForce("500*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
    for name in ("x0", "y0", "z0"):
        force.addPerParticleParameter(name)
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))
    for atom in molecule.topology.atoms():
        if atom.name == "CA":
            force.addParticle(atom.index, x[atom.index])
    molecule.system.addForce(force)
    simulation = molecule.simulation("Reference")
    near = minimize_reparam(simulation, 1)
    simulation.context.setPositions(x + [away, 0, 0])
    far = minimize_reparam(simulation, 1)
    assert far.converged
    assert far.stereo_changes == ()
    assert far.energy == pytest.approx(near.energy, abs=0.5)
    assert far.force_evaluations < near.force_evaluations + 60


def test_atoms_in_line_get_off_it():
    """A torsion of three atoms in line: its force is huge, its energy is not."""
    force = mm.PeriodicTorsionForce()
    force.addTorsion(0, 1, 2, 3, 2, np.pi, 20.0)
    bonds = mm.HarmonicBondForce()
    for k in range(3):
        bonds.addBond(k, k + 1, 0.15, 1e5)
    line = [[0, 0.15, 0], [0, 0, 0], [0.15, 0, 0], [0.3, 1e-9, 1e-9]]
    context = context_of(line, force, bonds)
    start = Potential(context).evaluate(np.array(line))
    assert np.abs(start[1]).max() > 1e6
    result = minimize_reparam(context, 1)
    assert result.converged
    assert result.energy == pytest.approx(0, abs=0.1)


def test_a_budget_of_one_says_so(tripeptide):
    with pytest.warns(match="budget of 1 force evaluations is used up"):
        minimize_reparam(tripeptide.simulation("Reference"), max_force_evaluations=1)


def test_a_network_that_the_budget_does_not_pay_for_leaves_it_to_the_last_stage(tripeptide):
    with pytest.warns(match="above the tolerance"):
        result = minimize_reparam(
            tripeptide.simulation("Reference"),
            1e-3,
            reparametrization="gcn",
            fine_stage=False,
            max_force_evaluations=40,
        )
    assert result.force_evaluations == 40
    assert result.energy < result.initial_energy


def test_a_latent_stage_is_not_ended_by_the_size_of_total_energies():
    energy_and_gradient, start = tripeptide_energy()
    ends = []
    for offset in (0.0, -1e6):
        system = python_force(
            lambda x, o=offset: (energy_and_gradient(x)[0] + o, energy_and_gradient(x)[1]),
            len(start),
        )
        context = mm.Context(system, mm.VerletIntegrator(0.001), REFERENCE)
        context.setPositions(start)
        with pytest.warns(match="above the tolerance"):
            result = minimize_reparam(
                context,
                1e-3,
                reparametrization="cartesian",
                latent_iterations=120,
                fine_stage=False,
            )
        ends.append((result.iterations, result.energy - offset))
    assert ends[0][0] == ends[1][0]
    assert ends[0][1] == pytest.approx(ends[1][1], abs=1e-3)


def python_force(energy_and_gradient, number, mass=12.0):
    """Return a System whose only force is a Python function of (N, 3) positions in nm."""

    def compute(state):
        x = np.array(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        energy, gradient = energy_and_gradient(x)
        return energy, -gradient

    system = mm.System()
    for _ in range(number):
        system.addParticle(mass)
    system.addForce(mm.PythonForce(compute))
    return system


def tripeptide_energy():
    """Return amber14's energy and gradient of AAA as a function, and its start."""
    molecule = peptide("AAA")
    context = molecule.simulation("Reference").context

    def energy_and_gradient(x):
        context.setPositions(x)
        state = context.getState(energy=True, forces=True)
        forces = state.getForces(asNumpy=True)._value
        return state.getPotentialEnergy()._value, -np.array(forces)

    return energy_and_gradient, np.array(molecule.positions.value_in_unit(unit.nanometer))


@pytest.mark.parametrize("offset", [0.0, -1e6])
def test_a_potential_of_which_nothing_is_known_takes_what_plain_lbfgs_takes(offset):
    """The total energies of quantum chemistry count electrons: -1e6 kJ/mol tells of no noise."""
    energy_and_gradient, start = tripeptide_energy()
    counts = []

    class Arrived(Exception):  # noqa: N818
        pass

    def peer(x):
        counts.append(1)
        energy, gradient = energy_and_gradient(x.reshape(-1, 3))
        if np.sqrt((gradient**2).sum() / len(start)) <= 1:
            raise Arrived
        return energy, gradient.ravel()

    with pytest.raises(Arrived):
        scipy.optimize.minimize(
            peer,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxcor": 12, "maxfun": 5000, "maxiter": 5000, "ftol": 0, "gtol": 0},
        )
    system = python_force(
        lambda x: (energy_and_gradient(x)[0] + offset, energy_and_gradient(x)[1]), len(start)
    )
    context = mm.Context(system, mm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(start)
    result = minimize_reparam(context, 1)
    assert result.converged
    assert result.force_evaluations <= 1.2 * len(counts)


def test_a_mixed_system_keeps_the_pairs_of_what_no_term_describes():
    """Half of the molecule's terms are OpenMM's, the rest is a function's: as an ML region is."""
    energy_and_gradient, start = tripeptide_energy()
    system = python_force(energy_and_gradient, len(start))
    bonds = mm.HarmonicBondForce()
    bonds.addBond(0, 1, 0.1, 1000.0)
    system.addForce(bonds)
    context = mm.Context(system, mm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(start)
    result = minimize_reparam(context, 1)
    assert result.converged
    assert result.force_evaluations < 600


def test_an_evaluation_that_fails_on_the_way_is_a_step_too_long():
    failed = []

    def well(x):
        if np.abs(x).max() > 0.5 and len(failed) < 1000 and calls[0] > 1:
            failed.append(1)
            raise RuntimeError("SCF did not converge")
        calls[0] += 1
        return 500 * (x**2).sum() - 1e5, 1000 * x

    calls = [0]
    context = mm.Context(python_force(well, 2), mm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions([[0.3, 0, 0], [0, 0.49, 0.2]])
    assert minimize_reparam(context, 0.1).converged

    def wall(x):
        if x[0, 0] < 0.2:
            failed.append(1)
            raise RuntimeError("SCF did not converge")
        return 500 * (x**2).sum(), 1000 * x

    context = mm.Context(python_force(wall, 1), mm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions([[0.4, 0, 0]])
    failed.clear()
    with pytest.warns(match="SCF did not converge"):
        result = minimize_reparam(context, 0.1)
    assert failed
    assert result.energy < result.initial_energy


def test_an_evaluation_that_fails_at_the_start_carries_its_message(snapshot, tripeptide):
    def never(x):
        raise RuntimeError("SCF did not converge")

    context = mm.Context(python_force(never, 2), mm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions([[0.3, 0, 0], [0, 0.4, 0.2]])
    x = Potential(context).positions()
    with pytest.raises(EvaluationError, match="SCF did not converge"):
        minimize_reparam(context)
    assert np.array_equal(Potential(context).positions(), x)


def test_ctrl_c_inside_a_python_force_is_not_taken_for_a_failure():
    calls = [0]

    def interrupted(x):
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        return 500 * (x**2).sum() + (x**4).sum(), 1000 * x + 4 * x**3

    context = mm.Context(python_force(interrupted, 2), mm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions([[3, 0, 0], [0, 4, 0]])
    with pytest.raises((KeyboardInterrupt, mm.OpenMMException)):
        minimize_reparam(context, 1e-6)
    assert calls[0] == 5
    assert np.array_equal(Potential(context).positions(), [[3, 0, 0], [0, 4, 0]])


@pytest.mark.parametrize("budget", [3, 10, 30, 60])
@pytest.mark.parametrize("compound", [False, True])
def test_a_budget_is_spent_on_moving_and_none_is_left(charmm_peptide, budget, compound):
    """Metrics that cost evaluations: CHARMM's impropers, and terms that have no closed form."""
    system = copy.deepcopy(charmm_peptide.system)
    if compound:
        force = mm.CustomCompoundBondForce(4, "5*(1-cos(2*dihedral(p1,p2,p3,p4)))")
        for k in range(system.getNumParticles() - 3):
            force.addBond([k, k + 1, k + 2, k + 3], [])
        system.addForce(force)
    simulation = app.Simulation(
        charmm_peptide.topology, system, mm.VerletIntegrator(0.001), REFERENCE
    )
    simulation.context.setPositions(charmm_peptide.positions)
    with pytest.warns(match="above the tolerance"):
        result = minimize_reparam(simulation, 1e-9, max_force_evaluations=budget)
    assert result.force_evaluations == budget
    assert result.energy < result.initial_energy
    assert result.evaluations["bonded"] <= budget / 2


def test_a_metric_that_cannot_be_factorized_leaves_the_last_one_in_use():
    """A term of the user's whose curvature overflows once its atoms are apart."""
    force = mm.CustomCompoundBondForce(2, "1e3*exp(1e4*distance(p1,p2))")
    force.addBond([0, 1], [])
    context = context_of([[0, 0, 0], [1e-3, 0, 0], [0.5, 0, 0]], force, quiet_ions(3))
    preconditioner = Preconditioner(Potential(context))
    x = np.array([[0, 0, 0], [1e-3, 0, 0], [0.5, 0, 0]])
    preconditioner.update(x)
    vector = np.random.default_rng(0).normal(size=x.shape)
    before = preconditioner.solve(vector)
    for apart in (0.0652, 0.0695, 0.2):
        far = np.array([[0, 0, 0], [apart, 0, 0], [0.5, 0, 0]])
        with contextlib.suppress(NonFiniteError):
            preconditioner.update(far)
        solution = preconditioner.solve(vector)
        assert np.isfinite(solution).all()
        assert (vector * solution).sum() > 0
    preconditioner.raise_shift()
    assert np.abs(preconditioner.solve(vector)).sum() < np.abs(before).sum()
