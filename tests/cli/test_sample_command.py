"""``openmm-reparam sample``, run for real: a peptide and a small molecule."""

import json

import mdtraj
import numpy as np
import pytest
from openmm import app, unit

from openmm_reparam.cli.app import main
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.sampling.ensemble import WeightedEnsemble

FEW = ("--max-force-evaluations", "500", "--samples", "150")


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def dipeptide_file(tmp_path_factory):
    molecule = peptide("A", capped=True)
    path = tmp_path_factory.mktemp("sample") / "dipeptide.pdb"
    with open(path, "w") as file:
        app.PDBFile.writeFile(molecule.topology, molecule.positions, file)
    return path


def test_a_peptide_is_sampled(run, dipeptide_file, tmp_path):
    out, picture, numbers = (tmp_path / name for name in ("e.dcd", "fes.png", "e.json"))
    code, text, error = run(
        *("sample", dipeptide_file, "--fes", "phi,psi", "--fes", "rg", "--plot", picture),
        *("-o", out, "--json", numbers, "--temperature", "330", *FEW),
    )
    assert code == 0, error
    assert "effective sample size" in text
    assert "Pareto k" in text
    assert "CA of ALA 2" in text
    assert "3 rotors; 2 torsions of rings, double and peptide bonds stay" in text
    assert (tmp_path / "fes-1.png").stat().st_size > 5000
    assert (tmp_path / "fes-2.png").exists()
    trajectory = mdtraj.load(out, top=out.with_suffix(".pdb"))
    assert trajectory.n_frames == 150
    read = WeightedEnsemble.load(out, app.PDBFile(str(out.with_suffix(".pdb"))).topology)
    assert read.temperature == 330
    document = json.loads(numbers.read_text())
    assert document["structures"] == 150
    assert document["force_evaluations"] <= 500 + 150
    surface, profile = document["free_energies"]
    assert surface["names"] == ["phi", "psi"]
    assert np.shape(surface["values"]) == (40, 40)
    assert np.shape(profile["values"]) == (60,)


def test_a_small_molecule_is_sampled_and_checked(run, tmp_path):
    (tmp_path / "butanol.smi").write_text("CCCCO butanol\n")
    first, second = tmp_path / "first.dcd", tmp_path / "second.dcd"
    call = ("sample", tmp_path / "butanol.smi", "--latents", "torsion 1 2 3 4", *FEW)
    code, _, error = run(*call, "-o", first, "--platform", "Reference")
    assert code == 0, error
    code, text, error = run(*call, "-o", second, "--configurations", first)
    assert code == 0, error
    assert "forward check on 150 configurations" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CCO ethanol\nCO methanol\n", "holds several molecules: pass a file of one"),
        ("", "holds no molecule"),
        ("CC(=O)[O-].[NH3+]CC salt\n", "2 molecules in one entry"),
    ],
)
def test_several_small_molecules_are_refused(run, tmp_path, text, words):
    (tmp_path / "these.smi").write_text(text)
    code, out, error = run("sample", tmp_path / "these.smi", *FEW)
    assert code == 2
    assert words in error
    assert "Minimization" not in out


def test_several_peptides_are_refused_before_they_are_minimized(run, dipeptide_file, tmp_path):
    one = app.PDBFile(str(dipeptide_file))
    two = app.Modeller(one.topology, one.positions)
    two.add(one.topology, one.positions + np.array([3.0, 0, 0]) * unit.nanometer)
    with open(tmp_path / "two.pdb", "w") as file:
        app.PDBFile.writeFile(two.topology, two.positions, file)
    code, out, error = run("sample", tmp_path / "two.pdb", *FEW)
    assert code == 2
    assert "2 molecules" in error
    assert "Minimization" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "guess"), "choose one of"),
        (("--fes", "phi,zeta"), "zeta"),
        (("--plot", "fes.png"), "--fes"),
        (("-o", "out.xtc"), ".dcd"),
        (("--potential", "mmff"), "small molecules"),
        (("--temperature", "-3"), "temperature"),
        (("--solvent", "tip3p"), "--solvent tip3p makes a periodic box"),
        (("--seed", str(2**70)), "--seed"),
    ],
)
def test_wrong_options_are_one_line(run, dipeptide_file, arguments, words):
    code, _, error = run("sample", dipeptide_file, *arguments, *FEW)
    assert code == 2
    assert error.count("\n") == 1
    assert words in error
