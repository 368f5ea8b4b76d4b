"""The state of a training on disk, replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import torch

__all__ = ["read_checkpoint", "write_checkpoint"]


def write_checkpoint(path: Path, state: dict) -> None:
    """Write a state; a kill leaves the old file or the new one."""
    beside = path.with_name(path.name + ".part")
    with open(beside, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def read_checkpoint(path: Path) -> dict | None:
    """Read a state of tensors and numbers; None where there is no file."""
    return torch.load(path, weights_only=True, map_location="cpu") if path.exists() else None
