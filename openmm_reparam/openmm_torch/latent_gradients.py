"""Energies and gradients of a latent stage by a latent System's Context: engine="openmm-torch"."""

from __future__ import annotations

import numpy as np
import openmm as mm
import torch

from ..errors import NonFiniteError
from ..optimizers.latents import Gradients, trained
from ..potentials.point import Point
from ..potentials.potential import Potential
from .decoders import Decoder, padded
from .latent_forces import latent_force, refuse_constraints

__all__ = ["torchforce_gradients"]


def torchforce_gradients(
    module: torch.nn.Module, potential: Potential, force: str | None = "auto"
) -> Gradients:
    """As `eager_gradients`, but every energy and gradient is that of a latent System's Context.

    Parameters
    ----------
    module : torch.nn.Module
        ``forward()`` returns (N, 3) positions in nm.
    potential : Potential
        Counts the evaluations; its Context must have no constraints.
    force : {"auto", "torchforce", "pythontorchforce", "python"} or None
        Of the latent System, see `openmm_reparam.latent_system`.
    """
    refuse_constraints(potential)
    parameters = trained(module)
    decoder = Decoder(module, True, potential.moves, potential.positions())
    made = latent_force(potential.context, decoder, force)
    context = _context(made.force, decoder.particles)

    def energy_and_gradient(known: Point | None = None) -> Point:
        now = torch.cat([p.detach().double().reshape(-1) for p in parameters])
        if not torch.isfinite(now).all():
            raise NonFiniteError("the latents are NaN or infinite", ())
        potential.counter.add(potential.kind)
        context.setPositions(padded(now, decoder.particles))
        try:
            state = context.getState(energy=True, forces=True)
        except mm.OpenMMException as error:
            if "NaN" not in str(error):
                raise
            raise NonFiniteError(f"the latents decode to NaN: {error}", ()) from error
        point = made.last()
        if not (np.isfinite(point.energy) and np.isfinite(point.forces).all()):
            raise NonFiniteError("energy or forces are NaN or infinite", ())
        gradient = torch.from_numpy(-np.array(state.getForces(asNumpy=True)._value).reshape(-1))
        parts = gradient[: decoder.size].split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).to(parameter)
        return point

    return energy_and_gradient


def _context(force: mm.Force, particles: int) -> mm.Context:
    system = mm.System()
    for _ in range(particles):
        system.addParticle(1.0)
    system.addForce(force)
    return mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
