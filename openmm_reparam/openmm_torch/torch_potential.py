"""The C++ plugin: loading it, and making its Potentials from a Context."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

import openmm as mm
import torch

from ..potentials.contexts import platform_properties
from .torchforce import load_torchforce

__all__ = ["PluginUnavailableError", "load_plugin", "torch_potential"]

LIBRARY = "libOpenMMReparam.so"
PYTHON_FORCE = 'type="PythonForce"'


class PluginUnavailableError(RuntimeError):
    """What was asked for needs the C++ plugin, and it is not there or cannot be loaded."""


def load_plugin() -> None:
    """Load libOpenMMReparam.so, which OpenMM does by itself where torch was imported before it.

    Raises
    ------
    PluginUnavailableError
        It was not built, or its libraries are missing; says what to do.
    """
    load_torchforce()
    library = library_path()
    if _registered():
        # openmmtorch may have come later than the plugin, which mends how TorchForces are read.
        ctypes.CDLL(str(library)).registerKernelFactories()
        return
    if not library.exists():
        raise PluginUnavailableError(
            f"the C++ plugin is not installed ({library} is missing). Install this package where a "
            "C++17 compiler, CMake, openmm and torch are; with OPENMM_REPARAM_PLUGIN=require in "
            "the environment, pip says what fails."
        )
    try:
        mm.Platform.loadPluginLibrary(str(library))
    except Exception as error:
        raise PluginUnavailableError(
            f"the C++ plugin {library} cannot be loaded: {error}. It was probably built against "
            "another torch or openmm: reinstall this package."
        ) from error
    if not _registered():
        raise PluginUnavailableError(f"{library} holds no class openmm_reparam.Potential")


def library_path() -> Path:
    """Return where the plugin belongs: the folder from which `import openmm` loads plugins."""
    wheel = Path(mm.version.openmm_library_path)
    if os.getenv("OPENMM_PLUGIN_DIR") is None and wheel.is_dir():
        return wheel / "plugins" / LIBRARY
    return Path(mm.Platform.getDefaultPluginsDirectory()) / LIBRARY


def torch_potential(context: mm.Context, replicas: int = 1):
    """Make a TorchScript ``openmm_reparam.Potential`` of what a Context holds.

    It has the Context's System, platform with properties, box, global parameters, and the force
    groups of its integrator; later changes of the Context do not reach it.

    Parameters
    ----------
    context : openmm.Context
    replicas : int
        Configurations that can be evaluated at once, each in a Context of its own. On the CPU
        platform each of several replicas has one thread.

    Returns
    -------
    torch.ScriptObject
        ``evaluate((B, N, 3) positions in nm) -> (B,) energies in kJ/mol, (B, N, 3) forces``,
        float64 on the CPU; ``energy(positions) -> (B,)``, which can be differentiated and takes
        and gives tensors on any device; ``last() -> (positions, energies, forces)`` of the latest
        evaluation; ``num_particles()``, ``num_replicas()``, ``num_evaluations()``, ``platform()``.
        Can be an attribute of a scripted module, and is pickled with it. Copies in one process
        share their Contexts, and take turns.

    Raises
    ------
    PluginUnavailableError
    ValueError
        The System cannot be serialized, or holds a PythonForce.

    Examples
    --------
    >>> import torch
    >>> from openmm_reparam.prepare.peptides import peptide
    >>> molecule = peptide("AAA")
    >>> potential = torch_potential(molecule.simulation("CPU").context, replicas=2)
    >>> x = torch.tensor(molecule.positions._value)
    >>> energies, forces = potential.evaluate(torch.stack([x, x]))
    >>> energies.shape, forces.shape
    (torch.Size([2]), torch.Size([2, 33, 3]))
    """
    load_plugin()
    state = context.getState(parameters=True)
    platform = context.getPlatform()
    properties = platform_properties(context, single_threaded=replicas > 1)
    periodic = context.getSystem().usesPeriodicBoundaryConditions()
    try:
        xml = mm.XmlSerializer.serialize(context.getSystem())
    except Exception as error:
        raise ValueError(
            f"the System cannot be written as XML, as the C++ plugin needs it: {error}"
        ) from error
    if PYTHON_FORCE in xml:
        raise ValueError(
            "the System holds a PythonForce, which the C++ plugin's threads cannot call"
        )
    arguments = (
        xml,
        platform.getName(),
        properties,
        replicas,
        dict(state.getParameters()),
        state.getPeriodicBoxVectors(asNumpy=True)._value.ravel().tolist() if periodic else [],
        context.getIntegrator().getIntegrationForceGroups(),
    )
    try:
        return torch.classes.openmm_reparam.Potential(*arguments)
    except RuntimeError as error:
        # What torch says where a class was compiled with the headers of another version.
        if "INTERNAL ASSERT" not in str(error):
            raise
        raise PluginUnavailableError(
            f"the C++ plugin was built against another torch than {torch.__version__}: reinstall "
            "this package."
        ) from error


def _registered() -> bool:
    with contextlib.suppress(RuntimeError):
        return torch.classes.openmm_reparam.Potential is not None
    return False
