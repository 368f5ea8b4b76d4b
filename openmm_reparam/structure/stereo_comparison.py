"""What differs in stereochemistry between two structures, and what of it was compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["StereoCheck", "StereoComparison"]

# Residues without bonds that are named one by one.
MAX_NAMED_RESIDUES = 3


@dataclass(frozen=True)
class StereoCheck:
    """What of a structure's stereochemistry was compared.

    Attributes
    ----------
    centres, cis_trans_bonds : int
        How many; peptide bonds are among the bonds.
    unknown : tuple of str
        Residues that were not checked because their bonds are not known; ``("all atoms",)`` where
        no bond is.

    Examples
    --------
    >>> print(StereoCheck(12, 1, ("LIG 1",)))
    12 centres, 1 cis/trans bond checked; not checked (no bonds known): LIG 1
    >>> print(StereoCheck(0, 0))
    no stereocentres
    """

    centres: int
    cis_trans_bonds: int
    unknown: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many states were compared."""
        return self.centres + self.cis_trans_bonds

    def __str__(self) -> str:
        counts = [(self.centres, "centre"), (self.cis_trans_bonds, "cis/trans bond")]
        named = ", ".join(f"{n} {name}{'s' * (n != 1)}" for n, name in counts if n)
        parts = [f"{named} checked"] if self.total else []
        if self.unknown:
            names = ", ".join(self.unknown[:MAX_NAMED_RESIDUES])
            more = len(self.unknown) - MAX_NAMED_RESIDUES
            parts.append(
                f"not checked (no bonds known): {names}{f' and {more} more' if more > 0 else ''}"
            )
        return "; ".join(parts) or "no stereocentres"


class StereoComparison(NamedTuple):
    """What differs in stereochemistry between two structures, and what was compared.

    Attributes
    ----------
    changes : tuple of str, or None
        Such as ``("ALA 5 CA: L -> D",)``; None where the bonds are not known and nothing could be
        compared.
    checked : StereoCheck
    """

    changes: tuple[str, ...] | None
    checked: StereoCheck
