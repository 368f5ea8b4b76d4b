"""Contexts like another one."""

from __future__ import annotations

import openmm as mm

__all__ = ["platform_properties"]


def platform_properties(context: mm.Context, *, single_threaded: bool) -> dict[str, str]:
    """Return the properties with which another Context of the same kind is made."""
    platform = context.getPlatform()
    names = ("Threads", "DeterministicForces", "Precision", "DeviceIndex")
    properties = {
        name: platform.getPropertyValue(context, name)
        for name in platform.getPropertyNames()
        if name in names
    }
    if single_threaded and "Threads" in properties:
        properties["Threads"] = "1"
    return properties
