"""The fixtures themselves: peptides, clusters and coils against closed forms."""

import random

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit
from scipy.spatial.distance import cdist, pdist, squareform

from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.prepare.sequences import SEQUENCES
from openmm_reparam.structure.measures import collapsed_hydrogens
from openmm_reparam.structure.stereochemistry import Stereochemistry
from openmm_reparam.testsystems import (
    LJ_GLOBAL_MINIMA,
    coil,
    coil_lower_bound,
    lennard_jones_cluster,
)

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def energy(molecule, positions=None, platform="Reference"):
    """Return the potential energy in kJ/mol."""
    context = molecule.simulation(platform, openmm.VerletIntegrator(0.001)).context
    if positions is not None:
        context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy()._value


def nanometers(molecule):
    return molecule.positions.value_in_unit(unit.nanometer)


def heavy_distance(molecule):
    """Return the smallest heavy-atom distance of residues two or more apart, in nm."""
    x = nanometers(molecule)
    heavy = [a for a in molecule.topology.atoms() if a.element is not app.element.hydrogen]
    number = np.array([a.residue.index for a in heavy])
    distances = cdist(x[[a.index for a in heavy]], x[[a.index for a in heavy]])
    return distances[np.abs(number[:, None] - number) >= 2].min()


@pytest.mark.network
def test_sequences_are_those_of_the_entries(fetched_entry):
    code, pdb = fetched_entry
    topology = mdtraj.Topology.from_openmm(pdb.topology)
    assert SEQUENCES[code] == "".join(r.code for r in topology.residues if r.is_protein)


@pytest.mark.parametrize("conformation", ["extended", "random-coil"])
@pytest.mark.parametrize("sequence", [LETTERS, *SEQUENCES])
def test_peptides_are_natural_and_their_energy_is_finite(sequence, conformation):
    molecule = peptide(sequence, conformation, seed=1)
    letters = SEQUENCES.get(sequence, sequence)
    trajectory = mdtraj.Topology.from_openmm(molecule.topology)
    assert "".join(residue.code for residue in trajectory.residues) == letters

    states = Stereochemistry(molecule.topology).states(nanometers(molecule))
    natural = {"CA": {"L"}, "CB": {"R", "S"}}
    for label, state in states.items():
        assert state in natural.get(label.split()[-1], {"trans"}), label
    n_centres = len(letters) - letters.count("G") + letters.count("I") + letters.count("T")
    assert len(states) == n_centres + len(letters) - 1

    assert collapsed_hydrogens(molecule.topology, molecule.positions) == []
    assert heavy_distance(molecule) > 0.2
    reference, cpu = energy(molecule), energy(molecule, platform="CPU")
    assert np.isfinite(reference)
    assert abs(reference) < 1e6
    assert cpu == pytest.approx(reference, abs=1e-4 * abs(reference) + 0.1)


def test_extended_chain_has_the_angles_it_says():
    molecule = peptide("AAPGA")
    trajectory = mdtraj.Trajectory(
        nanometers(molecule), mdtraj.Topology.from_openmm(molecule.topology)
    )
    phi, psi, omega = (
        np.degrees(compute(trajectory)[1][0])
        for compute in (mdtraj.compute_phi, mdtraj.compute_psi, mdtraj.compute_omega)
    )
    assert phi == pytest.approx([-120, -65, -120, -120], abs=0.1)
    assert psi == pytest.approx([140] * 4, abs=0.1)
    assert np.abs(omega) == pytest.approx([180] * 4, abs=0.1)


def test_random_coils_clash_nowhere_and_differ_by_seed():
    coils = [peptide("2JOF", "random-coil", seed=seed) for seed in range(3)]
    assert min(map(heavy_distance, coils)) > 0.2499
    assert not np.allclose(nanometers(coils[0]), nanometers(coils[1]))
    assert not np.allclose(nanometers(coils[1]), nanometers(coils[2]))


@pytest.mark.parametrize("conformation", ["extended", "random-coil"])
def test_same_seed_same_coordinates_and_global_states_are_kept(conformation):
    random.seed(7)
    np.random.seed(7)
    python_state, numpy_state = random.getstate(), np.random.get_state()[1].copy()
    first = peptide("2JOF", conformation, seed=5)
    assert random.getstate() == python_state
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    random.seed(8)
    np.random.seed(8)
    again = peptide("2JOF", conformation, seed=5)
    assert np.array_equal(nanometers(first), nanometers(again))


@pytest.mark.parametrize("forcefield", ["amber14-all.xml", "amber19-all.xml", "amber99sb.xml"])
def test_force_fields(forcefield):
    molecule = peptide("YGGFM", forcefield=forcefield)
    assert np.isfinite(energy(molecule))
    assert molecule.topology.getNumAtoms() == 75


def test_charmm36(charmm_peptide):
    assert np.isfinite(energy(charmm_peptide))


def test_amoeba():
    # A Context of AMOEBA takes 10 seconds, so its energy is not asked for.
    molecule = peptide("GA", forcefield="amoeba2018.xml")
    assert molecule.topology.getNumAtoms() == molecule.system.getNumParticles() == 20


@pytest.mark.filterwarnings("error")
def test_no_warning_reaches_the_user():
    peptide("1PLW", "random-coil", seed=19)  # a terminal oxygen exactly opposite N


@pytest.mark.parametrize("solvent", ["gbn2", "obc2"])
def test_implicit_solvent_lowers_the_energy(solvent):
    assert energy(peptide("YGGFM", solvent=solvent)) < energy(peptide("YGGFM")) - 100


def test_pdb_codes_are_read_in_any_case():
    assert peptide("1plw").name == peptide("1PLW").name == "1PLW"
    assert peptide("YGGFM").name == "YGGFM"


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("AGXA", "'X' at position 3"),
        ("yggfm", "'y' at position 1"),
        ("9XYZ", "9XYZ"),
        ("", "two letters"),
        ("A", "two letters"),
    ],
)
def test_bad_sequences_are_refused(sequence, message):
    with pytest.raises(ValueError, match=message):
        peptide(sequence)


def test_other_bad_input_is_refused():
    with pytest.raises(NotImplementedError, match="disulfide"):
        peptide("2MGO")
    with pytest.raises(TypeError, match="sequence"):
        peptide(["A", "G"])
    with pytest.raises(ValueError, match="random-coil"):
        peptide("AG", "helix")


def test_cluster_energy_and_start():
    epsilon, sigma = 2.0, 0.25
    cluster = lennard_jones_cluster(19, 3, epsilon, sigma * 10 * unit.angstrom)
    r = pdist(nanometers(cluster)) / sigma
    expected = 4 * epsilon * (r**-12 - r**-6).sum()
    assert energy(cluster) == pytest.approx(expected, rel=1e-10)
    assert cluster.reduced_energy(energy(cluster)) == pytest.approx(expected / epsilon)
    assert r.min() >= 0.9
    again = lennard_jones_cluster(19, 3, epsilon, sigma)
    assert np.array_equal(nanometers(cluster), nanometers(again))


def test_cluster_of_13_reaches_its_known_global_minimum():
    cluster = lennard_jones_cluster(13, sigma=0.3)
    # Mackay icosahedron: the centre and twelve vertices, cyclic permutations of (0, +-1, +-g).
    g = (1 + 5**0.5) / 2
    vertices = [np.roll([0, a, b * g], k) for k in range(3) for a in (1, -1) for b in (1, -1)]
    shape = np.array([[0, 0, 0], *vertices]) / np.hypot(1, g)
    simulation = cluster.simulation("Reference")
    simulation.context.setPositions(shape * 1.08 * 0.3)
    simulation.minimizeEnergy(tolerance=1e-4)
    state = simulation.context.getState(energy=True)
    reached = cluster.reduced_energy(state.getPotentialEnergy())
    assert reached == pytest.approx(LJ_GLOBAL_MINIMA[13], abs=1e-5)


def test_bad_clusters_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        lennard_jones_cluster(1)
    with pytest.raises(TypeError, match="integer"):
        lennard_jones_cluster(13.0)
    with pytest.raises(ValueError, match="positive"):
        lennard_jones_cluster(13, epsilon=0.0)
    with pytest.raises(TypeError, match="sigma"):
        lennard_jones_cluster(13, sigma=1.0 * unit.kelvin)


def soft_lj(r):
    return 1 / (r**12 + 0.01) - 1 / (r**6 + 0.06)


def reduced_coil_energy(x, kind):
    """Return the energy of reduced coordinates (n, 3), straight from the formulas."""
    n = len(x)
    r = squareform(pdist(x))
    near, far = np.diagonal(r, 1), np.diagonal(r, 10)
    separation = np.subtract.outer(np.arange(n), np.arange(n))
    if kind == "bond-lj":
        coupled = ((near - 1) ** 2).mean() + 0.1 * soft_lj(far).mean()
        repelled = r[separation > 0]
    else:
        coupled = (soft_lj(near).sum() + 0.1 * soft_lj(far).sum()) / (2 * n - 11)
        repelled = r[(separation > 1) & (separation != 10)]
    return coupled + 0.0025 * (1 / (repelled + 0.01)).mean()


@pytest.mark.parametrize("kind", ["bond-lj", "lj"])
@pytest.mark.parametrize("options", [{}, {"energy_scale": 3.7, "length_scale": 0.23}])
def test_coil_energy_is_that_of_the_formulas(kind, options):
    n = 60
    system = coil(n, kind, seed=2, **options)
    rng = np.random.default_rng(0)
    start = nanometers(system) / system.length_unit
    for x in (start, rng.normal(0.0, 1.0, (n, 3)), rng.normal(0.0, 4.0, (n, 3))):
        value = system.reduced_energy(energy(system, x * system.length_unit))
        assert value == pytest.approx(reduced_coil_energy(x, kind), rel=1e-10)


def test_coil_start_has_the_published_spread():
    x = nanometers(coil(1000)) / 0.1
    assert x.std() == pytest.approx(1000 ** (1 / 3) / 4, rel=0.05)
    assert np.array_equal(x, nanometers(coil(1000)) / 0.1)


@pytest.mark.parametrize(
    ("n", "kind", "bound"),
    [(400, "bond-lj", -0.023672), (400, "lj", -0.131411), (1000, "lj", -0.130678)],
)
def test_coil_lower_bound(n, kind, bound):
    assert coil_lower_bound(n, kind) == pytest.approx(bound, abs=5e-7)
    r = np.linspace(0.9, 1.4, 200_001)
    assert r[soft_lj(r).argmin()] == pytest.approx(1.13217, abs=1e-5)
    assert coil_lower_bound(n, "bond-lj") == pytest.approx(0.1 * soft_lj(r).min(), abs=1e-9)


def test_bad_coils_are_refused():
    with pytest.raises(ValueError, match="bond-lj"):
        coil(50, "spring")
    with pytest.raises(ValueError, match="at least 12"):
        coil(11)
    with pytest.raises(ValueError, match="kind"):
        coil_lower_bound(50, "spring")
    with pytest.raises(TypeError, match="energy_scale"):
        coil(50, energy_scale=1 * unit.nanometer)
