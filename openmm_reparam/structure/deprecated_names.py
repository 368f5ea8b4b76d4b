"""Functions of the first version's stereochemistry: methods of `Stereochemistry` in one call.

Removed in the version after the next.
"""

from __future__ import annotations

import warnings
from typing import Any

from openmm.app import Topology

from .stereochemistry import Stereochemistry

__all__ = ["chirality", "peptide_bonds", "stereo_changes"]


def chirality(topology: Topology, positions: Any) -> dict[str, str]:
    """Call `Stereochemistry.chirality`; see there."""
    _warn("chirality", "chirality")
    return Stereochemistry(topology).chirality(positions)


def peptide_bonds(topology: Topology, positions: Any) -> dict[str, str]:
    """Call `Stereochemistry.peptide_bonds`; see there."""
    _warn("peptide_bonds", "peptide_bonds")
    return Stereochemistry(topology).peptide_bonds(positions)


def stereo_changes(topology: Topology, before: Any, after: Any) -> list[str]:
    """Call `Stereochemistry.changes`; see there."""
    _warn("stereo_changes", "changes")
    return Stereochemistry(topology).changes(before, after)


def _warn(old: str, method: str) -> None:
    warnings.warn(
        f"{old}(topology, ...) is Stereochemistry(topology).{method}(...) now",
        DeprecationWarning,
        stacklevel=3,
    )
