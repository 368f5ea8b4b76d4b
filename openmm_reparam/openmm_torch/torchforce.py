"""Makes OpenMM's TorchForce plugin loadable, where openmmtorch is installed.

The plugin's libraries need torch's, and libnvrtc.so.12, in the process first. `import torch` before
OpenMM does that; where OpenMM came first, its failed plugins are loaded again.
"""

from __future__ import annotations

import ctypes
import glob
import importlib
import importlib.util
import logging
import os

import torch  # loads the libraries the plugin links against

__all__ = ["load_torchforce", "openmmtorch_module", "torch_force"]


def load_torchforce() -> list[str]:
    """Load the TorchForce plugin if it is installed and not loaded yet.

    Returns
    -------
    list of str
        Why libraries of the plugin could not be loaded; empty if all is well or openmmtorch is not
        installed.
    """
    if importlib.util.find_spec("openmmtorch") is None:
        return []
    _preload_nvrtc()
    import openmm as mm

    # A library for each platform. That for CUDA fails for good where there is no GPU; that for
    # OpenCL, once loaded, crashed (openmmtorch 1.5, PoCL): an error in its place is better.
    platforms = [mm.Platform.getPlatform(i).getName() for i in range(mm.Platform.getNumPlatforms())]
    wanted = [f"OpenMMTorch{name}" for name in ("Reference", "CUDA") if name in platforms]
    failures = mm.Platform.getPluginLoadFailures()
    failed = [f for f in failures if any(library in f for library in wanted)]
    problems = []
    for message in failed:
        library = message.removeprefix("Error loading library ").split(":")[0]
        try:
            mm.Platform.loadPluginLibrary(library)
        except Exception as error:
            problems.append(str(error))
    return problems


def openmmtorch_module():
    """Import openmmtorch.

    Raises
    ------
    ImportError
        It is not installed; says what works without.
    """
    # It imports OpenMM by its old name, too, about which OpenMM would warn.
    root = logging.getLogger()
    root.addFilter(_not_of_simtk)
    try:
        return importlib.import_module("openmmtorch")
    except ImportError as error:
        raise ImportError(
            "this needs openmmtorch: pip install 'openmm-reparam[torchforce]'. "
            'force="python" (for a minimizer, engine="python") works without it.'
        ) from error
    finally:
        root.removeFilter(_not_of_simtk)


def torch_force(model: torch.jit.ScriptModule):
    """Make an ``openmmtorch.TorchForce``.

    Raises
    ------
    ImportError
        openmmtorch is not installed.
    """
    return openmmtorch_module().TorchForce(model)


def _not_of_simtk(record: logging.LogRecord) -> bool:
    return "simtk" not in record.getMessage()


def _preload_nvrtc() -> None:
    # A namespace package: it has a search path, but no file.
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for library in glob.glob(os.path.join(folder, "cuda_nvrtc", "lib", "libnvrtc.so.12")):
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)


load_torchforce()
