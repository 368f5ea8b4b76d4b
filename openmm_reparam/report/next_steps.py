"""What to do where a run did not converge."""

from __future__ import annotations

__all__ = ["next_step"]

_PRECISION = (
    "The precision of the platform is reached. Ask for a looser tolerance (--tolerance), for mixed "
    "precision on a GPU, or for --platform Reference."
)
# By a part of the message, the first that fits.
_STEPS = {
    "force evaluations is used up": "Allow more: raise --max-force-evaluations.",
    "maxIterations": "Allow more: raise --max-iterations, or leave it out.",
    "Ctrl-C": "Run it again, from the structure written if there is one, and let it end.",
    "above the tolerance": _PRECISION,
    "neither energy nor force has fallen": _PRECISION,
    "the energy falls without bound": (
        "Something pulls without end. Add a restraint, or leave that force out."
    ),
    "atoms have fallen onto each other": (
        "A hydrogen without a Lennard-Jones core meets a charge. Check the parameters of the atoms "
        "named, or restrain them."
    ),
}
_ELSE = "Look for the message in the troubleshooting page of the documentation."


def next_step(message: str) -> str:
    """Return what to do after a run that ended above its tolerance.

    Parameters
    ----------
    message : str
        `MinimizationResult.message`.

    Returns
    -------
    str

    Examples
    --------
    >>> next_step("the budget of 20 force evaluations is used up")
    'Allow more: raise --max-force-evaluations.'
    """
    return next((step for part, step in _STEPS.items() if part in message), _ELSE)
