"""The state of a training on disk, replaced as a whole."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import torch

__all__ = ["read_checkpoint", "write_checkpoint"]


def write_checkpoint(path: Path, state: dict) -> None:
    """Write a state; a kill leaves the old file or the new one."""
    beside = path.with_name(path.name + ".part")
    stream = io.BytesIO()  # torch's errors of a full disk do not say so
    torch.save(state, stream)
    with open(beside, "wb") as file:
        file.write(stream.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def read_checkpoint(path: Path) -> dict | None:
    """Read a state of tensors and numbers; None where there is none that can be read."""
    if not path.exists():
        return None
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception:  # torch raises kinds of its own
        warnings.warn(f"{path} cannot be read: all labels are learnt again", stacklevel=2)
        return None
