"""Energy minimization of OpenMM Simulations by neural reparametrization."""

from . import torchforce  # noqa: F401, I001 - torch must be imported before OpenMM's plugins load
from .diagnostics import diagnose
from .errors import (
    BudgetExhausted,
    ConvergenceWarning,
    EvaluationError,
    NonFiniteError,
    NotConvergedError,
    UnsupportedSystemError,
)
from .hessian import BondedHessian, dense_hessian, hessian_vector_product
from .latent import LatentSystem, latent_system
from .minimize import minimize_reparam
from .minimizer import ReparamMinimizer
from .plugin import PluginUnavailableError, torch_potential
from .potential import Potential
from .replicas import Replicas
from .result import MinimizationResult
from .slow_modes import SlowModes, molecular_slow_modes
from .version import __version__


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
