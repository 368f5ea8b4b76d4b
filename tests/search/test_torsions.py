"""Motions along torsions: bonds, angles and chirality stay; piercings are found."""

import networkx as nx
import numpy as np
import openmm as mm
import pytest
from openmm import app

from openmm_reparam import Potential
from openmm_reparam.potentials.bond_graph import (
    bond_graph,
    interchangeable_atoms,
    planar_bonds,
    rings,
)
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search.torsions import Torsions
from openmm_reparam.search.validity import Guards, Piercings
from openmm_reparam.structure.stereochemistry import Stereochemistry


def prepared(molecule, topology=True):
    context = molecule.simulation("Reference").context
    return Potential(context, molecule.topology if topology else None)


def distances(x, pairs):
    return np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1)


def dihedral(x):
    a, b, c = np.diff(x, axis=0)
    normal = np.cross(b, c)
    return np.arctan2(np.linalg.norm(b) * a @ normal, np.cross(a, b) @ normal)


@pytest.fixture(scope="module")
def chain():
    molecule = peptide("AWPFR", "random-coil", seed=1)
    return molecule, prepared(molecule)


def test_the_graph_is_that_of_the_topology_with_or_without_one(chain):
    molecule, potential = chain
    bonds = {frozenset((a.index, b.index)) for a, b in molecule.topology.bonds()}
    assert {frozenset(edge) for edge in bond_graph(potential).edges} == bonds
    bare = bond_graph(prepared(molecule, topology=False))
    assert {frozenset(edge) for edge in bare.edges} == bonds
    # TRP two, PRO one, PHE one.
    assert sorted(len(ring) for ring in rings(bare)) == [5, 5, 6, 6]


def test_rigid_water_has_no_bond_between_its_hydrogens():
    box = app.Topology()
    chain = box.addChain()
    residue = box.addResidue("HOH", chain)
    for name in ("O", "H1", "H2"):
        box.addAtom(name, app.Element.getBySymbol(name[0]), residue)
    system = app.ForceField("amber14/tip3p.xml").createSystem
    box.addBond(*[list(box.atoms())[k] for k in (0, 1)])
    box.addBond(*[list(box.atoms())[k] for k in (0, 2)])
    flexible = system(box, rigidWater=False)
    platform = mm.Platform.getPlatform("Reference")
    context = mm.Context(flexible, mm.VerletIntegrator(0.001), platform)
    assert {frozenset(e) for e in bond_graph(Potential(context)).edges} == {
        frozenset((0, 1)),
        frozenset((0, 2)),
    }


def test_peptide_bonds_are_planar_and_do_not_turn(chain):
    molecule, potential = chain
    planar = planar_bonds(potential.system)
    names = {atom.index: (atom.name, atom.residue.index) for atom in molecule.topology.atoms()}
    kinds = [sorted(names[i] for i in bond) for bond in planar]
    assert sum([a[0], b[0]] == ["C", "N"] for a, b in kinds) == 4
    torsions = Torsions(potential, bond_graph(potential))
    turned = {frozenset(axis) for axis in torsions.axes.tolist()}
    assert not turned & planar
    assert sum({names[i][0] for i in bond} == {"N", "CA"} for bond in turned) == 4, "not PRO's"


def test_bonds_angles_and_chirality_stay(chain):
    molecule, potential = chain
    graph = bond_graph(potential)
    torsions, x = Torsions(potential, graph), potential.positions()
    stiffness = Preconditioner(potential).stiffness(x)
    rng = np.random.default_rng(0)
    modes = torsions.modes(x, stiffness, 12, rng)
    amounts = rng.standard_normal(12)
    moved = torsions.displaced(x, modes, 0.3 * amounts / np.linalg.norm(amounts))
    assert np.sqrt(((moved - x) ** 2).sum(axis=1).mean()) > 0.1
    bonds = np.array(graph.edges)
    ends = [(i, k) for j in graph for i in graph[j] for k in graph[j] if i < k]
    for pairs in (bonds, np.array(ends)):
        assert distances(moved, pairs) == pytest.approx(distances(x, pairs), abs=1e-9)
    assert Stereochemistry(molecule.topology).changes(x, moved) == []


def test_branches_are_side_chains_and_ends_whose_turn_makes_a_difference(chain):
    molecule, potential = chain
    torsions = Torsions(potential, bond_graph(potential))
    atoms = list(molecule.topology.atoms())

    def names(axes):
        return [(atoms[j].residue.name, {atoms[i].name, atoms[j].name}) for i, j in axes]

    branches = names(torsions.axes[torsions.branches])
    for side_chain in (("TRP", {"CB", "CG"}), ("PHE", {"CA", "CB"}), ("ARG", {"CD", "NE"})):
        assert side_chain in branches
    # CH3, NH3+, phenyl
    for symmetric in (("ALA", {"CA", "CB"}), ("ALA", {"N", "CA"}), ("PHE", {"CB", "CG"})):
        assert symmetric in names(torsions.axes)
        assert symmetric not in branches


def test_exchanges_are_turns_that_show_nothing(chain):
    molecule, potential = chain
    graph = bond_graph(potential)
    torsions, x = Torsions(potential, graph), potential.positions()
    atoms = list(molecule.topology.atoms())
    alike = interchangeable_atoms(graph, potential.masses)
    exchanged = {}
    for torsion in torsions.symmetric:
        near, far = torsions.axes[torsion]
        orders = torsions.exchanges(x, torsion)
        assert len(orders) == graph.degree[far] - 2
        for order in orders:
            assert sorted(order) == list(range(len(x)))
            assert np.array_equal(alike[order], alike)
            moved = x[order]
            # Every bond is as long as it was, for it joins atoms that are alike.
            bonds = np.array(graph.edges)
            assert distances(moved, bonds) == pytest.approx(distances(x, bonds), abs=2e-3)
            assert Stereochemistry(molecule.topology).changes(x, moved) == []
        names = {atoms[i].name for i in np.flatnonzero(orders[0] != np.arange(len(x)))}
        exchanged[atoms[near].residue.name, atoms[far].name] = names
    ring = {name + side for name in ("CD", "HD", "CE", "HE") for side in "12"}
    assert exchanged["PHE", "CG"] == ring
    assert exchanged["ALA", "CB"] == {"HB1", "HB2", "HB3"}


def test_turns_of_a_branch_leave_the_rest_where_it_is(chain):
    molecule, potential = chain
    graph = bond_graph(potential)
    torsions, x = Torsions(potential, graph), potential.positions()
    rng = np.random.default_rng(1)
    bonds = np.array(graph.edges)
    ends = np.array([(i, k) for j in graph for i in graph[j] for k in graph[j] if i < k])
    moved = set()
    for _ in range(60):
        turned = torsions.turned(x, torsions.branch_turn(rng))
        changed = np.flatnonzero(np.abs(turned - x).max(axis=1) > 1e-9)
        assert 0 < len(changed) <= 20
        moved |= set(changed.tolist())
        for pairs in (bonds, ends):
            assert distances(turned, pairs) == pytest.approx(distances(x, pairs), abs=1e-9)
        assert Stereochemistry(molecule.topology).changes(x, turned) == []
    names = {(a.residue.name, a.name) for a in molecule.topology.atoms() if a.index in moved}
    assert {("TRP", "CZ2"), ("ARG", "NH1"), ("PHE", "CZ")} <= names
    assert ("PRO", "CA") not in names, "the middle of the chain stays"


def test_a_turn_is_to_another_rotamer():
    molecule = peptide("AV", "extended")
    potential = prepared(molecule)
    torsions, x = Torsions(potential, bond_graph(potential)), potential.positions()
    places = {(a.residue.name, a.name): a.index for a in molecule.topology.atoms()}
    chi = [places["VAL", name] for name in ("N", "CA", "CB", "CG1")]
    rng, turns = np.random.default_rng(0), []
    for _ in range(100):
        turned = torsions.turned(x, torsions.branch_turn(rng))
        angle = np.degrees(dihedral(turned[chi]) - dihedral(x[chi])) % 360
        turns.append(min(angle, 360 - angle))
    turns = np.array(turns)
    turned = turns[turns > 1e-6]
    # 120 degrees, scattered normally by 20.
    assert len(turned) > 20
    assert turned.min() > 120 - 4 * 20
    assert np.mean(turned) == pytest.approx(120, abs=10)
    assert np.std(turned) == pytest.approx(20, abs=6)


def test_a_unit_of_a_mode_is_a_nanometre_and_no_rigid_motion(chain):
    _, potential = chain
    torsions, x = Torsions(potential, bond_graph(potential)), potential.positions()
    modes = torsions.modes(x, Preconditioner(potential).stiffness(x), 8, np.random.default_rng(0))
    for unit_vector in np.eye(8):
        step = (torsions.displaced(x, modes, 1e-4 * unit_vector) - x) / 1e-4
        assert np.sqrt((step**2).sum(axis=1).mean()) == pytest.approx(1, rel=1e-2)
        centred = x - x.mean(axis=0)
        assert step.mean(axis=0) == pytest.approx(0, abs=1e-2)
        assert np.cross(centred, step).mean(axis=0) == pytest.approx(0, abs=1e-2)


def test_modes_are_ordered_by_stiffness(chain):
    _, potential = chain
    torsions, x = Torsions(potential, bond_graph(potential)), potential.positions()
    stiffness = Preconditioner(potential).stiffness(x)
    modes = torsions.modes(x, stiffness, 10, np.random.default_rng(0))
    steps = [(torsions.displaced(x, modes, 1e-5 * e) - x).ravel() / 1e-5 for e in np.eye(10)]
    curvatures = [s @ (stiffness @ s) / len(x) for s in steps]
    assert curvatures == pytest.approx(sorted(curvatures), rel=0.05)


def test_fixed_atoms_do_not_move():
    molecule = peptide("AAAA")
    held = [a.index for a in molecule.topology.atoms() if a.residue.index == 1]
    for atom in held:
        molecule.system.setParticleMass(atom, 0.0)
    potential = prepared(molecule)
    torsions, x = Torsions(potential, bond_graph(potential)), potential.positions()
    modes = torsions.modes(x, Preconditioner(potential).stiffness(x), 5, np.random.default_rng(0))
    moved = torsions.displaced(x, modes, np.full(5, 0.1))
    assert np.array_equal(moved[held], x[held])
    assert np.abs(moved - x).max() > 0.01


def test_molecules_move_as_wholes():
    one, two = peptide("AA"), peptide("AG")
    modeller = app.Modeller(one.topology, one.positions)
    modeller.add(two.topology, two.positions + mm.Vec3(0, 0, 2) * mm.unit.nanometer)
    system = app.ForceField("amber14-all.xml").createSystem(modeller.topology)
    platform = mm.Platform.getPlatform("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(modeller.positions)
    potential = Potential(context, modeller.topology)
    torsions, x = Torsions(potential, bond_graph(potential)), potential.positions()
    modes = torsions.modes(x, Preconditioner(potential).stiffness(x), 6, np.random.default_rng(0))
    # The softest motions of two molecules far apart: one against the other.
    step = (torsions.displaced(x, modes, 1e-4 * np.eye(6)[0]) - x) / 1e-4
    members = np.arange(one.topology.getNumAtoms())
    pairs = np.array([(i, j) for i in members for j in members if i < j])
    assert distances(x + 1e-3 * step, pairs) == pytest.approx(distances(x, pairs), abs=1e-4)
    assert np.abs(step).max() > 0.1


def test_interchangeable_atoms_are_those_that_a_turn_of_their_group_exchanges():
    molecule = peptide("AYLR")
    potential = prepared(molecule)
    labels = interchangeable_atoms(bond_graph(potential), potential.masses)
    alike = {}
    for atom, label in zip(molecule.topology.atoms(), labels.tolist(), strict=True):
        alike.setdefault((atom.residue.name, label), set()).add(atom.name)
    groups = {(residue, *sorted(names)) for (residue, _), names in alike.items() if len(names) > 1}
    assert {
        ("ALA", "H", "H2", "H3"),
        ("ALA", "HB1", "HB2", "HB3"),
        ("TYR", "CD1", "CD2"),
        ("TYR", "HE1", "HE2"),
        ("LEU", "CD1", "CD2"),
        ("ARG", "HH11", "HH12", "HH21", "HH22"),
        ("ARG", "O", "OXT"),
    } <= groups
    assert not any("CG" in names or "CA" in names for _, *names in groups)
    assert len(set(labels)) == len(alike), "none is shared by two residues"


def test_ends_of_a_symmetric_chain_are_not_interchangeable():
    labels = interchangeable_atoms(nx.path_graph(8), np.full(8, 12.0))
    assert labels.tolist() == [0, 1, 2, 3, 3, 2, 6, 7]
    assert len(set(interchangeable_atoms(nx.empty_graph(5), np.full(5, 40.0)))) == 5


def test_a_bond_through_a_ring_is_found():
    angles = np.arange(6) * np.pi / 3
    hexagon = 0.14 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    graph = nx.cycle_graph(6)
    graph.add_edge(6, 7)
    piercings = Piercings(graph)
    through = np.array([[0.02, 0.01, -0.07], [0.02, 0.01, 0.07]])
    assert len(piercings(np.concatenate([hexagon, through]))) == 1
    assert not piercings(np.concatenate([hexagon, through + [0.3, 0, 0]]))
    assert not piercings(np.concatenate([hexagon, through + [0, 0, 0.1]]))


def test_guards_allow_what_was_wrong_before(chain):
    _, potential = chain
    x = potential.positions()
    assert Guards(potential, x).refusal(x) == ""
    mirrored = x * [1, 1, -1]
    assert Guards(potential, x).refusal(mirrored) == "stereochemistry"
    assert Guards(potential, mirrored).refusal(mirrored) == ""
    # The phenyl ring of one residue is put around a bond far from it.
    graph = bond_graph(potential)
    ring = max(rings(graph), key=lambda r: (len(r), min(r)))
    residue = list(potential.topology.atoms())[ring[0]].residue
    atoms = [a.index for a in residue.atoms()]
    centre = x[ring].mean(axis=0)
    normal = np.cross(x[ring[2]] - centre, x[ring[0]] - centre)
    bond = next((i, j) for i, j in graph.edges if not {i, j} & set(atoms) and i > 5)
    pierced = np.array(x)
    along = 0.14 * normal / np.linalg.norm(normal)
    pierced[bond[0]], pierced[bond[1]] = centre - along / 2, centre + along / 2
    guards = Guards(potential, x)
    assert guards.pierced(pierced)
    assert not Guards(potential, pierced).pierced(pierced)


def test_in_a_box_of_water_the_solute_moves():
    molecule = peptide("AAA", solvent="tip3p")
    potential = prepared(molecule)
    torsions, x = Torsions(potential, bond_graph(potential)), potential.positions()
    solute = [a.index for a in molecule.topology.atoms() if a.residue.name == "ALA"]
    assert torsions.atoms.tolist() == solute
    modes = torsions.modes(x, Preconditioner(potential).stiffness(x), 5, np.random.default_rng(0))
    moved = torsions.displaced(x, modes, np.full(5, 1e-3 / np.sqrt(5)))
    step = (moved - x)[solute]
    assert np.sqrt((step**2).sum(axis=1).mean()) == pytest.approx(1e-3, rel=0.05)
    others = np.setdiff1d(np.arange(len(x)), solute)
    assert np.array_equal(moved[others], x[others])


def test_angles_after_a_turn_are_those_of_the_turned_structure(chain):
    _, potential = chain
    torsions, rng = Torsions(potential, bond_graph(potential)), np.random.default_rng(2)
    x = potential.positions()
    before = torsions.angles(x)
    modes = torsions.modes(x, Preconditioner(potential).stiffness(x), 10, rng)
    amounts = rng.normal(0.0, 0.1, 10)
    structures = [(torsions.mode_turn(modes, amounts), torsions.displaced(x, modes, amounts))]
    for _ in range(20):
        turn = torsions.branch_turn(rng)
        structures.append((turn, torsions.turned(x, turn)))
    turns, turned = zip(*structures, strict=True)
    told = torsions.angles_after(before, turns)
    for row, after in zip(told, map(torsions.angles, turned), strict=True):
        assert np.allclose(np.exp(1j * row), np.exp(1j * after))
        assert np.abs(np.exp(1j * after) - np.exp(1j * before)).max() > 0.1
    each = np.array([before] * len(turns))
    assert np.array_equal(torsions.angles_after(each, turns), told)


def test_angles_do_not_tell_what_like_atoms_have_changed_places():
    potential = prepared(peptide("AYPFR", "random-coil", seed=1))
    torsions = Torsions(potential, bond_graph(potential))
    x = potential.positions()
    orders = [order for k in torsions.symmetric for order in torsions.exchanges(x, k)]
    assert len(orders) > 5
    # Phenylalanine's and tyrosine's rings, the latter with a hydroxyl group measured from it.
    assert len({torsions.axes[k][1] for k in torsions.symmetric}) > 4
    for order in orders:
        exchanged = np.exp(1j * torsions.angles(x[order]))
        # The oxygens of a carboxylate are not quite half a turn apart.
        assert np.allclose(exchanged, np.exp(1j * torsions.angles(x)), atol=0.3)


def test_a_molecule_with_no_torsion_but_of_methyl_groups_has_no_angles():
    system = mm.System()
    for mass in (12.0, 12.0, *[1.0] * 6):
        system.addParticle(mass)
    bonds = mm.HarmonicBondForce()
    for i, j in ((0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6), (1, 7)):
        bonds.addBond(i, j, 0.11, 1e5)
    system.addForce(bonds)
    platform = mm.Platform.getPlatform("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    x = np.random.default_rng(0).normal(0.0, 0.1, (8, 3))
    context.setPositions(x)
    potential = Potential(context)
    torsions = Torsions(potential, bond_graph(potential))
    assert len(torsions.axes) == 1
    assert torsions.angles(x).shape == (0,)
