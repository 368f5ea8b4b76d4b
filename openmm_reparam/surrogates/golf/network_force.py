"""Networks as energies of one molecule: oracles, OpenMM forces, TorchScript."""

import copy

import numpy as np
import openmm as mm
import torch
from torch import Tensor, nn

from ..oracles import python_force
from ..programs import EnergyAndForces, Oracle
from .network import HEAVIEST, PaiNN, energy_and_forces

__all__ = ["NetworkOracle", "network_force", "scripted_energy"]


class NetworkOracle:
    """A network's energy of one molecule, on top of another oracle's.

    Parameters
    ----------
    network : PaiNN
    numbers : (N,) int array
        Atomic numbers.
    charge : int
    base : Oracle, optional
        Whose energy the network's is added to.
    reference : float
        Added, too, in kJ/mol.

    Raises
    ------
    ValueError
        An element that the network has no place for.

    Examples
    --------
    >>> from openmm_reparam.surrogates.golf.network import NetworkSettings
    >>> oracle = NetworkOracle(PaiNN(NetworkSettings(features=16)), np.array([8, 1, 1]))
    >>> energy, forces = oracle(np.array([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]]))
    >>> forces.shape, bool(np.abs(forces.sum(axis=0)).max() < 1e-3)
    ((3, 3), True)
    """

    def __init__(
        self,
        network: PaiNN,
        numbers: np.ndarray,
        charge: int = 0,
        base: Oracle | None = None,
        reference: float = 0.0,
    ) -> None:
        self.network, self.base, self.reference = network, base, reference
        self.__name__ = "network"  # as a minimization that descends on it calls it
        self._numbers = known_numbers(numbers)
        self._molecule = torch.zeros_like(self._numbers)
        self._charges = torch.tensor([charge])

    def __call__(self, positions: np.ndarray) -> EnergyAndForces:
        """Return energy in kJ/mol and forces in kJ/mol/nm at (N, 3) positions in nm."""
        device = self.network.scale.device
        place = torch.from_numpy(np.array(positions, dtype=float)).to(device)
        numbers, molecule = self._numbers.to(device), self._molecule.to(device)
        energies, torch_forces = energy_and_forces(
            self.network, numbers, place, molecule, 1, self._charges.to(device)
        )
        energy, forces = energies.item() + self.reference, torch_forces.cpu().numpy()
        if self.base is not None:
            base_energy, base_forces = self.base(positions)
            energy, forces = energy + base_energy, forces + base_forces
        return energy, forces


def network_force(
    network: PaiNN, numbers: np.ndarray, charge: int = 0, particles=()
) -> mm.PythonForce:
    """Return a network as an OpenMM force, of one molecule without periodic images.

    Parameters
    ----------
    network : PaiNN
    numbers : (n,) int array
        Atomic numbers.
    charge : int
        Total charge.
    particles : sequence of int
        That it acts on, in the order of ``numbers``; all by default.

    Returns
    -------
    openmm.PythonForce

    Raises
    ------
    ValueError
        An element that the network has no place for.
    """
    return python_force(NetworkOracle(network, numbers, charge), particles)


def scripted_energy(
    network: PaiNN, numbers: np.ndarray, charge: int = 0, particles=()
) -> torch.jit.ScriptModule:
    """Return a network as a TorchScript module of positions alone, as TorchForce takes it.

    Parameters
    ----------
    network : PaiNN
        Stays as it is: the module holds a copy of its weights.
    numbers, charge, particles
        As `network_force` takes them.

    Returns
    -------
    torch.jit.ScriptModule
        (N, 3) positions in nm -> energy in kJ/mol. Give it to ``openmmtorch.TorchForce``, or save
        it with its ``save(path)``. It knows no periodic images.

    Raises
    ------
    ValueError
        An element that the network has no place for.

    Examples
    --------
    >>> from openmm_reparam.surrogates.golf.network import NetworkSettings
    >>> module = scripted_energy(PaiNN(NetworkSettings(features=16)), np.array([8, 1, 1]))
    >>> module(torch.tensor([[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]])).shape
    torch.Size([])
    """
    own = _EnergyOfPositions(copy.deepcopy(network), known_numbers(numbers), charge, particles)
    return torch.jit.script(own.to(network.scale.device))


class _EnergyOfPositions(nn.Module):
    """A network of one molecule, of the positions of all particles."""

    numbers: Tensor
    charges: Tensor
    particles: Tensor

    def __init__(self, network: PaiNN, numbers: Tensor, charge: int, particles) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("numbers", numbers.unsqueeze(0))
        self.register_buffer("charges", torch.tensor([charge]))
        chosen = list(particles) or list(range(len(numbers)))
        self.register_buffer("particles", torch.tensor(chosen))

    def forward(self, positions: Tensor) -> Tensor:
        own = positions.index_select(0, self.particles).unsqueeze(0)
        return self.network.padded(self.numbers, own, self.charges)[0]


def known_numbers(numbers: np.ndarray) -> Tensor:
    """Return atomic numbers as a tensor; ValueError for one that no network has a place for."""
    numbers = np.asarray(numbers, dtype=np.int64)
    wrong = numbers[(numbers < 1) | (numbers > HEAVIEST)]
    if len(wrong):
        raise ValueError(f"there is no element {wrong[0]} in the network: it knows 1 to {HEAVIEST}")
    return torch.from_numpy(numbers.copy())
