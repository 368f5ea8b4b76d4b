"""Small molecules from the command line, alone and with a protein, run for real."""

import csv
import json

import numpy as np
import pytest
from openmm import app

pytest.importorskip("rdkit")
from rdkit import Chem
from rdkit.Chem import rdDepictor

from openmm_reparam.cli import ligands
from openmm_reparam.cli.app import main
from openmm_reparam.prepare.gaff import amber_program
from openmm_reparam.prepare.ligand_files import sdf_text
from openmm_reparam.prepare.ligands import complete_ligand, positions_of, with_positions
from openmm_reparam.surrogates.oracles import molecule_simulation

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
S_IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"
GLYCINE = "[NH3+]CC(=O)[O-]"
BROKEN = "broken\n\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    no atom\nM  END\n$$$$\n"


def has_ambertools():
    try:
        return bool(amber_program("antechamber"))
    except FileNotFoundError:
        return False


ambertools = pytest.mark.skipif(not has_ambertools(), reason="AmberTools is not installed")


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit code, standard output, standard error."""

    def call(*arguments):
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def made(smiles, title="", **properties):
    molecule, _ = complete_ligand(Chem.MolFromSmiles(smiles))
    molecule.SetProp("_Name", title)
    for name, value in properties.items():
        molecule.SetProp(name, value)
    return molecule


def read(path):
    return list(Chem.SDMolSupplier(str(path), removeHs=False))


def smiles_of(molecule):
    return Chem.MolToSmiles(Chem.RemoveHs(molecule))


def rms_force(molecule, potential):
    context = molecule_simulation(molecule, potential).context
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    return np.sqrt((forces**2).sum() / len(forces))


# --- One molecule ---


@pytest.mark.parametrize("potential", ["mmff", "gfn2", "gfnff"])
def test_a_smiles_becomes_a_minimum_of_its_potential(run, tmp_path, potential):
    pytest.importorskip({"mmff": "rdkit", "gfn2": "tblite", "gfnff": "gfnff"}[potential])
    output, numbers = tmp_path / "new" / "aspirin.sdf", tmp_path / "aspirin.json"
    code, out, err = run(
        *("minimize", "--smiles", ASPIRIN, "-o", output, "--potential", potential),
        *("--tolerance", 5, "--json", numbers),
    )
    assert (code, err) == (0, "")
    assert "added 8 hydrogens; made a conformer by ETKDG" in out
    assert "MinimizationResult: converged" in out
    (molecule,) = read(output)
    assert smiles_of(molecule) == smiles_of(Chem.MolFromSmiles(ASPIRIN))
    # An SDF file keeps four decimals in angstrom: forces of bonds change by some kJ/mol/nm.
    assert rms_force(molecule, potential) < 10
    document = json.loads(numbers.read_text())
    assert document["result"]["rms_force"] <= 5
    assert document["molecules"][0]["final_energy"] == pytest.approx(
        float(molecule.GetProp("Energy_kJ_per_mol")), abs=1e-3
    )


def test_a_drawing_keeps_its_stereo_title_and_properties(run, tmp_path):
    drawn = Chem.MolFromSmiles(S_IBUPROFEN)
    rdDepictor.Compute2DCoords(drawn)
    drawn.SetProp("_Name", "dexibuprofen")
    source, output = tmp_path / "drawn.mol", tmp_path / "out.sdf"
    source.write_text(Chem.MolToMolBlock(drawn))
    code, out, _ = run("minimize", source, "-o", output)
    assert code == 0
    assert "Stereo and bonds by distance: unchanged" in out
    (molecule,) = read(output)
    assert molecule.GetProp("_Name") == "dexibuprofen"
    assert smiles_of(molecule) == smiles_of(drawn)
    assert molecule.GetConformer().Is3D()


def test_a_mol_file_can_be_written(run, tmp_path):
    output = tmp_path / "out.mol"
    assert run("minimize", "--smiles", "C/C=C/C", "-o", output)[0] == 0
    molecule = Chem.MolFromMolFile(str(output), removeHs=False)
    assert smiles_of(molecule) == "C/C=C/C"


@pytest.mark.parametrize("smiles", ["C/C=C\\C", "C/C=C/C", "O=C1C=CC(=O)C=C1"])
def test_double_bonds_stay_as_they_are(run, tmp_path, smiles):
    output = tmp_path / "out.sdf"
    assert run("minimize", "--smiles", smiles, "-o", output, "--tolerance", 1)[0] == 0
    (molecule,) = read(output)
    Chem.AssignStereochemistryFrom3D(molecule)
    assert smiles_of(molecule) == smiles_of(Chem.MolFromSmiles(smiles))


def test_a_zwitterion_in_vacuum_loses_its_charges_and_it_is_said(run, tmp_path):
    """By xTB the proton goes to the carboxylate; MMFF94 cannot break bonds."""
    pytest.importorskip("tblite")
    code, out, _ = run("minimize", "--smiles", GLYCINE, "--potential", "gfn2")
    assert code == 0
    assert "bond N1-H" in out
    assert "broken; bond O" in out
    code, out, _ = run("minimize", "--smiles", GLYCINE, "--potential", "mmff")
    assert "bonds by distance: unchanged" in out


def test_the_charge_goes_to_xtb(run, tmp_path):
    """Acetate and a neutral CH3COO differ by the electron affinity, some 300 kJ/mol."""
    pytest.importorskip("tblite")
    output = tmp_path / "out.sdf"
    assert run("minimize", "--smiles", "CC(=O)[O-]", "-o", output, "--potential", "gfn2")[0] == 0
    (acetate,) = read(output)
    neutral = Chem.Mol(acetate)
    neutral.GetAtomWithIdx(3).SetFormalCharge(0)
    neutral.GetAtomWithIdx(3).SetNumRadicalElectrons(1)
    context = molecule_simulation(neutral, "gfn2").context
    energy = context.getState(energy=True).getPotentialEnergy()._value
    assert energy - float(acetate.GetProp("Energy_kJ_per_mol")) > 200


def test_a_surrogate_saves_evaluations_of_xtb(run, tmp_path):
    pytest.importorskip("tblite")
    counts, energies = [], []
    for option in ("--surrogate", "--no-surrogate"):
        numbers = tmp_path / "out.json"
        arguments = ("--smiles", S_IBUPROFEN, "--potential", "gfn2", option, "--json", numbers)
        assert run("minimize", *arguments)[0] == 0
        result = json.loads(numbers.read_text())["result"]
        counts.append(result["force_evaluations"])
        energies.append(result["energy"])
    assert counts[0] < counts[1]
    assert energies[0] == pytest.approx(energies[1], abs=0.5)


def test_gaff_of_one_molecule(run, tmp_path):
    if not has_ambertools():
        pytest.skip("AmberTools is not installed")
    output = tmp_path / "out.sdf"
    code, out, _ = run(
        *("minimize", "--smiles", S_IBUPROFEN, "-o", output, "--potential", "gaff"),
        *("--charges", "gas"),
    )
    assert code == 0
    assert smiles_of(read(output)[0]) == smiles_of(Chem.MolFromSmiles(S_IBUPROFEN))


def test_a_run_that_is_cut_short_is_written_and_is_exit_code_1(run, tmp_path):
    output = tmp_path / "out.sdf"
    code, out, _ = run("minimize", "--smiles", ASPIRIN, "-o", output, "--max-iterations", 2)
    assert code == 1
    assert "NOT converged" in out
    assert read(output)[0].GetProp("Converged") == "no"


# --- Many ---


@pytest.fixture
def several(tmp_path):
    """An SDF file: good, broken, unknown to MMFF94, good."""
    path = tmp_path / "several.sdf"
    path.write_text(
        sdf_text(made(ASPIRIN, "aspirin", Supplier="A"))
        + BROKEN
        + sdf_text(made("CB(C)C", "borane"))
        + sdf_text(made("C/C=C\\C", "butene", Supplier="B"))
    )
    return path


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_bad_entries_are_named_and_the_rest_done_in_order(run, several, tmp_path, jobs):
    output, table = tmp_path / "out.sdf", tmp_path / "tables" / "out.csv"
    code, out, err = run(
        *("minimize", several, "-o", output, "--csv", table, "--jobs", jobs, "--json", "-")
    )
    assert code == 1
    assert "2 converged; 0 not converged; 2 failed" in err
    assert "Failed: broken, borane" in err
    molecules = read(output)
    assert [m.GetProp("_Name") for m in molecules] == ["aspirin", "butene"]
    assert [m.GetProp("Supplier") for m in molecules] == ["A", "B"]
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(ligands.COLUMNS)
    assert [row["name"] for row in rows] == ["aspirin", "broken", "borane", "butene"]
    assert "cannot be read" in rows[1]["error"]
    assert "--potential gfn2" in rows[2]["error"]
    for row in (rows[0], rows[3]):
        assert (row["converged"], row["error"], row["changes"]) == ("True", "", "")
        assert float(row["rms_force"]) <= 10
        assert int(row["force_evaluations"]) > 0
        assert float(row["final_energy"]) < float(row["initial_energy"])
    assert [row["name"] for row in json.loads(out)["molecules"]] == [row["name"] for row in rows]


def test_the_table_of_an_earlier_run_is_refused_before_the_work(run, tmp_path):
    """Of one molecule, too; --resume does what is left."""
    source, output, table = tmp_path / "one.smi", tmp_path / "out.sdf", tmp_path / "out.csv"
    source.write_text("CO methanol\n")
    given = ("minimize", source, "-o", output, "--csv", table, "--jobs", 1)
    assert run(*given)[0] == 0
    written = output.read_text()
    code, out, err = run(*given)
    assert code == 2
    assert "--resume" in err
    assert "kJ/mol" not in out
    code, out, _ = run(*given, "--resume")
    assert code == 0
    assert "1 converged; 0 not converged" in out
    assert output.read_text() == written
    source.write_text("C(C methanol\n")
    output.unlink()
    table.unlink()
    assert run(*given)[0] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.smi"]


def test_several_smiles_and_a_smiles_file(run, tmp_path):
    source, output = tmp_path / "some.smi", tmp_path / "out.sdf"
    source.write_text("CCO ethanol\nCC(=O)[O-] acetate\n")
    assert run("minimize", source, "-o", output)[0] == 0
    assert [m.GetProp("_Name") for m in read(output)] == ["ethanol", "acetate"]
    assert [Chem.GetFormalCharge(m) for m in read(output)] == [0, -1]
    code, out, _ = run("minimize", "--smiles", "CCO", "--smiles", "CO", "--jobs", 1)
    assert code == 0
    assert "molecule 2" in out


# --- With a protein ---


def placed(molecule, centre):
    x = positions_of(molecule)
    return with_positions(molecule, x - x.mean(axis=0) + centre)


@ambertools
def test_a_drug_in_clash_with_a_protein_is_relaxed_and_kept_whole(run, villin, tmp_path):
    protein = app.PDBFile(str(villin)).getPositions(asNumpy=True)._value
    drug = placed(made("CC(C)Cc1ccc(cc1)[C@H](C)C(=O)[O-]", "ibuprofen"), protein[200])
    centre = drug.GetConformer().GetPositions().mean(axis=0) / 10
    outside = placed(drug, centre + [0.85, 0.0, 0.0])
    distances = np.linalg.norm(protein[:, None] - positions_of(outside)[None], axis=2)
    assert distances.min() < 0.12
    source, output = tmp_path / "drug.sdf", tmp_path / "complex.pdb"
    source.write_text(sdf_text(outside))
    numbers = tmp_path / "complex.json"
    code, out, err = run(
        *("minimize", villin, "--ligand", source, "--charges", "gas", "-o", output),
        *("--json", numbers),
    )
    assert (code, err) == (0, "")
    assert "added LIG of chain B: 32 atoms, GAFF2, Gasteiger charges" in out
    assert "LIG of chain B (ibuprofen): stereo and bonds unchanged" in out
    document = json.loads(numbers.read_text())
    assert document["result"]["converged"]
    assert document["violations"]["after"]["counts"]["clashes"] == 0
    # Bonds in the file are those of the molecule.
    structure = app.PDBFile(str(output))
    (residue,) = [r for r in structure.topology.residues() if r.name == "LIG"]
    atoms = [atom.index for atom in residue.atoms()]
    bonds = {
        tuple(sorted((a.index - atoms[0], b.index - atoms[0])))
        for a, b in structure.topology.bonds()
        if a.residue is residue
    }
    graph = {tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in drug.GetBonds()}
    assert bonds == graph
    x = structure.getPositions(asNumpy=True)._value
    apart = np.delete(x, atoms, axis=0)
    assert np.linalg.norm(apart[:, None] - x[atoms][None], axis=2).min() > 0.14


@ambertools
@pytest.mark.parametrize(
    ("ligand", "words"),
    [
        ("flat.smi", "no coordinates in 3D"),
        ("none.sdf", "there is no file"),
        ("broken.sdf", "cannot be read"),
        ("borane.sdf", "parameters for B"),
    ],
)
def test_ligands_that_cannot_be_placed_are_refused(run, villin, tmp_path, ligand, words):
    (tmp_path / "flat.smi").write_text("CCO\n")
    (tmp_path / "broken.sdf").write_text(BROKEN)
    (tmp_path / "borane.sdf").write_text(sdf_text(made("CB(C)C", "borane")))
    code, _, err = run("minimize", villin, "--ligand", tmp_path / ligand)
    assert code == 2
    assert err.count("\n") == 1
    assert words in err


# --- Bad input ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--smiles", "C1CC"), ("cannot be read", "unclosed ring")),
        (("--smiles", "CB(C)C"), ("parameters for B", "--potential gfn2")),
        (("--smiles", "CC", "--potential", "b3lyp"), ("b3lyp", "mmff", "gfn2")),
        (("--smiles", "CC", "--solvent", "tip3p"), ("--solvent",)),
        (("--smiles", "CC", "--keep-water"), ("--keep-water",)),
        (("--smiles", "CC", "--plot", "a.png"), ("--plot",)),
        (("--smiles", "CC", "-o", "out.pdb"), (".sdf or .mol",)),
        (("--smiles", "CC", "--smiles", "C", "-o", "out.mol"), ("one molecule",)),
        (("--smiles", "CC", "some.sdf"), ("name one of them",)),
        (("--smiles", "CC", "--smiles", "C", "--tolerance", "-1"), ("--tolerance", "above zero")),
        (("none.mol2",), ("there is no file",)),
        ((), ("--smiles",)),
        (("some.pdb", "--potential", "gfn2"), ("--potential",)),
        ((".", "--ligand", "a.sdf"), ("--ligand", "one structure file")),
        (("--smiles", "CC", "--charges", "resp", "--potential", "gaff"), ("bcc or gas",)),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(run, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("minimize", *arguments)
    assert code == 2
    assert err.count("\n") == 1
    assert all(word in err for word in words)
    assert list(tmp_path.iterdir()) == []


def test_the_input_is_not_overwritten(run, several):
    before = several.read_text()
    code, _, err = run("minimize", several, "-o", several)
    assert code == 2
    assert "overwrite" in err
    assert several.read_text() == before


def test_an_empty_file_is_refused(run, tmp_path):
    (tmp_path / "empty.sdf").write_text("\n")
    code, _, err = run("minimize", tmp_path / "empty.sdf")
    assert code == 2
    assert "holds no molecule" in err


@pytest.mark.parametrize(
    ("potential", "module", "advice"),
    [("gfn2", "tblite.interface", "pip install tblite"), ("gfnff", "gfnff", "pip install gfnff")],
)
def test_a_missing_program_says_how_to_install_it(run, monkeypatch, potential, module, advice):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    code, _, err = run("minimize", "--smiles", "CC", "--potential", potential)
    assert code == 2
    assert advice in err
