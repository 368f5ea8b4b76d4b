"""Sampling about the minima that a search finds, without training a network."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import openmm as mm
import torch
from openmm import app

from ..errors import ConvergenceWarning
from ..minimization.api import minimize_reparam
from ..minimization.run import INTERRUPTED
from ..potentials.contexts import platform_properties
from ..search.minima import Minimum
from .harmonic_frame import internal_hessian, relaxed
from .harmonic_mixture import HarmonicMixture
from .method import TrainingStep
from .target import Target

__all__ = ["MinimaMixture"]

# Searches, each from the end of the one before, and their share of the evaluations.
SEARCHES, SEARCH_SHARE = 4, 0.5
# Minima more than this above the lowest (kT) are left out, and so are any but the lowest ones.
HIGHEST, MOST = 12.0, 60
# Minima whose coordinates differ by less than this (nm, radians) are one.
SAME = 0.05
# Structures drawn to learn the shares from, at once; no share falls below this.
BATCH, LEAST_SHARE = 500, 2e-3


class MinimaMixture:
    """A mixture of normal distributions about the minima of searches, by their internal Hessians.

    Half of the evaluations find minima; Hessians follow, and the rest goes into the shares of the
    minima, which are learnt from importance weights. Before any of it, there is the minimum next
    to the start.

    Parameters
    ----------
    target : Target
    generator : torch.Generator

    References
    ----------
    Cappé, Douc, Guillin, Marin, Robert, Stat. Comput. 2008, 18, 447 (the shares).

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> from openmm_reparam.sampling.target import boltzmann_target
    >>> molecule = peptide("A", capped=True, constraints=None)
    >>> target = boltzmann_target(molecule.simulation("Reference"), 300)
    >>> sampler = MinimaMixture(target, torch.Generator().manual_seed(0))
    >>> x, log_q = sampler.sample(3, torch.Generator().manual_seed(1))
    >>> bool(torch.allclose(sampler.log_density(x), log_q))
    True
    """

    def __init__(self, target: Target, generator: torch.Generator) -> None:
        self._target, self._generator = target, generator
        self._minima: list[torch.Tensor] = []
        self._hessians: list[torch.Tensor] = []
        self._energies: list[float] = []
        self._add(torch.as_tensor(target.reference))

    @property
    def num_minima(self) -> int:
        """Number of minima in the mixture."""
        return len(self._minima)

    def training_steps(self, evaluations: int) -> Iterator[TrainingStep]:
        """Search, compute Hessians and learn shares; yield after each step."""
        energy = self._target.energy
        last = energy.evaluations + evaluations
        found: list[Minimum] = []
        start = self._target.reference
        for _ in range(SEARCHES):
            found += self._searched(start, int(SEARCH_SHARE * evaluations / SEARCHES))
            start = min(found, key=lambda minimum: minimum.energy).positions
            yield TrainingStep("search")
        for positions in self._lowest(found):
            if last - energy.evaluations < self._cost_of_a_minimum() + BATCH:
                break
            self._add(torch.as_tensor(positions))
            yield TrainingStep(f"{self.num_minima} minima")
        while last - energy.evaluations >= BATCH:
            yield TrainingStep("shares", effective_sample_size=self._learn_shares())

    def sample(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return positions (count, N, 3) in nm and log q, (count,), per nm^(3N - 6)."""
        positions = self._mixture.sample(count, generator)
        return positions, self.log_density(positions)

    def log_density(self, positions: torch.Tensor) -> torch.Tensor:
        """Return log q, (B,), of any positions (B, N, 3) in nm, up to rigid motion."""
        return self._mixture.log_density(positions)

    def state_dict(self) -> dict[str, Any]:
        """Return the minima, their Hessians and shares."""
        return {
            "minima": torch.stack(self._minima),
            "hessians": torch.stack(self._hessians),
            "energies": list(self._energies),
            "log_shares": self._mixture.log_shares,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._take(list(state["minima"]), list(state["hessians"]), list(state["energies"]))
        self._mixture.log_shares.copy_(state["log_shares"])

    def _searched(self, start: np.ndarray, evaluations: int) -> list[Minimum]:
        """Return the minima of a search in a Context of its own; its evaluations count."""
        simulation = self._simulation()
        simulation.context.setPositions(start)
        seed = int(torch.randint(2**31 - 1, (1,), generator=self._generator))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result = minimize_reparam(
                simulation,
                search="auto",
                max_force_evaluations=max(evaluations, 1),
                seed=seed,
                progress=False,
            )
        self._target.energy.evaluations += result.force_evaluations
        if any(INTERRUPTED in stage.message for stage in result.stages):  # it ended the search only
            raise KeyboardInterrupt
        return list(result.minima or ())

    def _simulation(self) -> app.Simulation:
        context = self._target.potential.context
        integrator = mm.VerletIntegrator(0.001)
        integrator.setIntegrationForceGroups(context.getIntegrator().getIntegrationForceGroups())
        simulation = app.Simulation(
            self._target.potential.topology,
            context.getSystem(),
            integrator,
            context.getPlatform(),
            platform_properties(context, single_threaded=False),
        )
        for name, value in context.getParameters().items():
            simulation.context.setParameter(name, value)
        return simulation

    def _lowest(self, found: list[Minimum]) -> list[np.ndarray]:
        """Return positions of minima that may matter, the lowest first."""
        ordered = sorted(found, key=lambda minimum: minimum.energy)[:MOST]
        highest = ordered[0].energy + HIGHEST / self._target.beta if ordered else 0.0
        return [minimum.positions for minimum in ordered if minimum.energy <= highest]

    def _add(self, positions: torch.Tensor) -> None:
        """Relax a structure, and add it with its Hessian unless it is known."""
        internal = self._target.internal
        start, _ = internal.coordinates(positions[None])
        if self._known(start[0]):
            return
        minimum = relaxed(internal, self._scaled_energy, start[0])
        if self._known(minimum):
            return
        with torch.no_grad():
            energy = float(self._scaled_energy(internal.positions(minimum[None])[0])[0])
        hessian = internal_hessian(internal, self._scaled_energy, minimum)
        # All of it or nothing, whenever Ctrl-C comes.
        self._take([*self._minima, minimum], [*self._hessians, hessian], [*self._energies, energy])

    def _known(self, coordinates: torch.Tensor) -> bool:
        """Say whether a minimum is one of those before it, but for turns of rotors."""
        internal = self._target.internal
        periods = torch.full_like(coordinates, torch.inf)
        periods[internal.columns["torsions"]] = 2 * torch.pi
        periods[internal.columns["torsions"].start + internal.rotors] /= internal.folds
        for minimum in self._minima:
            off = coordinates - minimum
            off = off - torch.where(periods.isinf(), 0.0, periods * torch.round(off / periods))
            if off.abs().max() < SAME:
                return True
        return False

    def _cost_of_a_minimum(self) -> int:
        """Return about how many evaluations relaxing and the Hessian take."""
        return 4 * self._target.internal.num_coordinates

    def _take(
        self, minima: list[torch.Tensor], hessians: list[torch.Tensor], energies: list[float]
    ) -> None:
        """Make the mixture of these minima."""
        relative = torch.tensor(energies, dtype=torch.float64)
        mixture = HarmonicMixture(
            self._target.internal,
            torch.stack(minima),
            torch.stack(hessians),
            relative - relative.min(),
        )
        self._minima, self._hessians, self._energies, self._mixture = (
            *(minima, hessians, energies),
            mixture,
        )

    def _learn_shares(self) -> float:
        """Move the shares towards those of the weights; return the effective sample size."""
        mixture = self._mixture
        positions = mixture.sample(BATCH, self._generator)
        with torch.no_grad():
            log_p = -self._scaled_energy(positions)
            parts = mixture.component_log_densities(positions) + mixture.log_shares
        log_q = torch.logsumexp(parts, 1)
        weights = torch.softmax(torch.nan_to_num(log_p - log_q, nan=-torch.inf), 0)
        learnt = weights @ torch.softmax(torch.nan_to_num(parts, neginf=-1e30), 1)
        size = float(1.0 / (BATCH * weights.square().sum()))
        shares = (mixture.log_shares.exp() + size * learnt).clamp_min(LEAST_SHARE)
        mixture.log_shares.copy_((shares / shares.sum()).log())
        return size

    def _scaled_energy(self, positions: torch.Tensor) -> torch.Tensor:
        return self._target.beta * self._target.energy.energy(positions)
