"""Atoms without a Lennard-Jones core that could fall onto charges: they never do."""

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit
from scipy.spatial import cKDTree

from openmm_reparam import NonFiniteError, Potential, minimize_reparam
from openmm_reparam.potentials.collapse import CollapseCheck
from openmm_reparam.potentials.point import Point
from openmm_reparam.prepare.peptides import peptide

COULOMB = 138.935457644382


def charges(*particles, platform="Reference", exclude=()):
    """Return a Context of (charge, sigma, epsilon, mass, position) particles, not bonded."""
    system, force = mm.System(), mm.NonbondedForce()
    for charge, sigma, epsilon, mass, _ in particles:
        system.addParticle(mass)
        force.addParticle(charge, sigma, epsilon)
    for i, j in exclude:
        force.addException(i, j, 0, 1, 0)
    system.addForce(force)
    chosen = mm.Platform.getPlatformByName(platform)
    context = mm.Context(system, mm.VerletIntegrator(0.001), chosen)
    context.setPositions([particle[-1] for particle in particles])
    return context


def overlapping_waters(seed, rigid, number=30, size=0.75):
    """Return TIP3P waters thrown into a small cube, as crystal waters on top of each other are."""
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(number):
        residue = topology.addResidue("HOH", chain)
        oxygen = topology.addAtom("O", app.element.oxygen, residue)
        for name in ("H1", "H2"):
            topology.addBond(oxygen, topology.addAtom(name, app.element.hydrogen, residue))
    system = app.ForceField("tip3p.xml").createSystem(
        topology, nonbondedMethod=app.NoCutoff, rigidWater=rigid
    )
    shape = np.array([[0, 0, 0], [0.09572, 0, 0], [-0.0239872, 0.0926627, 0]])
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(number)]
    x = np.concatenate([rng.uniform(0, size, 3) + shape @ turn for turn in turns])
    platform = mm.Platform.getPlatformByName("CPU")
    simulation = app.Simulation(topology, system, mm.VerletIntegrator(0.001), platform)
    simulation.context.setPositions(x)
    return simulation


def nearest_unbonded(context):
    """Return the smallest distance (nm) of atoms between which a NonbondedForce acts fully."""
    force = next(f for f in context.getSystem().getForces() if isinstance(f, mm.NonbondedForce))
    bonded = {
        tuple(sorted(force.getExceptionParameters(k)[:2])) for k in range(force.getNumExceptions())
    }
    x = np.array(context.getState(positions=True).getPositions(asNumpy=True)._value)
    pairs = cKDTree(x).query_pairs(0.12) - bonded
    return min((float(np.linalg.norm(x[i] - x[j])) for i, j in pairs), default=0.12)


@pytest.mark.parametrize("seed", range(6))
def test_hydroxyls_and_carboxylates_in_a_bad_start_do_not_collapse(seed):
    molecule = peptide("SETDY")
    simulation = molecule.simulation("CPU")
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))
    sigma = 0.06 if seed % 2 else 0.15
    simulation.context.setPositions(x + np.random.default_rng(seed).normal(0, sigma, x.shape))
    result = minimize_reparam(simulation, 10)
    assert result.converged
    assert result.energy > -1e4
    assert nearest_unbonded(simulation.context) > 0.1


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_waters_on_top_of_each_other_come_apart(seed, rigid):
    simulation = overlapping_waters(seed, rigid)
    result = minimize_reparam(simulation, 10)
    assert result.converged
    assert -30 * 60 < result.energy < 0
    assert nearest_unbonded(simulation.context) > 0.1


def test_a_collapsed_start_is_mended(platform):
    """A hydroxyl hydrogen that stands 0.03 nm from a carboxylate's oxygen: -1000 kJ/mol there."""
    molecule = peptide("SD")
    simulation = molecule.simulation(platform)
    atoms = {(a.residue.name, a.name): a.index for a in molecule.topology.atoms()}
    hydrogen, oxygen = atoms["SER", "HG"], atoms["ASP", "OD1"]
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))
    x[hydrogen] = x[oxygen] + [0.03, 0, 0]
    simulation.context.setPositions(x)
    result = minimize_reparam(simulation, 5)
    assert result.converged
    assert nearest_unbonded(simulation.context) > 0.1


def test_what_cannot_be_mended_is_named_and_never_made_worse():
    """A charge without a core beside the opposite one, and nothing that holds it."""
    context = charges(
        (1.0, 1.0, 0.0, 1.0, [0, 0, 0]),
        (-1.0, 1.0, 0.0, 0.0, [0.3, 0, 0]),
        (0.0, 0.3, 1.0, 12.0, [0, 0.4, 0.1]),
    )
    with pytest.warns(match="onto each other"):
        result = minimize_reparam(context, 1)
    assert not result.converged
    assert result.energy > -COULOMB / 0.079
    x = Potential(context).positions()
    assert np.linalg.norm(x[0] - x[1]) >= 0.08 * (1 - 1e-6)


def test_copies_that_do_not_see_each_other_may_overlap():
    """Dual topology: opposite charges on one spot, excluded from each other."""
    context = charges(
        (1.0, 0.3, 1.0, 12.0, [0, 0, 0]),
        (-1.0, 0.3, 1.0, 12.0, [0, 0, 0]),
        (0.5, 0.3, 1.0, 12.0, [0.5, 0.1, 0]),
        exclude=[(0, 1)],
    )
    assert minimize_reparam(context, 1).converged


def test_only_attracting_pairs_have_collapsed():
    """With a core, two atoms that near repel each other; that is a clash."""
    near = [0.05, 0, 0]
    for epsilon, charge, found in [(0.0, -0.5, 1), (1.0, -0.5, 0), (0.0, 0.5, 0), (0.0, 0.0, 0)]:
        context = charges((0.5, 0.3, epsilon, 1, [0, 0, 0]), (charge, 0.3, epsilon, 1, near))
        pairs = CollapseCheck(Potential(context)).pairs(np.array([[0, 0, 0], near]))
        assert len(pairs) == found
        assert [pair[:2] for pair in pairs] == [(0, 1)] * found


def test_a_step_into_a_collapse_is_refused_and_one_out_of_it_is_not():
    context = charges((0.5, 0.3, 0, 1, [0, 0, 0]), (-0.5, 0.3, 0, 1, [0.2, 0, 0]))
    potential = Potential(context)

    def at(distance):
        x = np.array([[0, 0, 0], [distance, 0, 0]])
        return Point(x, *potential.evaluate(x))

    check = CollapseCheck(potential)
    assert check.refuses(at(0.2), at(0.04), promised=np.inf)
    assert not check.refuses(at(0.2), at(0.1), promised=np.inf)
    assert not check.refuses(at(0.04), at(0.06), promised=np.inf)


def test_an_unknown_potential_collapses_where_its_energy_falls_beyond_its_slope():
    """A Custom force tells nothing of its pairs: only the fall itself is suspicious."""
    system, force = mm.System(), mm.CustomNonbondedForce("-1/r")
    for _ in range(2):
        system.addParticle(1.0)
        force.addParticle([])
    system.addForce(force)
    reference = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), reference)
    potential = Potential(context)

    def at(distance):
        x = np.array([[0, 0, 0], [distance, 0, 0]])
        return Point(x, *potential.evaluate(x))

    check = CollapseCheck(potential)
    before, after = at(0.2), at(0.04)
    promised = (0.2 - 0.04) / 0.2**2
    assert check.refuses(before, after, promised)
    assert not check.refuses(before, after, before.energy - after.energy)


def test_a_collapse_of_the_latent_stage_is_not_written_back():
    """Whatever stage meets it: the latent stage's Adam knows no line search."""
    molecule = peptide("SD")
    simulation = molecule.simulation("Reference")
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))
    x += np.random.default_rng(1).normal(0, 0.1, x.shape)
    simulation.context.setPositions(x)
    with pytest.warns(match="above the tolerance"):
        minimize_reparam(
            simulation,
            1e-6,
            reparametrization="cartesian",
            latent_iterations=60,
            learning_rate=0.05,
            fine_stage=False,
        )
    assert nearest_unbonded(simulation.context) > 0.08


def test_an_alchemical_charge_without_a_core_is_kept_off():
    """Lennard-Jones scaled to nothing by a parameter offset while the charges are still on."""
    context = charges(
        (0.4, 0.2, 0.0, 12.0, [0, 0, 0]), (-0.4, 0.2, 0.3, 12.0, [0.25, 0, 0]), exclude=[]
    )
    force = context.getSystem().getForce(0)
    force.addGlobalParameter("core", 0.0)
    force.addParticleParameterOffset("core", 0, 0, 0, 0.3)
    context.reinitialize(preserveState=True)
    with pytest.warns(match="above the tolerance"):
        minimize_reparam(context, 1)
    x = Potential(context).positions()
    assert np.linalg.norm(x[0] - x[1]) >= 0.08 * (1 - 1e-6)
    # With the core on, it has a minimum.
    context.setParameter("core", 1.0)
    context.setPositions([[0, 0, 0], [0.3, 0, 0]])
    assert minimize_reparam(context, 1).converged


def test_a_pair_of_fixed_atoms_does_not_count():
    context = charges(
        (0.5, 0.3, 0, 0.0, [0, 0, 0]),
        (-0.5, 0.3, 0, 0.0, [0.02, 0, 0]),
        (0.0, 0.3, 1, 12.0, [0.4, 0, 0]),
        (0.0, 0.3, 1, 12.0, [0.4, 0.3, 0]),
    )
    assert minimize_reparam(context, 1).converged


def test_duplicated_waters_on_one_spot_are_named():
    simulation = overlapping_waters(3, rigid=True, number=3, size=2.0)
    x = np.array(simulation.context.getState(positions=True).getPositions(asNumpy=True)._value)
    x[3:6] = x[:3]
    simulation.context.setPositions(x)
    with pytest.raises(NonFiniteError, match="one spot: O of HOH 1 .* and O of HOH 2"):
        minimize_reparam(simulation)
