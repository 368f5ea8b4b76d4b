"""A training on a molecule in closed form, by functions that worker processes can import.

As a program: python morse_training.py FILE_OF_LABELS NUMBER_OF_LABELS
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

from openmm_reparam.surrogates.golf.collect import WalkSettings
from openmm_reparam.surrogates.golf.learner import LearningSettings
from openmm_reparam.surrogates.golf.molecules import TrainingMolecule
from openmm_reparam.surrogates.golf.network import NetworkSettings
from openmm_reparam.surrogates.golf.train import Schedule, train

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import ACETIC_ACID, BONDS, NUMBERS
from morse_molecule import MorseMolecule

SYMBOLS, POSITIONS = ACETIC_ACID
ACID = np.array([NUMBERS[s] for s in SYMBOLS.split()]), np.array(POSITIONS), np.array(BONDS)


def surrogate(molecule):
    """A Morse molecule with bonds that are too short."""
    return MorseMolecule(ACID, scale=0.98)


def genuine(molecule):
    """One with longer bonds; its minimum has an energy near zero."""
    return MorseMolecule(ACID, scale=1.02)


def slow(molecule):
    """The same, so slow that a training is killed between two labels."""
    oracle = genuine(molecule)

    def evaluate(positions):
        time.sleep(0.02)
        return oracle(positions)

    return evaluate


def acid(count=3):
    rng = np.random.default_rng(2)
    numbers, positions, bonds = ACID
    starts = positions + 0.004 * rng.standard_normal((count, *positions.shape))
    return TrainingMolecule("acetic acid", numbers, 0, bonds, starts)


def trained(labels, path=None, oracle=genuine, **changes):
    torch.set_num_threads(1)
    arguments = {
        "genuine": oracle,
        "surrogate": surrogate,
        "validation": [acid(1)],
        "network": NetworkSettings(features=16, interactions=1, bessel=8, rank=4),
        "learning": LearningSettings(batch=8, rate=3e-3),
        "walks": WalkSettings(walkers=4, steps=20),
        "schedule": Schedule(updates=2.0, checks=3),
        "buffer": path,
        "seed": 3,
        "progress": False,
    }
    return train([acid()], labels=labels, **(arguments | changes))


if __name__ == "__main__":
    trained(int(sys.argv[2]), sys.argv[1], slow, checkpoint=15)
