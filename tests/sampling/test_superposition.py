"""Harmonic superposition against closed forms, exact integrals and known minima."""

import math

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit
from scipy.constants import N_A, hbar

from openmm_reparam import harmonic_superposition
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.sampling.normal_modes import normal_modes
from openmm_reparam.sampling.point_group import point_group
from openmm_reparam.testsystems import LJ_GLOBAL_MINIMA, lennard_jones_cluster

BOLTZMANN = 0.0083144626
HBAR = hbar * N_A / 1e3 * 1e12  # kJ/mol ps


def context_of(masses, forces, constraints=()):
    system = mm.System()
    for mass in masses:
        system.addParticle(mass)
    for force in forces:
        system.addForce(force)
    for i, j, length in constraints:
        system.addConstraint(i, j, length)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(np.zeros((len(masses), 3)))
    return context


def field(expression, count=1):
    force = mm.CustomExternalForce(expression)
    for i in range(count):
        force.addParticle(i, [])
    return force


def bonds(pairs, constant, length):
    force = mm.HarmonicBondForce()
    for i, j in pairs:
        force.addBond(i, j, length, constant)
    return force


def bend(angle, constant, count=1):
    force = mm.HarmonicAngleForce()
    for i in range(count):
        force.addAngle(i, i + 1, i + 2, angle, constant)
    return force


# Closed forms

WELLS = "min(50*((x+1)^2+y^2+z^2), 200*((x-1)^2+y^2+z^2)+{depth})"
MASS, OMEGAS, DEPTH = 12.0, (math.sqrt(100 / 12), math.sqrt(400 / 12)), -2.0


@pytest.fixture(scope="module")
def wells():
    context = context_of([MASS], [field(WELLS.format(depth=DEPTH))])
    starts = [np.array([[-1.2, 0.1, 0]]), np.array([[0.9, 0, 0.1]])]
    return context, starts


def test_two_wells_have_the_populations_and_heat_capacity_of_the_closed_form(wells):
    found = harmonic_superposition(*wells, temperature=250)
    kelvin = np.array([60.0, 250.0, 1000.0])
    partition = np.stack(
        [
            (BOLTZMANN * kelvin / HBAR / OMEGAS[0]) ** 3,
            (BOLTZMANN * kelvin / HBAR / OMEGAS[1]) ** 3 * np.exp(-DEPTH / BOLTZMANN / kelvin),
        ],
        axis=1,
    )
    order = [0, 1] if found.minima[0].energy > -1 else [1, 0]
    expected = (partition / partition.sum(axis=1, keepdims=True))[:, order]
    assert found.populations(kelvin) == pytest.approx(expected, rel=1e-4)
    free_energies = -BOLTZMANN * kelvin[:, None] * np.log(partition[:, order])
    assert found.free_energies(kelvin) == pytest.approx(free_energies, abs=1e-3)

    def mean_energy(t):
        p = 1 / (1 + (OMEGAS[0] / OMEGAS[1]) ** 3 * np.exp(-DEPTH / BOLTZMANN / t))
        return 3 * BOLTZMANN * t + (1 - p) * DEPTH

    assert found.mean_energy(kelvin) == pytest.approx(mean_energy(kelvin), abs=1e-3)
    slope = (mean_energy(kelvin + 0.01) - mean_energy(kelvin - 0.01)) / 0.02
    assert found.heat_capacity(kelvin) == pytest.approx(slope, rel=1e-3)


def test_quantum_oscillators_have_zero_point_energies(wells):
    found = harmonic_superposition(*wells, temperature=1.0, quantum=True)
    zero_point = {m.energy: 1.5 * HBAR * m.frequencies[0] for m in found.minima}
    expected = [energy + zero for energy, zero in zero_point.items()]
    assert found.free_energies() == pytest.approx(expected, abs=1e-4)
    assert found.heat_capacity() == pytest.approx(0, abs=1e-6)
    assert found.mean_energy() == pytest.approx(min(expected), abs=1e-4)
    classical = harmonic_superposition(*wells, temperature=3000.0)
    warm = dict(zip(found.energies, found.populations(3000.0), strict=True))
    for energy, share in zip(classical.energies, classical.populations(), strict=True):
        assert warm[energy] == pytest.approx(share, rel=1e-3)


def test_wells_that_are_alike_in_different_places_count_each():
    context = context_of([MASS], [field(WELLS.replace("200", "50").format(depth=0))])
    starts = np.array([[[-1.1, 0, 0]], [[1.1, 0, 0]], [[0.95, 0, 0]]])
    found = harmonic_superposition(context, starts)
    assert sorted(m.indices for m in found.minima) == [(0,), (1, 2)]
    assert found.populations() == pytest.approx([0.5, 0.5], rel=1e-6)


def test_cold_anharmonic_wells_agree_with_the_exact_integral():
    energy = "100*(x^2-1)^2 + 2*x + 500*(y^2+z^2)"
    context = context_of([MASS], [field(energy)])
    found = harmonic_superposition(context, [[[-0.9, 0, 0]], [[0.9, 0, 0]]], temperature=60)
    x = np.linspace(-2, 2, 40001)
    weights = np.exp(-(100 * (x**2 - 1) ** 2 + 2 * x) / (BOLTZMANN * 60))
    exact = weights[x < 0].sum() / weights.sum()
    assert found.minima[0].positions[0, 0] < 0
    # The rest is anharmonic, of the order of kT over the barrier.
    assert found.populations()[0] == pytest.approx(exact, abs=2e-3)


def test_a_dumbbell_in_a_field_librates():
    # Its energy is linear in positions: all curvature comes from the constraint's force.
    pull = mm.CustomExternalForce("f*z")
    pull.addPerParticleParameter("f")
    pull.addParticle(0, [40.0])
    pull.addParticle(1, [-40.0])
    context = context_of([3.0, 5.0], [pull], [(0, 1, 0.2)])
    positions = np.array([[0, 0, 0], [0, 0, 0.2]])
    modes = normal_modes(Potential(context), positions)
    reduced = 3.0 * 5.0 / 8.0
    assert modes.frequencies == pytest.approx([math.sqrt(40 / (reduced * 0.2))] * 2, rel=1e-5)
    assert not len(modes.moments)  # turning costs energy


def test_bending_between_rigid_bonds_is_that_of_the_g_matrix():
    masses, r, angle, k = [1.0, 16.0, 1.0], 0.1, math.radians(104.5), 300.0
    constraints = [(0, 1, r), (1, 2, r)]
    x = r * np.array([[1, 0, 0], [0, 0, 0], [math.cos(angle), math.sin(angle), 0]])
    rigid = normal_modes(Potential(context_of(masses, [bend(angle, k)], constraints)), x)
    # Wilson's G of both bonds and the angle; a bond that is held drops out of its inverse.
    cos, sin = math.cos(angle), math.sin(angle)
    inverse = [1 / m for m in masses]
    g = np.diag(
        [
            inverse[0] + inverse[1],
            inverse[1] + inverse[2],
            (inverse[0] + inverse[2] + 2 * inverse[1] * (1 - cos)) / r**2,
        ]
    )
    g[0, 1] = g[1, 0] = inverse[1] * cos
    g[:2, 2] = g[2, :2] = -inverse[1] * sin / r
    expected = math.sqrt(k / np.linalg.inv(g)[2, 2])
    assert rigid.frequencies == pytest.approx([expected], rel=1e-5)
    stretch = bonds([(0, 1), (1, 2)], 4e5, r)
    flexible = normal_modes(Potential(context_of(masses, [bend(angle, k), stretch])), x)
    expected = np.sqrt(np.linalg.eigvals(g @ np.diag([4e5, 4e5, k])))
    assert flexible.frequencies == pytest.approx(np.sort(expected), rel=1e-5)
    assert len(flexible.moments) == 3


@pytest.mark.parametrize("bent", [0.0, 0.003])
def test_a_linear_molecule_bends_in_two_ways_and_turns_in_two(bent):
    """Carbon dioxide, whose minimum is never quite straight when it comes from a bent start."""
    stretch, length, angle = 1e5, 0.12, 300.0
    context = context_of(
        (16.0, 12.0, 16.0), [bonds([(0, 1), (1, 2)], stretch, length), bend(math.pi, angle)]
    )
    start = length * np.array([[-1.0, 0, 0], [0, 0, 0], [1, 0, 0]])
    start += bent * np.random.default_rng(0).normal(size=(3, 3))
    found = harmonic_superposition(context, [start])
    (minimum,) = found.minima
    masses = 2 / 16 + 4 / 12
    exact = [
        math.sqrt(stretch / 16),
        *[math.sqrt(angle * masses) / length] * 2,
        math.sqrt(stretch * (1 / 16 + 2 / 12)),
    ]
    np.testing.assert_allclose(minimum.frequencies, exact, rtol=1e-3)
    np.testing.assert_allclose(minimum.moments, [32 * length**2] * 2, rtol=1e-3)
    assert minimum.rotations == 2
    assert found.heat_capacity() == pytest.approx(5 * BOLTZMANN)


def test_a_single_atom_has_its_energy_and_nothing_else():
    found = harmonic_superposition(context_of((12.0,), [field("7")]), [np.zeros((1, 3))])
    assert found.free_energies() == pytest.approx([7.0])
    assert found.heat_capacity() == 0


def test_a_symmetric_top_has_three_rotations_and_pairs_of_modes():
    """Ammonia on springs, its mirror image and a permutation of it."""
    base = 0.095 * np.array([[math.cos(a), math.sin(a), 0] for a in np.arange(3) * 2 * np.pi / 3])
    x = np.vstack([[0, 0, 0.03], base])
    arm, side = np.linalg.norm(x[0] - x[1]), np.linalg.norm(x[1] - x[2])
    forces = [
        bonds([(0, 1), (0, 2), (0, 3)], 2e5, arm),
        bonds([(1, 2), (2, 3), (1, 3)], 1e4, side),
    ]
    context = context_of((14.0, 1.0, 1.0, 1.0), forces)
    found = harmonic_superposition(context, [x, x * [1, 1, -1], x[[0, 2, 1, 3]]])
    (minimum,) = found.minima
    assert minimum.indices == (0, 1, 2)
    assert (minimum.rotations, minimum.isomers) == (3, 1 / 3)
    assert minimum.moments[0] == pytest.approx(minimum.moments[1])
    frequencies = minimum.frequencies
    assert (np.isclose(frequencies[1:], frequencies[:-1], rtol=1e-4)).sum() == 2


def test_what_floats_apart_is_said_to_be_held_by_nothing():
    context = context_of((12.0, 12.0, 16.0), [bonds([(0, 1)], 1e5, 0.1)])
    with pytest.raises(ValueError, match="is held by nothing harmonic"):
        harmonic_superposition(context, [np.array([[0, 0, 0], [0.1, 0, 0], [1, 1, 1]])])


def test_classical_populations_do_not_depend_on_masses():
    # A chain of four beads, trans and gauche: without the rigid rotor they would.
    pairs = [(0, 1), (1, 2), (2, 3)]
    populations = []
    for masses in ([12.0, 12, 12, 12], [12.0, 120, 120, 12]):
        torsion = mm.PeriodicTorsionForce()
        torsion.addTorsion(0, 1, 2, 3, 3, 0, 6.0)
        torsion.addTorsion(0, 1, 2, 3, 1, 0, 1.0)
        context = context_of(masses, [bonds(pairs, 2e5, 0.15), bend(1.9, 400, 2), torsion])
        starts = [chain(1.9, dihedral) for dihedral in (3.0, 1.1, -1.2)]
        found = harmonic_superposition(context, starts, temperature=300)
        populations.append(found.populations())
        # Gauche is chiral, and both of its mirror images are one minimum with n = 2 / 2.
        assert [m.indices for m in found.minima] == [(1, 2), (0,)] or [
            m.indices for m in found.minima
        ] == [(0,), (1, 2)]
        assert {m.indices: m.isomers for m in found.minima} == {(0,): 0.5, (1, 2): 1.0}
    assert populations[0] == pytest.approx(populations[1], rel=1e-5)


def chain(angle, dihedral, r=0.15):
    """Four beads with given bond angles and a dihedral angle."""
    c, s = math.cos(angle), math.sin(angle)
    first = np.array([r * c, r * s, 0])
    last = np.array(
        [r - r * c, r * s * math.cos(dihedral), r * s * math.sin(dihedral)],
    )
    return np.array([first, [0, 0, 0], [r, 0, 0], last])


# Lennard-Jones clusters


def test_lj7_has_four_minima_of_known_energies_and_symmetries():
    cluster = lennard_jones_cluster(7, epsilon=10.0)
    starts = [lennard_jones_cluster(7, seed).positions for seed in range(20)]
    found = harmonic_superposition(cluster.simulation("Reference"), starts, temperature=120)
    by_energy = sorted(found.minima, key=lambda m: m.energy)
    # Tsai and Jordan, J. Phys. Chem. 1993, 97, 11227; point groups D5h, C3v, C3v, C2.
    expected = [-16.505384, -15.935043, -15.593211, -15.533060]
    assert [m.energy / 10 for m in by_energy] == pytest.approx(expected, abs=1e-5)
    assert [m.rotations for m in by_energy] == [10, 3, 3, 2]
    # 2 * 7! / order of the point group.
    isomers = [math.factorial(7) * m.isomers for m in by_energy]
    assert isomers == pytest.approx([504, 1680, 1680, 5040])
    assert sorted(k for m in by_energy for k in m.indices) == list(range(20))


def test_the_icosahedron_has_sixty_rotations():
    cluster = lennard_jones_cluster(13)
    golden = (1 + math.sqrt(5)) / 2
    corners = [(0, a, b * golden) for a in (-1, 1) for b in (-1, 1)]
    shell = [np.roll(corner, k) for corner in corners for k in range(3)]
    x = 0.3 * np.array([(0, 0, 0), *shell]) / math.sqrt(1 + golden**2)
    found = harmonic_superposition(cluster.simulation("Reference"), [x], temperature=30)
    assert found.minima[0].energy == pytest.approx(LJ_GLOBAL_MINIMA[13], abs=1e-5)
    assert (found.minima[0].rotations, found.minima[0].isomers) == (60, 1 / 60)


def test_mirror_images_need_not_be_known_to_be_told():
    bent = np.array([[1.0, 0, 0], [0, 0, 0], [0, 1.0, 0], [0, 1.0, 0.7]])
    assert point_group(bent, np.zeros(4)).chiral
    assert not point_group(bent[:3], np.zeros(3)).chiral
    assert point_group(bent[:3], np.array([1, 2, 1])).rotations == 2
    assert point_group(bent[:3], np.array([1, 2, 3])).rotations == 1
    line = np.array([[-1.0, 0, 0], [0, 0, 0], [1, 0, 0]])
    assert point_group(line, np.array([1, 2, 1])).rotations == 2
    assert point_group(line, np.array([1, 2, 3])).rotations == 1


# What is handed in


def test_a_saddle_is_left_and_what_nothing_holds_is_named():
    found = harmonic_superposition(
        context_of([MASS], [field("100*(x^2-1)^2 + 500*(y^2+z^2)")]), [[[0, 0, 0]]]
    )
    assert abs(found.minima[0].positions[0, 0]) == pytest.approx(1, abs=1e-4)
    apart = np.array([[0, 0, 0], [0.336739, 0, 0], [50.0, 0, 0]])
    cluster = lennard_jones_cluster(3)
    with pytest.raises(ValueError, match="0: its lowest mode, .* is held by nothing"):
        harmonic_superposition(cluster.simulation("Reference"), [apart])
    together = 0.336739 * np.array([[0, 0, 0], [1, 0, 0], [0.5, math.sqrt(0.75), 0]])
    found = harmonic_superposition(cluster.simulation("Reference"), [apart, together])
    assert list(found.left_out) == [0]
    assert "left out: 0: its lowest mode" in repr(found)


def test_the_context_stays_and_evaluations_are_counted():
    molecule = peptide("AG")
    simulation = molecule.simulation("Reference")
    before = simulation.context.getState(positions=True, velocities=True)
    # AG has constraints on bonds with hydrogen by default.
    found = harmonic_superposition(simulation, [molecule.positions], temperature=300)
    after = simulation.context.getState(positions=True, velocities=True)
    assert (before.getPositions(asNumpy=True) == after.getPositions(asNumpy=True)).all()
    assert (before.getVelocities(asNumpy=True) == after.getVelocities(asNumpy=True)).all()
    atoms, constraints = molecule.topology.getNumAtoms(), molecule.system.getNumConstraints()
    (minimum,) = found.minima
    assert len(minimum.frequencies) == 3 * atoms - constraints - 6
    assert minimum.wavenumbers.min() > 1
    assert found.force_evaluations > 6 * atoms
    budget = found.force_evaluations + 10
    limited = harmonic_superposition(
        simulation, [molecule.positions] * 2, max_force_evaluations=budget
    )
    assert limited.force_evaluations <= budget
    assert list(limited.left_out) == [1]
    assert "budget" in limited.left_out[1]


def test_bad_arguments_are_named(wells):
    context, starts = wells
    with pytest.raises(ValueError, match="result.minima"):
        harmonic_superposition(context, [])
    with pytest.raises(ValueError, match="0 K"):
        harmonic_superposition(context, starts, temperature=0)
    with pytest.raises(TypeError, match="temperature"):
        harmonic_superposition(context, starts, temperature=1 * unit.nanometer)
    with pytest.raises(TypeError, match="Simulation"):
        harmonic_superposition("simulation", starts)
    with pytest.raises(ValueError, match="above zero"):
        harmonic_superposition(context, starts).populations(-5)


def test_the_table_is_sorted_by_free_energy(wells):
    context, starts = wells
    found = harmonic_superposition(context, starts, temperature=2000 * unit.kelvin)
    # The wide well wins although it is higher.
    assert found.minima[0].energy > found.minima[1].energy
    assert (np.diff(found.free_energies()) > 0).all()
    lines = repr(found).splitlines()
    assert [line.split()[:2] for line in lines[2:4]] == [["0", "2.000"], ["1", "0.000"]]
    stored = found.to_dict()
    assert [m["indices"] for m in stored["minima"]] == [[0], [1]]
    assert sum(m["population"] for m in stored["minima"]) == pytest.approx(1)


def test_a_cluster_in_a_periodic_box_vibrates_as_in_vacuum():
    # PME holds its orientation by a hundredth of a kJ/mol: that is no vibration.
    field = app.ForceField("amber14/tip3p.xml")
    topology = app.Topology()
    chain = topology.addChain()
    places = []
    for k in range(2):
        residue = topology.addResidue("HOH", chain)
        atoms = [
            topology.addAtom(name, app.element.get_by_symbol(name[0]), residue)
            for name in ("O", "H1", "H2")
        ]
        for hydrogen in atoms[1:]:
            topology.addBond(atoms[0], hydrogen)
        water = np.array([[0, 0, 0], [0.0957, 0, 0], [-0.024, 0.0927, 0]])
        places += list(water + k * np.array([0.28, 0, 0.03]))
    wavenumbers = []
    for method in (app.NoCutoff, app.PME):
        if method is app.PME:
            topology.setPeriodicBoxVectors(2.5 * np.eye(3))
        system = field.createSystem(topology, nonbondedMethod=method, rigidWater=True)
        platform = mm.Platform.getPlatformByName("Reference")
        context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
        context.setPositions(places)
        (minimum,) = harmonic_superposition(context, [np.array(places)]).minima
        assert len(minimum.moments) == 3
        wavenumbers.append(minimum.wavenumbers)
    assert len(wavenumbers[0]) == 3 * 6 - 6 - 6
    assert wavenumbers[1] == pytest.approx(wavenumbers[0], abs=5)
