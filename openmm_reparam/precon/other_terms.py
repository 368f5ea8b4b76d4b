"""Bonded terms that have no closed form: their Hessian by finite differences of them alone."""

from __future__ import annotations

import contextlib
import copy
from functools import cached_property

import numpy as np
import openmm as mm
import scipy.sparse as sp

from ..errors import NonFiniteError
from ..potentials.bonded import bonded_terms, coupling_pattern
from ..potentials.hessian import ColouredHessian
from ..potentials.potential import Potential

__all__ = ["OtherTerms", "worthwhile"]

# In a System up to this many atoms, evaluations cost less than some forces take to compile.
FEW_ATOMS = 200


def worthwhile(forces: list[mm.Force], num_particles: int) -> list[mm.Force]:
    """Return the forces whose Hessian pays for a side Context.

    OpenMM differentiates expressions of computed points (AMOEBA's in-plane angles) for seconds
    whenever a Context is made.
    """
    if num_particles > FEW_ATOMS:
        return forces
    return [
        force
        for force in forces
        if not isinstance(force, mm.CustomCompoundBondForce)
        or "point" not in force.getEnergyFunction()
    ]


class OtherTerms:
    """The Hessian of CustomCompoundBondForces and CustomExternalForces.

    Each term acts on particles of its own in a side Context, so that all are displaced together:
    six evaluations for each particle of the largest term, however many terms there are. The Context
    is made when first needed.

    Parameters
    ----------
    potential : Potential
        Its counter counts the evaluations as "bonded".
    forces : list of openmm.Force
        Of its System.

    Attributes
    ----------
    atoms : list of (T, n) int arrays
        Of the terms of every force.
    cost : int
        Force evaluations of one Hessian.
    """

    def __init__(self, potential: Potential, forces: list[mm.Force]) -> None:
        self._potential = potential
        known = [bonded_terms(force) for force in forces]
        self.atoms = [atoms for atoms in known if atoms is not None]
        self._forces = forces
        self._owners = np.concatenate([atoms.ravel() for atoms in self.atoms])
        moving = [potential.moves[atoms].sum(axis=1).max(initial=0) for atoms in self.atoms]
        self.cost = 6 * int(max(moving))
        self._last: sp.csr_array | None = None

    @cached_property
    def _coloured(self) -> ColouredHessian:
        system = mm.System()
        for moves in self._potential.moves[self._owners]:
            system.addParticle(1.0 if moves else 0.0)
        first = 0
        for force, atoms in zip(self._forces, self.atoms, strict=True):
            own = first + np.arange(atoms.size).reshape(atoms.shape)
            system.addForce(_on_particles(force, own))
            first += atoms.size
        side = self._potential.side_potential("bonded", system)
        return ColouredHessian(side, coupling_pattern(system, side.moves))

    def hessian(self, positions: np.ndarray, *, spend: bool = True) -> sp.csr_array | None:
        """Hessian at (N, 3) positions in nm: sparse (3N, 3N), kJ/mol/nm^2.

        The last one if ``spend`` is False or a displaced configuration is not finite; None if there
        was none.
        """
        if spend:
            self._coloured.potential.follow(self._potential)
            with contextlib.suppress(NonFiniteError):
                self._last = self._summed(self._coloured.evaluate(positions[self._owners]))
        return self._last

    def _summed(self, hessian: sp.csr_array) -> sp.csr_array:
        entries = hessian.tocoo()
        coordinates = (3 * self._owners[:, None] + np.arange(3)).ravel()
        where = (coordinates[entries.row], coordinates[entries.col])
        size = 3 * self._potential.num_particles
        return sp.coo_array((entries.data, where), shape=(size, size)).tocsr()


def _on_particles(force: mm.Force, particles: np.ndarray) -> mm.Force:
    """Return a copy of a force whose terms act on other particles, (T, n)."""
    force = copy.deepcopy(force)
    for term, own in enumerate(particles.tolist()):
        if isinstance(force, mm.CustomExternalForce):
            force.setParticleParameters(term, own[0], force.getParticleParameters(term)[1])
        else:
            force.setBondParameters(term, own, force.getBondParameters(term)[1])
    return force
