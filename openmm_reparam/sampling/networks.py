"""Small networks."""

from __future__ import annotations

import torch

__all__ = ["zero_perceptron"]


def zero_perceptron(inputs: int, hidden: int, outputs: int) -> torch.nn.Sequential:
    """Return a network with two hidden layers that gives zero before it is trained."""
    last = torch.nn.Linear(hidden, outputs)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, hidden),
        torch.nn.SiLU(),
        torch.nn.Linear(hidden, hidden),
        torch.nn.SiLU(),
        last,
    )
