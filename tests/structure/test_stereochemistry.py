"""Stereochemistry of any molecule: which centres and bonds have states, and what changes them."""

from pathlib import Path

import networkx as nx
import numpy as np
import openmm as mm
import pdbfixer
import pytest
from openmm import app, unit
from scipy.spatial.transform import Rotation

from openmm_reparam import minimize_reparam
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.structure.chemical_graph import ChemicalGraph
from openmm_reparam.structure.double_bonds import rigid_bonds
from openmm_reparam.structure.stereochemistry import StereoCheck, Stereochemistry
from openmm_reparam.testsystems import lennard_jones_cluster

MIRROR = np.array([-1.0, 1.0, 1.0])
LIPIDS = Path(app.__file__).parent / "data" / "POPC.pdb"
NUCLEOTIDES = Path(pdbfixer.__file__).parent / "templates"


def molecule(atoms, bonds="", name="LIG"):
    """Return a topology from heavy atoms with their hydrogens: "C3 C1 O1" is CH3, CH, OH.

    Bonds are "0-1 1-2"; a chain of all heavy atoms where none is given.
    """
    topology = app.Topology()
    residue = topology.addResidue(name, topology.addChain())
    tokens = atoms.split()
    heavy = [
        topology.addAtom(f"{token[:-1]}{i}", app.Element.getBySymbol(token[:-1]), residue)
        for i, token in enumerate(tokens)
    ]
    chain = " ".join(f"{i}-{i + 1}" for i in range(len(heavy) - 1))
    for bond in (bonds or chain).split():
        i, j = bond.split("-")
        topology.addBond(heavy[int(i)], heavy[int(j)])
    for i, token in enumerate(tokens):
        for k in range(int(token[-1])):
            hydrogen = topology.addAtom(f"H{i}{'ABC'[k]}", app.element.hydrogen, residue)
            topology.addBond(heavy[i], hydrogen)
    return topology


RING = "0-1 1-2 2-3 3-4 4-5 5-0 "
# name: (atoms, bonds, stereocentres, bonds with a cis and a trans state)
MOLECULES = {
    "lactic acid": ("C3 C1 C0 O0 O1 O1", "0-1 1-2 2-3 2-4 1-5", 1, 0),
    "glycerol": ("O1 C2 C1 C2 O1 O1", "0-1 1-2 2-3 3-4 2-5", 0, 0),
    "butane-2,3-diol": ("C3 C1 C1 C3 O1 O1", "0-1 1-2 2-3 1-4 2-5", 2, 0),
    "amine": ("C3 N1 C2 C3", "", 0, 0),
    "protonated amine": ("C3 N1 C2 C3 C2 C2 C3", "0-1 1-2 2-3 1-4 4-5 5-6", 1, 0),
    "sulfoxide": ("C3 S0 C2 C3 O0", "0-1 1-2 2-3 1-4", 1, 0),
    "dimethyl sulfoxide": ("C3 S0 C3 O0", "0-1 1-2 1-3", 0, 0),
    "sulfone": ("C3 S0 C2 C3 O0 O0", "0-1 1-2 2-3 1-4 1-5", 0, 0),
    "phosphate": ("C3 O0 P0 O0 C2 C3 O0 O0", "0-1 1-2 2-3 3-4 4-5 2-6 2-7", 0, 0),
    "thiophosphate": ("C3 O0 P0 O0 C2 C3 O0 S0", "0-1 1-2 2-3 3-4 4-5 2-6 2-7", 1, 0),
    "methylcyclohexane": ("C1 C2 C2 C2 C2 C2 C3", RING + "0-6", 0, 0),
    "1,4-dimethylcyclohexane": ("C1 C2 C2 C1 C2 C2 C3 C3", RING + "0-6 3-7", 2, 0),
    "inositol": ("C1 " * 6 + "O1 " * 6, RING + "0-6 1-7 2-8 3-9 4-10 5-11", 6, 0),
    "butene": ("C3 C1 C1 C3", "", 0, 1),
    "isobutene": ("C3 C0 C2 C3", "0-1 1-2 1-3", 0, 0),
    "hexadiene": ("C3 C1 C1 C1 C1 C3", "", 0, 2),
    "cyclohexene": ("C1 C1 C2 C2 C2 C2", RING, 0, 0),
    "crotonaldehyde": ("C3 C1 C1 C1 O0", "", 0, 1),
    "crotonate": ("C3 C1 C1 C0 O0 O0", "0-1 1-2 2-3 3-4 3-5", 0, 1),
    "diacetyl": ("C3 C0 C0 C3 O0 O0", "0-1 1-2 2-3 1-4 2-5", 0, 0),
    "protonated Schiff base": ("C3 C1 C1 C1 N1 C3", "", 0, 2),
    "styrene, methylated": (
        "C0 C1 C1 C1 C1 C1 C1 C1 C3",
        RING + "0-6 6-7 7-8",
        0,
        1,
    ),
    "azobenzene": (
        "C0 C1 C1 C1 C1 C1 N0 N0 C0 C1 C1 C1 C1 C1",
        RING + "0-6 6-7 7-8 8-9 9-10 10-11 11-12 12-13 13-8",
        0,
        1,
    ),
    "biphenyl, substituted": (
        "C0 C0 C1 C1 C1 C1 C0 C0 C1 C1 C1 C1 F0 F0",
        RING + "0-6 6-7 7-8 8-9 9-10 10-11 11-6 1-12 7-13",
        0,
        0,
    ),
    "butanone oxime": ("C3 C0 C2 C3 N0 O1", "0-1 1-2 2-3 1-4 4-5", 0, 1),
    "acetone oxime": ("C3 C0 C3 N0 O1", "0-1 1-2 1-3 3-4", 0, 0),
    "methyl azide": ("C3 N0 N0 N0", "", 0, 0),
    "ethyl acetate": ("C3 C0 O0 C2 C3 O0", "0-1 1-2 2-3 3-4 1-5", 0, 0),
    "N-methylacetamide": ("C3 C0 N1 C3 O0", "0-1 1-2 2-3 1-4", 0, 1),
    "dimethylacetamide": ("C3 C0 N0 C3 C3 O0", "0-1 1-2 2-3 2-4 1-5", 0, 0),
    "N-methylurea": ("N2 C0 N1 C3 O0", "0-1 1-2 2-3 1-4", 0, 0),
    "aminophenolate": ("C0 C1 C1 C0 C1 C1 O0 N1 C3", RING + "0-6 3-7 7-8", 0, 0),
}


@pytest.mark.parametrize("name", MOLECULES)
def test_molecules_have_the_states_that_chemistry_knows(name):
    atoms, bonds, n_centres, n_bonds = MOLECULES[name]
    topology = molecule(atoms, bonds)
    x = np.random.default_rng(0).normal(size=(topology.getNumAtoms(), 3))
    checked = Stereochemistry(topology).compare(x, x).checked
    assert checked == StereoCheck(n_centres, n_bonds)


def test_double_bonds_of_linear_atoms_have_no_state():
    """Methyl azide's N=N=N, with its bond orders."""
    topology = molecule("C3 N0 N0 N0")
    for k, order in enumerate([1, 2, 2]):
        topology._bonds[k] = app.topology.Bond(*topology._bonds[k][:2], order=order)
    assert not len(rigid_bonds(ChemicalGraph.of_topology(topology)))


def test_bond_orders_of_the_topology_decide():
    topology = molecule("C3 C1 C1 C1 C1 C3")
    orders = [1, 1, 2, 1, 1] + [1] * 10  # the middle bond, as in no ground state
    for bond, order in zip(list(topology.bonds()), orders, strict=True):
        topology._bonds[topology._bonds.index(bond)] = app.topology.Bond(*bond[:2], order=order)
    x = np.random.default_rng(0).normal(size=(topology.getNumAtoms(), 3))
    assert list(Stereochemistry(topology).states(x)) == ["LIG 1 C2-C3"]


def test_torsions_show_double_bonds_only_where_valences_do_not():
    held = {frozenset((1, 2)), frozenset((2, 3)), frozenset((3, 4))}
    explicit = ChemicalGraph.of_topology(molecule("C3 C1 C1 C1 C1 C3"))
    united = ChemicalGraph.of_topology(molecule("C0 C0 C0 C0 C0 C0"))
    assert rigid_bonds(explicit, held).tolist() == [[0, 1, 2, 3], [2, 3, 4, 5]]
    assert rigid_bonds(united, held).tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]


@pytest.fixture(scope="module")
def lipid():
    """Return topology and (134, 3) positions in nm of one POPC from the patch OpenMM ships."""
    pdb = app.PDBFile(str(LIPIDS))
    first = next(pdb.topology.residues())
    topology = app.Topology()
    residue = topology.addResidue(first.name, topology.addChain(), first.id)
    atoms = [topology.addAtom(a.name, a.element, residue) for a in first.atoms()]
    for one, other in first.bonds():
        topology.addBond(atoms[one.index], atoms[other.index])
    return topology, np.array(pdb.getPositions(asNumpy=True)._value)[: len(atoms)]


@pytest.fixture(scope="module")
def nucleoside():
    """Return topology and positions of uridine phosphate with its hydrogens."""
    pdb = app.PDBFile(str(NUCLEOTIDES / "U.pdb"))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addHydrogens()
    return modeller.topology, np.array(modeller.positions.value_in_unit(unit.nanometer))


def named(topology):
    """Return the index of each atom by its name."""
    return {atom.name: atom.index for atom in topology.atoms()}


def bonds_of(topology):
    return nx.Graph((a.index, b.index) for a, b in topology.bonds())


def branch(topology, i, j):
    """Return the atoms on j's side of the bond i-j."""
    graph = bonds_of(topology)
    graph.remove_edge(i, j)
    return list(nx.node_connected_component(graph, j))


def turned(topology, x, i, j, angle):
    """Turn all that lies beyond the bond i-j about it."""
    moved, side = x.copy(), branch(topology, i, j)
    axis = (x[j] - x[i]) / np.linalg.norm(x[j] - x[i])
    moved[side] = Rotation.from_rotvec(angle * axis).apply(x[side] - x[i]) + x[i]
    return moved


def exchanged(topology, x, centre, first, second):
    """Let two branches at a centre change their places."""
    side = branch(topology, centre, first) + branch(topology, centre, second)
    ways = [(x[n] - x[centre]) / np.linalg.norm(x[n] - x[centre]) for n in (first, second)]
    axis = sum(ways) / np.linalg.norm(sum(ways))
    moved = x.copy()
    moved[side] = Rotation.from_rotvec(np.pi * axis).apply(x[side] - x[centre]) + x[centre]
    return moved


def test_a_lipid_has_one_centre_and_one_double_bond(lipid):
    topology, x = lipid
    states = Stereochemistry(topology)
    assert states.states(x) == {"POP 1 C2": "counterclockwise", "POP 1 C29-C210": "cis"}
    assert states.changes(x, x * MIRROR) == ["POP 1 C2: counterclockwise -> clockwise"]


def test_a_turn_about_the_double_bond_is_the_only_change(lipid):
    topology, x = lipid
    atoms = named(topology)
    moved = turned(topology, x, atoms["C29"], atoms["C210"], np.pi)
    assert Stereochemistry(topology).changes(x, moved) == ["POP 1 C29-C210: cis -> trans"]


def test_an_inverted_centre_is_the_only_change(lipid):
    topology, x = lipid
    atoms = named(topology)
    moved = exchanged(topology, x, atoms["C2"], atoms["C1"], atoms["O21"])
    assert Stereochemistry(topology).changes(x, moved) == [
        "POP 1 C2: counterclockwise -> clockwise"
    ]


def test_turns_about_single_bonds_and_like_hydrogens_change_nothing(lipid):
    topology, x = lipid
    rng = np.random.default_rng(0)
    atoms, rigid, moved = named(topology), {"C29", "C210"}, x
    for one, other in topology.bonds():
        if {one.name, other.name} != rigid:
            angle = rng.uniform(-np.pi, np.pi)
            moved = turned(topology, moved, one.index, other.index, angle)
    # Two hydrogens of a CH2 and two oxygens of the phosphate change their places.
    moved = exchanged(topology, moved, atoms["C22"], atoms["H2R"], atoms["H2S"])
    moved = exchanged(topology, moved, atoms["P"], atoms["O13"], atoms["O14"])
    assert np.abs(moved - x).max() > 0.5
    assert Stereochemistry(topology).changes(x, moved) == []


def test_ribose_has_four_centres_with_and_without_hydrogens(nucleoside):
    topology, x = nucleoside
    pdb = app.PDBFile(str(NUCLEOTIDES / "U.pdb"))
    states = Stereochemistry(topology).states(x)
    assert list(states) == [f"U 1 C{i}'" for i in (4, 3, 2, 1)]
    assert Stereochemistry(pdb.topology).states(pdb.positions) == states
    assert len(Stereochemistry(topology).changes(x, x * MIRROR)) == 4


def test_all_nucleotides_have_the_same_sugar():
    found = {}
    for name in ("DA", "DC", "DG", "DT", "A", "C", "G", "U"):
        pdb = app.PDBFile(str(NUCLEOTIDES / f"{name}.pdb"))
        states = Stereochemistry(pdb.topology).states(pdb.positions)
        assert len(states) == (3 if name.startswith("D") else 4)
        for label, state in states.items():
            found.setdefault(label.split()[-1], set()).add(state)
    assert all(len(states) == 1 for states in found.values())


def test_one_inverted_centre_of_a_sugar_is_the_only_change(nucleoside):
    topology, x = nucleoside
    atoms = named(topology)
    moved = exchanged(topology, x, atoms["C3'"], atoms["O3'"], atoms["H3'"])
    (change,) = Stereochemistry(topology).changes(x, moved)
    assert change.startswith("U 1 C3': ")


def test_atoms_of_one_name_are_told_apart():
    topology = molecule("C3 C1 C1 C3 O1 O1", "0-1 1-2 2-3 1-4 2-5")
    for atom in topology.atoms():
        atom.name = atom.element.symbol
    x = np.random.default_rng(0).normal(size=(topology.getNumAtoms(), 3))
    assert list(Stereochemistry(topology).states(x)) == ["LIG 1 C (atom 1)", "LIG 1 C (atom 2)"]


def test_a_molecule_broken_across_the_boundary_is_the_same(lipid):
    topology, x = lipid
    box = np.diag([4.0, 4.0, 6.0])
    broken = x - np.floor(x / np.diag(box) + 0.5) * np.diag(box)
    shifted = broken + 2.0 - np.floor((broken + 2.0) / np.diag(box)) * np.diag(box)
    assert np.abs(np.ptp(shifted, axis=0) - np.ptp(x, axis=0)).max() > 0.1
    states = Stereochemistry(topology, box=box)
    assert states.changes(x, shifted) == []


@pytest.mark.parametrize("options", [{}, {"hydrogenMass": 3.0, "constraints": app.HAngles}])
def test_a_context_without_topology_shows_the_same_centres(options):
    chain = peptide("AITGPKI", "random-coil", seed=4)
    system = app.ForceField("amber14-all.xml").createSystem(chain.topology, **options)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    x = np.array(chain.positions.value_in_unit(unit.nanometer))
    comparison = Stereochemistry.of_potential(Potential(context)).compare(x, x * MIRROR)
    assert comparison.checked == StereoCheck(9, 6)
    assert len(comparison.changes) == 9


def test_bonds_of_the_system_stand_in_for_those_of_the_topology(lipid):
    topology, x = lipid
    bare = app.Topology()
    residue = bare.addResidue("POP", bare.addChain(), "1")
    system, bonds = mm.System(), mm.HarmonicBondForce()
    for atom in topology.atoms():
        bare.addAtom(atom.name, atom.element, residue)
        system.addParticle(atom.element.mass)
    for one, other in topology.bonds():
        bonds.addBond(one.index, other.index, 0.15, 1e5)
    system.addForce(bonds)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    states = Stereochemistry.of_potential(Potential(context, bare))
    assert states.states(x) == Stereochemistry(topology).states(x)


def test_residues_without_bonds_are_said_to_be_unchecked():
    ligand = molecule("C3 C1 C0 O0 O1 O1", "0-1 1-2 2-3 2-4 1-5")
    ligand._bonds.clear()
    x = np.random.default_rng(0).normal(size=(ligand.getNumAtoms(), 3))
    comparison = Stereochemistry(ligand).compare(x, x * MIRROR)
    assert comparison.changes is None
    assert str(comparison.checked) == "not checked (no bonds known): LIG 1"

    mixed = app.Modeller(molecule("C3 C1 C1 C3", name="BUT"), np.ones((12, 3)) * unit.nanometer)
    mixed.add(ligand, np.ones((len(x), 3)) * unit.nanometer)
    y = np.random.default_rng(0).normal(size=(12 + len(x), 3))
    comparison = Stereochemistry(mixed.topology).compare(y, y)
    assert comparison.changes == ()
    assert str(comparison.checked) == (
        "1 cis/trans bond checked; not checked (no bonds known): LIG 1"
    )


@pytest.fixture
def inverting():
    """Return a simulation of CHFClBr, started in the hand that its force field does not want."""
    topology = molecule("C1 F0 Cl0 Br0", "0-1 0-2 0-3")
    system, bonds = mm.System(), mm.HarmonicBondForce()
    for atom in topology.atoms():
        system.addParticle(atom.element.mass)
    for i in range(1, 5):
        bonds.addBond(0, i, 0.15, 1e5)
    hand = mm.CustomTorsionForce("5000*(1-cos(theta-1.23))")  # that of four corners, one way round
    hand.addTorsion(1, 2, 3, 4, [])
    system.addForce(bonds)
    system.addForce(hand)
    platform = mm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(topology, system, mm.VerletIntegrator(0.001), platform)
    corners = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.0866
    wrong = min(corners, corners * MIRROR, key=lambda x: -hand_energy(simulation, x))
    simulation.context.setPositions(wrong)
    return simulation


def hand_energy(simulation, x):
    simulation.context.setPositions(x)
    return simulation.context.getState(energy=True).getPotentialEnergy()._value


def test_a_minimization_that_inverts_a_centre_says_so(inverting):
    result = minimize_reparam(inverting, 1.0)
    (change,) = result.stereo_changes
    assert change in (
        "LIG 1 C0: clockwise -> counterclockwise",
        "LIG 1 C0: counterclockwise -> clockwise",
    )
    assert f"stereochemistry: {change} (1 centre checked)" in str(result)
    again = minimize_reparam(inverting, 1.0)
    assert again.stereo_changes == ()
    assert "stereochemistry: unchanged (1 centre checked)" in str(again)
    assert again.to_dict()["stereo_checked"]["centres"] == 1


def test_a_context_without_bonds_says_that_nothing_was_checked():
    cluster = lennard_jones_cluster(5)
    result = minimize_reparam(cluster.simulation("Reference").context)
    assert result.stereo_changes is None
    assert "stereochemistry: not checked (no bonds known): all atoms" in str(result)
    result = minimize_reparam(cluster.simulation("Reference"))
    assert result.stereo_changes == ()
    assert "stereochemistry: no stereocentres" in str(result)


def test_anchors_of_atoms_are_no_bonds():
    """OpenMM's recipe for restraints: a bond of length 0 to a massless particle on the atom."""
    molecule = peptide("AAA")
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))
    bonds, anchors = mm.HarmonicBondForce(), []
    for atom in molecule.topology.atoms():
        if atom.name == "CA":
            bonds.addBond(atom.index, molecule.system.addParticle(0.0), 0.0, 5000.0)
            anchors.append(x[atom.index])
    for force in molecule.system.getForces():
        if isinstance(force, mm.NonbondedForce):
            for _ in anchors:
                force.addParticle(0, 1, 0)
    molecule.system.addForce(bonds)
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(molecule.system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(np.concatenate([x, anchors]))
    states = Stereochemistry.of_potential(Potential(context))
    here = np.concatenate([x, anchors])
    assert len(states.changes(here, here * [1, 1, -1])) == 3
