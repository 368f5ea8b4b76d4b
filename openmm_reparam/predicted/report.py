"""What a relaxation did: a record that prints as a table and goes into JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..structure.violations import Violations
from .protocol import RelaxationRound, RelaxationSettings
from .scores import StructureScores

__all__ = ["RelaxationReport", "StructureState"]


@dataclass(frozen=True)
class StructureState:
    """A structure before or after relaxation.

    Attributes
    ----------
    violations : Violations
    scores : StructureScores
    violating_residues : tuple of str
        Residues that AlphaFold's protocol would release.
    energy : float
        Of the force field, kJ/mol, restraints left out.
    """

    violations: Violations
    scores: StructureScores
    violating_residues: tuple[str, ...]
    energy: float

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain Python values, ready for JSON."""
        return {
            "violations": self.violations.to_dict(),
            "scores": self.scores.to_dict(),
            "violating_residues": list(self.violating_residues),
            "energy": self.energy,
        }


@dataclass(frozen=True, repr=False)
class RelaxationReport:
    """What a relaxation did.

    Attributes
    ----------
    name : str
    atoms, residues, chains : int
        Of the relaxed structure.
    converged : bool
        The RMS force reached the tolerance in the round that was taken.
    stopped : str
        Why there was no further round.
    before, after : StructureState
        Before: with missing atoms and hydrogens added.
    rounds : tuple of RelaxationRound
    released : tuple of str
        Residues without restraints at the end.
    turned : tuple of str
        Residues whose side chains were turned out of others' way, because nothing else helped.
    notes : tuple of str
        What was left out, replaced, added.
    stereo_changes : tuple of str
        Chirality and cis/trans states that differ, such as ``"ALA 5 CA: D -> L"``.
    disulfides : tuple of str
    rmsd : float
        Of the heavy atoms from the file, in angstrom, as they stand.
    force_evaluations : int
        Of all rounds.
    seconds : dict of str to float
        For preparation, minimization (violations in between included), scores.
    settings : RelaxationSettings
    """

    name: str
    atoms: int
    residues: int
    chains: int
    converged: bool
    stopped: str
    before: StructureState
    after: StructureState
    rounds: tuple[RelaxationRound, ...]
    released: tuple[str, ...]
    turned: tuple[str, ...]
    notes: tuple[str, ...]
    stereo_changes: tuple[str, ...]
    disulfides: tuple[str, ...]
    rmsd: float
    force_evaluations: int
    seconds: dict[str, float]
    settings: RelaxationSettings = field(default_factory=RelaxationSettings)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python values, ready for JSON."""
        kept = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
            if name not in ("before", "after", "rounds", "settings", "seconds")
        }
        return {
            **kept,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "rounds": [asdict(entry) for entry in self.rounds],
            "seconds": dict(self.seconds),
            "settings": asdict(self.settings),
        }

    def __repr__(self) -> str:
        parts = [
            f"Relaxed {self.name}: {self.atoms} atoms, {self.residues} residues, "
            f"{self.chains} chain{'s' if self.chains != 1 else ''}; "
            f"{'converged' if self.converged else 'NOT converged'}",
            self.before.violations.table(self.after.violations),
            *_score_lines(self.before, self.after),
            f"{len(self.rounds)} round{'s' if len(self.rounds) != 1 else ''} ({self.stopped}), "
            f"{self.force_evaluations} force evaluations, {sum(self.seconds.values()):.1f} s",
            f"heavy atoms moved by an RMSD of {self.rmsd:.3f} A",
        ]
        for title, lines in (
            ("released residues", self.released),
            ("side chains turned", self.turned),
            ("stereochemistry changed", self.stereo_changes),
            ("disulfides", self.disulfides),
            ("notes", self.notes),
        ):
            if lines:
                parts.append(f"{title}: {'; '.join(lines)}")
        return "\n".join(parts)


def _score_lines(before: StructureState, after: StructureState) -> list[str]:
    """Return the rows under the violations."""
    scores = (before.scores, after.scores)
    rows = (
        ("residues with violations", [len(s.violating_residues) for s in (before, after)], "d"),
        ("Ramachandran outliers", [len(s.ramachandran_outliers) for s in scores], "d"),
        ("Ramachandran favoured, %", [s.ramachandran_favoured for s in scores], ".1f"),
        ("rotamer outliers", [len(s.rotamer_outliers) for s in scores], "d"),
        ("clashscore", [s.clashscore for s in scores], ".1f"),
        ("MolProbity-like score", [s.molprobity_like for s in scores], ".2f"),
        ("energy, kJ/mol", [before.energy, after.energy], ".0f"),
    )
    return [
        f"  {title:<26}" + "".join(f"{format(value, form):>8}" for value in values)
        for title, values, form in rows
    ]
