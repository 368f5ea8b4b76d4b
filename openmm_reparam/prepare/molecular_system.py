"""A molecule ready to simulate."""

from __future__ import annotations

from dataclasses import dataclass

import openmm
from openmm import app, unit

__all__ = [
    "MolecularSystem",
    "platform_by_name",
]


@dataclass(frozen=True, eq=False, repr=False)
class MolecularSystem:
    """A molecule ready to simulate: everything `openmm.app.Simulation` asks for.

    Parameters
    ----------
    name : str
    topology : openmm.app.Topology
    system : openmm.System
    positions : Quantity
        (N, 3) numpy array with a unit of length.
    repairs : tuple of str
        What preparation changed, one line each.

    Examples
    --------
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("GA")
    >>> molecule
    <MolecularSystem GA: 20 atoms, 2 residues>
    >>> simulation = molecule.simulation("Reference")
    >>> simulation.minimizeEnergy()
    """

    name: str
    topology: app.Topology
    system: openmm.System
    positions: unit.Quantity
    repairs: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name}: {self.topology.getNumAtoms()} atoms, "
            f"{self.topology.getNumResidues()} residues>"
        )

    def simulation(
        self,
        platform: str | None = "CPU",
        integrator: openmm.Integrator | None = None,
        threads: int | None = None,
    ) -> app.Simulation:
        """Return a new Simulation with the positions set.

        Parameters
        ----------
        platform : str or None
            "Reference", "CPU", "CUDA", "OpenCL" or another one loaded; None lets OpenMM choose.
        integrator : openmm.Integrator or None
            None takes ``LangevinMiddleIntegrator(300 K, 1/ps, 2 fs)``.
        threads : int or None
            Number of threads of the CPU platform; None takes all cores.

        Returns
        -------
        openmm.app.Simulation

        Raises
        ------
        ValueError
            If the platform is not there (those that are get listed), or `threads` is given for
            another platform than CPU or is below one.
        """
        chosen = None if platform is None else platform_by_name(platform)
        properties = None  # OpenMM refuses even an empty dict where it chooses the platform
        if threads is not None:
            if platform != "CPU":
                raise ValueError(
                    f'threads is for platform="CPU", not for {platform!r}: leave it out'
                )
            if threads < 1:
                raise ValueError(f"threads is {threads}: at least one is needed")
            properties = {"Threads": str(threads)}
        if integrator is None:
            integrator = openmm.LangevinMiddleIntegrator(
                300 * unit.kelvin, 1 / unit.picosecond, 2 * unit.femtosecond
            )
        simulation = app.Simulation(self.topology, self.system, integrator, chosen, properties)
        simulation.context.setPositions(self.positions)
        return simulation


def platform_by_name(name: str) -> openmm.Platform:
    """Return a platform, or raise ValueError listing those that are there."""
    names = [
        openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())
    ]
    if name not in names:
        raise ValueError(f"platform {name!r} is not there: choose one of {', '.join(names)}")
    return openmm.Platform.getPlatformByName(name)
