"""What a reparametrization X = rho(Z; theta) is, and the registry that names them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from ..potentials.potential import Potential

__all__ = [
    "Anchored",
    "Builder",
    "Specification",
    "Start",
    "available",
    "build",
    "refuse_settings",
    "register",
    "settings_of",
]

ENTRY_POINT_GROUP = "openmm_reparam.reparametrizations"
# nm: a module whose first output is nearer to the start than this starts there exactly.
EXACT = 1e-6

# (start, **settings) -> module.
Builder = Callable[..., torch.nn.Module]
# A registered name, a module, or what makes one.
Specification = str | torch.nn.Module | Builder
AnyBuilder = TypeVar("AnyBuilder", bound=Builder)

_builders: dict[str, Builder] = {}
# Names of what a builder takes as ``**settings`` and passes on.
_passed_on: dict[str, tuple[str, ...]] = {}


@dataclass(frozen=True)
class Start:
    """What a builder may use.

    Attributes
    ----------
    potential : Potential
        For Hessians; every evaluation is counted.
    positions : (N, 3) array
        In nm; the reparametrization must return them first.
    rng : numpy Generator
        The only source of randomness.
    """

    potential: Potential
    positions: np.ndarray
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def torch_generator(self) -> torch.Generator:
        """Return a torch Generator seeded from ``rng``; torch's global state stays untouched."""
        return torch.Generator().manual_seed(int(self.rng.integers(2**63 - 1)))


def register(name: str, passed_on: tuple[str, ...] = ()) -> Callable[[AnyBuilder], AnyBuilder]:
    """Register ``builder(start: Start, **settings) -> torch.nn.Module`` under a name.

    Other packages may instead name a builder in the entry point group
    ``openmm_reparam.reparametrizations``.

    Parameters
    ----------
    name : str
    passed_on : tuple of str
        The settings that the builder takes as ``**settings``; where it has such and none are
        named, any name is accepted.

    Raises
    ------
    ValueError
        The name is taken.

    Examples
    --------
    >>> from openmm_reparam.reparametrizations import available, register
    >>> @register("doctest-shift")
    ... def build_shift(start, **settings):
    ...     ...
    >>> "doctest-shift" in available()
    True
    """

    def add(builder: AnyBuilder) -> AnyBuilder:
        if name in _builders:
            raise ValueError(f"a reparametrization named {name!r} is registered already")
        _builders[name] = builder
        if passed_on:
            _passed_on[name] = tuple(passed_on)
        return builder

    return add


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def available() -> tuple[str, ...]:
    """Names that `build` and `minimize_reparam` accept."""
    return tuple(sorted({*_builders, *_entry_points()}))


def _builder(name: str) -> Builder:
    if name in _builders:
        return _builders[name]
    points = _entry_points()
    if name in points:
        return points[name].load()
    raise ValueError(
        f"no reparametrization is named {name!r}; there are {', '.join(available())}, "
        "and any torch.nn.Module that returns (N, 3) positions"
    )


def settings_of(spec: Specification) -> tuple[str, ...] | None:
    """Return the names of the settings that a reparametrization takes.

    Parameters
    ----------
    spec : str, torch.nn.Module or callable
        As for `build`.

    Returns
    -------
    tuple of str or None
        None where any name is accepted, or the signature cannot be read.

    Examples
    --------
    >>> settings_of("spectral")
    ('contacts', 'metric', 'shift')
    """
    if isinstance(spec, torch.nn.Module):
        return ()
    builder = _builder(spec) if isinstance(spec, str) else spec
    try:
        parameters = list(inspect.signature(builder).parameters.values())
    except (TypeError, ValueError):
        return None
    named = {p.name for p in parameters[1:] if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        passed_on = _passed_on.get(spec) if isinstance(spec, str) else None
        return None if passed_on is None else tuple(sorted({*named, *passed_on}))
    return tuple(sorted(named))


# Arguments of `minimize_reparam` that are no settings, for names spelled wrongly.
OF_THE_CALL = (
    *("tolerance", "maxIterations", "reporter", "max_force_evaluations", "strict"),
    *("replicas", "replica_temperature", "reparametrization", "seed", "progress"),
)


def refuse_settings(
    spec: Specification, settings: Mapping[str, object], of_the_run: Sequence[str] = ()
) -> None:
    """Raise TypeError for settings that a reparametrization does not take, and say which do.

    Parameters
    ----------
    spec : str, torch.nn.Module or callable
        As for `build`.
    settings : dict
    of_the_run : sequence of str
        Names of settings that are no reparametrization's, for the message.
    """
    accepted = settings_of(spec)
    if accepted is None:
        return
    known = {name: settings_of(name) or () for name in sorted(_builders)}
    for name in settings:
        if name in accepted:
            continue
        owners = [owner for owner, names in known.items() if name in names]
        if owners:
            raise TypeError(
                f"{name} is a setting of {_either(owners)}, not of {_spelled(spec)}: pass "
                f"reparametrization={owners[0]!r}, or leave {name} out"
            )
        there = {repr(owner): names for owner, names in known.items()}
        there |= {_spelled(spec): accepted, "the run": tuple(of_the_run)}
        names = {_plain(n): n for n in (*OF_THE_CALL, *(n for ns in there.values() for n in ns))}
        near = difflib.get_close_matches(_plain(name), names, 1)
        meant = f" Did you mean {names[near[0]]}?" if near else ""
        lists = "; ".join(f"of {owner}: {', '.join(n)}" for owner, n in there.items() if n)
        raise TypeError(f"there is no setting {name!r}.{meant} There are, {lists}")


def _plain(name: str) -> str:
    """Return a name as it is compared: max_iterations is maxIterations."""
    return name.replace("_", "").lower()


def _either(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _spelled(spec: Specification) -> str:
    if isinstance(spec, str):
        return repr(spec)
    return getattr(spec, "__name__", type(spec).__name__)


def build(spec: Specification, start: Start, **settings: Any) -> torch.nn.Module:
    """Make a reparametrization that returns ``start.positions`` first.

    Parameters
    ----------
    spec : str, torch.nn.Module or callable
        A registered name; a module of your own whose ``forward()`` returns (N, 3) positions in
        nm; or a callable ``(start, **settings)`` that returns one.
    start : Start
    **settings
        Of the builder; a module takes none.

    Returns
    -------
    torch.nn.Module
        The module itself if it starts at ``start.positions`` (a method ``initialize(positions)``
        is called first if it has one), else wrapped in `Anchored`.

    Raises
    ------
    ValueError
        An unknown name, a wrong shape, non-finite output, or nothing to train.
    TypeError
        Unknown settings, or a ``spec`` that is none of the above.
    """
    if isinstance(spec, str):
        module = _builder(spec)(start, **settings)
    elif isinstance(spec, torch.nn.Module):
        if settings:
            raise TypeError(f"a module takes no settings, but got {', '.join(settings)}")
        module = spec
        initialize = getattr(module, "initialize", None)
        if initialize is not None:
            initialize(torch.from_numpy(np.array(start.positions)))
    elif callable(spec):
        module = spec(start, **settings)
    else:
        raise TypeError(
            "reparametrization must be a name, a torch.nn.Module or a callable that makes one, "
            f"not {type(spec).__name__}"
        )
    return _checked(module, start.positions)


def _checked(module: torch.nn.Module, positions: np.ndarray) -> torch.nn.Module:
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError(f"{type(module).__name__} has no parameter that requires a gradient")
    with torch.enable_grad():
        first = module()
    if not isinstance(first, torch.Tensor) or first.shape != positions.shape:
        got = tuple(first.shape) if isinstance(first, torch.Tensor) else type(first).__name__
        raise ValueError(
            f"{type(module).__name__}() returned {got}; it must return positions of shape "
            f"{positions.shape} in nm"
        )
    if not torch.isfinite(first).all():
        raise ValueError(f"{type(module).__name__}() returned positions that are not finite")
    if not first.requires_grad:
        raise ValueError(
            f"the output of {type(module).__name__}() does not depend on its parameters in a way "
            "torch can differentiate; is it detached somewhere?"
        )
    first = first.detach()
    offset = np.abs(first.double().cpu().numpy() - positions).max()
    return module if offset < EXACT else Anchored(module, positions)


class Anchored(torch.nn.Module):
    """A module's displacement from its own first output, added to the starting positions.

    X = X0 + module() - module() at the start, so that any network starts exactly at X0.

    Parameters
    ----------
    module : torch.nn.Module
        ``forward()`` returns (N, 3) in nm.
    positions : (N, 3) array
        X0 in nm.
    """

    if TYPE_CHECKING:  # TorchScript cannot read annotations that are strings
        first: torch.Tensor
        positions: torch.Tensor

    def __init__(self, module: torch.nn.Module, positions: np.ndarray) -> None:
        super().__init__()
        self.module = module
        with torch.no_grad():
            first = module()
        self.register_buffer("first", first.detach().clone())
        self.register_buffer("positions", torch.from_numpy(np.array(positions)).to(first.device))

    def forward(self) -> torch.Tensor:
        """Positions, (N, 3) in nm."""
        return self.positions + (self.module() - self.first)
