"""Makers of oracles that worker processes can import."""

import os

import numpy as np


def harmonic(molecule):
    """Of the stiffness that a molecule is; above 1 nm it ends its process, below -1 it raises."""

    def evaluate(positions):
        if positions.max() > 1:
            os._exit(9)
        if positions.min() < -1:
            raise ValueError("too far")
        return 0.5 * molecule * np.sum(positions**2), -molecule * positions

    return evaluate
