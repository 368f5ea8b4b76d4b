"""Which terms the preconditioner has: the force field's, a model Hessian's, or given ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import openmm as mm
import scipy.sparse as sp

from ..errors import NonFiniteError
from ..potentials.bonded import bonded_terms
from ..potentials.potential import Potential
from .model_hessian import atomic_numbers_of, model_terms
from .other_terms import OtherTerms, worthwhile
from .stiff_terms import StiffTerms, constraint_terms, stiff_terms

__all__ = [
    "METRICS",
    "UNKNOWN_STIFFNESS",
    "CoupledTerms",
    "MetricTerms",
    "metric_terms",
    "unknown_atoms",
]

METRICS = ("auto", "terms", "model")
# Of atoms whose bonds only a network, xTB or the like knows, and whose elements nobody does
# (kJ/mol/nm^2): between the stiffness of bonds and that of torsions.
UNKNOWN_STIFFNESS = 1e5


class CoupledTerms(Protocol):
    """Terms that are known as a matrix only: `OtherTerms`, or a Hessian that the user gives.

    Attributes
    ----------
    atoms : list of (T, n) int arrays
        Atoms that a term couples, by kind.
    cost : int
        Force evaluations of one Hessian.
    """

    atoms: list[np.ndarray]
    cost: int

    def hessian(self, positions: np.ndarray, *, spend: bool = True) -> sp.csr_array | None:
        """Return the sparse (3N, 3N) Hessian at (N, 3) positions in nm, or None."""


@dataclass(frozen=True)
class MetricTerms:
    """What P is made of, besides contacts and the shift.

    Attributes
    ----------
    terms : list of StiffTerms
    others : CoupledTerms or None
    unknown : (n,) int array
        Atoms that nothing is known of: they get a stiffness of `UNKNOWN_STIFFNESS`.
    complete : bool
        Whether all forces are ones whose stiff terms can be read.
    """

    terms: list[StiffTerms]
    others: CoupledTerms | None
    unknown: np.ndarray
    complete: bool


def metric_terms(potential: Potential, metric: str | Callable = "auto") -> MetricTerms:
    """Return the terms of a preconditioner.

    Parameters
    ----------
    potential : Potential
    metric : {"auto", "terms", "model"} or callable
        See `Preconditioner`.

    Raises
    ------
    ValueError
        Another word, or a model Hessian of atoms whose elements are not known.
    """
    nobody = np.empty(0, dtype=np.int64)
    if callable(metric):
        given = _GivenHessian(metric, potential)
        return MetricTerms(constraint_terms(potential), given, nobody, True)
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; it must be one of {METRICS} or a callable")
    if metric == "model":
        atoms = np.flatnonzero(potential.moves)
        modelled = potential.once("model terms", lambda: _modelled(potential, atoms))
        if modelled is None:
            raise ValueError(
                "a model Hessian needs the elements of all atoms: pass a Simulation whose topology "
                "has them"
            )
        return MetricTerms(constraint_terms(potential) + modelled, None, nobody, False)
    terms, others = potential.once("stiff terms", lambda: stiff_terms(potential))
    others = worthwhile(others, potential.num_particles)
    coupled = None
    if others:
        coupled = potential.once("other terms", lambda: OtherTerms(potential, others))
    complete = _complete(potential)
    unknown = unknown_atoms(potential)
    if metric == "auto" and len(unknown):
        modelled = potential.once("model terms", lambda: _modelled(potential, unknown))
        if modelled is not None:
            return MetricTerms(terms + modelled, coupled, nobody, complete)
    return MetricTerms(terms, coupled, unknown, complete)


def _modelled(potential: Potential, atoms: np.ndarray) -> list[StiffTerms] | None:
    """Return the model's terms of some atoms; None where their elements are not known."""
    numbers = atomic_numbers_of(potential, atoms)
    return None if numbers is None else [*model_terms(potential, atoms, numbers)]


class _GivenHessian:
    """A Hessian by a user's function, on atoms that move."""

    cost = 0

    def __init__(self, function: Callable, potential: Potential) -> None:
        self._function = function
        self._moves = np.repeat(potential.moves, 3)
        self.atoms = [np.flatnonzero(potential.moves)[None]]

    def hessian(self, positions: np.ndarray, *, spend: bool = True) -> sp.csr_array:
        """Return the function's matrix, symmetric, zero on atoms that do not move."""
        hessian = sp.csr_array(self._function(positions))
        if hessian.shape != (positions.size, positions.size):
            raise ValueError(
                f"the metric has shape {hessian.shape}; it must be (3N, 3N) = "
                f"{(positions.size, positions.size)}"
            )
        if not np.isfinite(hessian.data).all():
            raise NonFiniteError("the metric has values that are NaN or infinite")
        moving = sp.diags_array(self._moves.astype(float))
        return (moving @ (hessian + hessian.T) @ moving / 2).tocsr()


def unknown_atoms(potential: Potential) -> np.ndarray:
    """Return the moving atoms that a force may bond of which no terms are known: (n,).

    Not those with an angle or torsion of their own, rigid ones, and ions. A bond alone may as well
    be a restraint.
    """
    if _complete(potential):
        return np.empty(0, dtype=np.int64)
    constrained = np.bincount(potential.constraints[0].ravel(), minlength=potential.num_particles)
    known, bonded = constrained > 1, constrained > 0
    for force in potential.system.getForces():
        atoms = bonded_terms(force)
        if atoms is not None and atoms.shape[1] > 1:
            bonded[atoms] = True
            known[atoms] |= atoms.shape[1] > 2
    if potential.topology is not None and potential.nonbonded is not None:
        bonded[[atom.index for bond in potential.topology.bonds() for atom in bond]] = True
        known |= ~bonded & (potential.nonbonded.charges != 0)
    return np.flatnonzero(potential.moves & ~known)


def _complete(potential: Potential) -> bool:
    """Whether the terms of all forces in the force groups can be read."""
    return not any(
        _opaque(force)
        for force in potential.system.getForces()
        if potential.groups >> force.getForceGroup() & 1
    )


def _opaque(force: mm.Force) -> bool:
    """Whether a force is code of somebody else's, of which no terms are known."""
    if isinstance(force, mm.CustomCVForce):
        count = force.getNumCollectiveVariables()
        return any(_opaque(force.getCollectiveVariable(k)) for k in range(count))
    # Plugins' forces are plain Forces until their own module is imported.
    own = type(force).__module__.startswith("openmm.")
    return not own or type(force) in (mm.Force, mm.PythonForce)
