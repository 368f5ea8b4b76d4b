"""Bonds of a System, with and without a topology, and which atoms are interchangeable."""

import networkx as nx
import numpy as np
import openmm as mm
from openmm import app

from openmm_reparam import Potential
from openmm_reparam.potentials.bond_graph import (
    bond_graph,
    interchangeable_atoms,
    planar_bonds,
    rings,
)
from openmm_reparam.prepare.peptides import peptide


def test_the_graph_is_that_of_the_topology_with_or_without_one():
    molecule = peptide("AWPFR", "random-coil", seed=1)
    potential = Potential(molecule.simulation("Reference").context, molecule.topology)
    bonds = {frozenset((a.index, b.index)) for a, b in molecule.topology.bonds()}
    assert {frozenset(edge) for edge in bond_graph(potential).edges} == bonds
    bare = bond_graph(Potential(molecule.simulation("Reference").context))
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


def test_interchangeable_atoms_are_those_that_a_turn_of_their_group_exchanges():
    molecule = peptide("AYLR")
    potential = Potential(molecule.simulation("Reference").context, molecule.topology)
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


def test_terms_that_cancel_about_a_methyl_group_do_not_make_its_bond_planar():
    """GAFF2 has 15.3 kJ/mol cos(2 phi) for each hydrogen of an acetyl group."""
    molecule = peptide("A", capped=True)
    bonds = np.array([[a.index, b.index] for a, b in molecule.topology.bonds()])
    atoms = {a.name: a.index for a in next(molecule.topology.residues()).atoms()}
    before = planar_bonds(molecule.system, bonds)
    assert len(before) == 2, "both peptide bonds"
    torsions = next(f for f in molecule.system.getForces() if "PeriodicTorsion" in f.getName())
    for hydrogen in ("H1", "H2", "H3"):
        ends = [atoms[name] for name in (hydrogen, "CH3", "C", "O")]
        torsions.addTorsion(*ends, 2, np.pi, 15.3)
    assert planar_bonds(molecule.system, bonds) == before
