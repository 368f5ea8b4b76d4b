"""Molecules from files to Systems, and what the checks afterwards find."""

import io
from pathlib import Path

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

pytest.importorskip("rdkit")
from rdkit import Chem, RDConfig
from rdkit.Chem import rdDepictor, rdMolTransforms

from openmm_reparam.prepare.gaff import amber_program, gaff_ligand
from openmm_reparam.prepare.ligand_files import ligand_records, read_ligand, sdf_text
from openmm_reparam.prepare.ligands import (
    bonds_by_distance,
    complete_ligand,
    ligand_changes,
    positions_of,
    stereo_labels,
    unsupported,
    with_positions,
)
from openmm_reparam.prepare.structure_files import prepare_file
from openmm_reparam.structure.molecule_topology import molecule_topology

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
S_IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"
GLYCINE = "[NH3+]CC(=O)[O-]"
NCI = Path(RDConfig.RDDataDir) / "NCI" / "first_200.props.sdf"

BROKEN = """broken
  by hand

  2  1  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    no coordinates
M  END
$$$$
"""
PENTAVALENT = """pentavalent


  6  5  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.5000    0.0000    0.0000 C   0  0
   -1.5000    0.0000    0.0000 C   0  0
    0.0000    1.5000    0.0000 C   0  0
    0.0000   -1.5000    0.0000 C   0  0
    0.0000    0.0000    1.5000 C   0  0
  1  2  1  0
  1  3  1  0
  1  4  1  0
  1  5  1  0
  1  6  1  0
M  END
$$$$
"""


def made(smiles, seed=0):
    return complete_ligand(Chem.MolFromSmiles(smiles), seed)[0]


def smiles_of(molecule):
    return Chem.MolToSmiles(Chem.RemoveHs(molecule))


def write(path, text):
    path.write_text(text)
    return path


# --- Reading and writing ---


def test_every_entry_of_an_sdf_file_comes_back_as_it_was():
    """RDKit's own supplier is the peer; bond orders, charges, title and properties are compared."""
    peers = Chem.SDMolSupplier(str(NCI), removeHs=False)
    count = 0
    for record, peer in zip(ligand_records(NCI), peers, strict=True):
        if peer is None:
            with pytest.raises(ValueError, match="cannot be read"):
                read_ligand(record)
            continue
        molecule = read_ligand(record)
        again = read_ligand(next(ligand_records_of(sdf_text(molecule))))
        assert Chem.MolToSmiles(again) == Chem.MolToSmiles(peer)
        assert again.GetPropsAsDict() == peer.GetPropsAsDict()
        assert again.GetProp("_Name") == peer.GetProp("_Name") == record.title
        count += 1
    assert count > 190


def ligand_records_of(text):
    from openmm_reparam.prepare.ligand_files import LigandRecord

    return iter([LigandRecord(1, "sdf", text)])


@pytest.mark.parametrize(
    ("entry", "words"),
    [(BROKEN, "too short"), (PENTAVALENT, "valence for atom # 0 C, 5"), ("\n\n\n$$$$\n", "")],
)
def test_a_broken_entry_says_why_and_leaves_the_next_one_alone(tmp_path, entry, words):
    good = sdf_text(made("CO"))
    path = write(tmp_path / "three.sdf", good + entry + good)
    records = list(ligand_records(path))
    assert [record.number for record in records] == [1, 2, 3]
    with pytest.raises(ValueError, match=f"cannot be read.*{words}"):
        read_ligand(records[1])
    assert [smiles_of(read_ligand(records[k])) for k in (0, 2)] == ["CO", "CO"]


def test_a_smiles_file_skips_its_heading_and_comments(tmp_path):
    text = "smiles name\nCCO ethyl alcohol\n# a comment\n\nC1CC\tbroken ring\nN\n"
    records = list(ligand_records(write(tmp_path / "some.smi", text)))
    assert [record.name for record in records] == ["ethyl alcohol", "broken ring", "molecule 3"]
    assert read_ligand(records[0]).GetProp("_Name") == "ethyl alcohol"
    with pytest.raises(ValueError, match="unclosed ring"):
        read_ligand(records[1])


MOL2 = """# made by hand
@<TRIPOS>MOLECULE
acetate
 4 3 1 0 0
SMALL
NO_CHARGES

@<TRIPOS>ATOM
 1 C1 0.0 0.0 0.0 C.3 1 LIG 0.0
 2 C2 1.5 0.0 0.0 C.2 1 LIG 0.0
 3 O1 2.1 1.1 0.1 O.co2 1 LIG 0.0
 4 O2 2.1 -1.1 0.0 O.co2 1 LIG 0.0
@<TRIPOS>BOND
 1 1 2 1
 2 2 3 ar
 3 2 4 ar
"""


def test_a_mol2_file_without_hydrogens_gets_them(tmp_path):
    path = write(tmp_path / "two.mol2", MOL2 + MOL2.replace("acetate", "again"))
    records = list(ligand_records(path))
    assert [record.name for record in records] == ["acetate", "again"]
    molecule, notes = complete_ligand(read_ligand(records[0]))
    assert smiles_of(molecule) == "CC(=O)[O-]"
    assert notes == ["added 3 hydrogens"]
    assert np.allclose(positions_of(molecule)[1], [0.15, 0, 0])


def test_amber_atom_types_of_a_mol2_file_are_refused_in_words(tmp_path):
    path = write(tmp_path / "amber.mol2", MOL2.replace("C.3", "c3"))
    with pytest.raises(ValueError, match="'c3'.*SYBYL"):
        read_ligand(next(ligand_records(path)))


def test_an_unknown_element_of_an_sdf_file_is_named(tmp_path):
    atom = "    0.0000    0.0000    0.0000 Qq  0  0\n"
    text = f"odd\n\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n{atom}M  END\n$$$$\n"
    with pytest.raises(ValueError, match="'Qq' not found$"):
        read_ligand(next(ligand_records(write(tmp_path / "odd.sdf", text))))


def test_queries_and_other_files_are_refused(tmp_path):
    path = write(tmp_path / "query.smi", "C*\n")
    with pytest.raises(ValueError, match="atom 2 is no element"):
        read_ligand(next(ligand_records(path)))
    with pytest.raises(ValueError, match="mol2"):
        next(ligand_records(write(tmp_path / "a.xyz", "")))
    with pytest.raises(FileNotFoundError):
        next(ligand_records(tmp_path / "none.sdf"))


# --- Hydrogens and conformers ---


def test_a_drawing_in_two_dimensions_becomes_a_molecule_of_the_same_stereo():
    flat = Chem.MolFromSmiles(S_IBUPROFEN)
    rdDepictor.Compute2DCoords(flat)
    record = next(ligand_records_of(Chem.MolToMolBlock(flat)))
    molecule, notes = complete_ligand(read_ligand(record))
    assert notes == ["added 18 hydrogens", "made a conformer by ETKDG"]
    assert list(stereo_labels(molecule).values()) == ["S"]
    assert np.linalg.svd(positions_of(molecule) - positions_of(molecule).mean(0))[1][2] > 0.1
    assert smiles_of(molecule) == smiles_of(Chem.MolFromSmiles(S_IBUPROFEN))


def test_coordinates_are_kept_and_hydrogens_come_last():
    heavy = Chem.RemoveHs(made(ASPIRIN))
    molecule, notes = complete_ligand(heavy)
    assert notes == ["added 8 hydrogens"]
    assert np.array_equal(positions_of(molecule)[:13], positions_of(heavy))
    assert [a.GetAtomicNum() for a in molecule.GetAtoms()][13:] == [1] * 8
    # A flat molecule in a plane of zeros, but labelled 3D, is one in three dimensions.
    benzene = made("c1ccccc1")
    x = positions_of(benzene)
    axes = np.linalg.svd(x - x.mean(0))[2]
    plane = with_positions(benzene, (x - x.mean(0)) @ axes.T * [1, 1, 0])
    assert complete_ligand(plane)[1] == []


def test_the_same_seed_gives_the_same_conformer():
    assert np.array_equal(positions_of(made(ASPIRIN, 3)), positions_of(made(ASPIRIN, 3)))
    assert not np.allclose(positions_of(made(ASPIRIN, 3)), positions_of(made(ASPIRIN, 4)))


def test_stereo_that_the_input_leaves_open_is_said():
    molecule, notes = complete_ligand(Chem.MolFromSmiles("CC(N)C(=O)O"))
    assert notes[-1].startswith("stereo not given in the input")
    assert f"C2 {stereo_labels(molecule)['C2']}" in notes[-1]
    _, notes = complete_ligand(Chem.MolFromSmiles("CC=CC"))
    assert "C2=C3" in notes[-1]


def test_parts_of_a_salt_lie_beside_each_other(capfd):
    salt = made("CC(=O)[O-].[Na+].[Fe+2].O")
    distances = np.linalg.norm(positions_of(salt)[:, None] - positions_of(salt)[None], axis=2)
    parts = Chem.GetMolFrags(salt)
    for i, first in enumerate(parts):
        for second in parts[:i]:
            assert 0.34 < distances[np.ix_(first, second)].min() < 3.5
    assert capfd.readouterr() == ("", "")


def test_impossible_stereo_is_refused():
    with pytest.raises(ValueError, match="no conformer"):
        made("C[C@]12CC[C@@H](CC1=O)C2(C)C")  # camphor, one bridgehead turned inside


# --- What changed ---


def test_nothing_changes_where_nothing_changed():
    for smiles in (ASPIRIN, S_IBUPROFEN, GLYCINE, "C1C2CC1C2", "C12C3C4C1C5C4C3C25", "[Na+].[Cl-]"):
        molecule = made(smiles)
        noise = np.random.default_rng(0).normal(0, 0.003, (molecule.GetNumAtoms(), 3))
        assert ligand_changes(molecule, positions_of(molecule) + noise) == []


def test_a_mirror_image_and_a_turned_double_bond_are_named():
    ibuprofen = made(S_IBUPROFEN)
    (centre,) = stereo_labels(ibuprofen)
    assert ligand_changes(ibuprofen, positions_of(ibuprofen) * [1, 1, -1]) == [f"{centre} S -> R"]
    butene = made("C/C=C/C")
    turned = Chem.Mol(butene)
    rdMolTransforms.SetDihedralDeg(turned.GetConformer(), 0, 1, 2, 3, 0.0)
    assert ligand_changes(butene, positions_of(turned))[0] == "C2=C3 E -> Z"


def test_a_proton_that_moved_is_named():
    glycine = made(GLYCINE)
    x = positions_of(glycine)
    proton = next(
        a.GetIdx() for a in glycine.GetAtomWithIdx(0).GetNeighbors() if a.GetDegree() == 1
    )
    oxygen = 4
    away = x[oxygen] - x[2]
    x[proton] = x[oxygen] + 0.097 * away / np.linalg.norm(away)
    changes = ligand_changes(glycine, x)
    assert changes == [f"bond N1-H{proton + 1} broken", f"bond O5-H{proton + 1} formed"]


def test_bonds_by_distance_are_those_of_the_graph():
    for smiles in (ASPIRIN, "CS(=O)(=O)N", "C[Si](C)(C)C", "BrC#CI", "OP(O)(O)=O", "C1C2CC1C2"):
        molecule = made(smiles)
        graph = {
            tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in molecule.GetBonds()
        }
        assert bonds_by_distance(molecule, positions_of(molecule)) == graph


# --- Which potential knows what ---


@pytest.mark.parametrize(
    ("smiles", "potential", "words"),
    [
        ("CB(C)C", "mmff", "parameters for B"),
        ("CB(C)C", "gaff", "parameters for B"),
        ("CF", "ani1ccx", "parameters for F"),
        ("CC(=O)[O-]", "ani1ccx", "charge is -1"),
        ("C[CH2]", "mmff", "radical"),
        ("CC(=O)[O-].[K+]", "gaff", "K"),
        ("CC.CO", "gaff", "these are 2"),
        ("[U]", "gfn2", "U"),
    ],
)
def test_what_a_potential_lacks_is_said(smiles, potential, words):
    reason = unsupported(Chem.AddHs(Chem.MolFromSmiles(smiles)), potential)
    assert words in reason
    assert "--potential" in reason or potential == "gfn2"


@pytest.mark.parametrize("potential", ["mmff", "gaff", "gfn2", "gfn1", "gfnff", "ani1ccx"])
def test_aspirin_is_known_to_all(potential):
    assert unsupported(made(ASPIRIN), potential) is None


# --- GAFF2 ---


def has_ambertools():
    try:
        return all(amber_program(name) for name in ("antechamber", "parmchk2", "tleap"))
    except FileNotFoundError:
        return False


ambertools = pytest.mark.skipif(not has_ambertools(), reason="AmberTools is not installed")


def energy(system, positions):
    reference = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.001), reference)
    context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy()._value


# Rings of three and four atoms, impropers about the first atom, linear chains, charges.
@ambertools
@pytest.mark.parametrize(
    "smiles",
    [
        *(ASPIRIN, S_IBUPROFEN, GLYCINE, "CC1=CC1", "C1CC1C(=O)N2CCC2"),
        *("NC(=[NH2+])c1ccccc1", "C=C=CC", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "CN=[N+]=[N-]"),
        "Cc1cc(NS(=O)(=O)c2ccc(N)cc2)no1",
    ],
)
def test_the_force_field_file_has_the_energy_of_ambers(smiles):
    ligand = gaff_ligand(made(smiles), charges="gas")
    field = app.ForceField(io.StringIO(ligand.forcefield_xml()))
    system = field.createSystem(ligand.topology)
    for k in range(3):
        noise = np.random.default_rng(k).normal(0, 0.01 * k, ligand.positions.shape)
        expected = energy(ligand.system, ligand.positions + noise)
        assert energy(system, ligand.positions + noise) == pytest.approx(expected, abs=1e-5)


@ambertools
def test_gaff_is_reproducible_and_reads_its_own_parameters():
    """Impropers of a purine ring are 43.9 kJ/mol in GAFF2; the older GAFF has 4.6."""
    caffeine = made("Cn1cnc2c1c(=O)n(C)c(=O)n2C")
    files = {gaff_ligand(caffeine, charges="gas").forcefield_xml() for _ in range(6)}
    assert len(files) == 1
    assert 'k1="43.93' in files.pop()


@ambertools
def test_charges_add_up_to_the_formal_charge():
    for charges in ("gas", "bcc"):
        ligand = gaff_ligand(made("CC(=O)[O-]"), charges=charges)
        force = next(f for f in ligand.system.getForces() if isinstance(f, mm.NonbondedForce))
        each = [force.getParticleParameters(k)[0]._value for k in range(force.getNumParticles())]
        assert sum(each) == pytest.approx(-1, abs=2e-3)
        assert ligand.charges == charges
        assert ligand.notes == ()
        # AM1-BCC makes equivalent atoms equal, and the oxygens carry the charge.
        assert each[2] == pytest.approx(each[3], abs=1e-6)
        assert each[2] < -0.5


def test_a_missing_program_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("AMBERHOME", raising=False)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError, match=r"antechamber.*openmm-reparam\[ligands\]"):
        gaff_ligand(made("CO"))


@ambertools
def test_what_gaff_cannot_describe_is_refused():
    with pytest.raises(ValueError, match="parameters for B"):
        gaff_ligand(made("CB(C)C"))
    with pytest.raises(ValueError, match="choose bcc or gas"):
        gaff_ligand(made("CO"), charges="resp")


def test_the_topology_has_the_molecules_bonds():
    molecule = made("C#CC=O")
    topology = molecule_topology(molecule, "PRL")
    assert [atom.name for atom in topology.atoms()] == ["C1", "C2", "C3", "O4", "H5", "H6"]
    assert sorted(bond.order for bond in topology.bonds()) == [1, 1, 1, 2, 3]
    assert [residue.name for residue in topology.residues()] == ["PRL"]


# --- With a protein ---


def placed(molecule, centre):
    x = positions_of(molecule)
    return with_positions(molecule, x - x.mean(axis=0) + centre)


@ambertools
@pytest.mark.parametrize("forcefield", ["amber14-all.xml", "amber99sb.xml", "amber03.xml"])
def test_a_distant_ligand_adds_its_own_energy(villin, forcefield):
    """In vacuum and without charges the sum of both energies is that of both."""
    molecule = placed(made("CCCC"), [100.0, 0, 0])
    ligand = gaff_ligand(molecule, charges="gas")
    alone = prepare_file(villin, forcefield=forcefield)
    both = prepare_file(villin, forcefield=forcefield, ligands=[ligand])
    apart = energy(alone.system, alone.positions) + energy(ligand.system, ligand.positions)
    assert energy(both.system, both.positions) == pytest.approx(apart, abs=0.01)
    assert any("LIG of chain B: 14 atoms, GAFF2" in line for line in both.repairs)


@ambertools
@pytest.mark.slow
def test_two_of_one_kind_share_parameters_and_water_is_neutralized(villin):
    ions = [placed(made(S_IBUPROFEN.replace("(=O)O", "(=O)[O-]")), [x, 0, 0]) for x in (4, 6)]
    both = prepare_file(
        villin,
        ligands=[gaff_ligand(ion, charges="gas") for ion in ions],
        solvent="tip3p",
        padding=0.6 * unit.nanometer,
    )
    residues = [r for r in both.topology.residues() if r.name == "LIG"]
    assert [len(r) for r in residues] == [32, 32]
    assert len({r.chain.id for r in residues}) == 2
    force = next(f for f in both.system.getForces() if isinstance(f, mm.NonbondedForce))
    charge = sum(force.getParticleParameters(k)[0]._value for k in range(force.getNumParticles()))
    assert charge == pytest.approx(0, abs=0.01)


@ambertools
def test_a_force_field_of_the_callers_stays_as_it_is(villin):
    ligand = gaff_ligand(made("CO"), charges="gas")
    field = app.ForceField("amber14-all.xml")
    for _ in range(2):  # the second would meet the types of the first
        assert (
            prepare_file(villin, forcefield=field, ligands=[ligand]).topology.getNumResidues() == 37
        )


@ambertools
@pytest.mark.slow
def test_other_force_fields_are_refused(villin):
    ligand = gaff_ligand(made("CO"), charges="gas")
    for forcefield in ("charmm36.xml", "amoeba2018.xml"):
        with pytest.raises(ValueError, match="Amber's force fields only"):
            prepare_file(villin, forcefield=forcefield, ligands=[ligand])
