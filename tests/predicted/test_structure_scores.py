"""Scores and violations of predictions on structures whose answer is known."""

import math

import numpy as np
import PeptideBuilder
import pytest
from openmm import app

from openmm_reparam.predicted.all_atom_contacts import clashscore
from openmm_reparam.predicted.contours import ramachandran_state, rotamer_is_common
from openmm_reparam.predicted.hydrogens import with_hydrogens
from openmm_reparam.predicted.scores import molprobity_like_score, structure_scores
from openmm_reparam.predicted.torsions import residue_torsions
from openmm_reparam.predicted.violating_residues import violating_residues
from openmm_reparam.prepare.peptide_chain import extended_chain

ELEMENTS = {"C": app.element.carbon, "O": app.element.oxygen, "N": app.element.nitrogen}


def built(letters: str, phi: float, psi: float) -> tuple[app.Topology, np.ndarray]:
    """Return a chain of one phi and psi, with hydrogens."""
    structure = PeptideBuilder.initialize_res(letters[0])
    for letter in letters[1:]:
        PeptideBuilder.add_residue(structure, letter, phi=phi, psi_im1=psi, omega=180.0)
    topology, positions = app.Topology(), []
    chain = topology.addChain("A")
    for residue in structure.get_residues():
        made = topology.addResidue(residue.get_resname(), chain, str(residue.id[1]))
        for atom in residue:
            topology.addAtom(atom.get_name(), app.Element.getBySymbol(atom.element), made)
            positions.append(atom.coord / 10.0)
    topology.createStandardBonds()
    return with_hydrogens(topology, np.array(positions, dtype=float))


@pytest.mark.parametrize(
    ("phi", "psi", "outliers"), [(-62.0, -43.0, 0), (-120.0, 130.0, 0), (90.0, 90.0, 3)]
)
def test_ramachandran_regions(phi, psi, outliers):
    topology, x = built("AAAAA", phi, psi)
    scores = structure_scores(topology, x)
    assert len(scores.ramachandran_outliers) == outliers
    assert scores.ramachandran_favoured == (100.0 if not outliers else 0.0)
    if outliers:
        assert scores.ramachandran_outliers[0] == "ALA 2: phi 90, psi 90"


def test_torsions_are_those_that_the_chain_was_built_with():
    topology, x = built("AVA", -70.0, 150.0)
    torsions = residue_torsions(topology, x)
    assert torsions["phi"] == pytest.approx({1: -70.0, 2: -70.0}, abs=0.1)
    assert torsions["psi"] == pytest.approx({0: 150.0, 1: 150.0}, abs=0.1)
    assert abs(torsions["omega"][1]) == pytest.approx(180.0, abs=0.1)


def test_a_torsion_over_a_chain_break_is_left_out():
    topology, x = built("AVA", -70.0, 150.0)
    last = [atom.index for atom in topology.atoms() if atom.residue.index == 2]
    x[last] += 5.0
    assert sorted(residue_torsions(topology, x)["phi"]) == [1]


def test_glycine_has_regions_of_its_own():
    assert ramachandran_state("glycine", 80.0, -170.0) == 2
    assert ramachandran_state("general", 80.0, -170.0) == 0
    # The contours of glycine are those of a mirror image, too.
    assert ramachandran_state("glycine", -81.0, 171.0) == ramachandran_state("glycine", 80.0, -170)


def test_angles_are_periodic():
    assert ramachandran_state("general", -120.0, 180.0) == ramachandran_state(
        "general", 240.0, -180.0
    )
    assert rotamer_is_common("PHE", [-65.0, 95.0]) == rotamer_is_common("PHE", [295.0, -85.0])


def test_eclipsed_side_chains_are_rare_and_lysine_is_not_judged():
    assert rotamer_is_common("LEU", [-65.0, 175.0])
    assert rotamer_is_common("LEU", [0.0, 0.0]) is False
    assert rotamer_is_common("LYS", [0.0, 0.0, 0.0]) is None
    assert rotamer_is_common("LEU", [-65.0]) is None


def pair(distance: float, first: str = "C", second: str = "C") -> tuple[app.Topology, np.ndarray]:
    """Return two atoms of two molecules."""
    topology = app.Topology()
    for symbol in (first, second):
        residue = topology.addResidue("LIG", topology.addChain())
        topology.addAtom(f"{symbol}1", ELEMENTS[symbol], residue)
    return topology, np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]])


def test_clashscore_counts_overlaps_of_0_04_nm():
    assert clashscore(*pair(0.3005)) == 0.0
    assert clashscore(*pair(0.2995)) == 500.0
    assert clashscore(*pair(0.2705, "C", "O")) == 0.0
    assert clashscore(*pair(0.2695, "C", "O")) == 500.0


def test_hydrogen_bonds_are_no_clashes():
    topology, x = built("GG", -120.0, 130.0)
    hydrogen = next(a for a in topology.atoms() if a.name == "H" and a.residue.index == 1)
    nitrogen = next(a for a in hydrogen.residue.atoms() if a.name == "N")
    outward = x[hydrogen.index] - x[nitrogen.index]
    residue = topology.addResidue("LIG", topology.addChain())
    topology.addAtom("O1", app.element.oxygen, residue)

    def score(distance: float) -> float:
        place = x[hydrogen.index] + distance * outward / np.linalg.norm(outward)
        return clashscore(topology, np.vstack([x, place])) * topology.getNumAtoms() / 1000

    alone = score(1.0)
    assert score(0.19) == alone  # 0.05 nm of overlap
    assert score(0.13) > alone


def test_score_is_molprobitys_formula():
    expected = 0.426 * math.log(11) + 0.33 * math.log(3) + 0.25 * math.log(4) + 0.5
    assert molprobity_like_score(10.0, 3.0, 95.0) == pytest.approx(expected)
    assert molprobity_like_score(0.0, 0.5, 99.0) == 0.5


@pytest.fixture(scope="module")
def chain():
    topology, x = extended_chain("AAAA")
    completed, positions = with_hydrogens(topology, x)
    return completed, app.ForceField("amber99sb.xml").createSystem(completed), positions


def stretched(chain, length: float) -> frozenset[int]:
    """Return the residues in violations once the bond from residue 1 to 2 has this length, nm."""
    topology, system, x = chain
    atoms = {(a.residue.index, a.name): a.index for a in topology.atoms()}
    carbon, nitrogen = atoms[1, "C"], atoms[2, "N"]
    arm = x[nitrogen] - x[carbon]
    tail = [a.index for a in topology.atoms() if a.residue.index >= 2]
    moved = x.copy()
    moved[tail] += arm * (length / np.linalg.norm(arm) - 1.0)
    return violating_residues(topology, system, moved)


def test_a_peptide_bond_may_be_twelve_standard_deviations_off(chain):
    assert stretched(chain, 0.1329) == frozenset()
    assert stretched(chain, 0.1329 + 12 * 0.0014 - 1e-4) == frozenset()
    assert stretched(chain, 0.1329 + 12 * 0.0014 + 1e-4) == {1, 2}


def test_clashing_atoms_release_both_residues(chain):
    topology, system, x = chain
    atoms = {(a.residue.index, a.name): a.index for a in topology.atoms()}
    moved = x.copy()
    moved[atoms[0, "CB"]] = x[atoms[3, "CB"]] + [0.1, 0.0, 0.0]
    assert {0, 3} <= violating_residues(topology, system, moved)
