"""Energy minimization of OpenMM Simulations by neural reparametrization."""

from .openmm_torch import torchforce  # noqa: F401, I001 - torch must be imported before OpenMM's plugins load
from .deprecated import forward_moved_modules
from .diagnostics import diagnose
from .errors import (
    BudgetExhausted,
    ConvergenceWarning,
    EvaluationError,
    NonFiniteError,
    NotConvergedError,
    UnsupportedSystemError,
)
from .potentials.hessian import BondedHessian, dense_hessian, hessian_vector_product
from .openmm_torch.latent_system import LatentSystem, latent_system
from .minimization.api import minimize_reparam
from .minimization.minimizer import ReparamMinimizer
from .openmm_torch.torch_potential import PluginUnavailableError, torch_potential
from .potentials.potential import Potential
from .minimization.replicas import Replicas
from .minimization.result import MinimizationResult
from .modes.slow_modes import SlowModes, molecular_slow_modes
from .version import __version__

forward_moved_modules()

__all__ = [
    "BondedHessian",
    "BudgetExhausted",
    "ConvergenceWarning",
    "EvaluationError",
    "LatentSystem",
    "MinimizationResult",
    "NonFiniteError",
    "NotConvergedError",
    "PluginUnavailableError",
    "Potential",
    "ReparamMinimizer",
    "Replicas",
    "SlowModes",
    "UnsupportedSystemError",
    "__version__",
    "dense_hessian",
    "diagnose",
    "hessian_vector_product",
    "latent_system",
    "minimize_reparam",
    "molecular_slow_modes",
    "torch_potential",
]
