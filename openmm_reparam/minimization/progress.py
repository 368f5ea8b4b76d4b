"""Progress for people: a bar on a terminal, a quiet line elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from tqdm import tqdm

__all__ = ["Listener", "Progress"]

# Runs shorter than this many seconds show nothing.
DELAY = 3.0


class Listener(Protocol):
    """Whoever is told where a run is."""

    def update(
        self, iteration: int, energy: float, rms_force: float, evaluations: int, stage: str
    ) -> None:
        """Take the state after an iteration: energy in kJ/mol, RMS force in kJ/mol/nm."""


class Progress:
    """A line that grows with a minimization.

    Parameters
    ----------
    show : bool or None
        True, False, or None: a bar if stderr is a terminal, else one line a minute.
    total : int, optional
        Iterations at most.
    delay : float
        Seconds before anything is shown.
    """

    def __init__(
        self, show: bool | None = None, total: int | None = None, delay: float = DELAY
    ) -> None:
        self._terminal = sys.stderr.isatty()
        self._show = show is not False
        self._delay = 0.0 if show is True else delay
        self._total = total
        self._bar: tqdm | None = None
        self._began = time.monotonic()
        self._next_line = self._began + (self._delay if show is True else 60.0)

    def update(
        self, iteration: int, energy: float, rms_force: float, evaluations: int, stage: str
    ) -> None:
        """Show where a run is."""
        if not self._show:
            return
        now = time.monotonic()
        if not self._terminal:
            if now >= self._next_line:
                self._next_line = now + 60.0
                print(
                    f"minimizing ({stage}): iteration {iteration}, {energy:.1f} kJ/mol, RMS force "
                    f"{rms_force:.3g} kJ/mol/nm, {evaluations} force evaluations",
                    file=sys.stderr,
                )
            return
        if self._bar is None:
            if now - self._began < self._delay:
                return
            self._bar = tqdm(total=self._total, initial=iteration, unit="it", leave=False)
        self._bar.set_description(stage, refresh=False)
        self._bar.set_postfix_str(
            f"{energy:.1f} kJ/mol, RMS force {rms_force:.3g}, {evaluations} evaluations",
            refresh=False,
        )
        self._bar.update(iteration - self._bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
