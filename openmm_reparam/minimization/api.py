"""minimize_reparam(): one call where ``simulation.minimizeEnergy()`` stood."""

from __future__ import annotations

import openmm as mm
from openmm import unit

from .minimizer import AUTO, ReparamMinimizer
from .result import MinimizationResult

__all__ = ["AUTO", "minimize_reparam"]


def minimize_reparam(
    simulation,
    tolerance=10 * unit.kilojoules_per_mole / unit.nanometer,
    maxIterations: int = 0,
    reporter: mm.MinimizationReporter | None = None,
    *,
    reparametrization=AUTO,
    max_force_evaluations: int | None = None,
    seed: int | None = None,
    strict: bool = False,
    replicas=None,
    replica_temperature: float = 300.0,
    progress: bool | None = None,
    **settings,
) -> MinimizationResult:
    r"""Minimize the potential energy of a Simulation by reparametrization.

    Stands where ``simulation.minimizeEnergy(tolerance, maxIterations, reporter)`` stood. Only the
    positions of the Context change, and only if nothing is raised.

    Parameters
    ----------
    simulation : openmm.app.Simulation or openmm.Context
    tolerance : Quantity or float
        RMS force (kJ/mol/nm) at which to stop: sqrt(sum \|F\|^2 / N).
    maxIterations : int
        Of the whole run; 0 for no limit.
    reporter : openmm.MinimizationReporter, optional
    reparametrization : str, torch.nn.Module or callable
        "auto" is "spectral", which goes to a nearby minimum with the fewest force evaluations.
        Or "gcn" (the paper's network), "linear", "cartesian", another registered name, or a
        module of your own that returns (N, 3) positions in nm.
    max_force_evaluations : int, optional
        Hessians included.
    seed : int, optional
        None is 0: the same call gives the same result.
    strict : bool
        Raise `NotConvergedError` instead of warning.
    replicas : int or (R, N, 3) array or Quantity, optional
        Minimize many starts together and write the best back: the Simulation's positions and
        R - 1 thermal perturbations of them (at ``replica_temperature``, in K), or starts of your
        own in nm. All are in ``result.replicas``, with RMSDs and clusters.
    progress : bool, optional
        None shows a bar on a terminal, for runs of more than a few seconds.
    **settings
        Of `ReparamMinimizer` (with ``search="auto"`` it goes on to deeper minima;
        ``latent_iterations``, ``learning_rate``, ... where there is a latent stage) and of the
        reparametrization (``shift``, ...; ``hidden``, ``count``, ... of "gcn").

    Returns
    -------
    MinimizationResult

    Raises
    ------
    TypeError, ValueError
        Bad arguments: also a setting that the reparametrization does not have.
    NonFiniteError
        The start holds NaN or coincident atoms, or infinite forces that pushing overlapping atoms
        apart does not make finite; or the positions were never set.
    UnsupportedSystemError
        Drude particles, RPMD, or a System changed after its Context was made.
    NotConvergedError
        With ``strict=True``.

    Examples
    --------
    >>> from openmm_reparam import minimize_reparam
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> simulation = peptide("AAA").simulation("CPU")
    >>> result = minimize_reparam(simulation, tolerance=1)
    >>> result.converged, result.energy < result.initial_energy
    (True, True)
    """
    minimizer = ReparamMinimizer(
        simulation, reparametrization, seed=seed, progress=progress, **settings
    )
    return minimizer.minimize(
        tolerance,
        maxIterations,
        reporter,
        max_force_evaluations=max_force_evaluations,
        strict=strict,
        replicas=replicas,
        replica_temperature=replica_temperature,
    )
