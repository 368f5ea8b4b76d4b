"""minimize_reparam() where minimizeEnergy() stood: units, peers, and stereochemistry."""

import copy
import inspect

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from openmm_reparam import ReparamMinimizer, minimize_reparam
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.structure.stereochemistry import Stereochemistry

FORCE = unit.kilojoules_per_mole / unit.nanometer


def test_the_first_arguments_are_those_of_minimize_energy():
    ours = list(inspect.signature(minimize_reparam).parameters.values())
    theirs = list(inspect.signature(app.Simulation.minimizeEnergy).parameters.values())
    assert [p.name for p in ours[1:4]] == [p.name for p in theirs[1:4]]
    assert ours[1].default == theirs[1].default
    assert ours[2].default == theirs[2].default
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in ours[4:])


@pytest.mark.parametrize(
    "tolerance",
    [
        4.184,
        np.float32(4.184),
        4.184 * unit.kilojoules_per_mole / unit.nanometer,
        0.1 * unit.kilocalories_per_mole / unit.angstrom,
        0.4184 * unit.kilojoules_per_mole / unit.angstrom,
    ],
)
def test_tolerances_in_every_unit(tripeptide, tolerance):
    in_kilojoules = 4.184
    if unit.is_quantity(tolerance):
        in_kilojoules = tolerance.value_in_unit(unit.kilojoules_per_mole / unit.nanometer)
    result = minimize_reparam(tripeptide.simulation("Reference"), tolerance)
    assert result.tolerance == pytest.approx(in_kilojoules, rel=1e-6)
    assert result.converged
    assert result.rms_force <= in_kilojoules


def water_dimer(platform):
    """Return a Simulation of two rigid TIP3P waters near their hydrogen bond."""
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(2):
        residue = topology.addResidue("HOH", chain)
        oxygen = topology.addAtom("O", app.element.oxygen, residue)
        for n in (1, 2):
            atom = topology.addAtom(f"H{n}", app.element.hydrogen, residue)
            topology.addBond(oxygen, atom)
    system = app.ForceField("tip3p.xml").createSystem(topology)
    shape = np.array([[0, 0, 0], [0.09572, 0, 0], [-0.0239872, 0.0926627, 0]])
    turned = shape @ np.array([[0.0, 1, 0], [0.6, 0, 0.8], [0.8, 0, -0.6]])
    integrator = mm.VerletIntegrator(0.001)
    integrator.setConstraintTolerance(1e-8)
    chosen = mm.Platform.getPlatformByName(platform)
    simulation = app.Simulation(topology, system, integrator, chosen)
    simulation.context.setPositions(np.concatenate([shape, turned + [0.29, 0.02, 0.03]]))
    return simulation


@pytest.mark.parametrize("reparametrization", ["gcn", "spectral"])
def test_a_rigid_water_dimer_has_the_peers_minimum(reparametrization, energy_and_forces):
    peer = water_dimer("Reference")
    peer.minimizeEnergy(1e-3)
    expected = energy_and_forces(peer.context)[0]
    ours = water_dimer("Reference")
    result = minimize_reparam(ours, 1e-2, reparametrization=reparametrization)
    assert result.converged
    # The TIP3P dimer's only minimum: -6.5 kcal/mol (Jorgensen et al., J. Chem. Phys. 1983).
    assert result.energy == pytest.approx(-6.54 * 4.184, abs=0.3)
    assert result.energy == pytest.approx(expected, abs=1e-3)


def test_a_rigid_water_dimer_is_the_limit_of_stiff_springs():
    """The spring dimer's energy lies below by sum f^2 / 2 k, f the constraints' forces."""
    rigid = water_dimer("Reference")
    exact = minimize_reparam(rigid, 1e-4).energy
    below = []
    for k in (1e8, 1e9):
        flexible = water_dimer("Reference")
        system = copy.deepcopy(flexible.system)
        springs = mm.HarmonicBondForce()
        for _ in range(system.getNumConstraints()):
            i, j, length = system.getConstraintParameters(0)
            springs.addBond(i, j, length, k)
            system.removeConstraint(0)
        system.addForce(springs)
        reference = mm.Platform.getPlatformByName("Reference")
        simulation = app.Simulation(
            flexible.topology, system, mm.VerletIntegrator(0.001), reference
        )
        simulation.context.setPositions(flexible.context.getState(positions=True).getPositions())
        result = minimize_reparam(simulation, 1e-3)
        assert result.converged
        below.append((exact - result.energy) * k)
    assert 0 < below[0] / 1e8 < 0.1
    assert below[0] == pytest.approx(below[1], rel=0.05)


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ({}, ["preconditioned L-BFGS"]),
        ({"shift": 500.0}, ["preconditioned L-BFGS"]),
        ({"fine_stage": True, "engine": "python", "patience": 50}, ["preconditioned L-BFGS"]),
        ({"latent_iterations": 200, "optimizer": "lbfgs"}, ["preconditioned L-BFGS"]),
        (
            {"reparametrization": "gcn", "hidden": (20,), "latent_iterations": 20},
            ["gcn", "preconditioned L-BFGS"],
        ),
        (
            {"reparametrization": "linear", "latent_iterations": 20},
            ["linear", "preconditioned L-BFGS"],
        ),
        ({"reparametrization": "auto"}, ["preconditioned L-BFGS"]),
    ],
)
def test_what_auto_stands_for(tripeptide, settings, stages):
    result = minimize_reparam(tripeptide.simulation("CPU"), 10, **settings)
    assert result.converged
    assert [stage.name for stage in result.stages] == stages


def test_both_ways_have_one_default(tripeptide):
    result = ReparamMinimizer(tripeptide.simulation("CPU")).minimize()
    assert [stage.name for stage in result.stages] == ["preconditioned L-BFGS"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden": (8,)}, "hidden is a setting of 'gcn'.*pass reparametrization='gcn'"),
        ({"propagation": "projector"}, "propagation is a setting of 'gcn'"),
        ({"count": 5}, "count is a setting of 'gcn' and 'linear', not of 'spectral'"),
        ({"reparametrization": "gcn", "shift": 500.0}, "shift is a setting of 'spectral'"),
        ({"reparametrization": "cartesian", "modes_of": "hessian"}, "modes_of is .* of 'linear'"),
        ({"learning_rate": 0.1}, "learning_rate is a setting of the latent stage"),
        ({"latent_iterations": 50}, "latent_iterations is a setting of the latent stage"),
        ({"schedule": "constant"}, "schedule is a setting of the latent stage"),
        ({"patience": 3}, "patience is a setting of the latent stage"),
        ({"hiden": (8,)}, "no setting 'hiden'. Did you mean hidden.*of 'gcn':.*of the run:"),
        ({"latent_iteration": 5}, "Did you mean latent_iterations"),
        ({"reparametrization": lambda start, width=3: None, "wide": 2}, "no setting 'wide'"),
    ],
)
def test_settings_of_something_else_are_refused(tripeptide, settings, words):
    with pytest.raises(TypeError, match=words):
        minimize_reparam(tripeptide.simulation("Reference"), **settings)


@pytest.mark.parametrize(
    "wrong", ["10", b"10", np.str_("10"), True, np.bool_(True), None, [10.0], 1j, "10" * FORCE]
)
def test_what_is_no_number_is_no_tolerance(tripeptide, wrong):
    with pytest.raises(TypeError, match="tolerance is .*pass a number"):
        minimize_reparam(tripeptide.simulation("Reference"), wrong)


@pytest.mark.parametrize("tolerance", [np.int64(50), np.array(50.0), np.float16(50), 50 * FORCE])
def test_every_kind_of_number_is_a_tolerance(tripeptide, tolerance):
    assert minimize_reparam(tripeptide.simulation("Reference"), tolerance).tolerance == 50.0


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"shift": "500"}, TypeError),
        ({"shift": True}, TypeError),
        ({"seed": 1.5}, TypeError),
        ({"seed": "3"}, TypeError),
        ({"seed": True}, TypeError),
        ({"seed": -1}, ValueError),
        ({"replicas": 2, "replica_temperature": "300"}, TypeError),
        ({"replicas": 2, "replica_temperature": 300 * unit.nanometer}, TypeError),
        ({"max_force_evaluations": "100"}, TypeError),
        ({"max_force_evaluations": 100.0}, TypeError),
        ({"maxIterations": "3"}, TypeError),
        ({"maxIterations": np.bool_(True)}, TypeError),
        ({"reparametrization": "linear", "learning_rate": "0.1"}, TypeError),
        ({"reparametrization": "linear", "relative_energy": True}, TypeError),
        ({"reparametrization": "linear", "latent_iterations": 5.0}, TypeError),
        ({"reparametrization": "linear", "patience": "5"}, TypeError),
    ],
)
def test_every_number_is_a_number(tripeptide, settings, error):
    name = list(settings)[-1]
    with pytest.raises(error, match=name):
        minimize_reparam(tripeptide.simulation("Reference"), **settings)


@pytest.mark.parametrize(
    ("sequence", "solvent", "platform"),
    [
        ("AAA", "vacuum", "Reference"),
        ("GFG", "vacuum", "CPU"),
        ("AAA", "gbn2", "CPU"),
        ("GFG", "gbn2", "CPU"),
    ],
)
def test_a_peptide_ends_in_the_peers_basin(sequence, solvent, platform, energy_and_forces):
    """From near the peer's own minimum, shaken: one basin."""
    molecule = peptide(sequence, solvent=solvent)
    peer = molecule.simulation(platform)
    peer.minimizeEnergy(0.1)
    expected = energy_and_forces(peer.context)[0]
    x = peer.context.getState(positions=True).getPositions(asNumpy=True)._value
    ours = molecule.simulation(platform)
    ours.context.setPositions(x + np.random.default_rng(0).normal(0, 0.004, x.shape))
    result = minimize_reparam(ours, 0.1)
    energy, forces = energy_and_forces(ours.context)
    assert result.converged
    assert np.sqrt((forces**2).sum() / len(forces)) <= 0.101
    assert energy == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize("sequence", ["AAA", "GWK", "PSD"])
def test_from_an_extended_start_it_ends_at_a_minimum_below_the_start(
    sequence, platform, energy_and_forces
):
    molecule = peptide(sequence)
    simulation = molecule.simulation(platform)
    start = energy_and_forces(simulation.context)[0]
    result = minimize_reparam(simulation, 1.0)
    energy, forces = energy_and_forces(simulation.context)
    assert result.converged
    assert energy < start
    assert np.sqrt((forces**2).sum() / len(forces)) <= 1.01
    assert result.stereo_changes == ()


def mirrored_residue(molecule, number):
    """Return positions with one residue's side chain and HA reflected: its D form."""
    x = molecule.positions._value.copy()
    residue = list(molecule.topology.residues())[number]
    atoms = {atom.name: atom.index for atom in residue.atoms()}
    n, ca, c = (x[atoms[name]] for name in ("N", "CA", "C"))
    normal = np.cross(n - ca, c - ca)
    normal /= np.linalg.norm(normal)
    for name, index in atoms.items():
        if name not in ("N", "CA", "C", "O", "H", "H2", "H3", "OXT"):
            x[index] -= 2 * ((x[index] - ca) @ normal) * normal
    return x


@pytest.mark.parametrize("constraints", ["none", "HBonds"])
def test_a_d_residue_in_the_start_stays_and_is_no_change(constraints, nanometers):
    molecule = peptide("AFA", constraints=constraints)
    simulation = molecule.simulation("Reference")
    x = mirrored_residue(molecule, 1)
    simulation.context.setPositions(x)
    assert Stereochemistry(molecule.topology).chirality(x)["PHE 2 CA"] == "D"
    result = minimize_reparam(simulation, 5)
    assert result.converged
    states = Stereochemistry(molecule.topology).chirality(nanometers(simulation.context))
    assert states == {"ALA 1 CA": "L", "PHE 2 CA": "D", "ALA 3 CA": "L"}
    assert result.stereo_changes == ()
    assert "unchanged" in str(result)


def test_a_state_that_changes_is_reported(nanometers):
    """A flattened centre becomes chiral again: the result says which."""
    molecule = peptide("AAA")
    simulation = molecule.simulation("Reference")
    x = molecule.positions._value.copy()
    residue = list(molecule.topology.residues())[1]
    atoms = {atom.name: atom.index for atom in residue.atoms()}
    a, b, c = (x[atoms[name]] for name in ("N", "C", "CB"))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal)
    x[atoms["CA"]] -= ((x[atoms["CA"]] - a) @ normal) * normal
    simulation.context.setPositions(x)
    result = minimize_reparam(simulation, 5)
    after = nanometers(simulation.context)
    assert result.stereo_changes == tuple(Stereochemistry(molecule.topology).changes(x, after))
    assert len(result.stereo_changes) == 1
    assert result.stereo_changes[0].startswith("ALA 2 CA: planar -> ")
    assert result.stereo_changes[0] in str(result)


def test_a_cis_peptide_bond_stays_cis(nanometers):
    """Turned by 180 degrees about C-N: half the chain on the other side."""
    molecule = peptide("AG")
    x = molecule.positions._value.copy()
    first, second = molecule.topology.residues()
    one = {atom.name: atom.index for atom in first.atoms()}
    two = {atom.name: atom.index for atom in second.atoms()}
    axis = x[two["N"]] - x[one["C"]]
    axis /= np.linalg.norm(axis)
    for index in two.values():
        v = x[index] - x[one["C"]]
        x[index] = x[one["C"]] + 2 * (v @ axis) * axis - v
    simulation = molecule.simulation("Reference")
    simulation.context.setPositions(x)
    result = minimize_reparam(simulation, 5)
    changes = Stereochemistry(molecule.topology).changes(
        molecule.positions, nanometers(simulation.context)
    )
    assert changes == ["ALA 1-GLY 2: trans -> cis"]
    assert result.stereo_changes == ()
