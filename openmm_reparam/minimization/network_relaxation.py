"""Relaxation on a trained network, verified by the genuine energy."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openmm as mm
from openmm import app

from ..errors import ConvergenceWarning, EvaluationError, NonFiniteError
from ..potentials.potential import Potential
from ..surrogates.oracles import python_force
from .api import minimize_reparam
from .kept_chemistry import KeptChemistry
from .relaxation import Relaxation
from .result import MinimizationResult

__all__ = ["NetworkModel", "relax_on_network"]

Energy = Callable[[np.ndarray], tuple[float, np.ndarray]]
# The network is minimized to this share of the tolerance, in so many evaluations at most.
OF_TOLERANCE, MOST_EVALUATIONS = 0.2, 1000
PRIORS = ("surrogate", "network")
# Where the genuine force at the network's minimum is this share of the surrogate oracle's there, or
# this multiple of the error found in training, the network does not describe the molecule.
OF_SURROGATE, OF_FORCE_ERROR = 0.5, 4.0


@dataclass(frozen=True)
class NetworkModel:
    """A trained network as the energy of one molecule.

    Attributes
    ----------
    energy : callable
        (N, 3) positions in nm -> energy in kJ/mol, forces (N, 3) in kJ/mol/nm.
    surrogate : callable or None
        The surrogate oracle alone, where the network is added to one.
    surrogate_name : str
    outside : tuple of str
        What of the molecule was not in the training, in words.
    force_error : float or None
        RMS error of its forces, as found in training, in kJ/mol/nm.
    """

    energy: Energy
    surrogate: Energy | None = None
    surrogate_name: str = ""
    outside: tuple[str, ...] = ()
    force_error: float | None = None


def relax_on_network(
    simulation: app.Simulation,
    model: NetworkModel,
    *,
    verify: bool = True,
    prior: str | None = None,
    tolerance: float = 10.0,
    check_start: bool | None = None,
    max_force_evaluations: int | None = None,
    progress: bool | None = None,
) -> Relaxation:
    """Minimize on a network, then on the genuine energy from the network's minimum.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        Of the genuine energy. Only its positions change, and only if nothing is raised.
    model : NetworkModel
        Of the same particles.
    verify : bool
        Go on with the genuine energy. Otherwise it is not asked at all, as published, and the
        network's minimum is the result.
    prior : {"surrogate", "network"}, optional
        What the genuine energy's steps are found on: the surrogate oracle alone, or with the
        network on top of it. By default the surrogate oracle where there is one.
    tolerance : float
        RMS force in kJ/mol/nm.
    check_start : bool or None
        Evaluate the genuine energy of the start, too, to compare falls; None: where there is reason
        to doubt the network. An end above the start is then never kept.
    max_force_evaluations : int, optional
        Of the genuine energy. Two more are made where the network has misled.
    progress : bool, optional

    Returns
    -------
    Relaxation

    Raises
    ------
    ValueError
        There is no such prior.
    NonFiniteError
        The network's energy of the start is not finite, or the genuine one is not and the network
        cannot be gone on with.
    """
    if prior not in (None, *PRIORS):
        raise ValueError(f"prior is {prior!r}; it must be one of {PRIORS}")
    began = time.perf_counter()
    genuine = _Genuine(simulation, model, tolerance, max_force_evaluations, progress)
    start = genuine.potential.positions()
    chemistry = KeptChemistry(genuine.potential, start)
    try:
        descent, reached = _descend(simulation, model, start, OF_TOLERANCE * tolerance, progress)
        lost = [f"its minimum is of another molecule: {c}" for c in chemistry.changes(reached)]
        check = _Check(doubts=[*model.outside, *lost])
        if not verify:
            simulation.context.setPositions(reached)
        elif lost:
            check.result = genuine.minimize(start, model.surrogate, True)
        else:
            on = model.energy if prior == "network" else model.surrogate or model.energy
            _verify(genuine, model, on, start, reached, check_start, check)
    except BaseException:
        simulation.context.setPositions(start)
        raise
    last = check.result or descent
    end = genuine.potential.positions()
    return Relaxation(
        positions=end,
        verified=verify,
        converged=last.converged,
        message=last.message if verify else f"on the network alone: {last.message}",
        genuine_calls=genuine.calls,
        network_evaluations=genuine.network_calls + descent.force_evaluations,
        promised_fall=descent.initial_energy - descent.energy,
        found_fall=check.found_fall,
        first_rms_force=check.first_rms_force,
        further_fall=check.further_fall,
        warnings=tuple(check.doubts),
        stereo_changes=chemistry.stereo_changes(end),
        seconds=time.perf_counter() - began,
        descent=descent,
        result=check.result,
    )


@dataclass
class _Check:
    """What the genuine energy says of the network's minimum."""

    doubts: list[str]
    result: MinimizationResult | None = None
    first_rms_force: float | None = None
    found_fall: float | None = None
    further_fall: float | None = None


def _verify(
    genuine: _Genuine,
    model: NetworkModel,
    prior: Energy,
    start: np.ndarray,
    reached: np.ndarray,
    check_start: bool | None,
    check: _Check,
) -> None:
    """Minimize from the network's minimum; from the start without it where that misled."""
    try:
        result = check.result = genuine.minimize(reached, prior, False)
    except EvaluationError as error:
        check.doubts.append(f"at its minimum {error}; the start was minimized without it")
        check.result = genuine.minimize(start, model.surrogate, True)
        return
    check.first_rms_force = result.initial_rms_force
    check.further_fall = result.initial_energy - result.energy
    check.doubts += _disagreement(model, reached, result.initial_rms_force)
    if check_start or (check_start is None and check.doubts):
        above = genuine.energy(start)
        if above is None:
            return
        check.found_fall = above - result.initial_energy
        if result.energy > above:
            check.doubts.append("its minimum led above the start, which was minimized without it")
            check.result = genuine.minimize(start, model.surrogate, True)
            check.further_fall = result.initial_energy - check.result.energy


class _Genuine:
    """The genuine energy of a Simulation, its evaluations counted."""

    def __init__(
        self,
        simulation: app.Simulation,
        model: NetworkModel,
        tolerance: float,
        most: int | None,
        progress: bool | None,
    ) -> None:
        self.potential = Potential(simulation.context, simulation.topology)
        self.calls = self.network_calls = 0
        self._simulation, self._model, self._tolerance = simulation, model, tolerance
        self._most, self._progress = most, progress

    def minimize(
        self, positions: np.ndarray, surrogate: Energy | None, first: bool
    ) -> MinimizationResult:
        """Minimize from positions on a surrogate, verified."""
        self._simulation.context.setPositions(positions)
        try:
            result = minimize_reparam(
                self._simulation,
                self._tolerance,
                max_force_evaluations=self._most and max(1, self._most - self.calls),
                surrogate=surrogate,
                surrogate_first=first if surrogate is not None else None,
                progress=self._progress,
            )
        except EvaluationError:
            self.calls += 1  # where it begins
            raise
        self.calls += result.force_evaluations
        if surrogate is self._model.energy:
            self.network_calls += result.surrogate_evaluations
        return result

    def energy(self, positions: np.ndarray) -> float | None:
        """Return the energy at positions, None if it fails; the Context's stay as they are."""
        kept = self.potential.positions()
        self.calls += 1
        try:
            return self.potential.evaluate(positions)[0]
        except NonFiniteError:
            return None
        finally:
            self.potential.set_positions(kept)


def _descend(
    simulation: app.Simulation,
    model: NetworkModel,
    start: np.ndarray,
    tolerance: float,
    progress: bool | None,
) -> tuple[MinimizationResult, np.ndarray]:
    """Minimize the network's energy; returns the result and positions."""
    given = simulation.system
    system = mm.System()
    for k in range(given.getNumParticles()):
        system.addParticle(given.getParticleMass(k))
    for k in range(given.getNumConstraints()):
        system.addConstraint(*given.getConstraintParameters(k))
    system.addForce(python_force(model.energy))
    side = app.Simulation(
        simulation.topology,
        system,
        mm.VerletIntegrator(0.001),
        mm.Platform.getPlatformByName("Reference"),
    )
    side.context.setPositions(start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = minimize_reparam(
            side,
            tolerance,
            max_force_evaluations=MOST_EVALUATIONS,
            surrogate=False,
            progress=progress,
        )
    return result, side.context.getState(positions=True).getPositions(asNumpy=True)._value


def _disagreement(model: NetworkModel, reached: np.ndarray, force: float) -> list[str]:
    """Return in words whether the genuine force at the network's minimum is too large."""
    if model.surrogate is not None:
        forces = model.surrogate(reached)[1]
        to_correct = float(np.sqrt((forces**2).sum() / len(forces)))
        if force > OF_SURROGATE * to_correct:
            return [
                f"at its minimum the genuine RMS force is {force:.0f} kJ/mol/nm, that of "
                f"{model.surrogate_name} alone, which it should correct, {to_correct:.0f}"
            ]
    if model.force_error is not None and force > OF_FORCE_ERROR * model.force_error:
        return [
            f"at its minimum the genuine RMS force is {force:.0f} kJ/mol/nm, and its error in "
            f"training was {model.force_error:.0f}"
        ]
    return []
