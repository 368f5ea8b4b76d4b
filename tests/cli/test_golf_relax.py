"""``openmm-reparam golf relax``: a network that is trained here, and one that knows nothing."""

import csv
import json

import numpy as np
import pytest
import torch

pytest.importorskip("rdkit")
from rdkit import Chem

from openmm_reparam.cli.app import main
from openmm_reparam.golf import Golf
from openmm_reparam.prepare.ligands import complete_ligand, positions_of, with_positions
from openmm_reparam.surrogates.golf.model_file import TrainedOn
from openmm_reparam.surrogates.golf.network import NetworkSettings, PaiNN, energy_and_forces
from openmm_reparam.surrogates.oracles import molecule_simulation
from openmm_reparam.surrogates.programs import MMFF94

SETTINGS = NetworkSettings(features=24, interactions=2, bessel=10, rank=5)


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit code, standard output, standard error."""

    def call(*arguments):
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def made(smiles):
    return complete_ligand(Chem.MolFromSmiles(smiles))[0]


def numbers_of(molecule):
    return np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])


def rms_force(molecule, potential):
    context = molecule_simulation(molecule, potential).context
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    return np.sqrt((forces**2).sum() / len(forces))


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    """A model that adds nothing to MMFF94, of GFN-FF: it relaxes to MMFF94's minima."""
    network = PaiNN(SETTINGS).double()
    torch.nn.init.zeros_(network.readout[-1].weight)
    torch.nn.init.zeros_(network.readout[-1].bias)
    path = tmp_path_factory.mktemp("model") / "nothing.pt"
    Golf(network, TrainedOn("gfnff", "mmff", (1, 6, 8), (0,), labels=7)).save(path)
    return path


@pytest.fixture(scope="module")
def methanol(tmp_path_factory):
    """A network of MMFF94's whole energy, trained on distorted methanols."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    molecule = made("CO")
    oracle, numbers = MMFF94(molecule), numbers_of(molecule)
    simulation = molecule_simulation(molecule, oracle)
    simulation.minimizeEnergy(tolerance=1)
    state = simulation.context.getState(positions=True)
    minimum = state.getPositions(asNumpy=True)._value
    positions = minimum + 0.005 * rng.normal(size=(100, len(numbers), 3))
    positions[::2] = minimum + 0.4 * (positions[::2] - minimum)
    forces = torch.tensor(np.array([oracle(x)[1] for x in positions]), dtype=torch.float32)
    network = PaiNN(SETTINGS)
    adam = torch.optim.Adam(network.parameters(), lr=5e-3)
    steps, batch = 150, 12
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    molecules = torch.repeat_interleave(torch.arange(batch), len(numbers))
    for _ in range(steps):
        chosen = torch.tensor(rng.integers(len(positions), size=batch))
        place = torch.tensor(positions[chosen], dtype=torch.float32).reshape(-1, 3)
        _, predicted = energy_and_forces(
            network,
            torch.tensor(np.tile(numbers, batch)),
            place,
            molecules,
            batch,
            create_graph=True,
        )
        loss = (predicted - forces[chosen].reshape(-1, 3)).square().mean() / 1e4
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    path = tmp_path_factory.mktemp("model") / "methanol.pt"
    Golf(network, TrainedOn("mmff", "", (1, 6, 8), (0,), labels=100, molecules=1)).save(path)
    return path


def test_a_trained_network_relaxes(run, methanol, tmp_path):
    """Unverified near MMFF94's minimum, verified in it."""
    molecule = made("CO")
    rng = np.random.default_rng(5)
    start = positions_of(molecule) + 0.003 * rng.normal(size=(6, 3))
    source = tmp_path / "methanol.sdf"
    source.write_text(Chem.SDWriter.GetText(with_positions(molecule, start)))
    ends = {}
    for option in ("--no-verify", "--verify"):
        output = tmp_path / f"end{option}.sdf"
        code, out, err = run("golf", "relax", source, "-m", methanol, "-o", output, option)
        assert code == 0, err
        assert ("NOTHING IS VERIFIED" in out) == (option == "--no-verify")
        (ends[option],) = Chem.SDMolSupplier(str(output), removeHs=False)
    assert ends["--no-verify"].GetProp("Verified") == "no"
    assert not ends["--no-verify"].HasProp("Energy_kJ_per_mol")
    assert rms_force(ends["--no-verify"], "mmff") < 0.3 * rms_force(
        with_positions(molecule, start), "mmff"
    )
    assert rms_force(ends["--verify"], "mmff") <= 10.5
    assert ends["--verify"].GetProp("Verified") == "yes"


def test_many_molecules(run, nothing, tmp_path):
    """A row each: trained on, an element and a charge outside, one that MMFF94 does not know."""
    source = tmp_path / "new.smi"
    source.write_text("CCO ethanol\nCS thiol\nC[NH3+] ammonium\n[H]B([H])[H] borane\n")
    output, table = tmp_path / "out" / "relaxed.sdf", tmp_path / "table.csv"
    code, out, _ = run(
        *("golf", "relax", source, "--model", nothing, "-o", output, "--csv", table),
        *("--workers", 1, "--json", tmp_path / "all.json"),
    )
    assert code == 1  # one failed
    with open(table) as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["ethanol", "thiol", "ammonium", "borane"]
    assert "no parameters for B" in rows["borane"]["error"]
    assert "not trained on S" in rows["thiol"]["warnings"]
    assert "not trained on total charge +1" in rows["ammonium"]["warnings"]
    ends = {m.GetProp("_Name"): m for m in Chem.SDMolSupplier(str(output), removeHs=False)}
    for name in ("ethanol", "thiol", "ammonium"):
        assert rows[name]["converged"] == "True"
        assert int(rows[name]["genuine_calls"]) == int(ends[name].GetProp("Genuine_evaluations"))
        assert rows[name]["changes"] == ""
        assert rms_force(ends[name], "gfnff") <= 10.5
    assert "3 converged" in out
    told = json.loads((tmp_path / "all.json").read_text())
    assert len(told["molecules"]) == 4


def test_promises_are_of_the_start(run, nothing, tmp_path):
    """Without a network's part, what is promised is MMFF94's fall; what is found is GFN-FF's."""
    source = tmp_path / "ethanol.sdf"
    source.write_text(Chem.SDWriter.GetText(made("CCO")))
    (molecule,) = Chem.SDMolSupplier(str(source), removeHs=False)
    table = tmp_path / "table.csv"
    code, _, err = run("golf", "relax", source, "-m", nothing, "--check-start", "--csv", table)
    assert code == 0, err
    with open(table) as file:
        (row,) = csv.DictReader(file)
    relaxed = molecule_simulation(molecule, "mmff")
    above = MMFF94(molecule)(positions_of(molecule))[0]
    relaxed.minimizeEnergy(tolerance=2)
    lowest = relaxed.context.getState(energy=True).getPotentialEnergy()._value
    assert float(row["promised_fall"]) == pytest.approx(above - lowest, abs=0.1)
    start = molecule_simulation(molecule, "gfnff").context.getState(energy=True)
    found = start.getPotentialEnergy()._value - float(row["found_fall"])
    assert found - float(row["further_fall"]) == pytest.approx(float(row["final_energy"]), abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.smi", "--model", "none.pt"], "there is no model none.pt"),
        (["--model", "{model}"], "name a FILE of molecules"),
        (["{smi}", "--model", "{model}", "--genuine", "dft"], "--genuine dft: choose one of"),
        (["{smi}", "--model", "{model}", "-o", "x.pdb"], "must end in .sdf or .mol"),
        (["{smi}", "--model", "{smi}"], "cannot be read as a model"),
        (
            ["{smi}", "--model", "{model}", "--tolerance", "nan"],
            "tolerance of nan has to be above zero",
        ),
    ],
)
def test_bad_input(run, nothing, tmp_path, arguments, message):
    smi = tmp_path / "a.smi"
    smi.write_text("CCO\nCO\n")
    given = [a.format(model=nothing, smi=smi) for a in arguments]
    code, _, err = run("golf", "relax", *given)
    assert code == 2
    assert message in err
