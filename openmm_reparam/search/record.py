"""What a search did, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["SearchRecord"]


@dataclass
class SearchRecord:
    """What a search did.

    Attributes
    ----------
    explorer : str
        Its name, "slow-modes" for example.
    tried : int
        Hops begun, restarts among them.
    accepted : int
        Hops that a walker went on from.
    restarts : int
        How often the search was reseeded with another fold.
    refusals : dict of str to int
        Hops refused, by validity check ("collapsed atoms", "atoms too near", "pierced rings",
        "stereochemistry"), because the energy was not finite ("overflow"), or because the steps
        allowed led to no minimum ("not relaxed").
    force_evaluations : int
        Of the search alone.
    minima : int
        Distinct minima found, the start among them.
    """

    explorer: str = ""
    tried: int = 0
    accepted: int = 0
    restarts: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    force_evaluations: int = 0
    minima: int = 0

    def refuse(self, reason: str) -> None:
        """Count a refused hop."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def add(self, other: SearchRecord) -> None:
        """Count what another search of the same molecule did, but for its minima."""
        self.tried += other.tried
        self.accepted += other.accepted
        self.restarts += other.restarts
        self.force_evaluations += other.force_evaluations
        for reason, count in other.refusals.items():
            self.refusals[reason] = self.refusals.get(reason, 0) + count

    @property
    def refused(self) -> int:
        """Refused hops of every kind."""
        return sum(self.refusals.values())

    def __str__(self) -> str:
        refused = ", ".join(f"{count} for {reason}" for reason, count in self.refusals.items())
        return (
            f"{self.tried} hops, {self.accepted} accepted, {self.restarts} restarts, "
            f"refused {refused or 'none'}, {self.minima} minima"
        )
