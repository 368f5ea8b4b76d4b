"""Molecules that tests of surrogates share."""

import numpy as np
import pytest

# Acetic acid, an almost minimal structure (nm).
ACETIC_ACID = (
    "C C O O H H H H",
    [
        [-0.1396, -0.0126, 0.0010],
        [0.0089, 0.0180, 0.0008],
        [0.0546, 0.1288, -0.0002],
        [0.0828, -0.0955, 0.0011],
        [-0.1592, -0.0671, 0.0910],
        [-0.1585, -0.0750, -0.0834],
        [-0.1952, 0.0814, -0.0049],
        [0.1767, -0.0713, 0.0003],
    ],
)
BONDS = [[0, 1], [1, 2], [1, 3], [0, 4], [0, 5], [0, 6], [3, 7]]
NUMBERS = {"C": 6, "O": 8, "H": 1}


@pytest.fixture(scope="session")
def acetic_acid():
    """Atomic numbers, positions in nm, bonds."""
    symbols, positions = ACETIC_ACID
    numbers = np.array([NUMBERS[symbol] for symbol in symbols.split()])
    return numbers, np.array(positions), np.array(BONDS)


@pytest.fixture
def rng():
    """A generator of random numbers, the same for every test."""
    return np.random.default_rng(5)
