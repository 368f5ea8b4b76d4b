"""X = X0 + S Z with S S^T = P^-1: whitening by the shifted Hessian P = H + mu I."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components

from ..hessian import require_memory
from ..whitening import Whitening
from .base import Start, register

__all__ = ["Spectral"]


class Spectral(torch.nn.Module):
    """Latents in which the stiff terms have unit curvature in every direction.

    The linear one-layer graph convolution whose propagation is P^(-1/2): a gradient step on Z
    moves X by -P^-1 g. Each connected component of P has a dense block; molecules of one size
    share a batch.

    Parameters
    ----------
    positions : (N, 3) array
        X0 in nm.
    matrix : (3N, 3N) sparse array
        P, symmetric positive definite, in kJ/mol/nm^2.
    scale : float
        S is multiplied by this; latents of one unit then raise the energy by about scale^2 / 2.

    Raises
    ------
    MemoryError
        A component is so large that its dense block does not fit.
    """

    def __init__(self, positions: np.ndarray, matrix: sp.csr_array, *, scale: float = 1.0) -> None:
        super().__init__()
        matrix = sp.csr_array(matrix)
        size = len(positions)
        self.register_buffer("positions", torch.from_numpy(np.array(positions, dtype=np.float64)))
        labels = connected_components(matrix, directed=False)[1]
        order = np.argsort(labels, kind="stable")
        sizes = np.bincount(labels)
        require_memory(
            8.0 * np.sum(sizes.astype(float) ** 2),
            f"a dense whitening of molecules of up to {sizes.max() // 3} atoms",
            "use the whitened L-BFGS, whose factors are sparse: reparametrization='spectral' "
            "with optimizer='lbfgs'.",
        )
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        indices: list[torch.Tensor] = []
        self.blocks = torch.nn.ParameterList()
        for length in np.unique(sizes):
            members = order[starts[sizes == length][:, None] + np.arange(length)]
            blocks = np.stack([_whitening_block(matrix, atoms) for atoms in members])
            indices.append(torch.from_numpy(members))
            self.blocks.append(
                torch.nn.Parameter(torch.from_numpy(scale * blocks), requires_grad=False)
            )
        self.indices = torch.nn.ParameterList(
            torch.nn.Parameter(index, requires_grad=False) for index in indices
        )
        self.latents = torch.nn.Parameter(torch.zeros(3 * size, dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        """Positions, (N, 3) float64 in nm."""
        displacement = torch.zeros_like(self.latents)
        for index, block in zip(self.indices, self.blocks):  # noqa: B905 - TorchScript's zip
            moved = torch.matmul(block, self.latents[index].unsqueeze(-1)).squeeze(-1)
            displacement = displacement.index_copy(0, index.reshape(-1), moved.reshape(-1))
        return self.positions + displacement.view(self.positions.shape)


def _whitening_block(matrix: sp.csr_array, coordinates: np.ndarray) -> np.ndarray:
    """Return S = L^-T of one component, P = L L^T."""
    block = matrix[coordinates][:, coordinates].toarray()
    lower = scipy.linalg.cholesky(block, lower=True)
    return scipy.linalg.solve_triangular(lower, np.eye(len(block)), lower=True).T


@register("spectral")
def build_spectral(
    start: Start, *, shift: float | None = None, contacts: bool = True, scale: float = 1.0
) -> Spectral:
    """Build a `Spectral` from the `Whitening` at the start.

    Parameters
    ----------
    start : Start
    shift : float, optional
        mu in kJ/mol/nm^2.
    contacts : bool
        Include non-bonded contacts in H.
    scale : float
        See `Spectral`.
    """
    whitening = Whitening(start.potential, shift=shift, contacts=contacts)
    whitening.update(start.positions)
    return Spectral(start.positions, whitening.matrix(), scale=scale)
