"""Test systems: Lennard-Jones clusters and the synthetic coils of the paper."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm
from openmm import app, unit
from scipy.spatial.distance import cdist

from .prepare.molecular_system import MolecularSystem
from .units import in_unit

__all__ = [
    "LJ_GLOBAL_MINIMA",
    "ReducedSystem",
    "coil",
    "coil_lower_bound",
    "lennard_jones_cluster",
]


#: Energies of the global minima of Lennard-Jones clusters in units of epsilon, by number of atoms.
LJ_GLOBAL_MINIMA: dict[int, float] = {13: -44.326801, 19: -72.659782, 26: -108.315616}


_REPULSION = 0.0025
_SOFTENING = 0.01
_STRIDE = 10  # the weak couplings of the coils are (i, i + 10)


@dataclass(frozen=True, eq=False, repr=False)
class ReducedSystem(MolecularSystem):
    """A model in reduced units, scaled to OpenMM's.

    Parameters
    ----------
    energy_unit : float
        Reduced energy 1, in kJ/mol.
    length_unit : float
        Reduced length 1, in nm.

    Examples
    --------
    >>> coil(50).length_unit
    0.1
    """

    energy_unit: float = 1.0
    length_unit: float = 1.0

    def reduced_energy(self, energy: Any) -> float:
        """Return an energy in reduced units.

        Parameters
        ----------
        energy : float in kJ/mol, or Quantity

        Returns
        -------
        float

        Raises
        ------
        TypeError
            If the Quantity is no molar energy.
        """
        if unit.is_quantity(energy):
            energy = energy.value_in_unit(unit.kilojoules_per_mole)
        return float(energy) / self.energy_unit


def lennard_jones_cluster(
    n: int,
    seed: int = 0,
    epsilon: Any = 1.0 * unit.kilojoules_per_mole,
    sigma: Any = 0.3 * unit.nanometer,
) -> ReducedSystem:
    """Return n Lennard-Jones atoms at random places in a sphere, without a cutoff.

    Parameters
    ----------
    n : int
        At least 2.
    seed : int
        Of the places.
    epsilon : float in kJ/mol, or Quantity
        Depth of the pair potential.
    sigma : float in nm, or Quantity
        Where the pair potential crosses zero.

    Returns
    -------
    ReducedSystem
        ``energy_unit`` is epsilon, ``length_unit`` sigma. No two atoms start closer than
        0.9 sigma.

    Raises
    ------
    TypeError
        If epsilon or sigma has a wrong unit.
    ValueError
        If n is below 2, or epsilon or sigma is not positive.

    Notes
    -----
    E = sum over pairs of 4 epsilon ((sigma/r)^12 - (sigma/r)^6). Global minima in `epsilon`:
    -44.326801 (n = 13), -72.659782 (n = 19), -108.315616 (n = 26); see `LJ_GLOBAL_MINIMA`.

    References
    ----------
    Wales, D. J., Doye, J. P. K. J. Phys. Chem. A 1997, 101, 5111.

    Examples
    --------
    >>> lennard_jones_cluster(13)
    <ReducedSystem LJ13: 13 atoms, 13 residues>
    """
    n = _at_least(n, 2, "n")
    epsilon = _positive(in_unit(epsilon, unit.kilojoules_per_mole, "epsilon"), "epsilon")
    sigma = _positive(in_unit(sigma, unit.nanometer, "sigma"), "sigma")

    force = openmm.CustomNonbondedForce("4*epsilon*((sigma/r)^12-(sigma/r)^6)")
    force.addGlobalParameter("epsilon", epsilon)
    force.addGlobalParameter("sigma", sigma)
    force.setNonbondedMethod(openmm.CustomNonbondedForce.NoCutoff)
    for _ in range(n):
        force.addParticle()

    # At 0.3 atoms per sigma^3 random insertion still finds places 0.9 sigma apart.
    radius = (3 * n / (4 * np.pi * 0.3)) ** (1 / 3)
    rng = np.random.default_rng(seed)
    places = np.empty((0, 3))
    while len(places) < n:
        place = rng.uniform(-radius, radius, (1, 3))
        is_free = len(places) == 0 or cdist(places, place).min() > 0.9
        if np.linalg.norm(place) < radius and is_free:
            places = np.concatenate([places, place])
    return _beads(f"LJ{n}", app.element.argon, 39.9, [force], places, epsilon, sigma, [])


def coil(
    n: int = 400,
    kind: str = "bond-lj",
    seed: int = 0,
    energy_scale: Any = None,
    length_scale: Any = 0.1 * unit.nanometer,
) -> ReducedSystem:
    """Return a synthetic coil of the neural reparametrization paper as an OpenMM System.

    An open chain of n particles: couplings (i, i+1) and, ten times weaker, (i, i+10), and a weak
    repulsion that keeps it swollen.

    Parameters
    ----------
    n : int
        At least 12.
    kind : {"bond-lj", "lj"}
        Whether the couplings (i, i+1) are harmonic bonds or soft-core Lennard-Jones.
    seed : int
        Of the start, N(0, s0 / 2) for each coordinate with s0 = n^(1/3) / 2.
    energy_scale : float in kJ/mol, Quantity or None
        Reduced energy 1. None is 1000 n kJ/mol: the reduced energy is a mean over n couplings,
        so each coupling then has the stiffness of a soft molecule and OpenMM's default tolerance
        of 10 kJ/mol/nm settles the reduced energy to about 1e-6.
    length_scale : float in nm, or Quantity
        Reduced length 1.

    Returns
    -------
    ReducedSystem
        ``reduced_energy(energy)`` gives the paper's numbers back.

    Raises
    ------
    TypeError
        If a scale has a wrong unit.
    ValueError
        If n is below 12, the kind is unknown or a scale is not positive.

    Notes
    -----
    In reduced units, with LJ(r) = 1/(r^12 + 0.01) - 1/(r^6 + 0.06):

    - bond-lj: mean over (i, i+1) of (r - 1)^2 + 0.1 mean over (i, i+10) of LJ(r)
      + 0.0025 mean over all pairs of 1/(r + 0.01);
    - lj: [sum over (i, i+1) of LJ(r) + 0.1 sum over (i, i+10) of LJ(r)] / (2n - 11)
      + 0.0025 mean over uncoupled pairs of 1/(r + 0.01).

    Inside r < 0.467 the soft core pulls towards r = 0: a pair caught there stays.

    References
    ----------
    Dehmamy, N., Both, C., Mohapatra, J., Das, S., Jaakkola, T. Neural network
    reparametrization for accelerated optimization in molecular simulations. NeurIPS 2024.

    Examples
    --------
    >>> system = coil(50, "lj")
    >>> state = system.simulation("Reference").context.getState(energy=True)
    >>> system.reduced_energy(state.getPotentialEnergy()) > coil_lower_bound(50, "lj")
    True
    """
    n = _coil_size(n, kind)
    length = _positive(in_unit(length_scale, unit.nanometer, "length_scale"), "length_scale")
    energy = 1000.0 * n if energy_scale is None else energy_scale
    energy = _positive(in_unit(energy, unit.kilojoules_per_mole, "energy_scale"), "energy_scale")

    near = [(i, i + 1) for i in range(n - 1)]
    far = [(i, i + _STRIDE) for i in range(n - _STRIDE)]
    lj = f"(1/(s^12+{_SOFTENING})-1/(s^6+{6 * _SOFTENING}))"
    if kind == "bond-lj":
        forces = [
            _couplings("(s-1)^2", energy / len(near), length, near),
            _couplings(lj, 0.1 * energy / len(far), length, far),
        ]
        excluded = []
    else:
        weight = energy / (len(near) + len(far))
        forces = [
            _couplings(lj, weight, length, near),
            _couplings(lj, 0.1 * weight, length, far),
        ]
        excluded = near + far
    n_repelled = n * (n - 1) // 2 - len(excluded)
    forces.append(_repulsion(n, energy * _REPULSION / n_repelled, length, excluded))

    start = np.random.default_rng(seed).normal(0.0, n ** (1 / 3) / 4, (n, 3))
    return _beads(
        f"{kind} coil of {n}", app.element.carbon, 12.0, forces, start, energy, length, near
    )


def coil_lower_bound(n: int = 400, kind: str = "bond-lj") -> float:
    """Return the reduced energy of a coil whose every coupling sits in its minimum.

    No coil reaches it: the repulsion adds 0.0005 to 0.002.

    Parameters
    ----------
    n : int
        At least 12.
    kind : {"bond-lj", "lj"}

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If n is below 12 or the kind is unknown.

    Notes
    -----
    With u = r^6, e = 0.01, LJ = 1/(u^2 + e) - 1/(u + 6e) is stationary where
    (u^2 + e)^2 = 2u (u + 6e)^2, a quartic whose largest root is the minimum at r = 1.13217.

    Examples
    --------
    >>> round(coil_lower_bound(400), 6), round(coil_lower_bound(400, "lj"), 6)
    (-0.023672, -0.131411)
    """
    n = _coil_size(n, kind)
    e = _SOFTENING
    roots = np.roots([1.0, -2.0, (2 - 24) * e, -72 * e**2, e**2])
    u = roots[np.abs(roots.imag) < 1e-12].real.max()
    depth = 1 / (u**2 + e) - 1 / (u + 6 * e)
    if kind == "bond-lj":
        return float(0.1 * depth)
    n_near, n_far = n - 1, n - _STRIDE
    return float((n_near + 0.1 * n_far) * depth / (n_near + n_far))


def _beads(
    name: str,
    element: app.Element,
    mass: float,
    forces: list[openmm.Force],
    reduced_positions: np.ndarray,
    energy_unit: float,
    length_unit: float,
    bonds: list[tuple[int, int]],
) -> ReducedSystem:
    """Return a system of equal particles, one residue each."""
    topology, system = app.Topology(), openmm.System()
    chain = topology.addChain("A")
    atoms = []
    for i in range(len(reduced_positions)):
        residue = topology.addResidue(element.symbol.upper(), chain, str(i + 1))
        atoms.append(topology.addAtom(element.symbol.upper(), element, residue))
        system.addParticle(mass)
    for i, j in bonds:
        topology.addBond(atoms[i], atoms[j])
    for force in forces:
        system.addForce(force)
    return ReducedSystem(
        name,
        topology,
        system,
        reduced_positions * length_unit * unit.nanometer,
        energy_unit=energy_unit,
        length_unit=length_unit,
    )


def _couplings(
    formula: str, weight: float, length: float, pairs: list[tuple[int, int]]
) -> openmm.CustomBondForce:
    """Return weight times the sum of a formula in the reduced distance s over pairs."""
    force = openmm.CustomBondForce(f"{weight!r}*{formula}; s=r/{length!r}")
    for i, j in pairs:
        force.addBond(i, j)
    return force


def _repulsion(
    n: int, weight: float, length: float, excluded: list[tuple[int, int]]
) -> openmm.CustomNonbondedForce:
    force = openmm.CustomNonbondedForce(f"{weight!r}/(r/{length!r}+0.01)")
    force.setNonbondedMethod(openmm.CustomNonbondedForce.NoCutoff)
    for _ in range(n):
        force.addParticle()
    for i, j in excluded:
        force.addExclusion(i, j)
    return force


def _coil_size(n: int, kind: str) -> int:
    if kind not in ("bond-lj", "lj"):
        raise ValueError(f'kind {kind!r} is unknown: choose "bond-lj" or "lj"')
    return _at_least(n, 12, "n")


def _at_least(value: int, least: int, name: str) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}: pass an integer")
    if value < least:
        raise ValueError(f"{name} is {value}: it has to be at least {least}")
    return int(value)


def _positive(value: float, name: str) -> float:
    if value == 0:
        raise ValueError(f"{name} is 0: it has to be positive")
    return value


def __getattr__(name: str):
    """Return what has moved from here, with a warning."""
    moved = {"peptide": "peptides", "SEQUENCES": "sequences", "REFUSED_CODES": "sequences"}
    if name not in moved:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = f"openmm_reparam.prepare.{moved[name]}"
    warnings.warn(f"{__name__}.{name} is {new}.{name} now", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module(new), name)
