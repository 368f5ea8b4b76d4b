"""What pages of results are made from: plain values, whichever command they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from openmm import app

from ..structure.violations import Violations

__all__ = [
    "BeforeAfter",
    "Curve",
    "FolderRow",
    "MinimumRow",
    "ReportData",
    "ShownStructure",
]


@dataclass(frozen=True)
class BeforeAfter:
    """A quantity of the start and of the end.

    Attributes
    ----------
    name : str
        "Energy", "MolProbity score".
    before, after : float, str or None
        None where there is no such value.
    unit : str
    """

    name: str
    before: float | str | None
    after: float | str | None
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Curve:
    """A run's energies and RMS forces. Of any length: pages thin long ones.

    Attributes
    ----------
    label : str
    force_evaluations : (n,) array
    energy : (n,) array
        kJ/mol.
    rms_force : (n,) array or None
        kJ/mol/nm.
    dots : bool
        Dots in place of a line: minima that a search found, in no order.
    """

    label: str
    force_evaluations: np.ndarray
    energy: np.ndarray
    rms_force: np.ndarray | None = None
    dots: bool = False


@dataclass(frozen=True, eq=False)
class ShownStructure:
    """A molecule for the 3D viewer. Water and ions are left out there.

    Attributes
    ----------
    topology : openmm.app.Topology
        With its bonds.
    conformations : dict of str to (N, 3) array in nm, or Quantity
        By label: "before", "after", "minimum 2", ... The two first are shown at once if asked;
        all are superposed on the last of these two.
    """

    topology: app.Topology
    conformations: Mapping[str, Any]


@dataclass(frozen=True)
class MinimumRow:
    """A minimum that a search found.

    Attributes
    ----------
    energy : float
        kJ/mol.
    force_evaluations : int
        Those of the run when it was first found.
    visits : int
    cluster : int or None
    free_energy : float or None
        kJ/mol above the lowest.
    population : float or None
        Between 0 and 1.
    conformation : str or None
        Its label among the `ShownStructure.conformations`.
    """

    energy: float
    force_evaluations: int
    visits: int = 1
    cluster: int | None = None
    free_energy: float | None = None
    population: float | None = None
    conformation: str | None = None


@dataclass(frozen=True, eq=False)
class ReportData:
    """What the page of one structure shows.

    Attributes
    ----------
    title : str
        The file's name, or the sequence.
    converged : bool
    message : str
        Why the run ended.
    next_step : str
        What to do where it did not converge.
    warnings : tuple of str
        What a reader must not miss: stereochemistry that changed.
    facts : dict of str to object
        The head of the page: "Force field", "Platform", "Seconds", ... Empty values are left out;
        versions and the date are added.
    quantities : tuple of BeforeAfter
    curves : tuple of Curve
    tolerance : float or None
        RMS force in kJ/mol/nm; a line in the plot.
    structure : ShownStructure or None
    violations : (Violations, Violations) or None
        Of the start and of the end.
    minima : tuple of MinimumRow
        Lowest first.
    search : str
        What a search did, in words.
    notes : tuple of str
        Repairs, restraints, and whatever else a reader should know.
    """

    title: str
    converged: bool
    message: str
    next_step: str = ""
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    quantities: tuple[BeforeAfter, ...] = ()
    curves: tuple[Curve, ...] = ()
    tolerance: float | None = None
    structure: ShownStructure | None = None
    violations: tuple[Violations, Violations] | None = None
    minima: tuple[MinimumRow, ...] = ()
    search: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderRow:
    """One structure of many.

    Attributes
    ----------
    name : str
        The file's.
    state : {"converged", "not converged", "failed"}
    values : dict of str to float, str or None
        By column heading, the same headings in every row: "atoms", "energy (kJ/mol)", "seconds".
        A failed row may have none.
    message : str
        Why it failed, or how it ended.
    report : str or None
        The structure's own page, relative to the folder's page.
    """

    name: str
    state: Literal["converged", "not converged", "failed"]
    values: Mapping[str, float | str | None] = field(default_factory=dict)
    message: str = ""
    report: str | None = None
