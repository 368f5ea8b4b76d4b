"""How many threads torch may use beside OpenMM's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["torch_threads_for"]

# Systems up to this many atoms are too small for torch's threads to pay.
SINGLE_THREADED = 20_000


@contextmanager
def torch_threads_for(num_atoms: int) -> Iterator[None]:
    """Run torch on one thread inside the block where the molecule is small, then put it back.

    Its idle threads spin and take the cores from OpenMM's. Where torch has not been imported,
    nothing is done: importing it takes seconds and half a GiB.
    """
    torch = sys.modules.get("torch")
    if torch is None or num_atoms > SINGLE_THREADED:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
