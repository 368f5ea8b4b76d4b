"""What a surrogate promised, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["SurrogateRecord"]


@dataclass
class SurrogateRecord:
    """What a surrogate promised, and what the genuine energy did.

    Attributes
    ----------
    name : str
    promised, fallen : list of float
        Falls of the energy from the best structure so far, in kJ/mol: of the surrogate with the
        difference learnt, and of the genuine energy, for every genuine evaluation.
    message : str
        Why it was left, empty if it was not.
    """

    name: str
    promised: list[float] = field(default_factory=list)
    fallen: list[float] = field(default_factory=list)
    message: str = ""

    def __str__(self) -> str:
        if not self.promised:
            return f"{self.name}: not used"
        return (
            f"{self.name}: {len(self.promised)} steps promised {sum(self.promised):.4g} kJ/mol, "
            f"the energy fell by {sum(f for f in self.fallen if f > 0):.4g}"
        )
