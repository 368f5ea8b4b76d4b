"""ReparamMinimizer: runs the stages, holds the budget, keeps the best structure, writes it back."""

from __future__ import annotations

import inspect
import sys
import warnings

import numpy as np
import openmm as mm
from openmm import unit

from ..errors import ConvergenceWarning, NotConvergedError, UnsupportedSystemError
from ..optimizers.latents import LatentSettings, torch_threads_for
from ..potentials.system_changes import refuse_changed_system
from ..reparametrizations import refuse_settings
from ..search import search_settings
from ..units import in_unit, real_number, whole_number
from .replica_run import minimize_replicas
from .result import MinimizationResult
from .run import Run

__all__ = ["AUTO", "ReparamMinimizer"]

AUTO = "auto"
# What "auto" stands for. In the benchmarks it reaches a nearby minimum with the fewest force
# evaluations on every system and in the least time on most; no latent stage ends lower on average.
BEST = "spectral"
ENGINES = ("python", "openmm-torch")


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
    bond_springs : bool
        First pull the terms of CustomBondForces that are outside their wells into them, as springs:
        for coils of Morse or Lennard-Jones bonds that start torn apart or caught in a soft core.
    search : {"auto", "slow-modes", "population", "annealed", "neural"} or SearchSettings, optional
        Go on from the minimum, hopping to minima deeper than the nearest one, until
        ``max_force_evaluations`` is used up; see `SearchSettings`. Ctrl-C then ends the run early
        with the best structure written back.
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
        bond_springs: bool = False,
        search=None,
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
        if isinstance(reparametrization, str) and reparametrization == AUTO:
            reparametrization = BEST
        refuse_settings(reparametrization, settings, _own_settings())
        if settings.get("shift") is not None:
            settings["shift"] = real_number(settings["shift"], "shift")
        self.reparametrization = reparametrization
        self.settings = settings
        self.seed = 0 if seed is None else whole_number(seed, "seed", 0)
        self.progress = progress
        self.fine_stage = fine_stage
        if engine not in ENGINES:
            raise ValueError(f"engine is {engine!r}; it must be one of {ENGINES}")
        self.engine = engine
        self.bond_springs = bond_springs
        search = search_settings(search)
        if search is not None and not fine_stage:
            raise ValueError("a search needs the fine-grained stage: fine_stage is False")
        self.search = search
        # L-BFGS on the latents of `spectral` is preconditioned L-BFGS on X: the last stage.
        self.latents_are_fine = reparametrization == "spectral" and optimizer in (None, "lbfgs")
        self.latent = _latent_settings(
            self.latents_are_fine,
            optimizer or "adam",
            learning_rate=learning_rate,
            schedule=schedule,
            iterations=latent_iterations,
            patience=patience,
            relative_energy=relative_energy,
            max_gradient_norm=max_gradient_norm,
        )
        self._refuse_missing_stages()
        refuse_unsupported(context)

    def _refuse_missing_stages(self) -> None:
        if not self.latent.iterations and not self.fine_stage:
            raise ValueError(
                "no stage is left to run: latent_iterations is 0 (or the reparametrization's "
                "latent stage is the fine-grained one) and fine_stage is False"
            )
        if self.engine != "python" and not self.latent.iterations:
            raise ValueError(
                f"engine={self.engine!r} is of the latent stage, and there is none here"
            )

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
        tolerance = in_unit(tolerance, unit.kilojoules_per_mole / unit.nanometer, "tolerance")
        if tolerance == 0:
            raise ValueError("tolerance is 0; no force is ever exactly that")
        maxIterations = whole_number(maxIterations, "maxIterations", 0)
        if max_force_evaluations is not None:
            max_force_evaluations = whole_number(max_force_evaluations, "max_force_evaluations", 1)
        replica_temperature = in_unit(replica_temperature, unit.kelvin, "replica_temperature")
        if replicas is not None and reporter is not None:
            raise ValueError(
                "a reporter cannot follow many replicas at once; look at the histories in "
                "result.replicas afterwards"
            )
        if self.search is not None:
            if replicas is not None:
                raise ValueError("a search does not go over replicas")
            if max_force_evaluations is None or maxIterations:
                raise ValueError(
                    "a search ends when its force evaluations are used up: give "
                    "max_force_evaluations (20000, say) and no maxIterations"
                )
        run = Run(self, tolerance, maxIterations, reporter, max_force_evaluations)
        refuse_changed_system(run.potential, run.manifold)
        original = run.potential.positions()
        try:
            with torch_threads_for(len(original)):
                if replicas is None:
                    result, best = run.minimize(original)
                else:
                    result, best = minimize_replicas(run, original, replicas, replica_temperature)
            if not result.converged and not run.stopped:
                if strict:
                    raise NotConvergedError(result)
                # Before anything is written: a user's filter may turn it into an error.
                warnings.warn(result.message, ConvergenceWarning, stacklevel=_callers_level())
            # Fixed atoms get back the very bits they had.
            final = np.where(run.potential.masses[:, None] > 0, best.positions, original)
            run.potential.set_positions(final)
        except BaseException:
            self.context.setPositions(original)
            raise
        finally:
            run.progress.close()
        return result


def _own_settings() -> list[str]:
    """Return the names of the keywords of `ReparamMinimizer`."""
    parameters = inspect.signature(ReparamMinimizer).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def _latent_settings(without: bool, optimizer: str, **given) -> LatentSettings:
    """Return the checked settings of the latent stage; ``without`` one, nothing may be set."""
    for name in ("learning_rate", "relative_energy", "max_gradient_norm"):
        if given[name] is not None:
            given[name] = real_number(given[name], name)
    given["iterations"] = whole_number(given["iterations"], "latent_iterations", 0)
    given["patience"] = whole_number(given["patience"], "patience", 1)
    if not without:
        return LatentSettings(optimizer, **given)
    defaults = LatentSettings()
    if given["iterations"] == 0:
        given["iterations"] = defaults.iterations  # it says what is true
    for name, value in given.items():
        if value != getattr(defaults, name):
            spelled = "latent_iterations" if name == "iterations" else name
            raise TypeError(
                f"{spelled} is a setting of the latent stage, which 'spectral' (what 'auto' stands "
                "for) does not have: pass reparametrization='gcn', 'linear' or 'cartesian', or "
                "reparametrization='spectral' with optimizer='adam'"
            )
    return LatentSettings(iterations=0)


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
    level, frame = 1, sys._getframe(1)
    package = __name__.partition(".")[0]
    while frame is not None and frame.f_globals.get("__name__", "").startswith(package + "."):
        level, frame = level + 1, frame.f_back
    return level
