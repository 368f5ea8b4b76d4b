"""ReparamMinimizer: runs the stages, holds the budget, keeps the best structure, writes it back."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from types import FrameType

import numpy as np
import openmm as mm
from openmm import unit

from ..errors import ConvergenceWarning, NotConvergedError, UnsupportedSystemError
from ..optimizers.torch_threads import torch_threads_for
from ..potentials.evaluator import Evaluator
from ..potentials.potential import Potential
from ..potentials.system_changes import refuse_changed_system
from ..units import in_unit
from .progress import Progress
from .result import MinimizationResult
from .run import Run
from .settings import AUTO, minimization_settings

__all__ = ["AUTO", "ReparamMinimizer"]


class ReparamMinimizer:
    """Minimizes the positions of an OpenMM Context by reparametrization.

    A latent stage descends in the latents and weights of X = rho(Z; theta); a fine-grained stage
    (L-BFGS on X, preconditioned by the stiff terms' shifted Hessian, on the constraint manifold)
    then goes to the tolerance. The default, "spectral", is the fine-grained stage alone.

    Parameters
    ----------
    simulation : openmm.app.Simulation or openmm.Context
        Only its positions will change, and only if the run succeeds.
    reparametrization : str, torch.nn.Module or callable
        "auto" (that is "spectral"), "gcn" (the paper's network), "linear", "cartesian", another
        registered name, a module of your own whose ``forward()`` returns (N, 3) positions in nm,
        or a callable that makes one; see `openmm_reparam.reparametrizations.build`.
    optimizer : {"adam", "lbfgs"}, optional
        Of the latent stage. "spectral" with "lbfgs" (its default) is the fine-grained stage: the
        same path, with P refreshed on the way.
    learning_rate, schedule, latent_iterations, patience, relative_energy, max_gradient_norm
        Of the latent stage, see `LatentSettings`. ``latent_iterations=0`` leaves it out. "auto"
        and "spectral" have no such stage and refuse them.
    fine_stage : bool
        Run the fine-grained stage.
    engine : {"python", "openmm-torch"}
        Of the latent stage: OpenMM called from Python, or a latent System's Context (see
        `latent_system`), to the same energies; the latter needs openmmtorch, the C++ plugin and
        a System without constraints, and evaluates the start twice.
    harmonic_continuation : bool
        First pull the terms of CustomBondForces that are outside their wells into them, as springs:
        for coils of Morse or Lennard-Jones bonds that start torn apart or caught in a soft core.
    search : {"auto", "slow-modes", "population", "annealed", "neural"} or SearchSettings, optional
        Go on from the minimum, hopping to minima deeper than the nearest one, until
        ``max_force_evaluations`` is used up; see `SearchSettings`. Ctrl-C then ends the run early
        with the best structure written back.
    surrogate : {"auto", "mmff", "gfnff"}, System, Simulation, molecule or callable, optional
        A cheap energy for the same particles, on which steps are found; the Context's own forces
        verify every step. "mmff" is RDKit's MMFF94, "gfnff" GFN-FF, "auto" what is installed and
        fits; or an OpenMM System or Simulation (a molecular mechanics force field for a mixed
        System, say), an RDKit molecule, or (N, 3) nm -> energy in kJ/mol, forces (N, 3). The
        difference between both energies is learnt for up to 200 atoms on which they differ;
        beyond that, or where it does not help any more, the terms of a System or Simulation make
        the preconditioner, and other surrogates are not used.
        None: the whole energy of up to 100 atoms is learnt, if a force of unknown terms (a network,
        xTB) acts on all atoms. False turns this off.
    surrogate_first : bool, optional
        Whether the first step goes to the surrogate's own minimum; None: where the start is far
        from it.
    internal_steps : bool, optional
        Whether the last stage goes along bonds, angles and torsions in place of straight lines:
        fewer evaluations, and some ms of dense algebra for each. None: for up to 300 atoms on all
        of which a force of unknown terms acts.
    seed : int, optional
        Of all randomness; None is 0, so that the same call gives the same result.
    progress : bool, optional
        True, False, or None: a bar on a terminal, for runs of more than a few seconds.
    **settings
        Of the reparametrization: ``shift`` and ``contacts`` of "spectral"; ``hidden``, ``count``
        (of slow modes), ``propagation``, ... of "gcn".

    Raises
    ------
    TypeError
        A wrong type, or a setting that the reparametrization does not have.
    ValueError
        A wrong value, or settings that leave no stage to run.
    UnsupportedSystemError
        Drude particles, RPMD.

    References
    ----------
    Dehmamy, Both, Mohapatra, Das, Jaakkola, "Neural network reparametrization for accelerated
    optimization in molecular simulations", NeurIPS 2024.

    Examples
    --------
    >>> from openmm_reparam import ReparamMinimizer
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> simulation = peptide("AAA").simulation("CPU")
    >>> minimizer = ReparamMinimizer(simulation, "gcn", hidden=(32, 32), latent_iterations=50)
    >>> result = minimizer.minimize(tolerance=10)
    >>> result.converged, [stage.name for stage in result.stages]
    (True, ['gcn', 'preconditioned L-BFGS'])
    """

    def __init__(
        self,
        simulation,
        reparametrization=AUTO,
        *,
        optimizer: str | None = None,
        learning_rate: float | None = None,
        schedule: str = "cosine",
        latent_iterations: int = 200,
        patience: int = 50,
        relative_energy: float = 1e-4,
        max_gradient_norm: float = 1e4,
        fine_stage: bool = True,
        engine: str = "python",
        harmonic_continuation: bool = False,
        search=None,
        surrogate=None,
        surrogate_first: bool | None = None,
        internal_steps: bool | None = None,
        seed: int | None = None,
        progress: bool | None = None,
        **settings,
    ) -> None:
        context = getattr(simulation, "context", simulation)
        if not isinstance(context, mm.Context):
            raise TypeError(
                f"pass an openmm.app.Simulation or an openmm.Context, not "
                f"{type(simulation).__name__}"
            )
        self.context = context
        self.topology = getattr(simulation, "topology", None)
        if "bond_springs" in settings:  # removed in the version after the next
            warnings.warn(
                "bond_springs is harmonic_continuation now",
                DeprecationWarning,
                stacklevel=_callers_level(),
            )
            harmonic_continuation = settings.pop("bond_springs")
        self.settings = minimization_settings(
            reparametrization,
            settings,
            optimizer=optimizer,
            learning_rate=learning_rate,
            schedule=schedule,
            latent_iterations=latent_iterations,
            patience=patience,
            relative_energy=relative_energy,
            max_gradient_norm=max_gradient_norm,
            fine_stage=fine_stage,
            engine=engine,
            harmonic_continuation=harmonic_continuation,
            search=search,
            surrogate=surrogate,
            surrogate_first=surrogate_first,
            internal_steps=internal_steps,
            seed=seed,
            progress=progress,
        )
        refuse_unsupported(context)

    def minimize(
        self,
        tolerance=10 * unit.kilojoules_per_mole / unit.nanometer,
        maxIterations: int = 0,
        reporter: mm.MinimizationReporter | None = None,
        *,
        max_force_evaluations: int | None = None,
        strict: bool = False,
        replicas=None,
        replica_temperature: float = 300.0,
    ) -> MinimizationResult:
        r"""Minimize, and write the best structure to the Context.

        Parameters
        ----------
        tolerance : Quantity or float
            RMS force (kJ/mol/nm) at which to stop: sqrt(sum \|F\|^2 / N).
        maxIterations : int
            Of all stages together; 0 for no limit.
        reporter : openmm.MinimizationReporter, optional
            Called after every iteration; returning True stops the run with the best structure.
        max_force_evaluations : int, optional
            Hessians included.
        strict : bool
            Raise `NotConvergedError`, the Context unchanged, where a run does not converge.
        replicas : int or (R, N, 3) array or Quantity, optional
            Minimize many starts together and write the best back: the Context's positions and
            R - 1 perturbations of them, or starts of your own in nm. ``max_force_evaluations`` is
            shared evenly. All are in the result's ``replicas``. Their latent stage needs the C++
            plugin.
        replica_temperature : float
            In K, of the thermal perturbations (see `replica_starts`).

        Returns
        -------
        MinimizationResult

        Raises
        ------
        TypeError, ValueError
            A wrong dimension; a negative or non-finite number.
        NonFiniteError
            The start holds NaN or coincident atoms, or infinite forces that pushing overlapping
            atoms apart does not make finite; or the positions were never set.
        UnsupportedSystemError
            The System was changed after the Context was made: call ``reinitialize()`` first.
        NotConvergedError
            With ``strict=True``.
        Exception
            Whatever the reporter or OpenMM raises, with the Context as it was before; Ctrl-C too,
            but in a search.

        Warns
        -----
        ConvergenceWarning
            The run ended above the tolerance.
        """
        settings = self.settings.limited(tolerance, maxIterations, max_force_evaluations)
        temperature = in_unit(replica_temperature, unit.kelvin, "replica_temperature")
        settings.refuse_combinations(replicas, reporter)
        evaluator = Evaluator(Potential(self.context, self.topology))
        potential = evaluator.potential
        refuse_changed_system(potential, evaluator.manifold)
        original = potential.positions()
        progress = Progress(settings.progress, settings.max_iterations or None)
        stopped = False
        if settings.uses_torch or replicas is not None:
            # First, so that its threads are kept few. Others save its seconds and half a GiB.
            import_module("torch")
        try:
            with torch_threads_for(len(original)):
                if replicas is None:
                    run = Run(evaluator, settings, progress, reporter)
                    result, best = run.minimize(original)
                    stopped = run.stopped
                else:
                    from .replica_run import minimize_replicas

                    result, best = minimize_replicas(
                        evaluator, settings, original, replicas, temperature, progress
                    )
            if not result.converged and not stopped:
                _tell(result, strict)
            # Fixed atoms get back the very bits they had.
            final = np.where(potential.masses[:, None] > 0, best.positions, original)
            potential.set_positions(final)
        except BaseException:
            self.context.setPositions(original)
            raise
        finally:
            progress.close()
        return result


def _tell(result: MinimizationResult, strict: bool) -> None:
    """Say that a run has not converged, before anything is written.

    A user's filter may turn the warning into an error.
    """
    if strict:
        raise NotConvergedError(result)
    warnings.warn(result.message, ConvergenceWarning, stacklevel=_callers_level())


def refuse_unsupported(context: mm.Context) -> None:
    """Raise `UnsupportedSystemError` for Systems whose minimum is not that of E(X) alone."""
    for force in context.getSystem().getForces():
        if isinstance(force, mm.DrudeForce):
            raise UnsupportedSystemError(
                "the System has Drude particles, which must follow their parents at every step; "
                "use simulation.minimizeEnergy() for it"
            )
    if isinstance(context.getIntegrator(), mm.RPMDIntegrator):
        raise UnsupportedSystemError(
            "the Context has an RPMDIntegrator, whose copies have positions of their own; "
            "minimize with another integrator, then set the copies' positions"
        )


def _callers_level() -> int:
    """Stack level of the first frame outside this package, for a warning that points there."""
    level = 1
    frame: FrameType | None = sys._getframe(1)
    package = __name__.partition(".")[0]
    while frame is not None and frame.f_globals.get("__name__", "").startswith(package + "."):
        level, frame = level + 1, frame.f_back
    return level
