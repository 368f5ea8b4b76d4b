"""Hydrogens from geometry against those of OpenMM's Modeller."""

import numpy as np
import pytest
from openmm import app, unit

from openmm_reparam.predicted.hydrogens import with_hydrogens
from openmm_reparam.prepare.peptide_chain import extended_chain
from openmm_reparam.structure.violations import find_violations

SEQUENCE = "MACDEFGHIKLNPQRSTVWY"


def names_by_parent(topology: app.Topology) -> set[tuple[int, str, str]]:
    found = set()
    for bond in topology.bonds():
        for atom, partner in ((bond[0], bond[1]), (bond[1], bond[0])):
            if atom.element is app.element.hydrogen:
                found.add((atom.residue.index, atom.name, partner.name))
    return found


@pytest.mark.parametrize("ph", [3.0, 7.0, 11.0])
def test_the_hydrogens_are_those_of_modeller(ph):
    topology, x = extended_chain(SEQUENCE)
    modeller = app.Modeller(topology, x * unit.nanometer)
    modeller.addHydrogens(None, pH=ph)
    completed, positions = with_hydrogens(topology, x, ph)
    assert names_by_parent(completed) == names_by_parent(modeller.topology)
    assert len(positions) == completed.getNumAtoms() == modeller.topology.getNumAtoms()


def test_their_geometry_is_the_force_fields():
    topology, x = extended_chain(SEQUENCE)
    completed, positions = with_hydrogens(topology, x)
    system = app.ForceField("amber99sb.xml").createSystem(completed)
    found = find_violations(completed, positions, system)
    assert found.bonds == ()
    assert found.hydrogen_clashes == ()
    assert [line for line in found.angles if " H" in line] == []


def test_heavy_atoms_stay():
    topology, x = extended_chain("GHC")
    completed, positions = with_hydrogens(topology, x)
    heavy = [atom.index for atom in completed.atoms() if atom.element is not app.element.hydrogen]
    assert np.array_equal(positions[heavy], x)


def test_histidine_takes_the_nitrogen_whose_acceptor_is_near():
    topology, x = extended_chain("GHG")
    atoms = {(a.residue.index, a.name): a.index for a in topology.atoms()}
    ring = [atoms[1, name] for name in ("NE2", "CE1", "CD2")]
    outward = x[ring[0]] - x[ring[1:]].mean(axis=0)
    oxygen = app.Topology()
    for chain in topology.chains():
        copied = oxygen.addChain(chain.id)
        for residue in chain.residues():
            made = oxygen.addResidue(residue.name, copied, residue.id)
            for atom in residue.atoms():
                oxygen.addAtom(atom.name, atom.element, made)
    oxygen.addAtom("O", app.element.oxygen, oxygen.addResidue("HOH", oxygen.addChain("W")))
    oxygen.createStandardBonds()
    near = np.vstack([x, x[ring[0]] + 0.28 * outward / np.linalg.norm(outward)])
    alone, _ = with_hydrogens(topology, x)
    bonded, _ = with_hydrogens(oxygen, near)
    assert (1, "HD1", "ND1") in names_by_parent(alone)
    assert (1, "HE2", "NE2") in names_by_parent(bonded)


def test_atoms_on_one_place_get_hydrogens_all_the_same():
    topology, x = extended_chain("GAG")
    completed, positions = with_hydrogens(topology, np.zeros_like(x))
    assert completed.getNumAtoms() == len(positions)
    assert np.isfinite(positions).all()
