"""Latent Systems: a reparametrized molecule as an ordinary OpenMM object.

The particles of a latent System are the latents Z of X = rho(Z); its one force is a TorchForce
around a TorchScript model that asks OpenMM for the molecule's energy. Every OpenMM integrator,
minimizer, reporter and serializer works on it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import openmm as mm
import torch
from openmm import app, unit

from ..errors import NonFiniteError, UnsupportedSystemError
from ..optimizers.latents import Gradients, trained
from ..potentials.point import Point
from ..potentials.potential import Potential
from ..reparametrizations import Start, build
from .torch_potential import torch_potential
from .torchforce import torch_force

__all__ = ["LatentSystem", "latent_system", "torchforce_gradients"]

# Random sign vectors from which the masses of the metric are estimated.
PROBES = 64


@dataclass
class LatentSystem:
    """A molecule in its latents.

    Attributes
    ----------
    system : openmm.System
        Particles are latents, three numbers each; its force is a TorchForce.
    positions : Quantity
        (particles, 3): the latents at which the molecule stands where it stood.
    topology : openmm.app.Topology
        One residue of as many nameless atoms, for Simulation and reporters.
    """

    system: mm.System
    positions: unit.Quantity
    topology: app.Topology
    _decoder: torch.jit.ScriptModule = field(repr=False)
    _size: int = field(repr=False)
    _context: mm.Context = field(repr=False)

    def decode(self, positions) -> np.ndarray:
        """Return the molecule's positions, (N, 3) in nm.

        Parameters
        ----------
        positions : Quantity or (particles, 3) array
            Of the latent particles.
        """
        if unit.is_quantity(positions):
            positions = positions.value_in_unit(unit.nanometer)
        flat = torch.from_numpy(np.asarray(positions, dtype=np.float64).reshape(-1)[: self._size])
        return self._decoder(flat).numpy()

    def write_back(self, context: mm.Context) -> None:
        """Set the molecule's own Context to what the latents of a latent Context decode to.

        Parameters
        ----------
        context : openmm.Context
            Of this object's ``system``.

        Raises
        ------
        ValueError
            The latents decode to positions that are not finite; the molecule is left as it was.
        """
        latents = context.getState(positions=True).getPositions(asNumpy=True)
        x = self.decode(latents)
        if not np.isfinite(x).all():
            raise ValueError("the latents decode to positions that are NaN or infinite")
        molecule = Potential(self._context)
        # Fixed atoms keep the very bits they had.
        molecule.set_positions(np.where(molecule.masses[:, None] > 0, x, molecule.positions()))


def latent_system(
    simulation,
    reparametrization="gcn",
    *,
    weights: bool = False,
    masses: str | float = 1.0,
    seed: int = 0,
    **settings,
) -> LatentSystem:
    """Make a latent System of a molecule.

    Parameters
    ----------
    simulation : openmm.app.Simulation or openmm.Context
        The molecule: its System, platform, force groups, box, parameters and positions. Only
        ``write_back`` changes it.
    reparametrization : str, torch.nn.Module or callable
        See `openmm_reparam.reparametrizations.build`.
    weights : bool
        Make all trainable parameters particles. By default those named ``latents`` are; a module
        that has none gets all of them.
    masses : float or "metric"
        Of the latent particles, in dalton; "metric" takes the diagonal of J^T M J, J = dX/dZ, M the
        atoms' masses, so that latents move about as fast as the atoms they move.
    seed : int
        Of latents and weights.
    **settings
        Of the reparametrization.

    Returns
    -------
    LatentSystem

    Raises
    ------
    UnsupportedSystemError
        The molecule has constraints: latents would leave them.
    PluginUnavailableError
    ImportError
        openmmtorch is not installed.

    Examples
    --------
    >>> import openmm as mm
    >>> from openmm import app
    >>> from openmm_reparam.testsystems import peptide
    >>> molecule = peptide("AAA", constraints=None).simulation("CPU")
    >>> latent = latent_system(molecule, "linear", count=10)
    >>> context = mm.Context(latent.system, mm.VerletIntegrator(0.001))
    >>> context.setPositions(latent.positions)
    >>> mm.LocalEnergyMinimizer.minimize(context, 10)
    >>> latent.write_back(context)
    """
    context = getattr(simulation, "context", simulation)
    potential = Potential(context, getattr(simulation, "topology", None))
    _refuse_constraints(potential)
    x = potential.positions()
    module = build(reparametrization, Start(potential, x, np.random.default_rng(seed)), **settings)
    decoder, flat = _traced(module, weights, potential, x)
    size = flat.numel()
    particles = -(-size // 3)
    model = torch.jit.script(_LatentEnergy(torch_potential(context), decoder, size))
    return LatentSystem(
        _system(model, _masses(masses, decoder, flat, potential, particles)),
        _padded(flat, particles) * unit.nanometer,
        _topology(particles),
        decoder,
        size,
        context,
    )


def torchforce_gradients(module: torch.nn.Module, potential: Potential) -> Gradients:
    """As `eager_gradients`, but every energy and gradient is that of a latent System's Context.

    Parameters
    ----------
    module : torch.nn.Module
        ``forward()`` returns (N, 3) positions in nm.
    potential : Potential
        Counts the evaluations; its Context must have no constraints.
    """
    _refuse_constraints(potential)
    inner = torch_potential(potential.context)
    parameters = trained(module)
    decoder, flat = _traced(module, True, potential, potential.positions())
    size = flat.numel()
    particles = -(-size // 3)
    model = torch.jit.script(_LatentEnergy(inner, decoder, size))
    context = mm.Context(
        _system(model, np.ones(particles)),
        mm.VerletIntegrator(0.001),
        mm.Platform.getPlatformByName("Reference"),
    )

    def energy_and_gradient(known: Point | None = None) -> Point:
        now = torch.cat([p.detach().double().reshape(-1) for p in parameters])
        if not torch.isfinite(now).all():
            raise NonFiniteError("the latents are NaN or infinite", ())
        potential.counter.add(potential.kind)
        context.setPositions(_padded(now, particles))
        try:
            state = context.getState(energy=True, forces=True)
        except mm.OpenMMException as error:
            if "NaN" not in str(error):
                raise
            raise NonFiniteError(f"the latents decode to NaN: {error}", ()) from error
        gradient = torch.from_numpy(-np.array(state.getForces(asNumpy=True)._value).reshape(-1))
        x, energies, forces = inner.last()
        if not (torch.isfinite(energies).all() and torch.isfinite(forces).all()):
            raise NonFiniteError("energy or forces are NaN or infinite", ())
        parts = gradient[:size].split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).to(parameter)
        return Point(x[0].numpy(), energies[0].item(), forces[0].numpy())

    return energy_and_gradient


def _refuse_constraints(potential: Potential) -> None:
    count = len(potential.constraints[0])
    if count:
        raise UnsupportedSystemError(
            f"the System has {count} constraints, which positions decoded from latents would "
            "violate; create it with constraints=None and rigidWater=False, or use "
            "minimize_reparam, which keeps them"
        )


def _system(model: torch.jit.ScriptModule, masses: np.ndarray) -> mm.System:
    system = mm.System()
    for mass in masses:
        system.addParticle(mass)
    system.addForce(torch_force(model))
    return system


def _padded(flat: torch.Tensor, particles: int) -> np.ndarray:
    """Numbers as the positions of particles, (particles, 3)."""
    padded = np.zeros(3 * particles)
    padded[: flat.numel()] = flat.numpy()
    return padded.reshape(-1, 3)


class _LatentEnergy(torch.nn.Module):
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


class _Decoder(torch.nn.Module):
    """X of a flat vector of what trains, to be traced: everything else becomes constant."""

    def __init__(
        self, module: torch.nn.Module, names: list[str], moves: np.ndarray, start: np.ndarray
    ) -> None:
        super().__init__()
        # In a tuple, so that its parameters are not this module's.
        self._held = (module,)
        self._shapes = [(n, p.shape, p.dtype) for n, p in module.named_parameters() if n in names]
        self._moves = torch.from_numpy(moves)[:, None]
        self._start = torch.from_numpy(start)

    def forward(self, flat: torch.Tensor) -> torch.Tensor:
        module, begin = self._held[0], 0
        for name, shape, dtype in self._shapes:
            part = flat[begin : begin + shape.numel()].reshape(shape).to(dtype)
            begin += shape.numel()
            path, _, leaf = name.rpartition(".")
            owner = module.get_submodule(path)
            # An ordinary attribute in place of the parameter: torch.func does not trace.
            owner._parameters.pop(leaf, None)
            owner.__dict__[leaf] = part
        return torch.where(self._moves, module().to(torch.float64), self._start)


def _traced(
    module: torch.nn.Module, weights: bool, potential: Potential, x: np.ndarray
) -> tuple[torch.jit.ScriptModule, torch.Tensor]:
    """Return X(flat) as TorchScript, and where it starts."""
    module = copy.deepcopy(module).cpu()
    every = [name for name, p in module.named_parameters() if p.requires_grad]
    latents = [name for name in every if name.rpartition(".")[2] == "latents"]
    names = every if weights or not latents else latents
    start = [p.detach().double().reshape(-1) for n, p in module.named_parameters() if n in names]
    flat = torch.cat(start)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    decoder = _Decoder(module, names, potential.moves, x)
    return torch.jit.trace(decoder, flat, check_trace=False), flat


def _masses(
    masses, decoder, flat: torch.Tensor, potential: Potential, particles: int
) -> np.ndarray:
    """One mass for each particle, in dalton."""
    if masses != "metric":
        if isinstance(masses, str) or not 0 < masses < np.inf:
            raise ValueError(f"masses is {masses!r}; give 'metric' or a positive number of dalton")
        return np.full(particles, float(masses))
    # diag(J^T M J), by random signs (Hutchinson): the mean of (J^T M^(1/2) r)^2.
    root = torch.from_numpy(np.sqrt(potential.masses))[:, None]
    generator = torch.Generator().manual_seed(0)
    diagonal = torch.zeros_like(flat)
    latents = flat.clone().requires_grad_(True)
    x = decoder(latents)
    for _ in range(PROBES):
        signs = torch.randint(0, 2, x.shape, generator=generator, dtype=torch.float64) * 2 - 1
        (pulled,) = torch.autograd.grad(x, latents, root * signs, retain_graph=True)
        diagonal += pulled**2 / PROBES
    metric = _padded(diagonal, particles).mean(axis=1)
    # A latent that moves nothing has no mass of its own; a particle without mass would be fixed.
    return np.maximum(metric, 1e-3 * metric.max())


def _topology(particles: int) -> app.Topology:
    topology = app.Topology()
    residue = topology.addResidue("LAT", topology.addChain())
    for k in range(particles):
        topology.addAtom(f"Z{k}", None, residue)
    return topology
