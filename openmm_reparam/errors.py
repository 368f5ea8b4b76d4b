"""Errors and warnings that users may want to catch by name."""

from __future__ import annotations

__all__ = [
    "BudgetExhausted",
    "ConvergenceWarning",
    "EvaluationError",
    "NonFiniteError",
    "NotConvergedError",
    "UnsupportedSystemError",
]


class NonFiniteError(ValueError):
    """Positions, an energy or a force is NaN or infinite.

    Attributes
    ----------
    atoms : tuple of int
        Indices of the worst atoms, worst first.
    """

    def __init__(self, message: str, atoms: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.atoms = atoms


class EvaluationError(NonFiniteError):
    """OpenMM raised an exception in place of an energy (a failed SCF, say)."""


class UnsupportedSystemError(ValueError):
    """The System holds something this package cannot minimize correctly (Drude particles, say)."""


class BudgetExhausted(RuntimeError):  # noqa: N818 - an end, not a fault
    """The allowed number of force evaluations has been used up."""


class ConvergenceWarning(UserWarning):
    """A minimization stopped before it reached its tolerance."""


class NotConvergedError(RuntimeError):
    """Raised with ``strict=True`` by a run that stopped before it reached its tolerance.

    Attributes
    ----------
    result : MinimizationResult
        What was reached; the Context is as it was before the call.
    """

    def __init__(self, result) -> None:
        super().__init__(result.message)
        self.result = result
