"""How to minimize, and when to stop: one frozen object, checked when it is made."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from typing import Any

import openmm as mm
from openmm import unit

from ..optimizers.latent_settings import LatentSettings
from ..precon.metric_terms import METRICS
from ..search import SearchSettings, search_settings
from ..search.settings import SLOW_MODES
from ..surrogates.choose import NAMES
from ..units import in_unit, real_number, whole_number

__all__ = ["AUTO", "ENGINES", "MinimizationSettings", "minimization_settings"]

AUTO = "auto"
# What "auto" stands for. In the benchmarks it reaches a nearby minimum with the fewest force
# evaluations on every system and in the least time on most; no latent stage ends lower on average.
BEST = "spectral"
ENGINES = ("python", "openmm-torch")
# The latent stage may use this share of a budget, so that the last stage gets its turn.
LATENT_SHARE = 1 / 3
# A search leaves this share of its budget to the last stage, and no more than so many evaluations.
LAST_SHARE, LAST_EVALUATIONS = 0.1, 600


@dataclass(frozen=True)
class MinimizationSettings:
    """How to minimize, and when to stop.

    Attributes
    ----------
    reparametrization : str, torch.nn.Module or callable
        As `openmm_reparam.reparametrizations.build` takes it.
    reparametrization_settings : dict
        Its own.
    latent : LatentSettings
        Of the latent stage; without iterations there is none.
    latents_are_fine : bool
        L-BFGS on the latents of "spectral" is preconditioned L-BFGS on X: the fine-grained stage.
    fine_stage : bool
    engine : {"python", "openmm-torch"}
    harmonic_continuation : bool
    search : SearchSettings or None
    search_stage : callable or None
        Evaluator, these settings, (N, 3) positions of the start in nm -> the stage that searches;
        None is a `SearchStage`.
    surrogate : str, System, Simulation, callable, ..., False or None
        As `openmm_reparam.surrogates.choose.choose_surrogate` takes it.
    surrogate_first : bool or None
        See `SurrogateStage`.
    internal_steps : bool or None
        See `FineStage`.
    seed : int
    progress : bool or None
    tolerance : float
        RMS force in kJ/mol/nm.
    max_iterations : int
        Of all stages; 0 for no limit.
    max_force_evaluations : int or None

    Raises
    ------
    TypeError
        ``surrogate_first`` is something else.
    ValueError
        An unknown engine, or settings that leave no stage to run.
    """

    reparametrization: Any = BEST
    reparametrization_settings: dict[str, Any] = field(default_factory=dict)
    latent: LatentSettings = field(default_factory=lambda: LatentSettings(iterations=0))
    latents_are_fine: bool = True
    fine_stage: bool = True
    engine: str = "python"
    harmonic_continuation: bool = False
    search: SearchSettings | None = None
    search_stage: Any = None
    surrogate: Any = None
    surrogate_first: bool | None = None
    internal_steps: bool | None = None
    seed: int = 0
    progress: bool | None = None
    tolerance: float = 10.0
    max_iterations: int = 0
    max_force_evaluations: int | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"engine is {self.engine!r}; it must be one of {ENGINES}")
        if self.search is not None and not self.fine_stage:
            raise ValueError("a search needs the fine-grained stage: fine_stage is False")
        if not self.latent.iterations and not self.fine_stage:
            raise ValueError(
                "no stage is left to run: latent_iterations is 0 (or the reparametrization's "
                "latent stage is the fine-grained one) and fine_stage is False"
            )
        _refuse_other_words("surrogate", self.surrogate, NAMES)
        _refuse_other_words("metric", self.reparametrization_settings.get("metric"), METRICS)
        if (
            self.surrogate is not None
            and self.surrogate is not False
            and not (self.fine_stage and self.latents_are_fine)
        ):
            raise ValueError(
                "a surrogate is for minimization without a latent stage: leave reparametrization, "
                "optimizer and fine_stage as they are by default"
            )
        if self.surrogate_first not in (None, True, False):
            raise TypeError(
                f"surrogate_first is {self.surrogate_first!r}; it must be True, False or None"
            )
        if self.surrogate_first and self.surrogate is None:
            raise ValueError("surrogate_first is True, but there is no surrogate")
        if self.engine != "python" and not self.latent.iterations:
            raise ValueError(
                f"engine={self.engine!r} is of the latent stage, and there is none here"
            )

    def limited(
        self, tolerance, max_iterations: int, max_force_evaluations: int | None
    ) -> MinimizationSettings:
        """Return these settings with the limits of one call, checked.

        Parameters
        ----------
        tolerance : Quantity or float
            In kJ/mol/nm.
        max_iterations : int
        max_force_evaluations : int or None

        Raises
        ------
        TypeError, ValueError
            A wrong dimension; a number that is negative, not finite or not whole.
        """
        tolerance = in_unit(tolerance, unit.kilojoules_per_mole / unit.nanometer, "tolerance")
        if tolerance == 0:
            raise ValueError("tolerance is 0; no force is ever exactly that")
        max_iterations = whole_number(max_iterations, "maxIterations", 0)
        if max_force_evaluations is not None:
            max_force_evaluations = whole_number(max_force_evaluations, "max_force_evaluations", 1)
        return replace(
            self,
            tolerance=tolerance,
            max_iterations=max_iterations,
            max_force_evaluations=max_force_evaluations,
        )

    def refuse_combinations(self, replicas, reporter: mm.MinimizationReporter | None) -> None:
        """Raise ValueError for what does not go together with replicas, or with a search."""
        if replicas is not None and reporter is not None:
            raise ValueError(
                "a reporter cannot follow many replicas at once; look at the histories in "
                "result.replicas afterwards"
            )
        if self.search is None:
            return
        if replicas is not None:
            raise ValueError("a search does not go over replicas")
        if self.max_force_evaluations is None or self.max_iterations:
            raise ValueError(
                "a search ends when its force evaluations are used up: give "
                "max_force_evaluations (20000, say) and no maxIterations"
            )

    @property
    def reparametrization_name(self) -> str:
        """What the latent stage is called."""
        spec = self.reparametrization
        return spec if isinstance(spec, str) else getattr(spec, "__name__", type(spec).__name__)

    @property
    def uses_torch(self) -> bool:
        """Whether a stage may use torch: one in latents, a search in latents or a surrogate."""
        latent_search = self.search is not None and self.search.explorer != SLOW_MODES
        return bool(self.latent.iterations or latent_search or self.surrogate)

    @property
    def preconditioner_settings(self) -> dict[str, Any]:
        """Settings of the fine-grained stage's `Preconditioner`."""
        return self.reparametrization_settings if self.latents_are_fine else {}

    @property
    def latent_iterations(self) -> int:
        """Iterations of the latent stage at most: a fine-grained stage keeps its share."""
        if not self.max_iterations:
            return self.latent.iterations
        most = _latent_share(self.max_iterations) if self.fine_stage else self.max_iterations
        return min(self.latent.iterations, most)

    @property
    def latent_force_evaluations(self) -> int | None:
        """Force evaluations that all stages before the fine-grained one may use."""
        if self.max_force_evaluations and self.fine_stage:
            return _latent_share(self.max_force_evaluations)
        return self.max_force_evaluations

    @property
    def search_force_evaluations(self) -> int | None:
        """Force evaluations up to which a search goes on: the last stage keeps its share."""
        budget = self.max_force_evaluations
        return budget and budget - min(int(LAST_SHARE * budget), LAST_EVALUATIONS)


def _refuse_other_words(name: str, value: Any, words: tuple[str, ...]) -> None:
    if isinstance(value, str) and value not in words:
        raise ValueError(f"{name} is {value!r}; it must be one of {words}, or an object")


def _latent_share(number: int) -> int:
    return max(1, int(LATENT_SHARE * number))


def minimization_settings(
    reparametrization,
    reparametrization_settings: dict[str, Any],
    *,
    optimizer: str | None,
    learning_rate: float | None,
    schedule: str,
    latent_iterations: int,
    patience: int,
    relative_energy: float,
    max_gradient_norm: float,
    fine_stage: bool,
    engine: str,
    harmonic_continuation: bool,
    search,
    surrogate,
    surrogate_first: bool | None,
    internal_steps: bool | None,
    seed: int | None,
    progress: bool | None,
) -> MinimizationSettings:
    """Return the checked settings that arguments of `ReparamMinimizer` stand for; see there.

    Raises
    ------
    TypeError, ValueError
        A wrong type or value, or a setting that the reparametrization does not have.
    """
    if isinstance(reparametrization, str) and reparametrization == AUTO:
        reparametrization = BEST
    if reparametrization != BEST or reparametrization_settings:
        # Here, because they import torch, which takes seconds and half a GiB.
        from ..reparametrizations import refuse_settings

        refuse_settings(reparametrization, reparametrization_settings, _own_names())
    if reparametrization_settings.get("shift") is not None:
        shift = real_number(reparametrization_settings["shift"], "shift")
        reparametrization_settings = {**reparametrization_settings, "shift": shift}
    latents_are_fine = reparametrization == BEST and optimizer in (None, "lbfgs")
    return MinimizationSettings(
        reparametrization,
        reparametrization_settings,
        _latent_settings(
            latents_are_fine,
            optimizer or "adam",
            learning_rate=learning_rate,
            schedule=schedule,
            iterations=latent_iterations,
            patience=patience,
            relative_energy=relative_energy,
            max_gradient_norm=max_gradient_norm,
        ),
        latents_are_fine,
        fine_stage=fine_stage,
        engine=engine,
        harmonic_continuation=harmonic_continuation,
        search=search_settings(search),
        surrogate=surrogate,
        surrogate_first=surrogate_first,
        internal_steps=internal_steps,
        seed=0 if seed is None else whole_number(seed, "seed", 0),
        progress=progress,
    )


def _own_names() -> list[str]:
    """Return the names of the run's own settings."""
    parameters = inspect.signature(minimization_settings).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def _latent_settings(without: bool, optimizer: str, **given: Any) -> LatentSettings:
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
