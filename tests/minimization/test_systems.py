"""What it works on: solvents, boxes, frozen atoms, virtual sites, force groups, Python forces."""

import copy
import os

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from openmm_reparam import ConvergenceWarning, minimize_reparam
from openmm_reparam.prepare.peptides import peptide

cut_short = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")


def simulation_of(topology, system, positions, platform, integrator=None):
    integrator = integrator or mm.LangevinMiddleIntegrator(300, 1.0, 0.002)
    chosen = mm.Platform.getPlatformByName(platform)
    simulation = app.Simulation(topology, system, integrator, chosen)
    simulation.context.setPositions(positions)
    return simulation


def assert_constraints_hold(simulation, nanometers, tolerance=1.01e-5):
    system, x = simulation.context.getSystem(), nanometers(simulation.context)
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        if system.getParticleMass(i)._value or system.getParticleMass(j)._value:
            assert abs(np.linalg.norm(x[i] - x[j]) / length._value - 1) < tolerance


def assert_minimized(simulation, result, tangent_part, energy_and_forces, nanometers):
    """The result is true, by what OpenMM itself says of the Context."""
    system = simulation.context.getSystem()
    energy, forces = energy_and_forces(simulation.context)
    assert result.converged
    assert energy == pytest.approx(result.energy, rel=2e-6, abs=1e-4)
    tangent = tangent_part(system, nanometers(simulation.context), forces)
    moves = [
        i
        for i in range(system.getNumParticles())
        if system.getParticleMass(i)._value > 0 and not system.isVirtualSite(i)
    ]
    force = np.sqrt((tangent[moves] ** 2).sum() / len(moves))
    assert force <= 1.02 * result.tolerance
    assert_constraints_hold(simulation, nanometers)


@pytest.mark.parametrize("solvent", ["vacuum", "gbn2", "obc2"])
def test_vacuum_and_implicit_solvents(solvent, tangent_part, energy_and_forces, nanometers):
    simulation = peptide("AKD", solvent=solvent, constraints="HBonds").simulation("CPU")
    result = minimize_reparam(simulation, 5)
    assert_minimized(simulation, result, tangent_part, energy_and_forces, nanometers)


@pytest.fixture(scope="module")
def openmms_box():
    """Return topology, System and positions of the protein in water that OpenMM ships."""
    folder = os.path.join(os.path.dirname(app.__file__), "data")
    pdb = app.PDBFile(os.path.join(folder, "test.pdb"))
    system = app.ForceField("amber14-all.xml", "amber14/tip3pfb.xml").createSystem(
        pdb.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=1 * unit.nanometer,
        constraints=app.HBonds,
    )
    return pdb.topology, system, pdb.positions


@cut_short
@pytest.mark.parametrize("reparametrization", ["gcn", "spectral"])
def test_openmms_own_box_with_particle_mesh_ewald(
    reparametrization, openmms_box, energy_and_forces, nanometers
):
    simulation = simulation_of(*openmms_box, "CPU")
    box = simulation.context.getState().getPeriodicBoxVectors(asNumpy=True)._value
    before = nanometers(simulation.context)
    start = energy_and_forces(simulation.context)[0]
    result = minimize_reparam(simulation, maxIterations=9, reparametrization=reparametrization)
    assert result.iterations == 9
    after = nanometers(simulation.context)
    # No molecule was re-imaged, the box stayed, and a good deal of energy went.
    assert np.abs(after - before).max() < 1.0
    assert np.array_equal(
        simulation.context.getState().getPeriodicBoxVectors(asNumpy=True)._value, box
    )
    assert energy_and_forces(simulation.context)[0] == pytest.approx(result.energy, rel=1e-6)
    assert result.energy < start - 5000
    assert_constraints_hold(simulation, nanometers)


def water_box(model, size=2.0, box=None):
    """Return topology, System and positions of a small box of rigid water, PME."""
    field = app.ForceField(model)
    modeller = app.Modeller(app.Topology(), [] * unit.nanometer)
    kind = "tip4pew" if "4p" in model else "tip3p"
    if box is None:
        modeller.addSolvent(field, model=kind, boxSize=mm.Vec3(size, size, size) * unit.nanometer)
    else:
        modeller.addSolvent(field, model=kind, boxVectors=box * unit.nanometer)
    system = field.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.7 * unit.nanometer
    )
    return modeller.topology, system, modeller.positions


@cut_short
@pytest.mark.parametrize("reparametrization", ["cartesian", "spectral"])
def test_virtual_sites_follow_their_parents(
    reparametrization, platform, energy_and_forces, nanometers
):
    topology, system, positions = water_box("tip4pew.xml", 1.6)
    simulation = simulation_of(topology, system, positions, platform)
    sites = [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]
    assert len(sites) > 50
    seen = []

    class Reporter(mm.MinimizationReporter):
        def report(self, iteration, x, grad, args):
            seen.append(np.array(x).reshape(-1, 3))
            return False

    result = minimize_reparam(simulation, 20, 30, Reporter(), reparametrization=reparametrization)
    x = nanometers(simulation.context)
    assert result.energy < result.initial_energy
    assert energy_and_forces(simulation.context)[0] == pytest.approx(result.energy, rel=1e-6)
    assert_constraints_hold(simulation, nanometers)
    check = simulation_of(topology, system, x, "Reference")
    for one in (x, seen[-1]):
        check.context.setPositions(one)
        check.context.computeVirtualSites()
        assert np.allclose(nanometers(check.context)[sites], one[sites], atol=1e-6)


def test_virtual_sites_without_constraints_follow_in_reports(energy_and_forces, nanometers):
    """A site half way between two atoms on springs."""
    system = mm.System()
    for mass in (12.0, 12.0, 0.0):
        system.addParticle(mass)
    system.setVirtualSite(2, mm.TwoParticleAverageSite(0, 1, 0.5, 0.5))
    force = mm.CustomExternalForce("2000*((x-1)^2+y^2+z^2)")
    force.addParticle(2, [])
    bond = mm.HarmonicBondForce()
    bond.addBond(0, 1, 0.2, 1e4)
    system.addForce(force)
    system.addForce(bond)
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    context.setPositions([[0, 0, 0], [0.3, 0, 0.1], [7, 7, 7]])
    context.computeVirtualSites()
    seen = []

    class Reporter(mm.MinimizationReporter):
        def report(self, iteration, x, grad, args):
            seen.append(np.array(x).reshape(-1, 3))
            return False

    result = minimize_reparam(context, 0.01, 0, Reporter())
    assert result.converged
    x = nanometers(context)
    assert np.allclose(x[2], [1, 0, 0], atol=1e-5)
    assert np.allclose(x[2], x[:2].mean(axis=0), atol=1e-12)
    for one in seen:
        assert np.allclose(one[2], one[:2].mean(axis=0), atol=1e-12)


@cut_short
@pytest.mark.parametrize("shape", ["octahedron", "dodecahedron"])
def test_triclinic_boxes(shape, platform, energy_and_forces, nanometers):
    vectors = {
        "octahedron": [[2, 0, 0], [2 / 3, 4 * 2**0.5 / 3, 0], [-2 / 3, 2 * 2**0.5 / 3, 1.632993]],
        "dodecahedron": [[2, 0, 0], [0, 2, 0], [1, 1, 2**0.5]],
    }[shape]
    box = [mm.Vec3(*v) for v in vectors]
    topology, system, positions = water_box("tip3p.xml", box=box)
    simulation = simulation_of(topology, system, positions, platform)
    before = nanometers(simulation.context)
    result = minimize_reparam(simulation, 30, 40, reparametrization="spectral")
    after = nanometers(simulation.context)
    assert energy_and_forces(simulation.context)[0] == pytest.approx(result.energy, rel=1e-6)
    assert result.energy < result.initial_energy - 1000
    assert np.abs(after - before).max() < 0.7
    assert_constraints_hold(simulation, nanometers)
    now = simulation.context.getState().getPeriodicBoxVectors(asNumpy=True)._value
    assert np.allclose(now, vectors, atol=1e-6)


@cut_short
def test_moving_a_molecule_by_a_box_vector_changes_nothing(energy_and_forces, nanometers):
    """A molecule torn from the others by images: same energies, never put back."""
    box = np.array([[2.4, 0, 0], [0.5, 2.5, 0], [-0.6, 0.4, 2.6]])
    molecule = peptide("AG")
    system = copy.deepcopy(molecule.system)
    for force in system.getForces():
        if isinstance(force, mm.NonbondedForce):
            force.setNonbondedMethod(mm.NonbondedForce.CutoffPeriodic)
            force.setCutoffDistance(1.1)
    system.setDefaultPeriodicBoxVectors(*box)
    results = []
    for shift in (0, 3 * box[0] - 2 * box[2]):
        x = molecule.positions._value + shift
        simulation = simulation_of(molecule.topology, system, x, "Reference")
        result = minimize_reparam(simulation, 1e-6, 12, reparametrization="spectral")
        results.append((result, nanometers(simulation.context) - shift))
    (one, x), (other, y) = results
    assert other.initial_energy == pytest.approx(one.initial_energy, abs=1e-6)
    assert other.energy == pytest.approx(one.energy, abs=1e-3)
    assert np.abs(x - y).max() < 1e-4


def test_restraints_hold_their_atoms(tripeptide, tangent_part, energy_and_forces, nanometers):
    system = copy.deepcopy(tripeptide.system)
    restraint = mm.CustomExternalForce("k*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
    restraint.addGlobalParameter("k", 1.0)
    for name in ("x0", "y0", "z0"):
        restraint.addPerParticleParameter(name)
    start = tripeptide.positions._value
    heavy = [a.index for a in tripeptide.topology.atoms() if a.element is not app.element.hydrogen]
    for atom in heavy:
        restraint.addParticle(atom, start[atom])
    system.addForce(restraint)
    moved = []
    for k in (0.0, 1e6):
        simulation = simulation_of(tripeptide.topology, system, start, "Reference")
        simulation.context.setParameter("k", k)
        result = minimize_reparam(simulation, 2)
        assert_minimized(simulation, result, tangent_part, energy_and_forces, nanometers)
        moved.append(np.abs(nanometers(simulation.context) - start)[heavy].max())
        assert simulation.context.getParameter("k") == k
    assert moved[1] < 0.002 < moved[0]


def test_only_the_integrators_force_groups_are_minimized(energy_and_forces, nanometers):
    system = mm.System()
    for group, centre in ((0, 0.0), (1, 5.0)):
        force = mm.CustomExternalForce(f"300*((x-{centre})^2+y^2+z^2)")
        force.setForceGroup(group)
        force.addParticle(0, [])
        system.addForce(force)
    system.addParticle(12.0)
    for groups, place in (({0}, 0.0), ({1}, 5.0), ({0, 1}, 2.5)):
        integrator = mm.VerletIntegrator(0.001)
        integrator.setIntegrationForceGroups(groups)
        context = mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
        context.setPositions([[1.0, 1, 1]])
        result = minimize_reparam(context, 0.1)
        assert result.converged
        assert nanometers(context)[0] == pytest.approx([place, 0, 0], abs=1e-3)
        assert integrator.getIntegrationForceGroups() == sum(1 << g for g in groups)


def test_frozen_crystal_waters_need_not_have_the_models_geometry(nanometers):
    """OpenMM ignores constraints between massless atoms, and minimizes such a System."""
    topology, system, positions = water_box("tip3p.xml", 1.6)
    x = np.array(positions.value_in_unit(unit.nanometer))
    for atom in range(6):
        system.setParticleMass(atom, 0.0)
    x[1] += 0.01 * (x[1] - x[0]) / np.linalg.norm(x[1] - x[0])
    simulation = simulation_of(topology, system, x, "Reference")
    with pytest.warns(ConvergenceWarning):
        result = minimize_reparam(simulation, 1e-3, 3, reparametrization="spectral")
    assert result.energy < result.initial_energy
    assert np.array_equal(nanometers(simulation.context)[:6], x[:6])


def test_an_over_determined_molecule(tangent_part, energy_and_forces, nanometers):
    """Methane held by all ten distances, drawn to a point: it turns and moves, rigid."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    x = np.concatenate([[[0.0, 0, 0]], 0.109 * corners])
    system = mm.System()
    for mass in (12.0, 1.0, 1.0, 1.0, 1.0):
        system.addParticle(mass)
    for i in range(5):
        for j in range(i):
            system.addConstraint(i, j, np.linalg.norm(x[i] - x[j]))
    force = mm.CustomExternalForce("1000*((x-0.4)^2+(y+0.2)^2+z^2)")
    force.addParticle(0, [])
    force.addParticle(2, [])
    system.addForce(force)
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(x)
    result = minimize_reparam(context, 0.1, reparametrization="spectral")
    assert result.converged
    # Both ends of a bond of 0.109 nm cannot be at the point: half way at best.
    assert result.energy == pytest.approx(2 * 1000 * 0.0545**2, rel=1e-4)


def test_a_system_with_more_particles_than_its_topology(tripeptide, nanometers):
    """Dummy particles to restrain to are added to Systems, seldom to topologies."""
    system = copy.deepcopy(tripeptide.system)
    system.addParticle(0.0)
    for force in system.getForces():
        if isinstance(force, mm.NonbondedForce):
            force.addParticle(0, 1, 0)
    spring = mm.HarmonicBondForce()
    spring.addBond(4, 33, 0.5, 100.0)
    system.addForce(spring)
    x = np.vstack([tripeptide.positions._value, [[1.0, 1, 1]]])
    simulation = simulation_of(tripeptide.topology, system, x, "Reference")
    result = minimize_reparam(simulation, 5)
    assert result.converged
    assert np.array_equal(nanometers(simulation.context)[33], x[33])


def python_force(factor):
    """Return a PythonForce around a local function, which cannot be pickled."""
    lock = open(os.devnull)  # noqa: SIM115 - an open file is what no pickle takes

    def compute(state):
        assert not lock.closed
        x = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        return factor * float((x**2).sum()), -2 * factor * x

    return mm.PythonForce(compute)


@pytest.mark.parametrize("reparametrization", ["gcn", "spectral"])
def test_a_python_force_around_a_local_function(
    reparametrization, tripeptide, platform, tangent_part, energy_and_forces, nanometers
):
    system = copy.deepcopy(tripeptide.system)
    system.addForce(python_force(40.0))
    simulation = simulation_of(tripeptide.topology, system, tripeptide.positions, platform)
    without = energy_and_forces(tripeptide.simulation(platform).context)[0]
    extra = 40 * (tripeptide.positions._value**2).sum()
    result = minimize_reparam(simulation, 2, reparametrization=reparametrization)
    assert result.initial_energy == pytest.approx(without + extra, rel=1e-5)
    assert_minimized(simulation, result, tangent_part, energy_and_forces, nanometers)


def test_a_python_force_alone_uses_all_forces(nanometers):
    system = mm.System()
    for _ in range(4):
        system.addParticle(12.0)
    system.addForce(python_force(50.0))
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(np.arange(12.0).reshape(4, 3) / 10)
    result = minimize_reparam(context, 0.01)
    assert result.converged
    assert np.abs(nanometers(context)).max() < 1e-3


@pytest.mark.parametrize(
    "make",
    [
        lambda: mm.VerletIntegrator(0.001),
        lambda: mm.CustomIntegrator(0.001),
        lambda: mm.VariableLangevinIntegrator(300, 1, 1e-4),
        lambda: mm.NoseHooverIntegrator(300, 1, 0.001),
        lambda: mm.BrownianIntegrator(300, 1, 0.001),
        lambda: mm.MTSIntegrator(0.001, [(0, 1), (1, 2)]),
    ],
)
def test_every_integrator(tripeptide, make, energy_and_forces):
    simulation = tripeptide.simulation("Reference", make())
    result = minimize_reparam(simulation, 5)
    assert result.converged
    assert energy_and_forces(simulation.context)[0] == pytest.approx(result.energy)


def test_barostats_and_thermostats_do_not_take_part(tripeptide, energy_and_forces):
    system = copy.deepcopy(tripeptide.system)
    system.addForce(mm.AndersenThermostat(300, 1))
    system.addForce(mm.CMMotionRemover())
    simulation = simulation_of(
        tripeptide.topology, system, tripeptide.positions, "Reference", mm.VerletIntegrator(0.001)
    )
    expected = minimize_reparam(tripeptide.simulation("Reference"), 5).energy
    assert minimize_reparam(simulation, 5).energy == pytest.approx(expected)
