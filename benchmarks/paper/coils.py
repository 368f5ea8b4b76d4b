"""Synthetic coils: how near to their lower bound minimizers get from random starts.

    python -m benchmarks.paper.coils --kinds lj --sizes 400 --starts 2

Every method goes from the same starts on the same Context (CPU platform, one thread, torch on one
thread). The share of the lower bound is that of the energy without the repulsion, which the bound
leaves out. Evaluations count everything, those of the bonded forces alone apart. Seconds are those
of the processor, so that other work on the machine does not count.

Every stage of every method ends once its lowest energy has fallen by less than 0.1 % in 50
iterations, or at OpenMM's default tolerance, an RMS force of 10 kJ/mol/nm.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import openmm as mm
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from openmm_reparam.minimization.bond_continuation import HarmonicContinuation
from openmm_reparam.modes.coupling_graph import laplacian
from openmm_reparam.modes.slow_modes import SlowModes, slow_modes
from openmm_reparam.optimizers.latent_settings import LatentSettings
from openmm_reparam.optimizers.latents import descend_latents, eager_gradients
from openmm_reparam.optimizers.lbfgs import lbfgs
from openmm_reparam.optimizers.line_search import LineSearchError
from openmm_reparam.optimizers.stage_end import StageEnd
from openmm_reparam.potentials.bonded import coupling_pattern
from openmm_reparam.potentials.evaluator import Evaluator
from openmm_reparam.potentials.point import Point, rms
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.reparametrizations.cartesian import Cartesian
from openmm_reparam.reparametrizations.gcn import GCN
from openmm_reparam.reparametrizations.linear import Linear
from openmm_reparam.testsystems import coil, coil_lower_bound

from ..report import (
    IMAGES,
    PACKAGE,
    append,
    cell,
    grouped,
    markdown,
    origin,
    quartiles,
    read_runs,
    record,
    runs_of,
)

SUMMARIES = {"coils": ("kind", "n", "method")}

TOLERANCE, GAIN, PATIENCE = 10.0, 1e-3, 50
MAX_ITERATIONS = 5000
# Of Adam on X, in nm: of 0.001, 0.003, 0.01 and 0.03 the one that went deepest in 3000 iterations.
RATES = {"bond-lj": 0.01, "lj": 0.001}
LATENT_RATE = 0.01
# The paper takes 30 %, 50 % and 70 % of N.
FRACTION = 0.3
# A coupled pair nearer than this (in reduced units) is caught in the soft core.
CORE = 0.467


class Coil:
    """One start of a coil: its Context, what counts its evaluations, and how it is judged."""

    def __init__(self, kind: str, n: int, seed: int) -> None:
        self.kind, self.n, self.seed = kind, n, seed
        self.system = coil(n, kind, seed)
        for force in self.system.system.getForces():
            force.setForceGroup(int(isinstance(force, mm.CustomNonbondedForce)))
        self.context = mm.Context(
            self.system.system,
            mm.VerletIntegrator(0.001),
            mm.Platform.getPlatformByName("CPU"),
            {"Threads": "1"},
        )

    def run(self, name: str) -> tuple[dict, np.ndarray]:
        """Run a method: a row of the table, and the final coil in reduced units."""
        self.context.setPositions(self.system.positions)
        self.potential = Potential(self.context)
        began = time.process_time()
        point = METHODS[name](self, self.evaluate(self.potential.positions()))
        seconds = time.process_time() - began
        counter = self.potential.counter
        self.context.setPositions(point.positions)
        attraction = self.context.getState(energy=True, groups={0}).getPotentialEnergy()
        x = point.positions / self.system.length_unit
        distances = [np.linalg.norm(x[10:] - x[:-10], axis=1)]
        if self.kind == "lj":
            distances.append(np.linalg.norm(x[1:] - x[:-1], axis=1))
        bound = coil_lower_bound(self.n, self.kind)
        row = {
            "kind": self.kind,
            "n": self.n,
            "start": self.seed,
            "method": name,
            "energy": self.system.reduced_energy(point.energy),
            "attraction": self.system.reduced_energy(attraction),
            "share": self.system.reduced_energy(attraction) / bound,
            "stuck": int((np.concatenate(distances) < CORE).sum()),
            "rms_force": rms(point.forces, self.n),
            "seconds": seconds,
            "evaluations": counter.context,
            "bonded_evaluations": counter.bonded,
        }
        return row, x

    def evaluate(self, positions: np.ndarray) -> Point:
        """Energy and forces; counted."""
        return Point(positions, *self.potential.evaluate(positions))

    def graph_modes(self) -> SlowModes:
        """Slow modes of the graph of couplings, all of one weight.

        The paper shows that they are nearly those of the weighted graph. The Hessian at a random
        start is ruled by the few pairs in or near their soft cores.
        """
        couplings = coupling_pattern(self.system.system, self.potential.moves).astype(float)
        couplings.setdiag(0)
        return slow_modes(laplacian(couplings), fraction=FRACTION)


def lowest(coil: Coil, points: Iterator[Point], start: Point) -> Point:
    """Return the lowest point of a stage that ends where all do."""
    best, energy, since = start, start.energy, 0
    with contextlib.suppress(StageEnd, LineSearchError):
        for point in points:
            best = min(best, point, key=lambda p: p.energy)
            since += 1
            if best.energy < energy - GAIN * abs(energy):
                energy, since = best.energy, 0
            if since >= PATIENCE or rms(point.forces, coil.n) <= TOLERANCE:
                break
    return best


def adam(coil: Coil, module: torch.nn.Module, rate: float) -> Point:
    """Return the lowest point of Adam on a module's parameters, from where the module stands."""
    start = coil.evaluate(module().detach().numpy())
    settings = LatentSettings(
        learning_rate=rate,
        schedule="constant",
        iterations=MAX_ITERATIONS,
        patience=MAX_ITERATIONS,
    )
    gradients = eager_gradients(module, coil.evaluate, start, coil.potential.moves)
    return lowest(coil, descend_latents(module, gradients, start, settings), start)


def adam_on_x(coil: Coil, start: Point) -> Point:
    return adam(coil, Cartesian(start.positions), RATES[coil.kind])


def linear(coil: Coil, start: Point) -> Point:
    """As published: X = Psi Z, from the start projected on the slow modes, then Adam on X."""
    psi = coil.graph_modes().vectors
    projected = psi @ (psi.T @ start.positions)
    return adam_on_x(coil, adam(coil, Linear(projected, psi), LATENT_RATE))


def gcn(coil: Coil, start: Point) -> Point:
    """As published: A = Psi Psi^T, tanh, 100 hidden, then Adam on X; from where `linear` starts."""
    modes = coil.graph_modes()
    projected = modes.vectors @ (modes.vectors.T @ start.positions)
    generator = torch.Generator().manual_seed(coil.seed)
    network = GCN(projected, modes, propagation="projector", generator=generator)
    return adam_on_x(coil, adam(coil, network, LATENT_RATE))


def linear_spread(coil: Coil, start: Point) -> Point:
    """X = Psi Z from the projected start, spread as far as the start was, then L-BFGS."""
    psi = coil.graph_modes().vectors
    projected = psi @ (psi.T @ start.positions)
    projected *= start.positions.std() / projected.std()
    return preconditioned(coil, adam(coil, Linear(projected, psi), LATENT_RATE))


def plain(coil: Coil, start: Point) -> Point:
    return lowest(coil, lbfgs(coil.evaluate, start), start)


def preconditioned(coil: Coil, start: Point) -> Point:
    """Go down by preconditioned L-BFGS, the default of `minimize_reparam`."""
    metric = Preconditioner(coil.potential)
    metric.update(start.positions)
    return lowest(coil, lbfgs(coil.evaluate, start, metric=metric), start)


def springs(coil: Coil, start: Point) -> Point:
    """Springs pull the couplings into their wells, then preconditioned L-BFGS."""
    continued = HarmonicContinuation(Evaluator(coil.potential)).points(start)
    return preconditioned(coil, lowest(coil, continued, start))


METHODS: dict[str, Callable[[Coil, Point], Point]] = {
    "Adam on X": adam_on_x,
    "linear as published": linear,
    "GCN as published": gcn,
    "L-BFGS": plain,
    "preconditioned L-BFGS": preconditioned,
    "linear, spread, then preconditioned L-BFGS": linear_spread,
    "springs, then preconditioned L-BFGS": springs,
}


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Group runs; times are compared with those of Adam on X from the same start."""
    same = ("kind", "n", "start", "processor", "cores")
    adam_on_x = {tuple(r[k] for k in same): r for r in runs if r["method"] == "Adam on X"}
    rows = []
    for told, members in grouped(runs, SUMMARIES["coils"]):
        energies, shares, stuck = ([r[k] for r in members] for k in ("energy", "share", "stuck"))
        pairs = [(run, adam_on_x.get(tuple(run[k] for k in same))) for run in members]
        ratios = [run["seconds"] / other["seconds"] for run, other in pairs if other]
        row = told | {
            "energy": float(np.median(energies)),
            "lowest": min(energies),
            "highest": max(energies),
            "share": float(np.median(shares)),
            "least_share": min(shares),
            "solved": sum(share >= 0.98 for share in shares),
            "stuck": float(np.median(stuck)),
            "most_stuck": max(stuck),
            **quartiles("evaluations", [run["evaluations"] for run in members]),
            "bonded_evaluations": float(np.median([r["bonded_evaluations"] for r in members])),
            **quartiles("seconds", [run["seconds"] for run in members]),
            "over_adam": float(np.median(ratios)) if ratios else None,
            "most_over_adam": max(ratios, default=None),
        }
        rows.append(row)
    return {"coils": rows}


def table(rows: list[dict]) -> str:
    """Return the table of one kind and size."""
    header = [
        *("method", "starts", "energy, median (lowest..highest)"),
        *("share of the bound, median (least)", "starts at 98 %", "stuck pairs, median (most)"),
        *("evaluations", "of bonds alone", "processor seconds"),
        *("time over Adam on X's, median (most)", "version"),
    ]
    return markdown(header, [_line(row) for row in rows])


def _line(row: dict) -> list:
    time_ratio = ""
    if row["over_adam"] is not None:
        time_ratio = f"{row['over_adam']:.2f} ({row['most_over_adam']:.2f})"
    return [
        *(row["method"], row["starts"]),
        f"{row['energy']:.5f} ({row['lowest']:.5f}..{row['highest']:.5f})",
        f"{_percent(row['share'])} ({_percent(row['least_share'])})",
        f"{row['solved']}/{row['starts']}",
        *(f"{row['stuck']:g} ({row['most_stuck']})", cell(row, "evaluations")),
        *(f"{row['bonded_evaluations']:.0f}", cell(row, "seconds"), time_ratio, origin(row)),
    ]


def _percent(share: float) -> str:
    """Above the energy of atoms infinitely far apart there is no share to speak of."""
    return f"{100 * share:.2f} %" if share > 0 else "none"


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return a table for each kind and size."""
    rows = found["coils"]
    return {
        "coils": "\n\n".join(
            f"## {'Bond+LJ' if kind == 'bond-lj' else 'Pure LJ'}, n = {n}, lower bound "
            f"{coil_lower_bound(n, kind):.6f}\n\n"
            + table([row for row in rows if (row["kind"], row["n"]) == (kind, n)])
            for kind, n in sorted({(row["kind"], row["n"]) for row in rows})
        )
    }


def draw(finals: list[tuple[dict, np.ndarray]], path: Path) -> None:
    """Draw final coils beside each other, coloured along the chain."""
    figure = Figure(figsize=(2.6 * len(finals), 3.1), layout="constrained")
    for place, (row, x) in enumerate(finals, start=1):
        axes = figure.add_subplot(1, len(finals), place, projection="3d")
        steps = np.stack([x[:-1], x[1:]], axis=1)
        colours = Normalize(0, len(steps))(np.arange(len(steps)))
        axes.add_collection3d(Line3DCollection(steps, array=colours, cmap="viridis", lw=0.8))
        middle, half = (x.max(axis=0) + x.min(axis=0)) / 2, np.ptp(x, axis=0).max() / 2
        for set_limits, centre in zip(
            (axes.set_xlim, axes.set_ylim, axes.set_zlim), middle, strict=True
        ):
            set_limits(centre - half, centre + half)
        axes.set_axis_off()
        title = row["method"].replace(", then", ",\nthen")
        axes.set_title(f"{title}\n{row['energy']:.5f}, {row['stuck']} stuck", fontsize=8, y=0.9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--kinds", nargs="+", default=["bond-lj", "lj"], choices=["bond-lj", "lj"], metavar="KIND"
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[400, 1000])
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first start")
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD"
    )
    parser.add_argument("--output", type=Path, default=runs_of("coils"), help="to append to")
    parser.add_argument("--images", type=Path, default=IMAGES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    Coil("bond-lj", 20, 0).run("Adam on X")  # torch's first use in a process costs a second

    starts = range(arguments.first, arguments.starts)
    for seed, n, kind in itertools.product(starts, arguments.sizes, arguments.kinds):
        finals = []
        start = Coil(kind, n, seed)
        for name in arguments.methods:
            row, x = start.run(name)
            # L-BFGS and Adam here are this package's.
            append(arguments.output, record("CPU", PACKAGE, **row))
            finals.append((row, x))
            print(
                f"{kind} {n} start {seed} {name:>36}: {row['energy']:9.5f}, "
                f"{100 * row['share']:7.2f} %, {row['stuck']} stuck, {row['evaluations']:5d} + "
                f"{row['bonded_evaluations']:3d} evaluations, {row['seconds']:6.2f} s",
                flush=True,
            )
        if seed == 0:
            draw(finals, arguments.images / f"coil-{kind}-{n}.png")
    print(tables(summarize(read_runs(arguments.output)))["coils"])


if __name__ == "__main__":
    main()
