"""Makers of oracles that worker processes can import."""

import os
import re

import numpy as np


def harmonic(molecule):
    """Of the stiffness that a molecule is.

    Above 1 nm it ends its process, above 10 nm it takes very long, below -1 it raises.
    """

    def evaluate(positions):
        if positions.max() > 10:
            re.match(r"(a+)+b", "a" * 60)  # with the interpreter's lock
        if positions.max() > 1:
            os._exit(9)
        if positions.min() < -1:
            raise ValueError("too far")
        return 0.5 * molecule * np.sum(positions**2), -molecule * positions

    return evaluate
