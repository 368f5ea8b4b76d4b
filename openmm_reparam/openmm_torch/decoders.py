"""Decoders: the positions X = rho(Z) of a flat vector of latents, eager or as TorchScript."""

from __future__ import annotations

import copy

import numpy as np
import torch

__all__ = ["Decoder", "padded", "traced"]


class Decoder:
    """X of a flat vector of a module's latents; all else of the module is constant.

    It runs the module as it is, so that Python in its ``forward`` may depend on the latents. It
    can be pickled where the module can.

    Parameters
    ----------
    module : torch.nn.Module
        ``forward()`` returns (N, 3) positions in nm. It is copied, to the CPU.
    weights : bool
        Take all trainable parameters for latents. By default those named ``latents`` are; a module
        that has none gets all of them.
    moves : (N,) bool array
        Other atoms keep their positions, bit for bit.
    positions : (N, 3) array
        In nm.

    Attributes
    ----------
    start : (n,) float64 tensor
        The latents that the module has now.
    moves : (N,) bool array
    """

    def __init__(
        self, module: torch.nn.Module, weights: bool, moves: np.ndarray, positions: np.ndarray
    ) -> None:
        self.module = copy.deepcopy(module).cpu()
        trainable = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        named = {n: p for n, p in trainable.items() if n.rpartition(".")[2] == "latents"}
        chosen = trainable if weights or not named else named
        self.start = torch.cat([p.detach().double().reshape(-1) for p in chosen.values()])
        self._shapes = [(name, p.shape, p.dtype) for name, p in chosen.items()]
        self.moves = np.array(moves)
        self._rows = torch.from_numpy(self.moves)[:, None]
        self._fixed = torch.from_numpy(np.array(positions))
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Positions, (N, 3) float64 in nm, of (n,) latents."""
        return self.place(torch.func.functional_call(self.module, self.parts(flat), ()))

    @property
    def size(self) -> int:
        """How many numbers the latents are."""
        return self.start.numel()

    @property
    def particles(self) -> int:
        """How many particles hold them, three numbers each."""
        return -(-self.size // 3)

    def parts(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """Parameters by name, of (n,) latents."""
        parts, begin = {}, 0
        for name, shape, dtype in self._shapes:
            parts[name] = flat[begin : begin + shape.numel()].reshape(shape).to(dtype)
            begin += shape.numel()
        return parts

    def place(self, positions: torch.Tensor) -> torch.Tensor:
        """Positions with those of fixed atoms, (N, 3) float64 in nm, from a module's output."""
        return torch.where(self._rows, positions.to(torch.float64), self._fixed)


def traced(decoder: Decoder) -> torch.jit.ScriptModule:
    """Return a decoder as TorchScript, traced at its start."""
    return torch.jit.trace(_Traceable(decoder), decoder.start, check_trace=False)


def padded(flat: torch.Tensor, particles: int) -> np.ndarray:
    """Numbers as the positions of particles, (particles, 3), zeros after the last."""
    rows = np.zeros(3 * particles)
    rows[: flat.numel()] = flat.numpy()
    return rows.reshape(-1, 3)


class _Traceable(torch.nn.Module):
    """A decoder without parameters of its own: everything but its argument becomes constant."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        decoder = copy.deepcopy(decoder)
        # In a tuple, so that its parameters are not this module's.
        self._held = (decoder, decoder.module)

    def forward(self, flat: torch.Tensor) -> torch.Tensor:
        decoder, module = self._held
        for name, part in decoder.parts(flat).items():
            path, _, leaf = name.rpartition(".")
            owner = module.get_submodule(path)
            # An ordinary attribute in place of the parameter: torch.func does not trace.
            owner._parameters.pop(leaf, None)
            owner.__dict__[leaf] = part
        return decoder.place(module())
