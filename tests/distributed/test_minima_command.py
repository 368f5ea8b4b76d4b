import json

import mdtraj
import numpy as np
import pytest

from openmm_reparam.cli.app import main
from openmm_reparam.distributed.context_recipe import ContextRecipe
from openmm_reparam.distributed.minima_database import FoundMinimum, MinimaFile
from openmm_reparam.geometry.superposition import superposed_rmsd
from openmm_reparam.minimization.api import minimize_reparam
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search.minima import ShapeComparison


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Two minima of a dipeptide: from both chains that it is built as."""
    path = tmp_path_factory.mktemp("minima") / "minima.db"
    molecule = peptide("AG")
    simulation = molecule.simulation("Reference")
    with MinimaFile.create(path, ContextRecipe.of(simulation.context, molecule.topology)) as file:
        for seed in (0, 3):
            start = peptide("AG", "random-coil", seed=seed).positions
            simulation.context.setPositions(start)
            result = minimize_reparam(simulation, 1.0)
            positions = simulation.context.getState(positions=True).getPositions(asNumpy=True)
            found = FoundMinimum(result.energy, positions._value, result.rms_force, 50 + seed, 1)
            file.add([found], ShapeComparison(np.arange(20)))
        assert len(file) == 2
    return path


def test_show_prints_minima_lowest_first_with_free_energies(database, tmp_path, capsys):
    written = tmp_path / "minima.json"
    assert (
        main(["minima", "show", str(database), "--temperature", "300", "--json", str(written)]) == 0
    )
    said = capsys.readouterr().out
    assert "2 distinct minima of 20 atoms" in said
    assert "HarmonicSuperposition: 2 minima at 300 K" in said
    document = json.loads(written.read_text())
    with MinimaFile.open(database) as file:
        assert [m["energy"] for m in document["minima"]] == [m.energy for m in file.lowest()]
    assert len(document["harmonic_superposition"]["minima"]) == 2
    assert main(["minima", "show", str(database), "--lowest", "1", "--json", "-"]) == 0
    assert len(json.loads(capsys.readouterr().out)["minima"]) == 1


@pytest.mark.parametrize("ending", ["pdb", "dcd", "sdf"])
def test_exported_structures_are_the_minima_lowest_first(database, tmp_path, ending):
    output = tmp_path / "new" / f"minima.{ending}"
    assert main(["minima", "export", str(database), "-o", str(output)]) == 0
    if ending == "sdf":
        chem = pytest.importorskip("rdkit.Chem")
        molecules = list(chem.SDMolSupplier(str(output), removeHs=False))
        frames = [m.GetConformer().GetPositions() / 10 for m in molecules]
        double = [b for b in molecules[0].GetBonds() if b.GetBondTypeAsDouble() == 2]
        assert len(double) == 2  # the carbonyls of the peptide bond and of the carboxylate
        assert [len(m.GetPropsAsDict()) for m in molecules] == [1, 1]
    else:
        frames = mdtraj.load(output, top=str(output.with_suffix(".pdb"))).xyz
    with MinimaFile.open(database) as file:
        minima = file.lowest()
    assert len(frames) == 2
    for frame, minimum in zip(frames, minima, strict=True):
        assert superposed_rmsd(np.asarray(frame, float), minimum.positions) < 2e-4


def test_lowest_and_within_choose_what_is_exported(database, tmp_path):
    output = tmp_path / "minima.pdb"
    with MinimaFile.open(database) as file:
        gap = file.lowest()[1].energy - file.lowest()[0].energy
    for options, count in (
        (["--lowest", "1"], 1),
        (["--within", str(gap / 2)], 1),
        (["--within", str(1.1 * gap)], 2),
    ):
        assert main(["minima", "export", str(database), "-o", str(output), *options]) == 0
        assert output.read_text().count("ENDMDL") == count


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["minima", "export", "DB", "-o", "minima.xyz"], "must end in .pdb or .dcd or .sdf"),
        (["minima", "show", "none.db"], "there is no file none.db"),
        (["minima", "show", "DB", "--temperature", "0"], "above zero"),
        (["fold", "AG", "--islands", "2"], "--islands 2 is for a search: add --search auto"),
        (["fold", "AG", "--database", "a.db"], "--database a.db is for a search"),
        (["minimize", "--smiles", "CC", "--database", "a.db"], "for proteins and nucleic acids"),
        (["minimize", ".", "--islands", "2"], "--islands is for one structure file"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(database, arguments, said, capsys):
    arguments = [str(database) if word == "DB" else word for word in arguments]
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_fold_keeps_its_minima_and_goes_on(tmp_path, capsys):
    database = tmp_path / "fold.db"
    command = ["fold", "GA", "--search", "auto", "--platform", "Reference"]
    command += ["--database", str(database), "--max-force-evaluations"]
    assert main([*command, "400"]) == 0
    with MinimaFile.open(database) as file:
        rounds, minima = file.num_rounds, len(file)
    capsys.readouterr()
    assert main([*command, "800"]) == 0
    assert f"{rounds} of them done before" in capsys.readouterr().out
    with MinimaFile.open(database) as file:
        assert file.num_rounds > rounds
        assert len(file) >= minima
