"""The baseline: OpenMM's own minimizer, its way recorded and its end judged as this package's."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import openmm as mm
from openmm import app

from ..potentials.constraints import constraint_manifold
from ..potentials.point import rms
from ..potentials.potential import Potential
from .result import HISTORY_DTYPE

__all__ = ["BASELINE", "BaselineResult", "run_baseline"]

BASELINE = "LocalEnergyMinimizer"
# Relative error of constraints up to which OpenMM's iterates count as structures.
CONSTRAINTS_HOLD = 1e-4


@dataclass(frozen=True)
class BaselineResult:
    """What `openmm.LocalEnergyMinimizer` reached.

    Attributes
    ----------
    converged : bool
        Judged as a `MinimizationResult` is: RMS force at or below the tolerance.
    energy, rms_force : float
        kJ/mol; kJ/mol/nm over moving atoms, projected on the constraints' tangent space.
    iterations : int
        As OpenMM reports them, over all its restarts; each takes one force evaluation or more.
    seconds : float
        Without those spent in the reporter that counts.
    history : structured array
        As of `MinimizationResult`; ``force_evaluations`` are iterations. The energy is NaN while
        OpenMM's penalty leaves constraints violated; the last row is the structure it returned.
    """

    converged: bool
    energy: float
    rms_force: float
    iterations: int
    seconds: float
    history: np.ndarray = field(compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python values, ready for JSON."""
        plain = asdict(self)
        plain["history"] = {name: self.history[name].tolist() for name in HISTORY_DTYPE.names or ()}
        # JSON knows no NaN.
        energies = plain["history"]["energy"]
        plain["history"]["energy"] = [None if np.isnan(e) else e for e in energies]
        return plain


class _Recorder(mm.MinimizationReporter):
    """Counts iterations and keeps their energies and RMS forces."""

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        self.manifold = constraint_manifold(potential)
        self.rows: list[tuple] = []
        self.seconds = 0.0
        self.began = time.perf_counter()

    def report(self, iteration, x, gradient, args) -> bool:
        began = time.perf_counter()
        positions = np.reshape(x, (-1, 3))
        forces = -np.reshape(gradient, (-1, 3)) * self.potential.moves[:, None]
        count = len(self.rows) + 1
        # The projection also takes off OpenMM's penalty for constraints, which is normal to them.
        force = self.rms(positions, forces)
        elapsed = began - self.began - self.seconds
        # Off the constraints the energy is that of no structure of this System, and often lower.
        satisfied = args["max constraint error"] <= CONSTRAINTS_HOLD
        energy = args["system energy"] if satisfied else np.nan
        self.rows.append((0, count, count, energy, force, elapsed))
        self.seconds += time.perf_counter() - began
        return False

    def rms(self, positions: np.ndarray, forces: np.ndarray) -> float:
        """RMS of forces, (N, 3) in kJ/mol/nm, on the constraints' tangent space."""
        if self.manifold is not None:
            forces = self.manifold.project(positions, forces)
        return rms(forces, int(self.potential.moves.sum()))


def run_baseline(
    simulation: app.Simulation, tolerance: float, max_iterations: int = 0
) -> BaselineResult:
    """Minimize by `openmm.LocalEnergyMinimizer`; the Simulation keeps the structure it returns.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        At the start.
    tolerance : float
        RMS force in kJ/mol/nm.
    max_iterations : int
        0 for no limit.

    Returns
    -------
    BaselineResult

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> result = run_baseline(peptide("AG").simulation("Reference"), tolerance=10.0)
    >>> result.iterations + 1 == len(result.history)
    True
    """
    potential = Potential(simulation.context, simulation.topology)
    recorder = _Recorder(potential)
    began = time.perf_counter()
    mm.LocalEnergyMinimizer.minimize(simulation.context, tolerance, max_iterations, recorder)
    seconds = time.perf_counter() - began - recorder.seconds
    positions = potential.positions()
    energy, forces = potential.evaluate(positions)
    force = recorder.rms(positions, forces)
    count = len(recorder.rows)
    recorder.rows.append((0, count, count, energy, force, seconds))
    return BaselineResult(
        converged=force <= tolerance,
        energy=energy,
        rms_force=force,
        iterations=count,
        seconds=seconds,
        history=np.array(recorder.rows, dtype=HISTORY_DTYPE),
    )
