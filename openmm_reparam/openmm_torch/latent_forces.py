"""The one force of a latent System: E(rho(Z)) as a TorchForce, PythonTorchForce or PythonForce."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openmm as mm
import torch

from ..errors import UnsupportedSystemError
from ..potentials.point import Point
from ..potentials.potential import Potential
from .context_copy import ContextCopy
from .decoders import Decoder, padded, traced
from .torch_potential import PluginUnavailableError, torch_potential
from .torchforce import openmmtorch_module, torch_force

__all__ = ["FORCES", "LatentForce", "chosen_force", "latent_force", "refuse_constraints"]

FORCES = ("auto", "torchforce", "pythontorchforce", "python")


@dataclass(frozen=True)
class LatentForce:
    """A force on latent particles.

    Attributes
    ----------
    force : openmm.Force
        For a System, which then owns it.
    decode : callable
        (n,) float64 latents -> (N, 3) positions in nm.
    last : callable
        () -> Point of the molecule that was evaluated last.
    evaluations : callable
        () -> how often the molecule was evaluated, in this process.
    """

    force: mm.Force
    decode: Callable[[torch.Tensor], torch.Tensor]
    last: Callable[[], Point]
    evaluations: Callable[[], int]


def chosen_force(force: str | None) -> str:
    """Return the name of the force that "auto" or None stands for.

    That is "pythontorchforce" where the installed openmmtorch has that class, else "torchforce".

    Raises
    ------
    ValueError
        There is no such force.
    ImportError
        It is of openmmtorch, which is not installed or has no PythonTorchForce.
    """
    if force is not None and force not in FORCES:
        raise ValueError(f"force is {force!r}; it must be one of {FORCES}")
    if force == "python":
        return force
    newer = hasattr(openmmtorch_module(), "PythonTorchForce")
    if force in (None, "auto"):
        return "pythontorchforce" if newer else "torchforce"
    if force == "pythontorchforce" and not newer:
        raise ImportError(
            'the installed openmmtorch has no PythonTorchForce: use force="torchforce", or '
            'force="python", which needs no openmmtorch'
        )
    return force


def latent_force(context: mm.Context, decoder: Decoder, force: str | None = "auto") -> LatentForce:
    """Make the force of a latent System.

    Parameters
    ----------
    context : openmm.Context
        The molecule's.
    decoder : Decoder
    force : {"auto", "torchforce", "pythontorchforce", "python"} or None
        See `openmm_reparam.latent_system`.

    Returns
    -------
    LatentForce

    Raises
    ------
    ValueError, ImportError
        As `chosen_force`.
    PluginUnavailableError
        A TorchForce needs the C++ plugin.
    """
    force = chosen_force(force)
    if force == "torchforce":
        return _script_force(context, decoder)
    energy = LatentEnergy(ContextCopy(context), decoder)
    if force == "python":
        made = mm.PythonForce(ArrayFunction(energy))
    else:
        made = openmmtorch_module().PythonTorchForce(TensorFunction(energy))
    return LatentForce(made, decoder, energy.last, energy.evaluations)


def refuse_constraints(potential: Potential) -> None:
    """Raise UnsupportedSystemError where a molecule has constraints."""
    count = len(potential.constraints[0])
    if count:
        raise UnsupportedSystemError(
            f"the System has {count} constraints, which positions decoded from latents would "
            "violate; create it with constraints=None and rigidWater=False, or use "
            "minimize_reparam, which keeps them"
        )


class LatentEnergy:
    """E(rho(Z)) and its forces -J^T dE/dX, each from one evaluation of the molecule.

    Parameters
    ----------
    molecule : ContextCopy
    decoder : Decoder
    """

    def __init__(self, molecule: ContextCopy, decoder: Decoder) -> None:
        self._molecule = molecule
        self._decoder = decoder
        self._last: Point | None = None
        self._evaluations = 0

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_last": None, "_evaluations": 0}

    def __call__(self, latents: np.ndarray) -> tuple[float, np.ndarray]:
        """Return energy and forces, (particles, 3), of (particles, 3) latents."""
        numbers = np.array(latents, dtype=np.float64).reshape(-1)[: self._decoder.size]
        flat = torch.from_numpy(numbers).requires_grad_()
        with torch.enable_grad():
            positions = self._decoder(flat)
        energy, forces = self._molecule.evaluate(positions.detach().numpy())
        self._evaluations += 1
        forces[~self._decoder.moves] = 0.0
        (pulled,) = torch.autograd.grad(positions, flat, torch.from_numpy(forces))
        self._last = Point(positions.detach().numpy(), energy, forces)
        return energy, padded(pulled, self._decoder.particles)

    def last(self) -> Point:
        """Return the molecule as it was evaluated last; RuntimeError where it was not yet."""
        if self._last is None:
            raise RuntimeError("the molecule was not evaluated yet")
        return self._last

    def evaluations(self) -> int:
        """Return how often the molecule was evaluated."""
        return self._evaluations


@dataclass(frozen=True)
class ArrayFunction:
    """A `LatentEnergy` as PythonForce calls it."""

    energy: LatentEnergy

    def __call__(self, state: mm.State) -> tuple[float, np.ndarray]:
        """Return energy and forces at a State's positions."""
        return self.energy(state.getPositions(asNumpy=True)._value)


@dataclass(frozen=True)
class TensorFunction:
    """A `LatentEnergy` as PythonTorchForce calls it."""

    energy: LatentEnergy

    def __call__(
        self, state: mm.State, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return energy and forces at positions of any dtype and device."""
        energy, forces = self.energy(positions.detach().cpu().numpy())
        return torch.tensor(energy, dtype=torch.float64), torch.from_numpy(forces).to(positions)


def _script_force(context: mm.Context, decoder: Decoder) -> LatentForce:
    try:
        potential = torch_potential(context)
    except PluginUnavailableError as error:
        raise PluginUnavailableError(
            f'{error} force="python" (for a minimizer, engine="python") works without it.'
        ) from error
    decode = traced(decoder)
    model = torch.jit.script(_ScriptedEnergy(potential, decode, decoder.size))

    def last() -> Point:
        x, energies, forces = potential.last()
        return Point(x[0].numpy(), energies[0].item(), forces[0].numpy())

    return LatentForce(torch_force(model), decode, last, potential.num_evaluations)


class _ScriptedEnergy(torch.nn.Module):
    """E(rho(Z)), whose gradient is -J^T F of the same evaluation."""

    def __init__(self, potential, decoder: torch.jit.ScriptModule, size: int) -> None:
        super().__init__()
        self.potential = potential
        self.decode = decoder
        self.size = size

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        # On the CPU: a traced model's constants stay where they were traced.
        flat = positions.to(device="cpu", dtype=torch.float64).reshape(-1)[: self.size]
        energy = self.potential.energy(self.decode(flat).unsqueeze(0))[0]
        return energy.to(positions.device)
