"""Golf: a model and what is done with it; a network that adds nothing leaves its surrogate."""

import numpy as np
import openmm as mm
import pytest
import torch

pytest.importorskip("rdkit")
from rdkit import Chem

from openmm_reparam import Golf
from openmm_reparam.prepare.ligands import complete_ligand, positions_of
from openmm_reparam.surrogates.golf.model_file import TrainedOn
from openmm_reparam.surrogates.golf.network import NetworkSettings, PaiNN
from openmm_reparam.surrogates.oracles import molecule_simulation, python_force
from openmm_reparam.surrogates.programs import MMFF94


class Spring:
    """A genuine energy in closed form: MMFF94 and a spring between two atoms; knows its calls."""

    def __init__(self, molecule):
        self.mmff, self.calls = MMFF94(molecule), 0

    def __call__(self, positions):
        self.calls += 1
        energy, forces = self.mmff(positions)
        apart = positions[0] - positions[2]
        distance = np.linalg.norm(apart)
        pull = -2e4 * (distance - 0.25) * apart / distance
        forces = forces.copy()
        forces[0] += pull
        forces[2] -= pull
        return energy + 1e4 * (distance - 0.25) ** 2, forces


def network():
    torch.manual_seed(0)
    return PaiNN(NetworkSettings(features=16, interactions=2, bessel=8, rank=4)).double()


def without_weight():
    empty = network()
    torch.nn.init.zeros_(empty.readout[-1].weight)
    torch.nn.init.zeros_(empty.readout[-1].bias)
    return empty


@pytest.fixture
def ethanol():
    return complete_ligand(Chem.MolFromSmiles("CCO"))[0]


def trained(surrogate="mmff", genuine="gfnff", **facts):
    return TrainedOn(genuine, surrogate, (1, 6, 8), (0,), **facts)


def energy_of(force, molecule):
    system = mm.System()
    for atom in molecule.GetAtoms():
        system.addParticle(atom.GetMass())
    for each in force:
        system.addForce(each)
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(positions_of(molecule))
    return context.getState(energy=True).getPotentialEnergy()._value


def test_a_simulation_and_a_molecule_relax_alike(ethanol):
    """To the genuine minimum; the Simulation's positions change, the molecule's do not."""
    golf, start = Golf(without_weight(), trained()), positions_of(ethanol)
    oracle, other = Spring(ethanol), Spring(ethanol)
    simulation = molecule_simulation(ethanol, oracle)
    first = golf.relax(simulation, tolerance=1)
    second = golf.relax(ethanol, genuine=lambda molecule: other, tolerance=1)
    assert first.converged
    assert first.genuine_calls == oracle.calls
    assert second.genuine_calls == other.calls == first.genuine_calls
    np.testing.assert_allclose(first.positions, second.positions, atol=1e-6)
    state = simulation.context.getState(positions=True, forces=True)
    np.testing.assert_array_equal(state.getPositions(asNumpy=True)._value, first.positions)
    forces = state.getForces(asNumpy=True)._value
    assert np.sqrt((forces**2).sum() / len(forces)) <= 1.0
    np.testing.assert_array_equal(positions_of(ethanol), start)


def test_forces_of_surrogate_and_network_add_up(ethanol, tmp_path):
    """In one PythonForce, or MMFF94 as PythonForce and the network as TorchForce."""
    pytest.importorskip("openmmtorch")
    golf = Golf(network(), trained())
    whole = energy_of([golf.python_force(ethanol)], ethanol)
    mmff = energy_of([python_force(MMFF94(ethanol))], ethanol)
    parts = energy_of([python_force(MMFF94(ethanol)), golf.torch_force(ethanol)], ethanol)
    assert whole == pytest.approx(parts, abs=1e-6)
    assert whole != pytest.approx(mmff, abs=1e-3)
    golf.save(tmp_path / "model.pt")
    again = Golf.load(tmp_path / "model.pt")
    assert energy_of([again.python_force(ethanol)], ethanol) == pytest.approx(whole, abs=1e-9)


def test_energies_of_atoms_come_on_top(ethanol):
    golf = Golf(without_weight(), trained("", references={1: -1.0, 6: -10.0, 8: -20.0}))
    assert golf.oracle(ethanol)(positions_of(ethanol))[0] == pytest.approx(-46.0)


def test_a_surrogate_of_ones_own(ethanol):
    with pytest.raises(ValueError, match="'mine', which is none of"):
        Golf(network(), trained("mine"))
    golf = Golf(without_weight(), trained("mine"), Spring)
    positions = positions_of(ethanol)
    assert golf.oracle(ethanol)(positions)[0] == pytest.approx(Spring(ethanol)(positions)[0])


def test_bad_arguments(ethanol):
    golf = Golf(network(), trained())
    with pytest.raises(TypeError, match="not str"):
        golf.relax("CCO")
    with pytest.raises(TypeError, match="genuine is for a molecule"):
        golf.relax(molecule_simulation(ethanol, "mmff"), genuine="gfnff")
    with pytest.raises(ValueError, match="'dft', is none of"):
        Golf(network(), trained(genuine="dft")).relax(ethanol)
    with pytest.raises(ValueError, match="tolerance"):
        golf.relax(ethanol, tolerance=-1)


def test_what_is_trained_relaxes(ethanol):
    """By names of potentials, and by functions, which the model does not hold."""
    small = NetworkSettings(features=8, interactions=1, bessel=6, rank=3)
    settings = {"labels": 6, "validation": [], "network": small, "progress": False}
    golf = Golf.train([ethanol], genuine="gfnff", **settings)
    assert golf.trained_on.genuine == "gfnff"
    assert golf.trained_on.surrogate == "mmff"
    assert golf.trained_on.labels == 6
    assert golf.trained_on.elements == (1, 6, 8)
    assert golf.relax(ethanol).converged
    own = Golf.train([ethanol], genuine=Spring, surrogate=MMFF94, **settings)
    relaxed = own.relax(molecule_simulation(ethanol, Spring(ethanol)))
    assert relaxed.converged
    assert isinstance(own.oracle(ethanol).base, MMFF94)
