"""What is trained, in a file: written whole or not at all, refused where it does not belong."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import openmm as mm
import torch

from .target import Target

__all__ = ["fingerprint", "read_checkpoint", "write_checkpoint"]

VERSION = 1
KEYS = {"fingerprint", "reference", "evaluations", "generator", "method"}


def fingerprint(target: Target, method: str) -> str:
    """Return what tells one training from another: System, temperature, latents, method."""
    try:
        system = mm.XmlSerializer.serialize(target.potential.system)
    except mm.OpenMMException:  # a PythonForce around a local function
        system = str(target.potential.masses.tolist())
    classes = target.internal.zmatrix.classes.tolist()
    text = f"{VERSION} {method} {target.temperature!r} {classes} {system}"
    return hashlib.sha256(text.encode()).hexdigest()


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values; an older file stays until the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    torch.save(content, unfinished)
    os.replace(unfinished, path)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return what `write_checkpoint` wrote; None where there is no file.

    Raises
    ------
    ValueError
        The file is no checkpoint of sampling.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint: name another file, or remove it"
        ) from error
    if not isinstance(content, dict) or not content.keys() >= KEYS:
        raise ValueError(f"{path} is no checkpoint of a sampler: name another file")
    return content
