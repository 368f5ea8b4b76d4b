"""Structures with weights: averages, free energies, files."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from openmm import unit
from openmm.app import Topology
from scipy.special import softmax

from ..constants import BOLTZMANN
from ..units import in_unit, whole_number
from .free_energy_profiles import FreeEnergySurface, free_energy_surface
from .importance import (
    LARGEST_PARETO_K,
    Estimate,
    ForwardCheck,
    bootstrap,
    effective_sample_size,
    log_partition_function,
    pareto_k,
    refuse_no_weights,
    resample,
)
from .observables import Measure, observable

__all__ = ["WeightedEnsemble"]

# Of a nm; and what the .npz beside the structures holds.
ANGSTROMS = 10.0
NUMBERS = {"log_weights", "energies", "temperature", "evaluations", "check"}
# Structures' worth below which averages and their errors say nothing.
LEAST_EFFECTIVE = 50
NO_CHECK = "no forward check: pass configurations from dynamics to see whether modes are missing"


@dataclass(frozen=True, eq=False, repr=False)
class WeightedEnsemble:
    """Independent structures of one molecule, weighted to its Boltzmann distribution.

    Attributes
    ----------
    topology : openmm.app.Topology
    positions : (n, N, 3) array
        In nm.
    log_weights : (n,) array
        Not normalized: their mean exponential estimates the partition function.
    energies : (n,) array
        In kJ/mol.
    temperature : float
        In K.
    evaluations : int
        Force evaluations behind it, training included.
    check : ForwardCheck or None
        What configurations from dynamics say of the model.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("A", capped=True)
    >>> x = molecule.positions._value + np.random.default_rng(0).normal(0, 0.01, (100, 22, 3))
    >>> ensemble = WeightedEnsemble(molecule.topology, x, np.zeros(100), np.zeros(100), 300.0)
    >>> print(ensemble.mean("rg"))
    0.29203 ± 0.00021
    """

    topology: Topology
    positions: np.ndarray
    log_weights: np.ndarray
    energies: np.ndarray
    temperature: float
    evaluations: int = 0
    check: ForwardCheck | None = None

    def __post_init__(self) -> None:
        shape = (len(self.log_weights), self.topology.getNumAtoms(), 3)
        if self.positions.shape != shape or self.energies.shape != shape[:1]:
            raise ValueError(
                f"positions have shape {self.positions.shape} and energies {self.energies.shape}: "
                f"with {shape[0]} weights and {shape[1]} atoms they need {shape} and {shape[:1]}"
            )
        bad = np.flatnonzero(np.isnan(self.log_weights) | np.isposinf(self.log_weights))
        if len(bad):
            raise ValueError(
                f"log_weights of {len(bad)} structures are NaN or infinite ({bad[0]} first): a "
                "structure that does not count has -inf"
            )
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature is {self.temperature}: pass one above zero, in K")

    @property
    def weights(self) -> np.ndarray:
        """Weights (n,), adding up to one."""
        refuse_no_weights(self.log_weights)
        return softmax(self.log_weights)

    @property
    def effective_sample_size(self) -> float:
        """Kish's, as a share of the samples; blind to what they miss."""
        return effective_sample_size(self.log_weights)

    @property
    def pareto_k(self) -> float:
        """Shape of the largest weights: below 0.5 good, above 0.7 means cannot be relied on."""
        return pareto_k(self.log_weights)

    @property
    def log_z(self) -> Estimate:
        """Logarithm of the partition function, over nm^(3N - 6), up to rigid motion."""
        return log_partition_function(self.log_weights)

    @property
    def doubts(self) -> str:
        """Why averages and their errors cannot be relied on; empty where weights show nothing."""
        worth = self.effective_sample_size * len(self)
        shape = self.pareto_k
        if worth < LEAST_EFFECTIVE:
            return f"too few: the weights are worth {worth:.0f} structures"
        return "" if shape < LARGEST_PARETO_K else "too large: a few structures decide"

    def __len__(self) -> int:
        return len(self.log_weights)

    def __repr__(self) -> str:
        shape = self.pareto_k
        warning = f" ({self.doubts})" if self.doubts else ""
        return (
            f"<{type(self).__name__} of {len(self)} structures, {self.topology.getNumAtoms()} "
            f"atoms, {self.temperature:g} K, {self.evaluations} force evaluations: effective "
            f"sample size {self.effective_sample_size:.1%}, Pareto k {shape:.2f}{warning}, "
            f"{self.check or NO_CHECK}>"
        )

    def measure(self, measure: Measure) -> np.ndarray:
        """Return the values (n,) of an observable: see `observables.Measure`."""
        return observable(measure, self.topology)(self.positions)

    def mean(self, measure: Measure) -> Estimate:
        """Return the average of an observable and its standard error. Not for angles that wrap."""
        return self._average(self.measure(measure))

    def probability(self, region: Any) -> Estimate:
        """Return the probability of a region.

        Parameters
        ----------
        region : (n,) bool array or callable
            Which structures are inside; a function gets the positions (n, N, 3) in nm.
        """
        return self._average(self._inside(region).astype(np.float64))

    def free_energy_difference(self, region: Any, other: Any) -> Estimate:
        """Return F of a region less F of another one, in kJ/mol, and its standard error.

        Parameters
        ----------
        region, other : (n,) bool arrays or callables
            See `probability`.
        """
        inside, outside, weights = self._inside(region), self._inside(other), self.weights

        def difference(chosen: np.ndarray) -> float:
            drawn = weights[chosen]
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = (drawn @ inside[chosen]) / (drawn @ outside[chosen])
                return float(-BOLTZMANN * self.temperature * np.log(ratio))

        return bootstrap(difference, len(self))

    def free_energy(
        self, *measures: Measure, bins: int | Sequence[np.ndarray] | None = None
    ) -> FreeEnergySurface:
        """Return the free energy along one or two observables.

        Parameters
        ----------
        *measures : str, callable or Observable
            Such as ``"phi", "psi"``; see `observables.Measure`.
        bins : int or sequence of arrays, optional
            See `free_energy_surface`.
        """
        chosen = [observable(measure, self.topology) for measure in measures]
        values = [found(self.positions) for found in chosen]
        return free_energy_surface(chosen, values, self.log_weights, self.temperature, bins)

    def resample(self, count: int | None = None, seed: int = 0) -> np.ndarray:
        """Return positions (count, N, 3) that need no weights, drawn with them.

        Structures of large weight come several times. By default as many as the effective sample
        size tells.
        """
        if count is None:
            count = max(1, round(self.effective_sample_size * len(self)))
        count, seed = whole_number(count, "count", 1), whole_number(seed, "seed", 0)
        return self.positions[resample(self.log_weights, count, np.random.default_rng(seed))]

    def checked(self, check: ForwardCheck) -> WeightedEnsemble:
        """Return the same ensemble with what configurations from dynamics say."""
        return dataclasses.replace(self, check=check)

    def to_mdtraj(self) -> mdtraj.Trajectory:
        """Return the structures as a trajectory; weights are separate."""
        return mdtraj.Trajectory(self.positions, mdtraj.Topology.from_openmm(self.topology))

    @classmethod
    def from_mdtraj(
        cls,
        trajectory: mdtraj.Trajectory,
        temperature: Any,
        log_weights: np.ndarray | None = None,
    ) -> WeightedEnsemble:
        """Return the structures of a trajectory, such as one of dynamics, for the same analyses.

        Parameters
        ----------
        trajectory : mdtraj.Trajectory
        temperature : float or Quantity
            In K.
        log_weights : (n,) array, optional
            Equal by default. Errors take structures to be independent.
        """
        count = len(trajectory)
        logs = np.zeros(count) if log_weights is None else np.asarray(log_weights, dtype=float)
        positions = trajectory.xyz.astype(np.float64)
        unknown = np.full(count, np.nan)
        kelvin = in_unit(temperature, unit.kelvin, "temperature")
        return cls(trajectory.topology.to_openmm(), positions, logs, unknown, kelvin)

    def save(self, path: str | Path) -> None:
        """Write structures as DCD, and beside it weights and energies as ``.npz`` and ``.csv``.

        DCD keeps single precision; the energies are those of the structures before that. The
        ``.npz`` has the forward check, too.

        Parameters
        ----------
        path : str or Path
            Ending in ``.dcd``. Its folder is made.

        Raises
        ------
        ValueError
            All weights are zero, or the name has another ending.
        """
        dcd, table = _dcd_path(path), np.column_stack([self.weights, self.energies])
        dcd.parent.mkdir(parents=True, exist_ok=True)
        self.to_mdtraj().save_dcd(str(dcd))
        check = None if self.check is None else dataclasses.asdict(self.check)
        np.savez(
            dcd.with_suffix(".npz"),
            log_weights=self.log_weights,
            energies=self.energies,
            temperature=self.temperature,
            evaluations=self.evaluations,
            check=json.dumps(check),
        )
        header = "weight,energy (kJ/mol)"
        np.savetxt(dcd.with_suffix(".csv"), table, "%.9g", ",", header=header, comments="")

    @classmethod
    def load(cls, path: str | Path, topology: Topology) -> WeightedEnsemble:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or Path
            Of the DCD; the ``.npz`` lies beside it.
        topology : openmm.app.Topology
            Of the same atoms.

        Raises
        ------
        FileNotFoundError, ValueError
            One of the files is missing, or they were not written by `save`, or not for these atoms.
        """
        dcd = _dcd_path(path)
        stored = _read_numbers(dcd.with_suffix(".npz"))
        check = json.loads(str(stored["check"]))
        return cls(
            topology,
            _read_positions(dcd, topology),
            stored["log_weights"],
            stored["energies"],
            float(stored["temperature"]),
            int(stored["evaluations"]),
            None if check is None else ForwardCheck.of(check),
        )

    def _average(self, values: np.ndarray) -> Estimate:
        weights = self.weights

        def average(chosen: np.ndarray) -> float:
            total = weights[chosen].sum()  # zero if none of the few that count are drawn
            return float(values[chosen] @ weights[chosen] / total) if total else np.nan

        return bootstrap(average, len(self))

    def _inside(self, region: Any) -> np.ndarray:
        inside = np.asarray(region(self.positions) if callable(region) else region)
        if inside.shape != (len(self),) or inside.dtype != bool:
            raise ValueError(
                f"a region is a boolean for each of {len(self)} structures, or a function of their "
                f"positions that gives these; this is {inside.dtype} of shape {inside.shape}"
            )
        return inside


def _read_numbers(path: Path) -> dict[str, np.ndarray]:
    """Return what `WeightedEnsemble.save` wrote beside the structures."""
    if not path.exists():
        raise FileNotFoundError(
            f"there is no {path}: the weights lie beside the DCD, as ensemble.save(...) wrote both"
        )
    try:
        with np.load(path) as stored:
            numbers = dict(stored)
    except (ValueError, OSError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as weights of an ensemble ({error})") from error
    missing = NUMBERS - numbers.keys()
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(sorted(missing))}: it is none that ensemble.save(...) wrote"
        )
    return numbers


def _read_positions(path: Path, topology: Topology) -> np.ndarray:
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    try:
        with mdtraj.formats.DCDTrajectoryFile(str(path)) as file:
            positions, _, _ = file.read()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as DCD ({error})") from error
    if positions.shape[1] != topology.getNumAtoms():
        raise ValueError(
            f"{path} has {positions.shape[1]} atoms, and the topology {topology.getNumAtoms()}: "
            "pass the topology of the molecule that was sampled"
        )
    return positions.astype(np.float64) / ANGSTROMS


def _dcd_path(path: str | Path) -> Path:
    dcd = Path(path)
    if dcd.suffix.lower() != ".dcd":
        raise ValueError(f"{dcd}: name a file that ends in .dcd")
    return dcd
