"""A side chain through a ring: what releasing cannot mend."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from openmm_reparam import relax_prediction
from openmm_reparam.predicted.api import structure_text
from openmm_reparam.predicted.side_chain_turns import turned_side_chains
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.structure.violations import find_violations

RING = ("CG", "CD1", "CD2", "CE1", "CE2", "CZ")


@pytest.fixture
def threaded(predicted):
    """Return a phenylalanine's ring with a lysine's bond from CD to CE through it."""
    ring_chain = predicted().chain("GFG")
    lysine = predicted().chain("GKG", "B", seed=1)
    ring = {r.name: np.array(r.position) for r in structure_text(ring_chain.text()).records
            if r.residue.number == "2"}  # fmt: skip
    centre = np.mean([ring[name] for name in RING], axis=0)
    normal = np.cross(ring["CD1"] - ring["CG"], ring["CD2"] - ring["CG"])
    records = structure_text(lysine.text()).records
    x = np.array([record.position for record in records])
    ends = [
        next(k for k, r in enumerate(records) if (r.residue.number, r.name) == ("2", name))
        for name in ("CD", "CE")
    ]
    rotation, _ = Rotation.align_vectors([normal], [x[ends[1]] - x[ends[0]]])
    placed = rotation.apply(x - x[ends].mean(axis=0)) + centre
    lines = [line for line in lysine.lines if line.startswith("ATOM")]
    ring_chain.lines += [
        line[:30] + "".join(f"{value:8.3f}" for value in place) + line[54:]
        for line, place in zip(lines, placed, strict=True)
    ]
    return ring_chain.text()


def test_a_chain_through_a_ring_is_turned_out_of_it(threaded):
    settings = {"platform": "Reference", "tolerance": 100.0}
    _, stuck = relax_prediction(threaded, turn_side_chains=False, **settings)
    assert {"A:PHE 2", "B:LYS 2"} <= set(stuck.after.violating_residues)
    assert stuck.stopped == "the same violations, and no residue left to release"
    assert stuck.turned == ()
    _, report = relax_prediction(threaded, **settings)
    assert report.after.violating_residues == ()
    assert report.after.violations.bonds == ()
    assert report.stopped == "no violations"
    assert {"A:PHE 2", "B:LYS 2"} <= set(report.turned)
    assert report.stereo_changes == ()
    assert report.after.energy < stuck.after.energy


def test_bonds_and_angles_stay_and_rings_do_not_turn():
    molecule = peptide("PKCGWI", "random-coil", seed=2)
    crowded = molecule.positions._value.copy()
    everyone = set(range(molecule.topology.getNumResidues()))
    before = find_violations(molecule.topology, crowded, molecule.system)
    turned = turned_side_chains(molecule.topology, crowded, everyone)
    after = find_violations(molecule.topology, turned, molecule.system)
    assert after.bonds == before.bonds == ()
    assert len(after.angles) == len(before.angles)
    assert after.chirality == before.chirality
    proline = [a.index for a in molecule.topology.atoms() if a.residue.name == "PRO"]
    assert np.array_equal(turned[proline], crowded[proline])
