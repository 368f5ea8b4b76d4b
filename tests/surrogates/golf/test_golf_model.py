"""Model files, and networks as OpenMM forces of a real molecule."""

import numpy as np
import openmm as mm
import pytest
import torch

pytest.importorskip("rdkit")
from rdkit import Chem

from openmm_reparam.golf import Golf
from openmm_reparam.prepare.ligands import complete_ligand, positions_of
from openmm_reparam.surrogates.golf.model_file import (
    TrainedOn,
    load_model,
    reference_energies,
    save_model,
)
from openmm_reparam.surrogates.golf.network import NetworkSettings, PaiNN, energy_and_forces
from openmm_reparam.surrogates.golf.network_force import (
    NetworkOracle,
    network_force,
    scripted_energy,
)
from openmm_reparam.surrogates.programs import MMFF94

FACTS = TrainedOn("gfn2", "mmff", (1, 6, 7, 8), (0, -1), {1: -1.5, 6: -99.0}, 3, 50, 12.5)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(4)
    network = PaiNN(NetworkSettings(features=16, interactions=2, bessel=8, rank=4)).double()
    torch.nn.init.normal_(network.charges.weight)
    return network


@pytest.fixture(scope="module")
def acetate():
    """RDKit molecule, atomic numbers, positions in nm."""
    molecule, _ = complete_ligand(Chem.MolFromSmiles("CC(=O)[O-]"))
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    return molecule, numbers, positions_of(molecule)


def eager(network, numbers, positions, charge):
    zeros = torch.zeros(len(numbers), dtype=torch.long)
    energies, forces = energy_and_forces(
        network, torch.tensor(numbers), torch.tensor(positions), zeros, 1, torch.tensor([charge])
    )
    return energies.item(), forces.numpy()


def of_context(force, count, positions):
    system = mm.System()
    for _ in range(count):
        system.addParticle(12.0)
    system.addForce(force)
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def test_a_file_gives_back_what_was_saved(network, tmp_path):
    path = tmp_path / "new" / "model.pt"
    save_model(path, network, FACTS)
    loaded, facts = load_model(path)
    assert facts == FACTS
    assert loaded.settings == network.settings
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)
    assert [file.name for file in path.parent.iterdir()] == ["model.pt"]


def test_files_that_are_none_of_ours(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model"):
        load_model(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(ValueError, match="cannot be read as a model"):
        load_model(tmp_path / "text.pt")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="is no model"):
        load_model(tmp_path / "other.pt")
    torch.save({"format": "openmm-reparam GOLF model", "format_version": 99}, tmp_path / "later.pt")
    with pytest.raises(ValueError, match="format 99"):
        load_model(tmp_path / "later.pt")


def test_reference_energies_of_one_stoichiometry():
    """Of isomers alone no element's energy is known, but their sum is."""
    found = reference_energies([np.array([6, 1, 1])] * 2, [-10.0, -12.0])
    assert found[6] + 2 * found[1] == pytest.approx(-11.0)


def test_the_oracle_adds_up(network, acetate):
    molecule, numbers, positions = acetate
    base = MMFF94(molecule)
    energy, forces = NetworkOracle(network, numbers, -1, base, reference=-50.0)(positions)
    own, slope = eager(network, numbers, positions, -1)
    assert energy == pytest.approx(own + base(positions)[0] - 50.0, abs=1e-9)
    np.testing.assert_allclose(forces, slope + base(positions)[1], atol=1e-8)


def test_a_serialized_force_is_the_same(network, acetate):
    """Systems are written as XML, and sent to other processes."""
    _, numbers, positions = acetate
    text = mm.XmlSerializer.serialize(network_force(network, numbers, -1))
    energy, _ = of_context(mm.XmlSerializer.deserialize(text), len(numbers), positions)
    assert energy == pytest.approx(eager(network, numbers, positions, -1)[0], abs=1e-6)


def test_python_force_of_a_part(network, acetate):
    """Of the last atoms of a System, in another order."""
    _, numbers, positions = acetate
    order = np.random.default_rng(1).permutation(len(numbers))
    placed = np.zeros((len(numbers) + 2, 3))
    placed[order + 2] = positions
    force = network_force(network, numbers, -1, (order + 2).tolist())
    energy, forces = of_context(force, len(placed), placed)
    expected, slope = eager(network, numbers, positions, -1)
    assert energy == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(forces[order + 2], slope, atol=1e-5)
    assert not forces[:2].any()


def test_torch_force(network, acetate, tmp_path):
    """Written, read, in OpenMM: energy and forces are the eager ones."""
    openmmtorch = pytest.importorskip("openmmtorch")
    _, numbers, positions = acetate
    scripted_energy(network, numbers, -1).save(str(tmp_path / "energy.pt"))
    force = openmmtorch.TorchForce(str(tmp_path / "energy.pt"))
    energy, forces = of_context(force, len(numbers), positions)
    expected, slope = eager(network, numbers, positions, -1)
    assert energy == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(forces, slope, atol=1e-5)


def test_scripted_energy_of_a_part(network, acetate):
    _, numbers, positions = acetate
    placed = torch.zeros(len(numbers) + 3, 3, dtype=torch.double)
    particles = list(range(3, len(placed)))
    placed[particles] = torch.tensor(positions)
    energy = scripted_energy(network, numbers, -1, particles)(placed).item()
    assert energy == pytest.approx(eager(network, numbers, positions, -1)[0], abs=1e-9)


def test_elements_beyond_the_table(network):
    with pytest.raises(ValueError, match="no element 92"):
        network_force(network, np.array([92, 8, 8]))


def test_a_model_says_what_it_was_trained_on(network):
    assert repr(Golf(network, FACTS)) == "<Golf for gfn2 on top of mmff: 50 labels of 3 molecules>"
