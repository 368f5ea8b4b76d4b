"""Biases for dynamics in OpenMM: minus the free energy of one or two torsions."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm as mm
from scipy.ndimage import gaussian_filter

from ..constants import BOLTZMANN
from ..units import in_unit
from .free_energy_profiles import FreeEnergySurface

__all__ = ["bias_force", "surface_on_nodes"]

# Smoothing, as a standard deviation in bins: histograms are rough.
SMOOTHING = 1.0
# Free energies above this (kJ/mol) are known badly, and need no filling.
CEILING = 40.0


def bias_force(
    surface: FreeEnergySurface, ceiling: Any = CEILING, smoothing: float = SMOOTHING
) -> mm.Force:
    """Return a force whose energy is minus the free energy of torsions, so that these diffuse.

    Averages over biased dynamics are those of the molecule with weights exp(E / kT) of the bias's
    energy E, which a force group of its own gives.

    Parameters
    ----------
    surface : FreeEnergySurface
        Along one or two torsions, all around.
    ceiling : float or Quantity
        In kJ/mol: what lies higher is flat.
    smoothing : float
        Standard deviation of a Gaussian that probabilities are smoothed by, in bins.

    Returns
    -------
    openmm.CustomCompoundBondForce or openmm.CMAPTorsionForce
        Of one torsion, of two, to be added to a System. Its energy is the ceiling less F: zero
        from the ceiling on.

    Raises
    ------
    ValueError
        An observable is no torsion, or the bins are not all around and of one number.

    References
    ----------
    Torrie, Valleau, J. Comput. Phys. 1977, 23, 187 (umbrella sampling).

    Examples
    --------
    >>> from openmm_reparam.sampling.observables import Observable
    >>> from openmm_reparam.sampling.free_energy_profiles import free_energy_surface
    >>> torsion = Observable("torsion", lambda x: x[:, 0, 0], (0, 1, 2, 3), periodic=True)
    >>> angles = np.random.default_rng(0).vonmises(0.0, 2.0, 5000)
    >>> surface = free_energy_surface([torsion], [angles], np.zeros(5000), 300.0)
    >>> bias_force(surface).getNumBonds()
    1
    """
    ceiling = in_unit(ceiling, mm.unit.kilojoule_per_mole, "ceiling")
    bias = ceiling - surface_on_nodes(surface, ceiling, smoothing)
    atoms = [observable.atoms or () for observable in surface.observables]
    return _along_one(bias, atoms[0]) if bias.ndim == 1 else _along_two(bias, *atoms)


def surface_on_nodes(
    surface: FreeEnergySurface, ceiling: float = CEILING, smoothing: float = SMOOTHING
) -> np.ndarray:
    """Return smoothed free energies at angles 2 pi k / n from zero on, at most the ceiling.

    Parameters
    ----------
    surface, ceiling, smoothing
        See `bias_force`.

    Returns
    -------
    (n,) or (n, n) array
        In kJ/mol; the lowest is zero.
    """
    _refuse_other_than_torsions(surface)
    kt = BOLTZMANN * surface.temperature
    probability = surface.probability
    for axis, size in enumerate(probability.shape):
        # From the middles of bins, from -pi on, to their edges, from zero on.
        middle = (probability + np.roll(probability, 1, axis)) / 2
        probability = np.roll(middle, -(size // 2), axis)
    smooth = gaussian_filter(probability, smoothing, mode="wrap")
    with np.errstate(divide="ignore"):
        return np.minimum(-kt * np.log(smooth / smooth.max()), ceiling)


def _refuse_other_than_torsions(surface: FreeEnergySurface) -> None:
    for observable, edges in zip(surface.observables, surface.edges, strict=True):
        if observable.atoms is None or len(observable.atoms) != 4:
            raise ValueError(f"a bias is along torsions, and {observable.name!r} is none")
        bins = len(edges) - 1
        if bins % 2 or bins < 4 or not np.allclose(edges, np.linspace(-np.pi, np.pi, bins + 1)):
            raise ValueError(
                f"a bias needs even bins all around, an even number of them, and {observable.name} "
                f"has {bins} from {edges[0]:.3g} to {edges[-1]:.3g}"
            )
    if len({len(edges) for edges in surface.edges}) > 1:
        raise ValueError("a bias along two torsions needs as many bins of one as of the other")


def _along_one(values: np.ndarray, atoms: tuple[int, ...]) -> mm.Force:
    force = mm.CustomCompoundBondForce(4, "bias(dihedral(p1, p2, p3, p4))")
    # From -pi to pi, where dihedrals lie, and the last as the first.
    ring = np.roll(values, len(values) // 2)
    closed = np.append(ring, ring[0])
    force.addTabulatedFunction("bias", mm.Continuous1DFunction(closed, -np.pi, np.pi, True))
    force.addBond(atoms, [])
    return _named(force)


def _along_two(values: np.ndarray, first: tuple[int, ...], second: tuple[int, ...]) -> mm.Force:
    force = mm.CMAPTorsionForce()
    # The first angle runs fastest, both from zero on.
    force.addMap(len(values), values.T.ravel())
    force.addTorsion(0, *first, *second)
    return _named(force)


def _named(force: mm.Force) -> mm.Force:
    force.setName("FreeEnergyBias")
    return force
