"""Energies and forces of many structures at once, counted: the plugin's pool of Contexts."""

from __future__ import annotations

import contextlib
from typing import Any, overload

import numpy as np
import openmm as mm
import torch

from ..errors import BudgetExhausted
from ..openmm_torch.context_copy import ContextCopy
from ..openmm_torch.torch_potential import PluginUnavailableError, torch_potential
from ..potentials.interruption import raise_interruption
from ..potentials.potential import UNBOUNDED

__all__ = ["BatchEnergy"]

# Contexts of the pool: enough that handing over to threads costs little beside evaluating; on a
# GPU each takes hundreds of MB.
REPLICAS, ON_A_GPU = 32, 8


class BatchEnergy:
    """Energy E(X) and forces of batches of structures, evaluated on copies of a Context.

    A structure whose energy cannot be evaluated (positions or energy not finite, an exception in
    OpenMM) has an infinite energy and no forces: its Boltzmann weight is zero.

    Parameters
    ----------
    context : openmm.Context
        It has the System, platform, global parameters and force groups that count; it is never
        changed, and later changes do not count.
    limit : int or None
        Evaluations beyond it are refused.
    replicas : int or None
        Contexts in the pool; by default 32, on a GPU 8.

    Attributes
    ----------
    evaluations : int
        Structures evaluated so far.
    limit : int or None
    pooled : bool
        Whether the C++ plugin evaluates; without it, or for a System that it cannot take (one
        with a PythonForce), one Context evaluates structure by structure.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("AAA")
    >>> energy = BatchEnergy(molecule.simulation("Reference").context, replicas=2)
    >>> x = torch.as_tensor(molecule.positions._value).expand(3, -1, -1)
    >>> energies, forces = energy(x)
    >>> forces.shape, energy.evaluations
    (torch.Size([3, 33, 3]), 3)
    """

    def __init__(
        self, context: mm.Context, limit: int | None = None, replicas: int | None = None
    ) -> None:
        self.evaluations, self.limit = 0, limit
        self._num_particles = context.getSystem().getNumParticles()
        on_cpu = context.getPlatform().getName() in UNBOUNDED
        self._replicas = replicas or (REPLICAS if on_cpu else ON_A_GPU)
        self._single = ContextCopy(context)
        self._pool: Any = None
        # The plugin cannot call a PythonForce.
        with contextlib.suppress(PluginUnavailableError, ValueError):
            self._pool = torch_potential(context, self._replicas)

    @property
    def pooled(self) -> bool:
        """Whether the C++ plugin evaluates."""
        return self._pool is not None

    @property
    def left(self) -> float:
        """Evaluations left of the limit; infinite where there is none."""
        return np.inf if self.limit is None else self.limit - self.evaluations

    @overload
    def __call__(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...

    @overload
    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...

    def __call__(self, positions: Any) -> tuple[Any, Any]:
        """Return energies and forces.

        Parameters
        ----------
        positions : (B, N, 3) tensor or array
            In nm.

        Returns
        -------
        energies : (B,) float64
            In kJ/mol; infinite where they cannot be evaluated.
        forces : (B, N, 3) float64
            In kJ/mol/nm. Both on the device, and of the kind, of the positions.

        Raises
        ------
        ValueError
            The shape is wrong.
        BudgetExhausted
            The limit would be passed; nothing has been evaluated.
        """
        if isinstance(positions, np.ndarray):
            energies, forces = self(torch.from_numpy(positions))
            return energies.numpy(), forces.numpy()
        if positions.ndim != 3 or positions.shape[1:] != (self._num_particles, 3):
            raise ValueError(
                f"positions have shape {tuple(positions.shape)}; they need "
                f"(B, {self._num_particles}, 3)"
            )
        if len(positions) > self.left:
            raise BudgetExhausted(
                f"{len(positions)} force evaluations are needed and {self.left} are left of the "
                "budget"
            )
        x = positions.detach().to("cpu", torch.float64)
        energies = torch.full((len(x),), torch.inf, dtype=torch.float64)
        forces = torch.zeros_like(x)
        finite = torch.isfinite(x).flatten(1).all(1).nonzero()[:, 0]
        self.evaluations += len(finite)
        for chunk in finite.split(self._replicas):
            energies[chunk], forces[chunk] = self._evaluated(x[chunk])
        failed = ~(torch.isfinite(energies) & torch.isfinite(forces).flatten(1).all(1))
        energies[failed], forces[failed] = torch.inf, 0.0
        return energies.to(positions.device), forces.to(positions.device)

    def energy(self, positions: torch.Tensor) -> torch.Tensor:
        """Return energies (B,) that can be differentiated; the gradient is minus the forces."""
        return _Energies.apply(positions, self)

    def _evaluated(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._pool is not None:
            # One that fails takes the others of its chunk with it; they are done one by one then.
            with contextlib.suppress(RuntimeError):
                return self._pool.evaluate(positions)
        found = [self._one(x) for x in positions.numpy()]
        energies = torch.tensor([energy for energy, _ in found], dtype=torch.float64)
        return energies, torch.from_numpy(np.stack([forces for _, forces in found]))

    def _one(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        try:
            return self._single.evaluate(positions)
        except mm.OpenMMException as error:
            raise_interruption(error)
            # Ctrl-C inside a PythonForce of others arrives without a message.
            if not str(error):
                raise
            return np.inf, np.zeros_like(positions)


class _Energies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: torch.Tensor, evaluate: BatchEnergy) -> torch.Tensor:
        energies, forces = evaluate(positions)
        ctx.save_for_backward(forces.to(positions))
        return energies

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (forces,) = ctx.saved_tensors
        return -grad.to(forces)[:, None, None] * forces, None
