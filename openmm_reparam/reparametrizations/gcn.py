"""The paper's graph neural network ("GNN"): graph convolutions that propagate along slow modes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch

from ..modes.slow_modes import SlowModes, molecular_slow_modes
from ..precon.preconditioner import Preconditioner
from ..units import whole_number
from .base import Start, register
from .spectral import Whitened

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["GCN", "GraphConvolution", "NetworkSettings"]

PROPAGATIONS = ("projector", "whitened")
# The slowest modes are boosted at most this much over the fast ones (the floor on |Lambda|).
LARGEST_BOOST = 10.0


class GraphConvolution(torch.nn.Module):
    """tanh(A h W + h W_self + b) with A = c I + Psi diag(g) Psi^T, never formed.

    Parameters
    ----------
    inputs, outputs : int
        Widths.
    complement : float
        c.
    generator : torch.Generator
    dtype : torch.dtype
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        complement: float,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        # W above W_self: one product for both.
        self.weights = _random_weight(2 * inputs, outputs, generator, dtype)
        self.bias = torch.nn.Parameter(torch.zeros(outputs, dtype=dtype))
        self.complement = complement

    def forward(
        self, h: torch.Tensor, psi: torch.Tensor, gains_psi_t: torch.Tensor
    ) -> torch.Tensor:
        """(N, inputs) to (N, outputs); ``psi`` is (N, k), ``gains_psi_t`` diag(g) Psi^T (k, N)."""
        propagated = torch.addmm(h, psi, gains_psi_t @ h, beta=self.complement)
        return torch.tanh(torch.addmm(self.bias, torch.cat((propagated, h), dim=1), self.weights))


class GCN(torch.nn.Module):
    """X = X0 + scale (net(Z) - net(Z) at the start), with trainable latents Z and weights.

    Exact at the start without fitting the network to it.

    Parameters
    ----------
    positions : (N, 3) array
        X0 in nm.
    modes : SlowModes
        Of the coupling graph's Laplacian, (N, k).
    hidden : sequence of int, or int
        Width of each graph convolution, 1 to 3 of them.
    latents : int
        Width of Z, above 3.
    propagation : {"whitened", "projector"}
        A = Psi Psi^T as published ("projector"), or (Psi |Lambda|^(-1/2) Psi^T plus the complement
        I - Psi Psi^T times the next eigenvalue^(-1/2)), scaled so that the complement passes
        unchanged ("whitened").
    concatenate : bool
        Let the last layer see the outputs of all layers.
    scale : float
        nm for one unit of output.
    generator : torch.Generator, optional
    dtype : torch.dtype
        Of the network. Single precision moves atoms to within 1e-7 of their displacement and costs
        less than double; positions and the start are double always.

    References
    ----------
    Dehmamy et al., NeurIPS 2024. Kipf, Welling, "Semi-supervised classification with graph
    convolutional networks", ICLR 2017.
    """

    learning_rate = 0.003
    if TYPE_CHECKING:  # TorchScript cannot read annotations that are strings
        psi: torch.Tensor
        gains_psi_t: torch.Tensor
        anchor: torch.Tensor

    def __init__(
        self,
        positions: np.ndarray,
        modes: SlowModes,
        *,
        hidden: int | Sequence[int] = (100,),
        latents: int = 16,
        propagation: str = "whitened",
        concatenate: bool = True,
        scale: float = 0.1,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        layers = tuple(hidden) if isinstance(hidden, Iterable) else (hidden,)
        hidden = tuple(whole_number(width, "hidden", 1) for width in layers)
        if not 1 <= len(hidden) <= 3:
            raise ValueError(f"hidden is {hidden}; give the widths of 1 to 3 layers")
        if whole_number(latents, "latents", 1) <= 3:
            raise ValueError(f"latents is {latents}; overparametrization needs more than 3")
        generator = generator if generator is not None else torch.Generator().manual_seed(0)
        complement, gains = propagation_gains(modes, propagation)
        psi = torch.from_numpy(np.array(modes.vectors)).to(dtype)
        self.register_buffer("psi", psi)
        gains_psi_t = torch.from_numpy(gains).to(dtype)[:, None] * psi.t()
        self.register_buffer("gains_psi_t", gains_psi_t.contiguous())
        self.latents = torch.nn.Parameter(
            torch.randn(len(positions), latents, generator=generator, dtype=dtype)
        )
        widths = (latents, *hidden)
        self.layers = torch.nn.ModuleList(
            GraphConvolution(a, b, complement, generator, dtype)
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.concatenate = concatenate and len(hidden) > 1
        seen = sum(hidden) if self.concatenate else hidden[-1]
        self.output = _random_weight(seen, 3, generator, dtype)
        self.scale = scale
        start = torch.from_numpy(np.array(positions, dtype=np.float64))
        self.register_buffer("anchor", torch.zeros_like(start))
        with torch.no_grad():
            self.anchor = start - self.forward()

    def forward(self) -> torch.Tensor:
        """Positions, (N, 3) float64 in nm."""
        h = self.latents
        outputs: list[torch.Tensor] = []
        for layer in self.layers:
            h = layer(h, self.psi, self.gains_psi_t)
            outputs.append(h)
        seen = torch.cat(outputs, dim=1) if self.concatenate else h
        return self.anchor + self.scale * (seen @ self.output).to(torch.float64)


def propagation_gains(modes: SlowModes, propagation: str) -> tuple[float, np.ndarray]:
    """Return c and g (k,) of the propagation A = c I + Psi diag(g) Psi^T."""
    if propagation == "projector":
        return 0.0, np.ones(len(modes))
    if propagation != "whitened":
        raise ValueError(f"propagation is {propagation!r}; it must be one of {PROPAGATIONS}")
    following = abs(modes.next_eigenvalue)
    magnitudes = np.maximum(np.abs(modes.eigenvalues), following / LARGEST_BOOST**2)
    boosts = np.sqrt(following / magnitudes) if following > 0 else np.ones(len(modes))
    return 1.0, boosts - 1.0


def _random_weight(
    inputs: int, outputs: int, generator: torch.Generator, dtype: torch.dtype
) -> torch.nn.Parameter:
    # Glorot and Bengio, AISTATS 2010.
    spread = (2.0 / (inputs + outputs)) ** 0.5
    weight = torch.randn(inputs, outputs, generator=generator, dtype=dtype)
    return torch.nn.Parameter(spread * weight)


class NetworkSettings(TypedDict, total=False):
    """Settings of a `GCN` that `build_gcn` passes on."""

    hidden: int | Sequence[int]
    latents: int
    propagation: str
    concatenate: bool
    scale: float
    dtype: torch.dtype


def default_count(num_atoms: int) -> int:
    """Slow modes of a `GCN` where nothing else is asked: 30 % of N, at most 100."""
    return min(100, max(1, round(0.3 * num_atoms)))


@register("gcn", ("concatenate", "dtype", "hidden", "latents", "propagation", "scale"))
def build_gcn(
    start: Start,
    *,
    count: int | None = None,
    fraction: float | None = None,
    source: str = "auto",
    samples: int = 0,
    sigma: float = 0.005,
    norm: str = "sum-of-squares",
    coordinates: str = "cartesian",
    modes: SlowModes | None = None,
    **network: Unpack[NetworkSettings],
) -> GCN | Whitened:
    """Build a `GCN` on the slow modes of the molecule at the start.

    Parameters
    ----------
    start : Start
    count, fraction : int or float, optional
        How many slow modes, or which fraction of N; by default 30 % of N, at most 100.
    source : {"auto", "bonded", "full"}
    samples, sigma, norm
        Of the coupling graph, see `molecular_slow_modes`.
    coordinates : {"cartesian", "whitened"}
        What the network puts out: displacements in nm, as published, or latents whitened
        by the shifted Hessian, where stiff bonds do not set the size of its steps (dense blocks:
        for molecules of up to a few thousand atoms).
    modes : SlowModes, optional
        At hand already; the settings above that make them are then of no account.
    **network
        ``hidden``, ``latents``, ``propagation``, ``concatenate``, ``scale``, ``dtype`` of `GCN`.
    """
    if count is None and fraction is None:
        count = default_count(len(start.positions))
    modes = modes or molecular_slow_modes(
        start.potential,
        start.positions,
        count,
        fraction=fraction,
        source=source,
        samples=samples,
        sigma=sigma,
        norm=norm,
        rng=start.rng,
    )
    if coordinates not in ("cartesian", "whitened"):
        raise ValueError(f"coordinates is {coordinates!r}; give 'cartesian' or 'whitened'")
    generator = start.torch_generator()
    if coordinates == "cartesian":
        return GCN(start.positions, modes, generator=generator, **network)
    preconditioner = Preconditioner(start.potential)
    preconditioner.update(start.positions)
    still = np.zeros_like(start.positions)
    network.setdefault("scale", 1.0)
    gcn = GCN(still, modes, generator=generator, **network)
    return Whitened(start.positions, gcn, preconditioner.matrix())
