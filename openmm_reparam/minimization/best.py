"""The best structure of a run: the soundest, and of equally sound ones the lowest."""

from __future__ import annotations

from ..potentials.collapse import CollapseCheck
from ..potentials.point import Point

__all__ = ["BestStructure"]

# How sound a structure is in which nothing has collapsed; in others less.
SOUND = 2
FELL = "that are not bonded have fallen onto each other"


class BestStructure:
    """Keeps the best structure, and refuses collapsed ones.

    Parameters
    ----------
    collapse : CollapseCheck
    start : Point
        Of the run.
    best : Point, optional
        The best so far, by default the start.

    Attributes
    ----------
    point : Point
        The best structure.
    """

    def __init__(self, collapse: CollapseCheck, start: Point, best: Point | None = None) -> None:
        self._collapse, self._start = collapse, start
        self.point = start if best is None else best
        self._soundness = SOUND - bool(collapse.pairs(self.point.positions))

    def keep(self, point: Point) -> None:
        """Take a point if it is better."""
        if self._soundness == SOUND and point.energy >= self.point.energy:
            return
        soundness = self._soundness_of(point)
        if (soundness, -point.energy) > (self._soundness, -self.point.energy):
            self.point, self._soundness = point, soundness

    def refused(self, final: Point) -> tuple[Point, str]:
        """Return the final structure, or the start where atoms have fallen in it.

        What has collapsed in the start already may stay.

        Returns
        -------
        Point
        str
            What is said of collapsed atoms; empty where there are none.
        """
        pairs = self._collapse.pairs(final.positions)
        if not pairs:
            return final, ""
        fallen = self._collapse.pairs(final.positions, self._start.positions)
        what = f"the start is kept, since atoms {FELL}" if fallen else f"in the start atoms {FELL}"
        advice = "Rebuild or remove one of each pair, or restrain them"
        named = self._collapse.named(fallen or pairs)
        return self._start if fallen else final, f"{what}: {named}. {advice}"

    def _soundness_of(self, point: Point) -> int:
        """Return SOUND where nothing has collapsed, less where something has in the start."""
        if self._collapse.sound(point):
            return SOUND
        return SOUND - 1 - bool(self._collapse.pairs(point.positions, self._start.positions))
