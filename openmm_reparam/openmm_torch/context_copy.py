"""A Context like another one, which can be pickled: the molecule behind a PythonForce."""

from __future__ import annotations

import threading

import numpy as np
import openmm as mm

from ..potentials.contexts import platform_properties

__all__ = ["ContextCopy"]


class ContextCopy:
    """What a Context holds, and a second Context made of it.

    It has the Context's System, platform with properties, box, global parameters, and the force
    groups of its integrator; later changes of the Context do not reach it.

    Parameters
    ----------
    context : openmm.Context

    Notes
    -----
    The copy shares the System, so that one which cannot be written as XML works, too. Only
    pickling writes it. A copy that was read makes its Context at the first evaluation.
    """

    def __init__(self, context: mm.Context) -> None:
        state = context.getState(parameters=True)
        self._system = context.getSystem()
        # Keeps the System alive, which OpenMM's Python wrapper does not.
        self._origin = context
        self._platform = context.getPlatform().getName()
        self._properties = platform_properties(context, single_threaded=False)
        self._parameters = dict(state.getParameters())
        self._box = state.getPeriodicBoxVectors(asNumpy=True)._value
        self._groups = context.getIntegrator().getIntegrationForceGroups()
        self._has_virtual_sites = any(
            self._system.isVirtualSite(i) for i in range(self._system.getNumParticles())
        )
        self._lock = threading.Lock()
        self._context: mm.Context | None = self._make()

    def __getstate__(self) -> dict:
        state = self.__dict__ | {"_system": mm.XmlSerializer.serialize(self._system)}
        return state | dict.fromkeys(("_origin", "_lock", "_context"))

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._system = mm.XmlSerializer.deserialize(self._system)
        self._lock = threading.Lock()

    def evaluate(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Return energy and forces; virtual sites follow their parents.

        Parameters
        ----------
        positions : (N, 3) array
            In nm.

        Returns
        -------
        energy : float
            In kJ/mol.
        forces : (N, 3) array
            In kJ/mol/nm.

        Raises
        ------
        ValueError
            A position is NaN or infinite.
        """
        bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
        if len(bad):
            raise ValueError(f"position of particle {bad[0]} is NaN or infinite")
        # OpenMM releases the interpreter's lock while it computes.
        with self._lock:
            if self._context is None:
                self._context = self._make()
            self._context.setPositions(positions)
            if self._has_virtual_sites:
                self._context.computeVirtualSites()
            state = self._context.getState(energy=True, forces=True, groups=self._groups)
        forces = np.array(state.getForces(asNumpy=True)._value)
        return state.getPotentialEnergy()._value, forces

    def _make(self) -> mm.Context:
        platform = mm.Platform.getPlatformByName(self._platform)
        integrator = mm.VerletIntegrator(0.001)
        context = mm.Context(self._system, integrator, platform, self._properties)
        context.setPeriodicBoxVectors(*self._box)
        for name, value in self._parameters.items():
            context.setParameter(name, value)
        return context
