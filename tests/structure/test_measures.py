"""Chirality, cis/trans states and RMSD against closed forms, mdtraj and symmetry."""

import mdtraj
import numpy as np
import pytest
from openmm import app, unit
from scipy.spatial.transform import Rotation

from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.structure.measures import collapsed_hydrogens, radius_of_gyration, rmsd
from openmm_reparam.structure.stereochemistry import Stereochemistry
from openmm_reparam.testsystems import lennard_jones_cluster
from openmm_reparam.units import positions_in_nanometers

MIRROR = np.array([-1.0, 1.0, 1.0])
SWAPPED = {"L": "D", "D": "L", "R": "S", "S": "R"}


@pytest.fixture(scope="module")
def molecule():
    """Return a random coil with both kinds of side-chain centre, glycine and proline."""
    return peptide("AITGPKI", "random-coil", seed=4)


@pytest.fixture(scope="module")
def x(molecule):
    return molecule.positions.value_in_unit(unit.nanometer)


def two_chains(molecule, ids):
    """Return a topology of the molecule twice."""
    modeller = app.Modeller(molecule.topology, molecule.positions)
    modeller.add(molecule.topology, molecule.positions)
    for chain, name in zip(modeller.topology.chains(), ids, strict=True):
        chain.id = name
    return modeller.topology, modeller.positions


def test_natural_amino_acids_have_natural_states(molecule, x):
    assert Stereochemistry(molecule.topology).chirality(x) == {
        "ALA 1 CA": "L",
        "ILE 2 CA": "L",
        "ILE 2 CB": "S",
        "THR 3 CA": "L",
        "THR 3 CB": "R",
        "PRO 5 CA": "L",
        "LYS 6 CA": "L",
        "ILE 7 CA": "L",
        "ILE 7 CB": "S",
    }


def assert_natural(pdb):
    """Every amino acid but glycine is L, every isoleucine and threonine as nature makes them."""
    states = Stereochemistry(pdb.topology).chirality(pdb.positions)
    achiral = ("GLY", "HOH", "MG", "ADP", "MGF")
    n_chiral = sum(residue.name not in achiral for residue in pdb.topology.residues())
    of_alpha = [state for label, state in states.items() if label.endswith(" CA")]
    assert of_alpha == ["L"] * n_chiral
    for label, state in states.items():
        if label.endswith(" CB"):
            assert state == {"ILE": "S", "THR": "R"}[label.split(":")[-1][:3]]


@pytest.mark.parametrize("code", ["1VII", "1BHL", pytest.param("4JSV", marks=pytest.mark.slow)])
def test_experimental_structures_are_natural(entries, code):
    assert_natural(app.PDBFile(str(entries / f"{code}.pdb")))


@pytest.mark.network
def test_fetched_entries_are_natural(fetched_entry):
    assert_natural(fetched_entry[1])


def test_mirror_image_flips_every_centre_and_no_peptide_bond(molecule, x):
    before = Stereochemistry(molecule.topology).chirality(x)
    after = Stereochemistry(molecule.topology).chirality(x * MIRROR)
    assert after == {label: SWAPPED[state] for label, state in before.items()}
    assert Stereochemistry(molecule.topology).peptide_bonds(x) == Stereochemistry(
        molecule.topology
    ).peptide_bonds(x * MIRROR)


def test_rotation_and_translation_change_nothing(molecule, x):
    moved = Rotation.random(random_state=0).apply(x) + 5.0
    assert Stereochemistry(molecule.topology).changes(x, moved) == []


def test_flat_centre_is_planar(molecule, x):
    flat = x.copy()
    atoms = {a.name: a.index for a in next(molecule.topology.residues()).atoms()}
    flat[atoms["CA"]] = x[[atoms["N"], atoms["C"], atoms["CB"]]].mean(axis=0)
    assert Stereochemistry(molecule.topology).chirality(flat)["ALA 1 CA"] == "planar"
    assert "ALA 1 CA: L -> planar" in Stereochemistry(molecule.topology).changes(x, flat)


def test_peptide_bonds_agree_with_mdtraj(molecule, x):
    rng = np.random.default_rng(0)
    stereochemistry = Stereochemistry(molecule.topology)
    labels = list(stereochemistry.peptide_bonds(x))
    assert labels[0] == "ALA 1-ILE 2"
    assert len(labels) == 6
    seen = set()
    for _ in range(20):
        noisy = x + rng.normal(0.0, 0.05, x.shape)
        trajectory = mdtraj.Trajectory(noisy, mdtraj.Topology.from_openmm(molecule.topology))
        omega = mdtraj.compute_omega(trajectory)[1][0]
        expected = np.where(np.abs(omega) < np.pi / 2, "cis", "trans").tolist()
        assert list(stereochemistry.peptide_bonds(noisy).values()) == expected
        seen.update(expected)
    assert seen == {"cis", "trans"}


def test_turning_one_peptide_bond_is_the_only_change(molecule, x):
    atoms = {(a.residue.index, a.name): a.index for a in molecule.topology.atoms()}
    pivot, end = x[atoms[3, "C"]], x[atoms[4, "N"]]
    axis = (end - pivot) / np.linalg.norm(end - pivot)
    turned = x.copy()
    later = [a.index for a in molecule.topology.atoms() if a.residue.index >= 4]
    turned[later] = Rotation.from_rotvec(np.pi * axis).apply(x[later] - pivot) + pivot
    assert Stereochemistry(molecule.topology).changes(x, turned) == ["GLY 4-PRO 5: trans -> cis"]


def test_closing_bond_of_a_ring_counts(molecule, x):
    ring = app.Modeller(molecule.topology, molecule.positions).topology
    residues = list(ring.residues())
    named = [{a.name: a for a in residue.atoms()} for residue in residues]
    ring.addBond(named[-1]["C"], named[0]["N"])
    labels = Stereochemistry(ring).peptide_bonds(x)
    assert "ILE 7-ALA 1" in labels
    assert len(labels) == len(residues)


@pytest.mark.parametrize("ids", [("A", "B"), ("A", "A")])
def test_labels_tell_chains_apart(molecule, ids):
    topology, positions = two_chains(molecule, ids)
    states = Stereochemistry(topology).states(positions)
    assert len(states) == 2 * len(Stereochemistry(molecule.topology).states(molecule.positions))
    assert all(label.startswith(("A:", "B:")) for label in states)


def test_without_protein_there_are_no_states():
    cluster = lennard_jones_cluster(5)
    assert Stereochemistry(cluster.topology).states(cluster.positions) == {}
    assert (
        Stereochemistry(cluster.topology).changes(cluster.positions, -1 * cluster.positions) == []
    )


@pytest.mark.parametrize("atoms", ["CA", "backbone", "heavy", "all"])
def test_rmsd_ignores_rigid_motion(molecule, x, atoms):
    moved = Rotation.random(random_state=1).apply(x) + [30.0, -20.0, 10.0]
    assert rmsd(molecule.topology, moved, molecule.topology, x, atoms) < 1e-6


def test_rmsd_agrees_with_kabsch_in_double_precision(molecule, x):
    other = x + np.random.default_rng(0).normal(0.0, 0.1, x.shape)
    a, b = x - x.mean(axis=0), other - other.mean(axis=0)
    _, residual = Rotation.align_vectors(a, b)
    expected = residual / np.sqrt(len(x))
    assert rmsd(molecule.topology, other, molecule.topology, x, "all") == pytest.approx(
        expected, rel=1e-5
    )


def test_rmsd_of_three_points_in_closed_form():
    molecule = peptide("GGG")
    names = [a.name for a in molecule.topology.atoms()]
    alphas = [i for i, name in enumerate(names) if name == "CA"]
    x = molecule.positions.value_in_unit(unit.nanometer)
    line, longer = x.copy(), x.copy()
    line[alphas] = [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    longer[alphas] = [[0, 0, 0], [2, 0, 0], [4, 0, 0]]
    # The two ends are off by 1 nm each, the middle by nothing.
    assert rmsd(molecule.topology, longer, molecule.topology, line) == pytest.approx(
        np.sqrt(2 / 3), rel=1e-6
    )


def test_rmsd_ignores_hydrogens_water_and_protonation_names(crystal):
    built = peptide("GIGGYSAGERIVDIIATD")
    native = app.PDBFile(str(crystal))  # no hydrogens, waters
    value = rmsd(built.topology, built.positions, native.topology, native.positions, "all")
    assert 0.2 < value < 2.0

    renamed = app.Modeller(built.topology, built.positions).topology
    assert rmsd(built.topology, built.positions, renamed, built.positions) < 1e-6
    histidine = peptide("AHA")
    renamed = app.Modeller(histidine.topology, histidine.positions)
    renamed.delete([])
    list(renamed.topology.residues())[1].name = "HIE"
    assert rmsd(histidine.topology, histidine.positions, renamed.topology, renamed.positions) < 1e-6


def test_rmsd_refuses_another_sequence_and_names_both():
    one, other = peptide("AGA"), peptide("AGG")
    with pytest.raises(ValueError, match=r"ALA-GLY-ALA\n.*ALA-GLY-GLY"):
        rmsd(one.topology, one.positions, other.topology, other.positions)


def test_rmsd_refuses_what_it_cannot_superpose(molecule, x):
    with pytest.raises(ValueError, match="choose"):
        rmsd(molecule.topology, x, molecule.topology, x, "CB")
    cluster = lennard_jones_cluster(5)
    with pytest.raises(ValueError, match="three"):
        rmsd(cluster.topology, cluster.positions, cluster.topology, cluster.positions)


def test_collapsed_hydrogen_is_named(molecule, x):
    assert collapsed_hydrogens(molecule.topology, x) == []
    atoms = {(a.residue.index, a.name): a.index for a in molecule.topology.atoms()}
    fallen = x.copy()
    fallen[atoms[2, "HG1"]] = x[atoms[0, "O"]] + [0.01, 0.0, 0.0]
    assert collapsed_hydrogens(molecule.topology, fallen) == ["THR 3 HG1 - ALA 1 O: 0.010 nm"]


def test_positions_are_checked(molecule, x):
    n = len(x)
    assert np.allclose(positions_in_nanometers(x * 10 * unit.angstrom, n), x, atol=1e-12)
    with pytest.raises(ValueError, match=rf"\({n}, 3\)"):
        Stereochemistry(molecule.topology).chirality(x[1:])
    with pytest.raises(TypeError):
        Stereochemistry(molecule.topology).chirality(x * unit.kelvin)
    broken = x.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="atom 3"):
        Stereochemistry(molecule.topology).chirality(broken)


def test_the_radius_of_gyration_is_that_of_mass_weighted_distances_without_water():
    boxed, alone = peptide("GAG", solvent="tip3p"), peptide("GAG")
    size = alone.topology.getNumAtoms()
    masses = np.array([atom.element.mass._value for atom in alone.topology.atoms()])
    for system in (alone, boxed):
        x = system.positions.value_in_unit(unit.nanometer)[:size]
        # Lagrange's identity: no centre of mass in it.
        squares = ((x[:, None] - x) ** 2).sum(axis=-1)
        expected = np.sqrt(masses @ squares @ masses / 2) / masses.sum()
        got = radius_of_gyration(system.topology, system.positions)
        assert got == pytest.approx(expected, rel=1e-6)
    water = app.Topology()
    water.addAtom("O", app.element.oxygen, water.addResidue("HOH", water.addChain()))
    with pytest.raises(ValueError, match="water and ions"):
        radius_of_gyration(water, np.zeros((1, 3)))
