"""Each kind of violation is found where it was made, and nowhere else."""

import json

import numpy as np
import pytest
from openmm import app

from openmm_reparam import minimize_reparam
from openmm_reparam.cli.app import main
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.prepare.structure_files import prepare_file
from openmm_reparam.prepare.system_builder import build_system
from openmm_reparam.structure.violations import Violations, find_violations


@pytest.fixture(scope="module")
def chain():
    return peptide("AGPFITC")


def positions_of(molecule):
    return np.array(molecule.positions._value)


def index_of(molecule, residue, name):
    """Residues are counted from 1."""
    return next(
        a.index
        for a in molecule.topology.atoms()
        if a.name == name and a.residue.index == residue - 1
    )


def turned(x, atoms, start, end, degrees):
    """Positions with some atoms turned about the axis from one atom to another."""
    axis = (x[end] - x[start]) / np.linalg.norm(x[end] - x[start])
    angle = np.radians(degrees)
    vectors = x[atoms] - x[start]
    along = (vectors @ axis)[:, None] * axis
    x = x.copy()
    x[atoms] = (
        x[start]
        + along
        + np.cos(angle) * (vectors - along)
        + np.sin(angle) * np.cross(axis, vectors)
    )
    return x


def after_peptide_bond(molecule, residue):
    """Atoms that turn about the bond from C of a residue to N of the next."""
    return [
        a.index
        for a in molecule.topology.atoms()
        if a.residue.index >= residue and not (a.residue.index == residue and a.name == "N")
    ]


def find(molecule, positions):
    return find_violations(molecule.topology, positions, molecule.system)


@pytest.mark.parametrize("sequence", ["ACDEFGHIKLMNPQRSTVWY", "AGPFITC"])
def test_an_ideal_peptide_has_none(sequence):
    molecule = peptide(sequence)
    found = find(molecule, molecule.positions)
    assert found.total == 0
    assert set(found.counts.values()) == {0}


@pytest.mark.parametrize("structure", ["villin", "crystal"])
def test_an_experimental_structure_has_none(request, structure):
    molecule = prepare_file(request.getfixturevalue(structure))
    assert find(molecule, molecule.positions).total == 0


def test_a_clash_of_heavy_atoms_is_named_with_its_distance(chain):
    x = positions_of(chain)
    moved, other = index_of(chain, 1, "CB"), index_of(chain, 7, "O")
    x[moved] = x[other] + [0.0, 0.0, 0.11]
    found = find(chain, x)
    assert "ALA 1 CB - CYS 7 O: 0.110 nm (allowed from 0.172)" in found.clashes


def test_clashes_are_sorted_by_overlap(chain):
    x = positions_of(chain)
    x[index_of(chain, 1, "CB")] = x[index_of(chain, 7, "O")] + [0.0, 0.0, 0.15]
    x[index_of(chain, 2, "O")] = x[index_of(chain, 4, "CZ")] + [0.0, 0.0, 0.10]
    found = find(chain, x)
    overlaps = [
        float(line.split("from ")[1].rstrip(")")) - float(line.split(": ")[1].split()[0])
        for line in found.clashes
    ]
    assert len(overlaps) >= 2
    assert overlaps == sorted(overlaps, reverse=True)


def test_a_clash_with_a_hydrogen_is_of_its_own_kind(chain):
    x = positions_of(chain)
    x[index_of(chain, 1, "HB1")] = x[index_of(chain, 7, "O")] + [0.0, 0.0, 0.08]
    found = find(chain, x)
    assert found.clashes == ()
    assert "ALA 1 HB1 - CYS 7 O: 0.080 nm (allowed from 0.112)" in found.hydrogen_clashes


def test_disulfides_and_metals_are_no_clash(chain):
    topology = app.Topology()
    residues = [topology.addResidue(name, topology.addChain()) for name in ("CYS", "CYS", "ZN")]
    names = [("SG", app.element.sulfur), ("SG", app.element.sulfur), ("ZN", app.element.zinc)]
    for residue, (name, element) in zip(residues, names, strict=True):
        topology.addAtom(name, element, residue)
    x = np.array([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0], [0.1, 0.15, 0.0]])
    assert find_violations(topology, x).total == 0


def test_a_stretched_bond_is_named_with_its_length(chain):
    x = positions_of(chain)
    carbon, oxygen = index_of(chain, 2, "C"), index_of(chain, 2, "O")
    bond = x[oxygen] - x[carbon]
    x[oxygen] = x[carbon] + bond * 0.15 / np.linalg.norm(bond)
    found = find(chain, x)
    assert found.bonds == ("GLY 2 C - GLY 2 O: 0.150 nm (usual 0.123)",)
    assert found.angles == ()


def test_a_bent_angle_is_named_in_degrees(chain):
    x = positions_of(chain)
    oxygen, carbon = index_of(chain, 2, "O"), index_of(chain, 2, "C")
    normal = np.cross(x[oxygen] - x[carbon], x[index_of(chain, 2, "CA")] - x[carbon])
    top = len(x)
    y = turned(np.vstack([x, x[carbon] + normal]), [oxygen], carbon, top, 30.0)[:top]
    found = find(chain, y)
    assert found.bonds == ()
    assert any("GLY 2 CA - GLY 2 C - GLY 2 O" in line for line in found.angles)
    assert all("usual" in line for line in found.angles)


def test_constrained_bonds_are_left_out():
    molecule = peptide("AA", constraints="HBonds")
    x = positions_of(molecule)
    x[index_of(molecule, 1, "HA")] += 0.03
    assert find(molecule, x).bonds == ()


def test_a_mirror_image_has_every_centre_wrong(chain):
    mirrored = positions_of(chain) * [-1.0, 1.0, 1.0]
    found = find(chain, mirrored)
    assert found.chirality == (
        *("ALA 1 CA: D", "PRO 3 CA: D", "PHE 4 CA: D", "ILE 5 CA: D", "ILE 5 CB: R"),
        *("THR 6 CA: D", "THR 6 CB: S", "CYS 7 CA: D"),
    )
    assert found.total == len(found.chirality)


def test_a_single_d_residue_is_named(chain):
    """Side chain and hydrogen of phenylalanine turned half around the line that bisects N-CA-C."""
    x = positions_of(chain)
    alpha, n, c = (index_of(chain, 4, name) for name in ("CA", "N", "C"))
    side = [
        a.index
        for a in chain.topology.atoms()
        if a.residue.index == 3 and a.name not in ("N", "H", "CA", "C", "O")
    ]
    bisector = sum((x[i] - x[alpha]) / np.linalg.norm(x[i] - x[alpha]) for i in (n, c))
    top = len(x)
    y = turned(np.vstack([x, x[alpha] + bisector]), side, alpha, top, 180.0)[:top]
    assert find(chain, y).chirality == ("PHE 4 CA: D",)


def test_cis_peptides_are_told_from_cis_prolines(chain):
    x = positions_of(chain)
    for residue in (2, 4):  # GLY 2-PRO 3, PHE 4-ILE 5
        ends = index_of(chain, residue, "C"), index_of(chain, residue + 1, "N")
        x = turned(x, after_peptide_bond(chain, residue), *ends, 180.0)
    found = find(chain, x)
    assert found.cis_peptides == ("PHE 4-ILE 5: cis",)
    assert found.cis_prolines == ("GLY 2-PRO 3: cis",)
    assert found.total == found.counts["cis_peptides"] + len(found.hydrogen_clashes) + len(
        found.clashes
    )


def test_chains_are_named_where_there_are_several(chain):
    modeller = app.Modeller(chain.topology, chain.positions)
    modeller.add(
        chain.topology, chain.positions + np.array([0.0, 0.0, 0.06]) * chain.positions.unit
    )
    x = np.array(modeller.getPositions()._value)
    size = len(x) // 2
    x[size:] *= [-1.0, 1.0, 1.0]
    found = find_violations(modeller.topology, x)
    assert found.clashes
    assert all(":" in line.split(" - ")[1].split(" ")[0] for line in found.clashes)
    assert len(found.chirality) == 8


def test_clashes_are_found_across_a_periodic_boundary():
    molecule = peptide("AG")
    boxed = build_system(
        molecule.topology, molecule.positions, solvent="tip3p", padding=0.8, cutoff=0.7
    )
    x = positions_of(boxed)
    assert find(boxed, x).clashes == ()
    edge = boxed.system.getDefaultPeriodicBoxVectors()[0][0]._value
    water = next(r for r in boxed.topology.residues() if r.name == "HOH")
    own = [a.index for a in water.atoms()]
    target = index_of(boxed, 1, "CB")
    x[own] += x[target] + [0.1 + edge, 0.0, 0.0] - x[own[0]]
    assert any("ALA 1 CB - " in line and "HOH" in line for line in find(boxed, x).clashes)


def test_without_a_system_bonds_and_angles_are_not_counted(chain):
    found = find_violations(chain.topology, chain.positions)
    assert found.bonds is found.angles is None
    assert found.counts["bonds"] is None
    assert "bond outliers" not in str(found)


def test_a_system_of_another_size_is_refused(chain):
    with pytest.raises(ValueError, match="particles"):
        find_violations(chain.topology, chain.positions, peptide("AA").system)


def test_table_and_dict_hold_both_structures():
    before = Violations(clashes=("a", "b", "c", "d"), bonds=(), angles=())
    after = Violations(clashes=("e",), bonds=("f",), angles=())
    table = before.table(after)
    assert "clashes of heavy atoms           4       1" in table
    assert "clashes of heavy atoms: e" in table
    assert "bond outliers: f" in table
    assert "(and 1 more)" in str(before)
    assert json.loads(json.dumps(before.to_dict()))["counts"]["clashes"] == 4


def test_minimization_takes_clashes_away():
    molecule = peptide("AFWKAL")
    rng = np.random.default_rng(1)
    x = positions_of(molecule) + rng.normal(0.0, 0.03, (molecule.topology.getNumAtoms(), 3))
    simulation = molecule.simulation("CPU", threads=1)
    x[index_of(molecule, 2, "CZ")] = x[index_of(molecule, 4, "CB")] + [0.0, 0.0, 0.13]
    simulation.context.setPositions(x)
    before = find(molecule, x)
    minimize_reparam(simulation, tolerance=10, progress=False)
    after = find(molecule, simulation.context.getState(positions=True).getPositions(asNumpy=True))
    assert len(before.clashes) > len(after.clashes) == 0
    assert len(before.bonds) > len(after.bonds)
    assert len(before.angles) > len(after.angles)


def test_the_command_line_shows_violations_before_and_after(tmp_path, capsys):
    molecule = peptide("AGPFITC")
    x = positions_of(molecule)
    x[index_of(molecule, 4, "CZ")] += [0.0, 0.0, 0.05]
    source, numbers = tmp_path / "bent.pdb", tmp_path / "numbers.json"
    with open(source, "w") as file:
        app.PDBFile.writeFile(molecule.topology, x * molecule.positions.unit, file)
    assert main(["minimize", str(source), "--restrain", "heavy", "--json", str(numbers)]) == 0
    out = capsys.readouterr().out
    document = json.loads(numbers.read_text())
    before, after = (
        document["violations"][when]["counts"]["bonds"] for when in ("before", "after")
    )
    assert before > 0
    assert f"  bond outliers             {before:>8}{after:>8}" in out
    shifts = document["heavy_atom_rmsd_angstrom"]
    assert 0 < shifts["superposed"] <= shifts["as_it_stands"]
    assert f"RMSD of {shifts['as_it_stands']:.3f} A" in out
