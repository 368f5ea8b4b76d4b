"""The compiled core, or what to do where it is missing."""

from __future__ import annotations

from typing import Any

# First: it brings the library that the core is linked to.
import openmm  # noqa: F401

try:
    from ._core import (
        MAX_SHIFT,
        MIN_TORSION_STIFFNESS,
        TORSION_RIDGE,
        CollapseCheck,
        Constraints,
        Contacts,
        Landscape,
        LbfgsState,
        MoleculeAssembler,
        MoleculeFactors,
        MoleculeStiffness,
        PairSet,
        StiffTerms,
        TorsionCoordinates,
        TorsionMetric,
        TorsionMotions,
        all_finite,
        angles,
        bonded_terms,
        box,
        constrained,
        constraint_terms,
        constraints,
        dihedrals,
        distances,
        dot,
        evaluate,
        exclusions,
        force_terms,
        largest_difference,
        longest,
        longest_within,
        near_pairs,
        nonbonded,
        particles,
        positions,
        set_positions,
        virtual_sites,
    )
except ImportError as error:
    raise ImportError(
        f"the compiled core of openmm-reparam is missing or broken ({error}). Install a wheel of "
        "openmm-reparam for this Python and this version of OpenMM; or a C++17 compiler, Python's "
        "headers and CMake ('pip install cmake'), then run 'pip install .' in a checkout of the "
        "sources."
    ) from error

__all__ = [
    "MAX_SHIFT",
    "MIN_TORSION_STIFFNESS",
    "TORSION_RIDGE",
    "CollapseCheck",
    "Constraints",
    "Contacts",
    "Landscape",
    "LbfgsState",
    "MoleculeAssembler",
    "MoleculeFactors",
    "MoleculeStiffness",
    "PairSet",
    "StiffTerms",
    "TorsionCoordinates",
    "TorsionMetric",
    "TorsionMotions",
    "address",
    "all_finite",
    "angles",
    "bonded_terms",
    "box",
    "constrained",
    "constraint_terms",
    "constraints",
    "dihedrals",
    "distances",
    "dot",
    "evaluate",
    "exclusions",
    "force_terms",
    "largest_difference",
    "longest",
    "longest_within",
    "near_pairs",
    "nonbonded",
    "particles",
    "positions",
    "set_positions",
    "virtual_sites",
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
