"""What a minimization says of itself."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..search import SearchRecord
from ..structure.stereochemistry import StereoCheck
from ..surrogates.record import SurrogateRecord
from .replicas import Replicas

__all__ = ["HISTORY_DTYPE", "MinimizationResult", "Stage"]

# Of the minima of a search.
FREE_ENERGIES = "free energies: harmonic_superposition(simulation, result.minima, temperature=300)"
HISTORY_DTYPE = np.dtype(
    [
        ("stage", np.int32),
        ("iteration", np.int64),
        ("force_evaluations", np.int64),
        ("energy", np.float64),
        ("rms_force", np.float64),
        ("seconds", np.float64),
    ]
)


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes
    ----------
    name : str
    iterations, force_evaluations : int
    energy : float
        The lowest reached by its end, kJ/mol.
    seconds : float
    message : str
        Why it ended.
    """

    name: str
    iterations: int
    force_evaluations: int
    energy: float
    seconds: float
    message: str


@dataclass(frozen=True, repr=False)
class MinimizationResult:
    """Result of a minimization. Energies are in kJ/mol, forces in kJ/mol/nm.

    Attributes
    ----------
    converged : bool
        The RMS force reached the tolerance.
    message : str
        Why the run ended.
    initial_energy : float
        Of the start, once its constraints were satisfied.
    initial_rms_force : float
        Of the same structure.
    energy : float
        Of the structure written to the Context.
    rms_force : float
        sqrt(sum |F|^2 / N) over the N atoms that move, F projected on the constraints' tangent
        space.
    max_force : float
        The largest force on an atom.
    max_force_atom : str
        That atom.
    iterations : int
        Of all stages.
    force_evaluations : int
        All of them: on the Context, and on side Contexts for Hessians.
    seconds : float
    stages : tuple of Stage
        The force evaluations of the start, before the first stage, are in none of them.
    history : structured array
        A row for each iteration: ``stage`` (index in ``stages``), ``iteration``,
        ``force_evaluations``, ``energy``, ``rms_force``, ``seconds``.
    evaluations : dict
        ``force_evaluations`` by kind: ``context`` (the user's Context), ``side`` (all forces on
        a double precision side Context), ``bonded`` (bonded forces alone there).
    stereo_changes : tuple of str, or None
        Stereocentres, peptide and double bonds whose state differs from the start's, "PRO 3 CA: L
        -> D"; None where nothing could be checked because no bonds are known.
    stereo_checked : StereoCheck or None
        How many centres and bonds were checked, and which residues were not.
    tolerance : float
        That was asked for.
    seed : int
    replicas : Replicas or None
        All replicas, where more than one was minimized; the counts above are then those of all.
    minima : tuple of Minimum or None
        Of a search: every valid minimum that it found, lowest first. Their free energies are
        ``harmonic_superposition(simulation, result.minima, temperature=300)``.
    search_record : SearchRecord or None
        Of a search: hops tried, accepted and refused, restarts, evaluations.
    surrogate_record : SurrogateRecord or None
        Of a descent on a surrogate: its name, the falls of the energy it promised, and the real
        ones.
    surrogate_evaluations : int
        Of the surrogate; not among the ``force_evaluations``.
    """

    converged: bool
    message: str
    initial_energy: float
    energy: float
    rms_force: float
    max_force: float
    max_force_atom: str
    iterations: int
    force_evaluations: int
    seconds: float
    stages: tuple[Stage, ...]
    history: np.ndarray = field(compare=False)
    evaluations: dict[str, int]
    stereo_changes: tuple[str, ...] | None
    tolerance: float
    seed: int
    replicas: Replicas | None = field(default=None, compare=False)
    minima: tuple | None = field(default=None, compare=False)
    stereo_checked: StereoCheck | None = None
    search_record: SearchRecord | None = None
    surrogate_record: SurrogateRecord | None = None
    surrogate_evaluations: int = 0
    initial_rms_force: float = np.nan

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python values, ready for JSON; history as lists by column."""
        plain = asdict(dataclasses.replace(self, replicas=None, minima=None))
        del plain["minima"]
        if self.minima is not None:
            plain["minima"] = [
                {"energy": m.energy, "force_evaluations": m.force_evaluations} for m in self.minima
            ]
        for name in ("search_record", "surrogate_record"):
            if getattr(self, name) is None:
                del plain[name]
        if self.replicas is None:
            del plain["replicas"]
        else:
            plain["replicas"] = self.replicas.to_dict()
        plain["history"] = {name: self.history[name].tolist() for name in HISTORY_DTYPE.names or ()}
        return plain

    def __repr__(self) -> str:
        lines = [
            f"MinimizationResult: {'converged' if self.converged else 'NOT converged'}",
            f"          message: {self.message}",
            f"   initial energy: {self.initial_energy:.3f} kJ/mol",
            f"           energy: {self.energy:.3f} kJ/mol",
            f"        RMS force: {self.rms_force:.4g} kJ/mol/nm (tolerance {self.tolerance:g})",
            f"    largest force: {self.max_force:.4g} kJ/mol/nm on {self.max_force_atom}",
            f"       iterations: {self.iterations}",
            f"force evaluations: {self.force_evaluations}{self._side_evaluations()}",
            f"          seconds: {self.seconds:.2f}",
        ]
        before = self.force_evaluations - sum(stage.force_evaluations for stage in self.stages)
        if self.stages and before:
            lines.append(f"            start: {_counted(before, 'force evaluation')}")
        for stage in self.stages:
            lines.append(
                f"            stage: {stage.name}: {_counted(stage.iterations, 'iteration')}, "
                f"{_counted(stage.force_evaluations, 'force evaluation')}, {stage.seconds:.2f} s, "
                f"{stage.energy:.3f} kJ/mol; {stage.message}"
            )
        lines.append(f"  stereochemistry: {self._stereochemistry()}")
        if self.minima is not None:
            energies = ", ".join(f"{minimum.energy:.1f}" for minimum in self.minima[:3])
            lines.append(f"           minima: {len(self.minima)}, lowest {energies} kJ/mol")
            if len(self.minima) > 1:
                lines.append(f"                   {FREE_ENERGIES}")
        if self.search_record is not None:
            record = self.search_record
            spent = _counted(record.force_evaluations, "force evaluation")
            lines.append(f"           search: {record}, {spent}")
        if self.surrogate_record is not None:
            spent = _counted(self.surrogate_evaluations, "evaluation")
            of_it = f"; {spent} of it" if self.surrogate_evaluations else ""
            lines.append(f"        surrogate: {self.surrogate_record}{of_it}")
        if self.replicas is not None:
            lines.append(f"         replicas: {self.replicas!r}")
        return "\n".join(lines)

    def _stereochemistry(self) -> str:
        checked = self.stereo_checked
        if self.stereo_changes is None or (checked is not None and not checked.total):
            return "not checked" if checked is None else str(checked)
        verdict = "; ".join(self.stereo_changes) or "unchanged"
        return verdict if checked is None else f"{verdict} ({checked})"

    def _side_evaluations(self) -> str:
        parts = []
        if self.evaluations["bonded"]:
            parts.append(f"{self.evaluations['bonded']} of the bonded forces alone")
        if self.evaluations["side"]:
            parts.append(f"{self.evaluations['side']} in double precision")
        return f" ({', '.join(parts)}, for Hessians)" if parts else ""


def _counted(number: int, name: str) -> str:
    """Return ``"1 iteration"``, ``"2 iterations"``."""
    return f"{number} {name}{'' if number == 1 else 's'}"
