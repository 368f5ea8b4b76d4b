"""Ctrl-C inside a PythonForce: OpenMM hands on its message, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import openmm as mm

__all__ = ["named_interruption", "raise_interruption"]

MESSAGE = "interrupted by Ctrl-C"


@contextmanager
def named_interruption() -> Iterator[None]:
    """Give Ctrl-C in the block a message, by which `raise_interruption` knows it.

    For functions that a PythonForce calls.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(MESSAGE) from error


def raise_interruption(error: mm.OpenMMException) -> None:
    """Raise KeyboardInterrupt if that is what OpenMM's exception is about.

    Raises
    ------
    KeyboardInterrupt
        The exception has the message of `named_interruption`.

    Examples
    --------
    >>> raise_interruption(mm.OpenMMException("SCF not converged"))
    """
    if MESSAGE in str(error):
        raise KeyboardInterrupt from error
