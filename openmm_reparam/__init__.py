"""Energy minimization of OpenMM Simulations by reparametrization."""

from __future__ import annotations

import importlib
import importlib.abc
import sys
from typing import TYPE_CHECKING

from .deprecated import forward_moved_modules
from .version import __version__

if TYPE_CHECKING:
    from .diagnostics import diagnose
    from .distributed.islands import search_islands
    from .distributed.minima_database import MinimaFile
    from .distributed.minimize_many import minimize_many
    from .distributed.relax_many import relax_many
    from .errors import (
        BudgetExhausted,
        ConvergenceWarning,
        EvaluationError,
        NonFiniteError,
        NotConvergedError,
        UnsupportedSystemError,
    )
    from .golf import Golf
    from .minimization.api import minimize_reparam
    from .minimization.minimizer import ReparamMinimizer
    from .minimization.replicas import Replicas
    from .minimization.result import MinimizationResult
    from .modes.slow_modes import SlowModes, molecular_slow_modes
    from .openmm_torch.latent_system import LatentSystem, latent_system
    from .openmm_torch.torch_potential import PluginUnavailableError, torch_potential
    from .potentials.hessian import BondedHessian, dense_hessian, hessian_vector_product
    from .potentials.potential import Potential
    from .predicted.api import relax_prediction
    from .predicted.report import RelaxationReport
    from .sampling.ensemble import WeightedEnsemble
    from .sampling.sampler import BoltzmannSampler, boltzmann_sampler
    from .sampling.superposition import HarmonicSuperposition, harmonic_superposition

__all__ = [
    "BoltzmannSampler",
    "BondedHessian",
    "BudgetExhausted",
    "ConvergenceWarning",
    "EvaluationError",
    "Golf",
    "HarmonicSuperposition",
    "LatentSystem",
    "MinimaFile",
    "MinimizationResult",
    "NonFiniteError",
    "NotConvergedError",
    "PluginUnavailableError",
    "Potential",
    "RelaxationReport",
    "ReparamMinimizer",
    "Replicas",
    "SlowModes",
    "UnsupportedSystemError",
    "WeightedEnsemble",
    "__version__",
    "boltzmann_sampler",
    "dense_hessian",
    "diagnose",
    "harmonic_superposition",
    "hessian_vector_product",
    "latent_system",
    "minimize_many",
    "minimize_reparam",
    "molecular_slow_modes",
    "relax_many",
    "relax_prediction",
    "search_islands",
    "torch_potential",
]

# A public name's module is imported when the name is first asked for: importing this package, and
# showing the help of the command line, need neither torch nor scipy.
_NAMES = {
    "diagnostics": ("diagnose",),
    "distributed.islands": ("search_islands",),
    "distributed.minima_database": ("MinimaFile",),
    "distributed.minimize_many": ("minimize_many",),
    "distributed.relax_many": ("relax_many",),
    "errors": (
        "BudgetExhausted",
        "ConvergenceWarning",
        "EvaluationError",
        "NonFiniteError",
        "NotConvergedError",
        "UnsupportedSystemError",
    ),
    "golf": ("Golf",),
    "minimization.api": ("minimize_reparam",),
    "minimization.minimizer": ("ReparamMinimizer",),
    "minimization.replicas": ("Replicas",),
    "minimization.result": ("MinimizationResult",),
    "modes.slow_modes": ("SlowModes", "molecular_slow_modes"),
    "openmm_torch.latent_system": ("LatentSystem", "latent_system"),
    "openmm_torch.torch_potential": ("PluginUnavailableError", "torch_potential"),
    "potentials.hessian": ("BondedHessian", "dense_hessian", "hessian_vector_product"),
    "potentials.potential": ("Potential",),
    "predicted.api": ("relax_prediction",),
    "predicted.report": ("RelaxationReport",),
    "sampling.ensemble": ("WeightedEnsemble",),
    "sampling.sampler": ("BoltzmannSampler", "boltzmann_sampler"),
    "sampling.superposition": ("HarmonicSuperposition", "harmonic_superposition"),
}
_DEFINED_IN = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str):
    """Import a public name from the module that defines it (PEP 562)."""
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_DEFINED_IN[name]}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _TorchForceLoader(importlib.abc.MetaPathFinder):
    """Makes the TorchForce plugin loadable just before openmmtorch is imported.

    OpenMM loads its plugins when it is imported. TorchForce's plugin fails then if torch is not
    there yet. Whoever makes a TorchForce imports openmmtorch: early enough to import torch and to
    load the plugin again.
    """

    def find_spec(self, name, path=None, target=None):
        """Load torch and the plugin if openmmtorch is asked for; leave the search to others."""
        if name == "openmmtorch" and self in sys.meta_path:
            sys.meta_path.remove(self)
            importlib.import_module(f"{__name__}.openmm_torch.torchforce")


forward_moved_modules()
sys.meta_path.insert(0, _TorchForceLoader())
