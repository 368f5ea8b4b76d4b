"""Energy minimization of OpenMM Simulations by neural reparametrization."""

from . import torchforce  # noqa: F401, I001 - torch must be imported before OpenMM's plugins load
from .errors import (
    BudgetExhausted,
    ConvergenceWarning,
    NonFiniteError,
    NotConvergedError,
    UnsupportedSystemError,
)
from .hessian import BondedHessian, dense_hessian, hessian_vector_product
from .minimize import minimize_reparam
from .minimizer import ReparamMinimizer
from .potential import Potential
from .result import MinimizationResult
from .slow_modes import SlowModes, molecular_slow_modes
from .version import __version__


__all__ = [
    "BondedHessian",
    "BudgetExhausted",
    "ConvergenceWarning",
    "MinimizationResult",
    "NonFiniteError",
    "NotConvergedError",
    "Potential",
    "ReparamMinimizer",
    "SlowModes",
    "UnsupportedSystemError",
    "__version__",
    "dense_hessian",
    "hessian_vector_product",
    "minimize_reparam",
    "molecular_slow_modes",
]
