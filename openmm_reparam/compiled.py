"""The compiled core, or what to do where it is missing."""

from __future__ import annotations

from typing import Any

# First: it brings the library that the core is linked to.
import openmm  # noqa: F401

try:
    from ._core import (
        BlockCholesky,
        Constraints,
        Contacts,
        Landscape,
        LbfgsState,
        PairSet,
        SmallInverses,
        Stiffness,
        StiffnessAssembler,
        bonded_terms,
        constrained,
        constraints,
        dot,
        evaluate,
        exclusions,
        longest,
        longest_within,
        near_pairs,
        nonbonded,
        particles,
        positions,
        set_positions,
        small_inverses,
        virtual_site_parents,
    )
except ImportError as error:
    raise ImportError(
        f"the compiled core of openmm-reparam is missing or broken ({error}). Install a wheel of "
        "openmm-reparam for this Python and this version of OpenMM; or a C++17 compiler, Python's "
        "headers and CMake ('pip install cmake'), then run 'pip install .' in a checkout of the "
        "sources."
    ) from error

__all__ = [
    "BlockCholesky",
    "Constraints",
    "Contacts",
    "Landscape",
    "LbfgsState",
    "PairSet",
    "SmallInverses",
    "Stiffness",
    "StiffnessAssembler",
    "address",
    "bonded_terms",
    "constrained",
    "constraints",
    "dot",
    "evaluate",
    "exclusions",
    "longest",
    "longest_within",
    "near_pairs",
    "nonbonded",
    "particles",
    "positions",
    "set_positions",
    "small_inverses",
    "virtual_site_parents",
]


def address(wrapped: Any) -> int:
    """Return where the C++ object of one of OpenMM's Python objects lies.

    Examples
    --------
    >>> system = openmm.System()
    >>> address(system) == address(system)
    True
    """
    return int(wrapped.this)
