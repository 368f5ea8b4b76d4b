"""X = X0 + S Z with S S^T = P^-1: preconditioner by the shifted Hessian P = H + mu I."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components

from ..potentials.hessian import require_memory
from ..precon.preconditioner import Preconditioner
from .base import Start, register

__all__ = ["Spectral", "Whitened", "WhiteningMap"]


class WhiteningMap(torch.nn.Module):
    """The linear map z -> S z with S S^T = P^-1, as dense blocks.

    Each connected component of P (a molecule) has a block of its own; molecules of one size share
    a batch.

    Parameters
    ----------
    matrix : (3N, 3N) sparse array
        P, symmetric positive definite, in kJ/mol/nm^2.

    Raises
    ------
    MemoryError
        The blocks would take more than half of the memory.
    """

    def __init__(self, matrix: sp.csr_array) -> None:
        super().__init__()
        entries = sp.coo_array(matrix)
        labels = connected_components(entries, directed=False)[1]
        sizes = np.bincount(labels)
        require_memory(
            3 * 8.0 * np.sum(sizes.astype(float) ** 2),
            f"a dense preconditioner of molecules of up to {sizes.max() // 3} atoms",
            "use the preconditioned L-BFGS, whose factors are sparse: reparametrization='spectral' "
            "with optimizer='lbfgs'.",
        )
        order = np.argsort(labels, kind="stable")
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        place = np.empty(len(labels), dtype=np.int64)
        place[order] = np.arange(len(labels)) - starts[labels[order]]
        self.indices = torch.nn.ParameterList()
        self.blocks = torch.nn.ParameterList()
        for size in np.unique(sizes):
            components = np.flatnonzero(sizes == size)
            rank = np.full(len(sizes), -1)
            rank[components] = np.arange(len(components))
            mine = rank[labels[entries.row]] >= 0
            rows, columns = entries.row[mine], entries.col[mine]
            dense = np.zeros((len(components), size, size))
            dense[rank[labels[rows]], place[rows], place[columns]] = entries.data[mine]
            members = order[starts[components][:, None] + np.arange(size)]
            # P = L L^T, so that S = L^-T.
            lower = torch.linalg.cholesky(torch.from_numpy(dense))
            identity = torch.eye(int(size), dtype=torch.float64).expand_as(lower)
            inverse = torch.linalg.solve_triangular(lower, identity, upper=False)
            self.blocks.append(_constant(inverse.transpose(1, 2).contiguous()))
            self.indices.append(_constant(torch.from_numpy(members)))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """(3N,) latents to (3N,) displacements in nm."""
        displacement = torch.zeros_like(z)
        for index, block in zip(self.indices, self.blocks):  # noqa: B905 - TorchScript's zip
            moved = torch.matmul(block, z[index].unsqueeze(-1))
            displacement = displacement.index_copy(0, index.reshape(-1), moved.reshape(-1))
        return displacement


def _constant(tensor: torch.Tensor) -> torch.nn.Parameter:
    # A list of buffers is what TorchScript lacks.
    return torch.nn.Parameter(tensor, requires_grad=False)


class Spectral(torch.nn.Module):
    """Latents in which the stiff terms have unit curvature in every direction.

    The linear one-layer graph convolution whose propagation is P^(-1/2): a gradient step on Z
    moves X by -P^-1 g.

    Parameters
    ----------
    positions : (N, 3) array
        X0 in nm.
    matrix : (3N, 3N) sparse array
        P, symmetric positive definite, in kJ/mol/nm^2.
    """

    learning_rate = 0.5

    def __init__(self, positions: np.ndarray, matrix: sp.csr_array) -> None:
        super().__init__()
        self.register_buffer("positions", torch.from_numpy(np.array(positions, dtype=np.float64)))
        self.map = WhiteningMap(matrix)
        self.latents = torch.nn.Parameter(torch.zeros(3 * len(positions), dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        """Positions, (N, 3) float64 in nm."""
        return self.positions + self.map(self.latents).view(self.positions.shape)


class Whitened(torch.nn.Module):
    """A network in whitened coordinates: X = X0 + S network().

    Stiff bonds then do not set the size of its steps.

    Parameters
    ----------
    positions : (N, 3) array
        X0 in nm.
    network : torch.nn.Module
        ``forward()`` returns (N, 3), zero at the start.
    matrix : (3N, 3N) sparse array
        P, symmetric positive definite, in kJ/mol/nm^2.
    """

    learning_rate = 0.02

    def __init__(
        self, positions: np.ndarray, network: torch.nn.Module, matrix: sp.csr_array
    ) -> None:
        super().__init__()
        self.register_buffer("positions", torch.from_numpy(np.array(positions, dtype=np.float64)))
        self.network = network
        self.map = WhiteningMap(matrix)

    def forward(self) -> torch.Tensor:
        """Positions, (N, 3) float64 in nm."""
        return self.positions + self.map(self.network().reshape(-1)).view(self.positions.shape)


@register("spectral")
def build_spectral(
    start: Start,
    *,
    shift: float | None = None,
    contacts: bool = True,
    metric: str | Callable = "auto",
) -> Spectral:
    """Build a `Spectral` from the `Preconditioner` at the start.

    Parameters
    ----------
    start : Start
    shift : float, optional
        mu in kJ/mol/nm^2.
    contacts : bool
        Include non-bonded contacts in H.
    metric : {"auto", "terms", "model"} or callable
        Where H comes from, see `Preconditioner`.
    """
    preconditioner = Preconditioner(start.potential, shift=shift, contacts=contacts, metric=metric)
    preconditioner.update(start.positions)
    return Spectral(start.positions, preconditioner.matrix())
