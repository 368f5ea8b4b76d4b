"""References and baselines of the sampling benchmark, where the answer is known."""

import numpy as np
import openmm as mm
import pytest
from openmm import app
from scipy.spatial.transform import Rotation

from benchmarks.sampling_baselines import molecular_dynamics, parallel_tempering
from benchmarks.sampling_bias import GRID, BiasedMolecule, filled_bias, torsion_bias
from benchmarks.sampling_cases import CASES, aspirin, capped_alanines, simulation_factory
from benchmarks.sampling_measures import (
    basin_free_energy,
    divergence,
    jackknife,
    normalized_weights,
    ramachandran_histogram,
)
from benchmarks.sampling_references import Reference, added, pooled_log_weights, reduced_energies

BOLTZMANN = 0.0083144626
ATOMS = CASES["dipeptide-ff96-obc2-300K"].torsion_atoms()


@pytest.fixture(scope="module")
def dipeptide():
    return capped_alanines(1, "ff96-obc2")


def test_masses_move_to_hydrogens_and_add_up(dipeptide):
    simulation = simulation_factory(dipeptide)(mm.VerletIntegrator(0.001))
    before, after = (
        [system.getParticleMass(i)._value for i in range(22)]
        for system in (dipeptide.system, simulation.system)
    )
    assert sum(after) == pytest.approx(sum(before))
    hydrogens = [a.index for a in dipeptide.topology.atoms() if a.name.startswith("H")]
    assert [after[i] for i in hydrogens] == [3.0] * len(hydrogens)


def test_the_bias_is_a_function_of_phi_and_psi_in_this_order(dipeptide):
    biased = BiasedMolecule.make(dipeptide, ATOMS, 300.0, 0, "Reference")
    angles = 2 * np.pi / GRID * np.arange(GRID)
    biased.set_bias((np.cos(angles)[:, None] + 2 * np.sin(angles))[None])
    phi, psi = biased.torsions()[0]
    assert biased.bias_energies() == pytest.approx([np.cos(phi) + 2 * np.sin(psi)], abs=1e-3)


def test_metadynamics_fills_where_walkers_are(dipeptide):
    biased = BiasedMolecule.make(dipeptide, ATOMS, 300.0, 0, "Reference")
    bias, states = filled_bias(biased, 300.0, 1000, 2)
    assert len(states) == 2
    here = np.rint(biased.torsions()[0] / (2 * np.pi / GRID)).astype(int) % GRID
    assert bias[0][tuple(here)] > 1.0
    assert bias.min() < 0.01


def test_a_bias_cancels_the_torsion_terms_about_its_bonds():
    """The acid's OH of aspirin, turned: what is left of its terms does not change."""
    molecule, case = aspirin(), CASES["aspirin-gaff2-300K"]
    atoms = case.torsion_atoms()
    biased = BiasedMolecule.make(molecule, atoms, 300.0, 0, "Reference")
    biased.set_bias(torsion_bias(molecule, atoms))
    for force in biased.simulation.system.getForces():
        force.setForceGroup(force.getForceGroup() if isinstance(force, mm.CMAPTorsionForce) else 1)
        if isinstance(force, mm.PeriodicTorsionForce):
            force.setForceGroup(2)
    context = biased.simulation.context
    context.reinitialize()
    hydrogen, oxygen, carbon, _ = atoms[1, 1]
    x = np.array(molecule.positions._value)
    axis = (x[oxygen] - x[carbon]) / np.linalg.norm(x[oxygen] - x[carbon])
    found = []
    for degrees in (0, 40, 110, 200):
        moved = x.copy()
        turn = Rotation.from_rotvec(np.radians(degrees) * axis)
        moved[hydrogen] = x[oxygen] + turn.apply(x[hydrogen] - x[oxygen])
        context.setPositions(moved)
        terms = context.getState(energy=True, groups={2}).getPotentialEnergy()._value
        found.append((terms, terms + biased.bias_energies().sum()))
    terms, left = np.array(found).T
    assert np.ptp(terms) > 20
    assert np.ptp(left) < 1.5  # flat but for the ring's neighbours, which are not quite in plane


def test_frames_of_two_biases_give_the_unbiased_mean():
    # Reduced energy x^2 / 2; biases pull the two walkers to either side.
    rng = np.random.default_rng(0)
    pulls = np.array([[1.5], [-1.0]])
    x = np.concatenate([rng.normal(-pull, 1.0, 8_000) for pull in pulls[:2, 0]])
    walkers = np.repeat([0, 1], 8_000)
    pulls = np.append(pulls, [[0.5]], axis=0)  # a walker that was never run
    energies = BOLTZMANN * 300 * x[:, None]
    weights = normalized_weights(pooled_log_weights(energies, pulls, walkers, 300))
    assert weights @ x == pytest.approx(0, abs=0.05)
    assert weights @ x**2 == pytest.approx(1, abs=0.05)


def test_runs_are_added_by_their_frames():
    runs = [
        Reference(np.zeros((n, 1, 3)), np.full(n, offset), np.arange(n) % 2)
        for n, offset in ((3, 5.0), (6, -700.0))
    ]
    both = added(*runs)
    assert both.weights == pytest.approx(np.full(9, 1 / 9))
    assert both.walkers.tolist() == [0, 1, 0, 2, 3, 2, 3, 2, 3]


def test_temperatures_are_reweighted_by_reduced_energies(dipeptide):
    cases = [CASES[f"dipeptide-ff96-obc2-{t}K"] for t in (300, 330)]
    x = dipeptide.positions._value[None]
    cold, warm = (reduced_energies(case, x)[0] for case in cases)
    assert cold / warm == pytest.approx(330 / 300)


def test_measures_of_a_known_map():
    torsions = np.radians([[-55.0, -35.0], [-55, 145], [-55, 145], [65, 45]])
    weights = np.array([2.0, 1, 1, 4])
    expected = -BOLTZMANN * 300 * np.log(0.5 / 0.5)
    assert basin_free_energy(torsions, weights, "left-handed", 300) == pytest.approx(expected)
    expected = -BOLTZMANN * 300 * np.log(0.25 / 0.75)
    assert basin_free_energy(torsions, weights, "alpha", 300) == pytest.approx(expected)
    never = basin_free_energy(torsions[:3], weights[:3], "left-handed", 300)
    assert never == np.inf
    histogram = ramachandran_histogram(torsions, weights)
    assert histogram[12, 14] == pytest.approx(0.25)
    assert histogram.max() == histogram[24, 22] == pytest.approx(0.5)
    assert divergence(histogram, histogram) == 0
    other = np.full_like(histogram, 1 / histogram.size)
    assert divergence(histogram, other) == pytest.approx(
        np.log(histogram.size) - 0.5 * np.log(2) - 0.5 * np.log(4)
    )


def test_a_jackknife_of_means_gives_their_standard_error():
    x, groups = np.arange(8.0), np.arange(8)
    value, error = jackknife(lambda used: x[used].mean(), groups)
    assert (value, error) == pytest.approx((3.5, x.std(ddof=1) / np.sqrt(8)))


@pytest.mark.parametrize("method", [molecular_dynamics, parallel_tempering])
def test_baselines_sample_the_temperature_asked_for(method):
    # A particle in a well: <x^2> = kT / k.
    system = mm.System()
    system.addParticle(10.0)
    well = mm.CustomExternalForce("200*(x^2+y^2+z^2)")
    well.addParticle(0, [])
    system.addForce(well)
    topology = app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    topology.addAtom("X", None, residue)
    made = []

    def make(integrator):
        platform = mm.Platform.getPlatformByName("Reference")
        made.append(app.Simulation(topology, system, integrator, platform))
        made[-1].context.setPositions(np.zeros((1, 3)))
        return made[-1]

    positions, weights = method(make, 300.0, 160_000, 1)
    assert sum(s.currentStep for s in made) <= 160_000
    assert weights.sum() == pytest.approx(1)
    squares = weights @ (positions[:, 0] ** 2)
    assert squares.mean() == pytest.approx(BOLTZMANN * 300 / 400, rel=0.15)
