"""Latent Systems: a reparametrized molecule as an ordinary OpenMM object.

The particles of a latent System are the latents Z of X = rho(Z); its one force asks OpenMM for the
molecule's energy. Every OpenMM integrator, minimizer, reporter and serializer works on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import openmm as mm
import torch
from openmm import app, unit

from ..potentials.potential import Potential
from ..reparametrizations import Start, build
from .decoders import Decoder, padded
from .latent_forces import chosen_force, latent_force, refuse_constraints

__all__ = ["LatentSystem", "latent_system"]

# Random sign vectors from which the masses of the metric are estimated.
PROBES = 64


@dataclass
class LatentSystem:
    """A molecule in its latents.

    Attributes
    ----------
    system : openmm.System
        Particles are latents, three numbers each; it has one force.
    positions : Quantity
        (particles, 3): the latents at which the molecule stands where it stood.
    topology : openmm.app.Topology
        One residue of as many nameless atoms, for Simulation and reporters.
    """

    system: mm.System
    positions: unit.Quantity
    topology: app.Topology
    _decode: Callable[[torch.Tensor], torch.Tensor] = field(repr=False)
    _size: int = field(repr=False)
    _context: mm.Context = field(repr=False)
    _evaluations: Callable[[], int] = field(repr=False)

    @property
    def evaluations(self) -> int:
        """Force evaluations of the molecule that Contexts of ``system`` have made.

        Those of a System that was read from its XML are not among them.
        """
        return self._evaluations()

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
        with torch.no_grad():
            return self._decode(flat).numpy()

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
    force: str | None = "auto",
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
    force : {"auto", "torchforce", "pythontorchforce", "python"} or None
        What asks for the molecule's energy. "torchforce" is an ``openmmtorch.TorchForce`` around a
        traced TorchScript model; it needs openmmtorch and the C++ plugin, and its XML is read
        where this package was never imported. "python" is an ``openmm.PythonForce``, which runs
        the module as it is; it needs neither, and works with any version of torch.
        "pythontorchforce" is the same in a newer openmmtorch's PythonTorchForce. "auto" (or None)
        takes that where the installed openmmtorch has it, else "torchforce".
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
        A TorchForce needs the C++ plugin.
    ImportError
        openmmtorch is not installed, or has no such force.
    ValueError
        An unknown force, or wrong masses.

    Notes
    -----
    The XML of a PythonForce or PythonTorchForce holds the pickled module and the molecule's System.
    The process that reads it must be able to import this package and the module's class. A module
    that cannot be pickled (a class defined in a function, say) works, but is not written.
    Unpickling runs code: read such a file only where you trust who wrote it.

    Examples
    --------
    >>> import openmm as mm
    >>> from openmm import app
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("AAA", constraints=None).simulation("CPU")
    >>> latent = latent_system(molecule, "linear", count=10, force="python")
    >>> context = mm.Context(latent.system, mm.VerletIntegrator(0.001))
    >>> context.setPositions(latent.positions)
    >>> mm.LocalEnergyMinimizer.minimize(context, 10)
    >>> latent.write_back(context)
    """
    force = chosen_force(force)
    context = getattr(simulation, "context", simulation)
    potential = Potential(context, getattr(simulation, "topology", None))
    refuse_constraints(potential)
    x = potential.positions()
    module = build(reparametrization, Start(potential, x, np.random.default_rng(seed)), **settings)
    decoder = Decoder(module, weights, potential.moves, x)
    made = latent_force(context, decoder, force)
    system = mm.System()
    for mass in _masses(masses, made.decode, decoder, potential):
        system.addParticle(mass)
    system.addForce(made.force)
    return LatentSystem(
        system,
        padded(decoder.start, decoder.particles) * unit.nanometer,
        _topology(decoder.particles),
        made.decode,
        decoder.size,
        context,
        made.evaluations,
    )


def _masses(masses, decode, decoder: Decoder, potential: Potential) -> np.ndarray:
    """One mass for each particle, in dalton."""
    if masses != "metric":
        if isinstance(masses, str) or not 0 < masses < np.inf:
            raise ValueError(f"masses is {masses!r}; give 'metric' or a positive number of dalton")
        return np.full(decoder.particles, float(masses))
    # diag(J^T M J), by random signs (Hutchinson): the mean of (J^T M^(1/2) r)^2.
    root = torch.from_numpy(np.sqrt(potential.masses))[:, None]
    generator = torch.Generator().manual_seed(0)
    diagonal = torch.zeros_like(decoder.start)
    latents = decoder.start.clone().requires_grad_(True)
    x = decode(latents)
    for _ in range(PROBES):
        signs = torch.randint(0, 2, x.shape, generator=generator, dtype=torch.float64) * 2 - 1
        (pulled,) = torch.autograd.grad(x, latents, root * signs, retain_graph=True)
        diagonal += pulled**2 / PROBES
    metric = padded(diagonal, decoder.particles).mean(axis=1)
    # A latent that moves nothing has no mass of its own; a particle without mass would be fixed.
    return np.maximum(metric, 1e-3 * metric.max())


def _topology(particles: int) -> app.Topology:
    topology = app.Topology()
    residue = topology.addResidue("LAT", topology.addChain())
    for k in range(particles):
        topology.addAtom(f"Z{k}", None, residue)
    return topology
