"""Slow-mode hopping: known global minima, guards, budgets, and that it never ends higher."""

import numpy as np
import openmm as mm
import pytest

from openmm_reparam import Potential, ReparamMinimizer, minimize_reparam
from openmm_reparam.clashes import relieve_clashes
from openmm_reparam.run import Run
from openmm_reparam.search import Hops, SearchSettings, hop
from openmm_reparam.structure import Stereochemistry
from openmm_reparam.testsystems import lennard_jones_cluster, peptide

pytestmark = pytest.mark.filterwarnings("ignore::openmm_reparam.ConvergenceWarning")

# Wales, Doye, J. Phys. Chem. A 1997, 101, 5111, in units of epsilon.
ICOSAHEDRON = -44.326801


@pytest.mark.parametrize("seed", range(5))
def test_clusters_of_thirteen_reach_the_icosahedron(seed):
    cluster = lennard_jones_cluster(13, seed=seed)
    simulation = cluster.simulation("Reference")
    result = minimize_reparam(
        simulation, 0.01, search="slow-modes", max_force_evaluations=6000, seed=seed
    )
    assert cluster.reduced_energy(result.energy) == pytest.approx(ICOSAHEDRON, abs=1e-3)
    assert result.converged


def test_it_ends_no_higher_than_its_plain_quench_and_keeps_to_its_budget(energy_and_forces):
    molecule = peptide("AGSF", "random-coil", seed=1)
    simulation = molecule.simulation("CPU")
    plain = minimize_reparam(simulation, 1)
    simulation.context.setPositions(molecule.positions)
    deep = minimize_reparam(simulation, 1, search="slow-modes", max_force_evaluations=3000)
    assert deep.energy <= plain.energy + 0.5
    assert deep.force_evaluations <= 3000
    assert deep.converged
    assert [s.name for s in deep.stages][1] == "slow-modes"
    assert "hops" in deep.stages[1].message
    energies = [minimum.energy for minimum in deep.minima]
    assert energies == sorted(energies)
    assert energy_and_forces(simulation.context)[0] == pytest.approx(deep.energy, abs=0.05)
    assert "minima" in repr(deep)
    assert deep.to_dict()["minima"][0]["energy"] == energies[0]


def test_no_minimum_has_a_changed_stereochemistry_or_collapsed_atoms():
    molecule = peptide("AVPTI", "random-coil", seed=2)
    simulation = molecule.simulation("CPU")
    start = minimize_reparam(simulation, 10)
    x = Potential(simulation.context).positions()
    assert start.stereo_changes == ()
    result = minimize_reparam(simulation, 1, search="slow-modes", max_force_evaluations=4000)
    states = Stereochemistry(molecule.topology)
    assert result.stereo_changes == ()
    assert len(result.minima) > 3
    for minimum in result.minima:
        assert states.changes(x, minimum.positions) == []
        excluded = Potential(simulation.context).excluded_pairs
        distances = np.linalg.norm(minimum.positions[:, None] - minimum.positions, axis=2)
        for i, j in zip(*np.nonzero(distances < 0.11), strict=True):
            assert i == j or (min(i, j), max(i, j)) in excluded


def test_constraints_hold_at_every_minimum():
    molecule = peptide("AGS", constraints="HBonds")
    simulation = molecule.simulation("Reference")
    result = minimize_reparam(simulation, 1, search="slow-modes", max_force_evaluations=1500)
    pairs, lengths = Potential(simulation.context).constraints
    for minimum in result.minima:
        found = np.linalg.norm(
            minimum.positions[pairs[:, 0]] - minimum.positions[pairs[:, 1]], axis=1
        )
        assert np.abs(found / lengths - 1).max() < 1e-4


def test_a_bowl_has_one_bottom():
    system = mm.System()
    force = mm.CustomExternalForce("500*(x^2+2*y^2+3*z^2)")
    for _ in range(4):
        force.addParticle(system.addParticle(12.0))
    system.addForce(force)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(np.random.default_rng(0).normal(0, 0.3, (4, 3)) + np.eye(4, 3))
    # All four at one spot is what this bowl asks for; hops are refused as collapsed.
    result = minimize_reparam(context, 0.1, search="slow-modes", max_force_evaluations=300)
    assert result.energy == pytest.approx(0, abs=1e-3)


def test_the_same_seed_gives_the_same_hops():
    def run(seed):
        simulation = peptide("AGS", "random-coil", seed=3).simulation("Reference")
        result = minimize_reparam(
            simulation, 1, search="slow-modes", max_force_evaluations=1200, seed=seed
        )
        return [minimum.energy for minimum in result.minima]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_guards_are_counted():
    """Every structure that differs in stereochemistry is refused, and said to be."""
    simulation = peptide("AAA", "random-coil", seed=1).simulation("Reference")
    minimizer = ReparamMinimizer(simulation, "spectral")
    run = Run(minimizer, 1.0, 0, None, 800)
    start = relieve_clashes(run.potential, run.evaluate, run.potential.positions())
    hops = Hops(np.arange(len(start.positions)))
    settings = SearchSettings(quench_evaluations=20)
    mirrored = start.positions * [1, 1, -1]
    points = hop(
        run.potential,
        run.evaluate,
        start,
        settings,
        np.random.default_rng(0),
        hops,
        rms=run.rms,
        reference=mirrored,
    )
    with pytest.raises(RuntimeError, match="used up"):
        list(points)
    assert hops.rejected["stereochemistry"] + hops.rejected.get("collapsed atoms", 0) > 3
    assert hops.accepted == 0
    assert len(hops.minima) == 1
    assert "refused" in str(hops)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"modes": 0}, "modes"),
        ({"amplitude": 0.0}, "amplitude"),
        ({"temperature": np.nan}, "temperature"),
        ({"acceptance": 1.0}, "acceptance"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SearchSettings(**wrong)


def test_what_a_search_needs_is_said():
    simulation = peptide("AAA").simulation("Reference")
    with pytest.raises(ValueError, match="max_force_evaluations"):
        minimize_reparam(simulation, search="slow-modes")
    with pytest.raises(ValueError, match="slow-modes"):
        minimize_reparam(simulation, search="fast", max_force_evaluations=10)
    with pytest.raises(ValueError, match="replicas"):
        minimize_reparam(simulation, search="slow-modes", max_force_evaluations=10, replicas=2)
