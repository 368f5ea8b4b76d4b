"""Global random states belong to the user."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = ["global_random_states_kept"]


@contextmanager
def global_random_states_kept() -> Iterator[None]:
    """Put the global random states of Python, numpy and torch (CPU) back after the block.

    For imports of other packages, which draw from them (rich does), and for code
    that draws from nowhere else.

    Examples
    --------
    >>> random.seed(1)
    >>> with global_random_states_kept():
    ...     first = random.random()
    >>> first == random.random()
    True
    """
    python, numpys = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    torchs = None if torch is None else torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpys)
        if torch is not None:
            torch.set_rng_state(torchs)
