"""The compiled core. OpenMM's objects are given by their addresses, see `compiled.address`."""

import numpy as np

def particles(system: int) -> tuple[np.ndarray, np.ndarray]:
    """Masses (N,) in daltons, and which particles are virtual sites (N,) uint8."""

def constraints(system: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (M, 2) and distances (M,) in nm."""

def virtual_site_parents(system: int) -> np.ndarray:
    """(site, parent) pairs of all virtual sites, (P, 2)."""

def bonded_terms(force: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Particles (T, n) and parameters (T, p) of a bonded force's terms; None of other forces."""

def nonbonded(force: int, globals: dict[str, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a NonbondedForce: particles (N, 3), exceptions' pairs (E, 2) and parameters (E, 3)."""

def exclusions(force: int) -> np.ndarray:
    """Excluded pairs (E, 2) of a CustomNonbondedForce."""
