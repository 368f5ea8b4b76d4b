"""X = X0 + Psi Z: motion along slow modes alone, the paper's coarse-graining ("CG")."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch

from ..modes.slow_modes import hessian_modes, molecular_slow_modes, number_of_modes
from ..potentials.hessian import BondedHessian, dense_hessian
from .base import Start, register

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["GraphSettings", "Linear"]


class Linear(torch.nn.Module):
    """Displacements in the span of slow modes.

    Its k < N modes cannot reach every configuration: a fine-grained stage on X must follow.

    Parameters
    ----------
    positions : (N, 3) array
        X0 in nm.
    vectors : (N, k) or (3N, k) array
        Slow modes of the N x N coupling graph, each with a latent vector Z of 3 components, or of
        the 3N x 3N Hessian, each with one latent number.

    References
    ----------
    Dehmamy et al., NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> X0 = np.arange(12.0).reshape(4, 3)
    >>> rho = Linear(X0, np.linalg.qr(np.ones((4, 2)) + np.eye(4, 2))[0])
    >>> rho.latents.shape, np.array_equal(rho().detach().numpy(), X0)
    (torch.Size([2, 3]), True)
    """

    learning_rate = 0.003
    if TYPE_CHECKING:  # TorchScript cannot read annotations that are strings
        positions: torch.Tensor
        vectors: torch.Tensor

    def __init__(self, positions: np.ndarray, vectors: np.ndarray) -> None:
        super().__init__()
        size = len(positions)
        if vectors.shape[0] not in (size, 3 * size):
            raise ValueError(f"modes of {vectors.shape[0]} rows do not fit {size} atoms")
        per_atom = vectors.shape[0] == size
        self.register_buffer("positions", torch.from_numpy(np.array(positions, dtype=np.float64)))
        self.register_buffer("vectors", torch.from_numpy(np.array(vectors, dtype=np.float64)))
        shape = (vectors.shape[1], 3 if per_atom else 1)
        self.latents = torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        """Positions, (N, 3) float64 in nm."""
        return self.positions + (self.vectors @ self.latents).view(self.positions.shape)


class GraphSettings(TypedDict, total=False):
    """Settings of a coupling graph that `build_linear` passes on."""

    norm: str
    samples: int
    sigma: float


@register("linear", ("norm", "samples", "sigma"))
def build_linear(
    start: Start,
    *,
    count: int | None = None,
    fraction: float | None = None,
    modes_of: str = "coupling-graph",
    source: str = "auto",
    **graph_settings: Unpack[GraphSettings],
) -> Linear:
    """Build a `Linear` from slow modes at the start.

    Parameters
    ----------
    start : Start
    count, fraction : int or float, optional
        How many modes, or which fraction of N (coupling graph) or 3N (Hessian); 30 % by default.
    modes_of : {"coupling-graph", "hessian"}
        "backbone" is the deprecated name of the first.
    source : {"auto", "bonded", "full"}
        Which Hessian, see `molecular_slow_modes`.
    **graph_settings
        ``samples``, ``sigma``, ``norm`` of `molecular_slow_modes`.
    """
    if count is None and fraction is None:
        fraction = 0.3
    if modes_of == "backbone":
        warnings.warn(
            'modes_of="backbone" is "coupling-graph" now', DeprecationWarning, stacklevel=2
        )
        modes_of = "coupling-graph"
    if modes_of == "coupling-graph":
        modes = molecular_slow_modes(
            start.potential,
            start.positions,
            count,
            fraction=fraction,
            source=source,
            rng=start.rng,
            **graph_settings,
        )
        return Linear(start.positions, modes.vectors)
    if modes_of != "hessian":
        raise ValueError(f"modes_of is {modes_of!r}; it must be 'coupling-graph' or 'hessian'")
    if source == "full":
        hessian = dense_hessian(start.potential, start.positions)
    else:
        hessian = BondedHessian(start.potential).evaluate(start.positions)
    count = number_of_modes(3 * len(start.positions), count, fraction)
    return Linear(start.positions, hessian_modes(hessian, count).vectors)
