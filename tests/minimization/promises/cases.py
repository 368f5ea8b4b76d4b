"""Random cases: a System, a start and a call, as one hypothesis strategy."""

from dataclasses import dataclass

import numpy as np
import openmm as mm
from hypothesis import strategies as st

from .forces import GROUPS, add_forces
from .models import models

# What ends every example.
ENOUGH_EVALUATIONS = 200
BUDGETS = st.sampled_from([5, 1, 2, 20, 60])
STAGES = [
    {"reparametrization": "cartesian", "latent_iterations": 4},
    {"reparametrization": "linear", "latent_iterations": 4},
    # Long steps, of which the last need not be the lowest.
    {"reparametrization": "cartesian", "learning_rate": 0.3, "fine_stage": False},
    {"reparametrization": "gcn", "latent_iterations": 3, "hidden": (4,), "count": 2},
    {"harmonic_continuation": True},
    {"search": "auto"},
]


@dataclass(repr=False)
class Case:
    """A System at a start, and how the minimizer is called.

    ``positions`` is (N, 3) in nm, ``call`` holds keywords of `minimize_reparam`.
    """

    system: mm.System
    positions: np.ndarray
    start: str
    platform: str
    groups: set
    constraint_tolerance: float
    call: dict

    @property
    def descends_at_once(self):
        """Whether every iteration lowers the energy: no stage goes before the descent."""
        return not self.call.keys() & {"reparametrization", "harmonic_continuation", "search"}

    def context(self):
        """Return a new Context with a past, at the start; two of them are alike."""
        integrator = mm.VerletIntegrator(0.001)
        integrator.setConstraintTolerance(self.constraint_tolerance)
        integrator.setIntegrationForceGroups(self.groups)
        platform = mm.Platform.getPlatformByName(self.platform)
        properties = {"Threads": "1"} if self.platform == "CPU" else {}
        context = mm.Context(self.system, integrator, platform, properties)
        for name in context.getParameters():
            context.setParameter(name, 0.9 * context.getParameter(name))
        if self.system.usesPeriodicBoundaryConditions():
            vectors = self.system.getDefaultPeriodicBoxVectors()
            context.setPeriodicBoxVectors(*[1.02 * vector for vector in vectors])
        context.setPositions(self.positions)
        if np.isfinite(self.positions).all():
            context.computeVirtualSites()
        context.setVelocities(np.arange(self.positions.size).reshape(-1, 3))
        context.setTime(3.0)
        context.setStepCount(7)
        return context

    def __repr__(self):
        """Everything that is needed to do it again."""
        return (
            f"Case(start={self.start!r}, platform={self.platform!r}, groups={self.groups}, "
            f"constraint_tolerance={self.constraint_tolerance}, call={self.call},\n"
            f"positions={self.positions.tolist()},\n"
            f"system={mm.XmlSerializer.serialize(self.system)})"
        )

    def _repr_pretty_(self, printer, cycle):
        """Let hypothesis print the same."""
        printer.text(repr(self))


@st.composite
def cases(draw, platforms=("Reference", "Reference", "Reference", "CPU")):
    """Cases on the named platforms."""
    model = draw(models())
    add_forces(draw, model)
    start = draw(st.sampled_from(sorted(STARTS)))
    return Case(
        system=model.system,
        positions=STARTS[start](model, np.random.default_rng(draw(st.integers(0, 99)))),
        start=start,
        platform=draw(st.sampled_from(platforms)),
        groups=draw(st.sampled_from([set(range(GROUPS)), {0, 1}])),
        constraint_tolerance=draw(st.sampled_from([1e-5, 1e-6, 1e-4])),
        call=draw(calls()),
    )


@st.composite
def calls(draw):
    """Keywords of `minimize_reparam`; the force evaluations are always limited."""
    call = {"tolerance": draw(st.sampled_from([10.0, 1.0, 100.0, 1e-3]))}
    limited = draw(st.sampled_from(["not", "force evaluations", "iterations"]))
    call["max_force_evaluations"] = ENOUGH_EVALUATIONS
    if limited == "force evaluations":
        call["max_force_evaluations"] = draw(BUDGETS)
    if draw(st.integers(0, 3)) == 3:
        call |= draw(st.sampled_from(STAGES))
    elif draw(st.integers(0, 3)) == 3:
        call["strict"] = True
    # A search knows no iterations.
    if limited == "iterations" and "search" not in call:
        call["maxIterations"] = draw(st.sampled_from([3, 1, 10]))
    return call


def _as_built(model, rng):
    return model.positions


def _noisy(model, rng):
    return model.positions + rng.normal(scale=0.08, size=model.positions.shape)


def _anywhere(model, rng):
    return rng.uniform(0, 1.5, model.positions.shape)


def _squeezed(model, rng):
    return model.positions * rng.choice([0.5, 0.2, 0.05])


def _coincident(model, rng):
    positions = np.array(model.positions)
    positions[model.chain - 1] = positions[0]
    return positions


def _far_away(model, rng):
    return model.positions + 100.0


def _wrapped(model, rng):
    if model.box is None:
        return model.positions
    return model.positions + rng.integers(-2, 3, model.positions.shape) @ model.box


def _not_a_number(model, rng):
    positions = np.array(model.positions)
    positions[rng.integers(model.chain)] = np.nan
    return positions


STARTS = {
    "as built": _as_built,
    "noisy": _noisy,
    "anywhere": _anywhere,
    "squeezed": _squeezed,
    "coincident": _coincident,
    "far away": _far_away,
    "wrapped": _wrapped,
    "not a number": _not_a_number,
}
