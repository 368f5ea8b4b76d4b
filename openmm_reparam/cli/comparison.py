"""OpenMM's own minimizer beside ours: same System, same start, same tolerance."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import openmm as mm

from ..minimization.result import HISTORY_DTYPE, MinimizationResult
from ..potentials.constraints import constraint_manifold
from ..potentials.point import rms
from ..potentials.potential import Potential
from ..prepare.molecular_system import MolecularSystem
from .settings import RunSettings, platform_name

__all__ = ["PEER", "PeerResult", "comparison", "run_peer"]

PEER = "LocalEnergyMinimizer"
OURS = "openmm-reparam"
# kJ/mol: energies nearer than this are called equal, as the tolerance leaves them that uncertain.
SAME_ENERGY = 0.1
# Relative error of constraints up to which OpenMM's iterates count as structures.
CONSTRAINTS_HOLD = 1e-4


@dataclass(frozen=True)
class PeerResult:
    """What `openmm.LocalEnergyMinimizer` reached.

    Attributes
    ----------
    converged : bool
        Judged as ours is: RMS force at or below the tolerance.
    energy, rms_force : float
        kJ/mol; kJ/mol/nm over moving atoms, projected on the constraints' tangent space.
    iterations : int
        As OpenMM reports them, over all its rounds; each takes one force evaluation or more.
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


class _Counter(mm.MinimizationReporter):
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
        if self.manifold is not None:
            # This also takes off OpenMM's penalty for constraints, which is normal to them.
            forces = self.manifold.project(positions, forces)
        count = len(self.rows) + 1
        force = rms(forces, int(self.potential.moves.sum()))
        elapsed = began - self.began - self.seconds
        # Off the constraints the energy is that of no structure of this System, and often lower.
        satisfied = args["max constraint error"] <= CONSTRAINTS_HOLD
        energy = args["system energy"] if satisfied else np.nan
        self.rows.append((0, count, count, energy, force, elapsed))
        self.seconds += time.perf_counter() - began
        return False


def run_peer(molecule: MolecularSystem, settings: RunSettings) -> PeerResult:
    """Run `openmm.LocalEnergyMinimizer` on a Context of its own.

    Parameters
    ----------
    molecule : MolecularSystem
    settings : RunSettings
        Tolerance, iterations at most, platform and threads count.

    Returns
    -------
    PeerResult
    """
    platform = platform_name(settings.platform, settings.threads)
    simulation = molecule.simulation(platform, threads=settings.threads)
    potential = Potential(simulation.context, molecule.topology)
    counter = _Counter(potential)
    began = time.perf_counter()
    mm.LocalEnergyMinimizer.minimize(
        simulation.context, settings.tolerance, settings.max_iterations, counter
    )
    seconds = time.perf_counter() - began - counter.seconds
    positions = potential.positions()
    energy, forces = potential.evaluate(positions)
    if counter.manifold is not None:
        forces = counter.manifold.project(positions, forces)
    force = rms(forces, int(potential.moves.sum()))
    count = len(counter.rows)
    counter.rows.append((0, count, count, energy, force, seconds))
    return PeerResult(
        converged=force <= settings.tolerance,
        energy=energy,
        rms_force=force,
        iterations=count,
        seconds=seconds,
        history=np.array(counter.rows, dtype=HISTORY_DTYPE),
    )


def comparison(result: MinimizationResult, peer: PeerResult) -> str:
    """Return a small table of both, and in words who did better at what."""
    whole = result.evaluations["context"] + result.evaluations["side"]
    rows = [
        ("energy, kJ/mol", f"{result.energy:.3f}", f"{peer.energy:.3f}"),
        ("RMS force, kJ/mol/nm", f"{result.rms_force:.3g}", f"{peer.rms_force:.3g}"),
        ("converged", _yes(result.converged), _yes(peer.converged)),
        ("force evaluations", f"{result.force_evaluations}", f">= {peer.iterations}"),
        ("  of the whole force field", f"{whole}", f">= {peer.iterations}"),
        ("seconds", f"{result.seconds:.2f}", f"{peer.seconds:.2f}"),
    ]
    ratios = {
        "energy, kJ/mol": f"{result.energy - peer.energy:+.3f}",
        "force evaluations": _ratio(result.force_evaluations, peer.iterations, "<= "),
        "  of the whole force field": _ratio(whole, peer.iterations, "<= "),
        "seconds": _ratio(result.seconds, peer.seconds),
    }
    lines = [f"{'':<28}{OURS:>16}{PEER:>24}{'difference, ratio':>20}"]
    for name, ours, theirs in rows:
        lines.append(f"{name:<28}{ours:>16}{theirs:>24}{ratios.get(name, ''):>20}".rstrip())
    lines += [
        "",
        _who_is_lower(result.energy, peer.energy),
        _who_used_fewer(result.force_evaluations, peer.iterations),
        *_who_passed_whom(result, peer),
        "OpenMM counts iterations, and each takes at least one force evaluation: its number of",
        "evaluations is a lower bound.",
        *_what_was_compared(result, peer),
    ]
    return "\n".join(lines)


def _what_was_compared(result: MinimizationResult, peer: PeerResult) -> list[str]:
    """Return whether the two energies are of alike runs."""
    if result.minima is not None:
        return [f"{OURS} went on to search for deeper minima; {PEER} stops at the first it meets."]
    cut_short = [name for name, run in ((OURS, result), (PEER, peer)) if not run.converged]
    if cut_short:
        return [f"{' and '.join(cut_short)} stopped above the tolerance, before a minimum."]
    return [
        "Each run ends in the minimum it meets first, so which of two energies is lower differs",
        "from start to start.",
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _ratio(ours: float, theirs: float, bound: str = "") -> str:
    return f"{bound}{ours / theirs:.2f} x" if theirs > 0 else ""


def _who_is_lower(ours: float, theirs: float) -> str:
    if abs(ours - theirs) < SAME_ENERGY:
        return f"Both reached the same energy to within {SAME_ENERGY} kJ/mol."
    winner = OURS if ours < theirs else PEER
    return f"{winner} reached the lower energy, by {abs(ours - theirs):.1f} kJ/mol."


def _who_used_fewer(ours: int, theirs: int) -> str:
    if ours <= theirs:
        return f"{OURS} used fewer force evaluations: {ours} against {theirs} or more."
    return (
        f"{PEER} reported fewer iterations, {theirs}, than the {ours} force evaluations of {OURS}."
    )


def _who_passed_whom(result: MinimizationResult, peer: PeerResult) -> list[str]:
    """Return when the run that ended lower had come as low as the other's end."""
    if abs(result.energy - peer.energy) < SAME_ENERGY:
        return []
    if result.energy < peer.energy:
        winner, loser, history, level, unit = OURS, PEER, result.history, peer.energy, "evaluations"
    else:
        winner, loser, history, level, unit = PEER, OURS, peer.history, result.energy, "iterations"
    reached = np.flatnonzero(history["energy"] <= level)
    if not len(reached):  # its end is the only structure so low
        return []
    first = history[reached[0]]
    return [
        f"{winner} was down to the final energy of {loser} after {first['force_evaluations']} "
        f"{unit}, {first['seconds']:.2f} s."
    ]
