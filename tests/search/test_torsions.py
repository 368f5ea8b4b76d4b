"""Which bonds rotate, and the torsion angles that tell one shape from another."""

import numpy as np
import openmm as mm

from openmm_reparam import Potential
from openmm_reparam.potentials.bond_graph import bond_graph, planar_bonds
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search.low_modes import TorsionLowModes
from openmm_reparam.search.permutations import permutations
from openmm_reparam.search.rotamers import RotamerProposals
from openmm_reparam.search.torsion_angles import ShapeAngles
from openmm_reparam.search.torsion_kinematics import TorsionKinematics
from openmm_reparam.search.torsions import TorsionTopology


def topology_of(potential):
    return TorsionTopology(potential, bond_graph(potential))


def test_peptide_bonds_are_planar_and_do_not_turn(chain):
    molecule, potential, topology = chain
    planar = planar_bonds(potential.system, np.array(topology.graph.edges))
    names = {atom.index: (atom.name, atom.residue.index) for atom in molecule.topology.atoms()}
    kinds = [sorted(names[i] for i in bond) for bond in planar]
    assert sum([a[0], b[0]] == ["C", "N"] for a, b in kinds) == 4
    rotatable = {frozenset(axis) for axis in topology.axes.tolist()}
    assert not rotatable & planar
    assert sum({names[i][0] for i in bond} == {"N", "CA"} for bond in rotatable) == 4, "not PRO's"


def test_rotors_are_side_chains_and_ends_whose_rotation_makes_a_difference(chain):
    molecule, potential, topology = chain
    atoms = list(molecule.topology.atoms())

    def names(axes):
        return [(atoms[j].residue.name, {atoms[i].name, atoms[j].name}) for i, j in axes]

    rotors = names(topology.axes[topology.rotors])
    for side_chain in (("TRP", {"CB", "CG"}), ("PHE", {"CA", "CB"}), ("ARG", {"CD", "NE"})):
        assert side_chain in rotors
    # CH3, NH3+, phenyl
    for symmetric in (("ALA", {"CA", "CB"}), ("ALA", {"N", "CA"}), ("PHE", {"CB", "CG"})):
        assert symmetric in names(topology.axes)
        assert symmetric not in rotors


def test_shape_angles_after_a_rotation_are_those_of_the_rotated_structure(chain):
    _, potential, topology = chain
    kinematics, angles = TorsionKinematics(topology), ShapeAngles(topology)
    rng, x = np.random.default_rng(2), potential.positions()
    before, rotamers = angles(x), RotamerProposals(topology, rng)
    low = TorsionLowModes(potential, kinematics, rng)
    modes = low.compute(x, Preconditioner(potential).stiffness(x), 10)
    amounts = rng.normal(0.0, 0.1, 10)
    structures = [(modes.rotation(amounts), low.displaced(x, modes, amounts))]
    for _ in range(20):
        rotation = rotamers.draw()
        structures.append((rotation, kinematics.rotated(x, rotation)))
    rotations, rotated = zip(*structures, strict=True)
    told = angles.after(before, rotations)
    for row, after in zip(told, map(angles, rotated), strict=True):
        assert np.allclose(np.exp(1j * row), np.exp(1j * after))
        assert np.abs(np.exp(1j * after) - np.exp(1j * before)).max() > 0.1
    each = np.array([before] * len(rotations))
    assert np.array_equal(angles.after(each, rotations), told)


def test_shape_angles_are_the_same_for_permutational_isomers(prepared):
    potential = prepared(peptide("AYPFR", "random-coil", seed=1))
    topology = topology_of(potential)
    x, angles = potential.positions(), ShapeAngles(topology)
    kinematics = TorsionKinematics(topology)
    orders = [order for k in topology.symmetric for order in permutations(kinematics, x, k)]
    assert len(orders) > 5
    # Phenylalanine's and tyrosine's rings, the latter with a hydroxyl group measured from it.
    assert len({topology.axes[k][1] for k in topology.symmetric}) > 4
    for order in orders:
        exchanged = np.exp(1j * angles(x[order]))
        # The oxygens of a carboxylate are not quite half a turn apart.
        assert np.allclose(exchanged, np.exp(1j * angles(x)), atol=0.3)


def test_a_molecule_with_no_torsion_but_of_methyl_groups_has_no_shape_angles():
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
    topology = topology_of(potential)
    assert len(topology.axes) == 1
    assert ShapeAngles(topology)(x).shape == (0,)
