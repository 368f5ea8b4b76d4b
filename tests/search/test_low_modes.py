"""Low-frequency modes along torsions and of molecules: sizes, order, what stays."""

import numpy as np
import openmm as mm
import pytest
from openmm import app

from openmm_reparam import Potential
from openmm_reparam.potentials.bond_graph import bond_graph
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search.low_modes import TorsionLowModes
from openmm_reparam.search.torsion_kinematics import TorsionKinematics
from openmm_reparam.search.torsions import TorsionTopology
from openmm_reparam.structure.stereochemistry import Stereochemistry


def distances(x, pairs):
    return np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1)


def low_modes(potential, topology, rng):
    return TorsionLowModes(potential, TorsionKinematics(topology), rng)


def topology_of(potential):
    return TorsionTopology(potential, bond_graph(potential))


def test_bonds_angles_and_chirality_stay(chain):
    molecule, potential, topology = chain
    graph = bond_graph(potential)
    x = potential.positions()
    stiffness = Preconditioner(potential).stiffness(x)
    rng = np.random.default_rng(0)
    low = low_modes(potential, topology, rng)
    modes = low.compute(x, stiffness, 12)
    amounts = rng.standard_normal(12)
    moved = low.displaced(x, modes, 0.3 * amounts / np.linalg.norm(amounts))
    assert np.sqrt(((moved - x) ** 2).sum(axis=1).mean()) > 0.1
    bonds = np.array(graph.edges)
    ends = [(i, k) for j in graph for i in graph[j] for k in graph[j] if i < k]
    for pairs in (bonds, np.array(ends)):
        assert distances(moved, pairs) == pytest.approx(distances(x, pairs), abs=1e-9)
    assert Stereochemistry(molecule.topology).changes(x, moved) == []


def test_a_unit_of_a_mode_is_a_nanometre_and_no_rigid_motion(chain):
    _, potential, topology = chain
    x = potential.positions()
    low = low_modes(potential, topology, np.random.default_rng(0))
    modes = low.compute(x, Preconditioner(potential).stiffness(x), 8)
    for unit_vector in np.eye(8):
        step = (low.displaced(x, modes, 1e-4 * unit_vector) - x) / 1e-4
        assert np.sqrt((step**2).sum(axis=1).mean()) == pytest.approx(1, rel=1e-2)
        centred = x - x.mean(axis=0)
        assert step.mean(axis=0) == pytest.approx(0, abs=1e-2)
        assert np.cross(centred, step).mean(axis=0) == pytest.approx(0, abs=1e-2)


def test_modes_are_ordered_by_stiffness(chain):
    _, potential, topology = chain
    x = potential.positions()
    stiffness = Preconditioner(potential).stiffness(x)
    low = low_modes(potential, topology, np.random.default_rng(0))
    modes = low.compute(x, stiffness, 10)
    steps = [(low.displaced(x, modes, 1e-5 * e) - x).ravel() / 1e-5 for e in np.eye(10)]
    curvatures = [s @ (stiffness @ s) / len(x) for s in steps]
    assert curvatures == pytest.approx(sorted(curvatures), rel=0.05)


def test_fixed_atoms_do_not_move(prepared):
    molecule = peptide("AAAA")
    held = [a.index for a in molecule.topology.atoms() if a.residue.index == 1]
    for atom in held:
        molecule.system.setParticleMass(atom, 0.0)
    potential = prepared(molecule)
    topology, x = topology_of(potential), potential.positions()
    low = low_modes(potential, topology, np.random.default_rng(0))
    modes = low.compute(x, Preconditioner(potential).stiffness(x), 5)
    moved = low.displaced(x, modes, np.full(5, 0.1))
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
    topology, x = topology_of(potential), potential.positions()
    low = low_modes(potential, topology, np.random.default_rng(0))
    modes = low.compute(x, Preconditioner(potential).stiffness(x), 6)
    # The lowest modes of two molecules far apart: one against the other.
    step = (low.displaced(x, modes, 1e-4 * np.eye(6)[0]) - x) / 1e-4
    members = np.arange(one.topology.getNumAtoms())
    pairs = np.array([(i, j) for i in members for j in members if i < j])
    assert distances(x + 1e-3 * step, pairs) == pytest.approx(distances(x, pairs), abs=1e-4)
    assert np.abs(step).max() > 0.1


def test_in_a_box_of_water_the_solute_moves(prepared):
    molecule = peptide("AAA", solvent="tip3p")
    potential = prepared(molecule)
    topology, x = topology_of(potential), potential.positions()
    solute = [a.index for a in molecule.topology.atoms() if a.residue.name == "ALA"]
    assert topology.atoms.tolist() == solute
    low = low_modes(potential, topology, np.random.default_rng(0))
    modes = low.compute(x, Preconditioner(potential).stiffness(x), 5)
    moved = low.displaced(x, modes, np.full(5, 1e-3 / np.sqrt(5)))
    step = (moved - x)[solute]
    assert np.sqrt((step**2).sum(axis=1).mean()) == pytest.approx(1e-3, rel=0.05)
    others = np.setdiff1d(np.arange(len(x)), solute)
    assert np.array_equal(moved[others], x[others])
