"""Waters, ions and atoms of a solute, in a solvated box and by their names in files."""

import numpy as np
import pytest
from openmm import app

from openmm_reparam.minimization.replicas import compared_atoms
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.structure.selections import (
    heavy_solute_atoms,
    is_ion,
    is_water,
    solute_atoms,
)


def residue_of(name, elements):
    topology = app.Topology()
    residue = topology.addResidue(name, topology.addChain())
    for k, element in enumerate(elements):
        topology.addAtom(f"X{k}", element, residue)
    return residue


@pytest.mark.parametrize("name", ["HOH", "WAT", "TIP3", "SOL"])
def test_waters_go_by_name_with_or_without_hydrogens(name):
    oxygen, hydrogen = app.element.oxygen, app.element.hydrogen
    for elements in ([oxygen], [oxygen, hydrogen, hydrogen]):
        assert is_water(residue_of(name, elements))
        assert not is_ion(residue_of(name, elements))


@pytest.mark.parametrize("name", ["NA", "CLA", "POT", "Cl-", "ZN"])
def test_a_residue_of_one_atom_is_an_ion_whatever_it_is_called(name):
    assert is_ion(residue_of(name, [app.element.zinc]))
    assert not is_water(residue_of(name, [app.element.zinc]))


def test_a_box_is_its_solute():
    alone, boxed = peptide("GA"), peptide("GA", solvent="tip3p")
    own = [atom.index for atom in alone.topology.atoms()]
    assert boxed.topology.getNumAtoms() > len(own)
    assert [atom.index for atom in solute_atoms(boxed.topology)] == own
    heavy = heavy_solute_atoms(boxed.topology)
    assert np.array_equal(heavy, heavy_solute_atoms(alone.topology))
    symbols = {atom.element.symbol for atom in alone.topology.atoms() if atom.index in set(heavy)}
    assert symbols == {"C", "N", "O"}
    assert np.array_equal(compared_atoms(boxed.topology, boxed.topology.getNumAtoms()), heavy)


def test_replicas_of_a_cluster_are_compared_over_all_its_atoms():
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(5):
        topology.addAtom("Ar", app.element.argon, topology.addResidue("Ar", chain))
    assert list(compared_atoms(topology, 5)) == [0, 1, 2, 3, 4]


def test_virtual_sites_are_no_atoms_of_the_solute():
    residue = residue_of("LIG", [app.element.carbon, None, app.element.hydrogen])
    topology = residue.chain.topology
    assert [atom.name for atom in solute_atoms(topology)] == ["X0", "X2"]
    assert heavy_solute_atoms(topology).tolist() == [0]
