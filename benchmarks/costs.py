"""What the pieces cost in units of a force evaluation, and how far cheap slow modes agree.

    python -m benchmarks.costs

On 2JOF: a step of the GCN (forward, backward, Adam), a dense Hessian against its 6N force
evaluations, a coloured bonded Hessian, an update and a solve of the preconditioner; and the
principal angles between slow modes from the bonded and from the full Hessian.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from openmm_reparam.modes.coupling_graph import coupling_graph, laplacian
from openmm_reparam.modes.slow_modes import principal_angles, slow_modes
from openmm_reparam.optimizers.torch_threads import torch_threads_for
from openmm_reparam.potentials.hessian import BondedHessian, dense_hessian
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.reparametrizations import Start, build

from .report import append, grouped, markdown, origin, read_runs, record, runs_of

SUMMARIES = {"costs": ("piece",), "slow-subspaces": ("solvent", "norm", "modes")}
SUBSPACE = {
    "median_angle": "median angle, degrees",
    "percentile_90": "90th percentile",
    "largest_angle": "largest",
    "shared": "shared",
}


def milliseconds(call, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times))


def gcn_step(potential: Potential, positions: np.ndarray, coordinates: str):
    start = Start(potential, positions)
    module = build("gcn", start, count=100, hidden=(100,), coordinates=coordinates)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)
    gradient = torch.from_numpy(np.random.default_rng(0).standard_normal(positions.shape))

    def step():
        gradients = torch.autograd.grad(module(), parameters, gradient)
        for parameter, value in zip(parameters, gradients, strict=True):
            parameter.grad = value
        optimizer.step()

    return step


def costs(platform: str) -> dict:
    molecule = peptide("2JOF")
    potential = Potential(molecule.simulation(platform).context)
    positions = potential.positions()
    evaluation = milliseconds(lambda: potential.evaluate(positions), 500)
    with torch_threads_for(len(positions)):
        cartesian = milliseconds(gcn_step(potential, positions, "cartesian"), 500)
        whitened = milliseconds(gcn_step(potential, positions, "whitened"), 500)
    side = potential.side_potential()
    side_evaluation = milliseconds(lambda: side.evaluate(positions), 300)
    dense = milliseconds(lambda: dense_hessian(potential, positions), 3)
    bonded = BondedHessian(potential)
    preconditioner = Preconditioner(potential)
    update = milliseconds(lambda: preconditioner.update(positions), 20)
    return {
        "atoms": len(positions),
        "force evaluation, ms": evaluation,
        "GCN step (k = 100, hidden 100) / force evaluation": cartesian / evaluation,
        "GCN step in whitened coordinates / force evaluation": whitened / evaluation,
        "dense Hessian / its 6N force evaluations": dense / (6 * len(positions) * side_evaluation),
        "bonded Hessian, evaluations of the bonded forces": bonded.num_evaluations,
        "bonded Hessian / force evaluation": milliseconds(lambda: bonded.evaluate(positions), 10)
        / evaluation,
        "preconditioner update / force evaluation": update / evaluation,
        "preconditioner solve / force evaluation": milliseconds(
            lambda: preconditioner.solve(positions), 300
        )
        / evaluation,
    }


def agreement(solvent: str) -> list[dict]:
    """Principal angles between the slow subspaces of the bonded and of the full coupling graph."""
    molecule = peptide("2JOF", solvent=solvent)
    potential = Potential(molecule.simulation("Reference").context)
    positions = potential.positions()
    bonded = BondedHessian(potential).evaluate(positions)
    print(f"dense Hessian of 2JOF in {solvent}...", flush=True)
    full = dense_hessian(potential, positions)
    rows = []
    for norm in ("sum-of-squares", "mean-norm"):
        for count in (10, 30, 60, 100):
            cheap = slow_modes(laplacian(coupling_graph([bonded], norm)), count).vectors
            whole = slow_modes(laplacian(coupling_graph([full], norm)), count).vectors
            angles = principal_angles(cheap, whole)
            rows.append(
                {
                    "solvent": solvent,
                    "norm": norm,
                    "modes": count,
                    "median_angle": float(np.median(angles)),
                    "percentile_90": float(np.percentile(angles, 90)),
                    "largest_angle": float(angles[-1]),
                    "shared": float(np.mean(np.cos(np.radians(angles)) ** 2)),
                }
            )
    return rows


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Keep the last run of each version."""
    pieces, subspaces = [], []
    for told, members in grouped(runs, ()):
        last = members[-1]
        told["starts"] = 1
        pieces += [told | {"piece": name, "cost": x} for name, x in last["costs"].items()]
        subspaces += [told | row for row in last["slow_subspaces"]]
    return {"costs": pieces, "slow-subspaces": subspaces}


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return what pieces cost, and how far slow subspaces agree."""
    pieces = [[row["piece"], row["cost"], origin(row)] for row in found["costs"]]
    header = ["solvent", "norm", "modes", *SUBSPACE.values(), "version"]
    angles = [
        [row["solvent"], row["norm"], row["modes"], *(row[n] for n in SUBSPACE), origin(row)]
        for row in found["slow-subspaces"]
    ]
    return {
        "costs": markdown(["piece", "cost", "version"], pieces),
        "slow-subspaces": markdown(header, angles),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--solvents", nargs="*", default=["vacuum", "gbn2"])
    parser.add_argument("--output", type=Path, default=runs_of("costs"), help="to append to")
    arguments = parser.parse_args()
    found = costs(arguments.platform)
    rows = [row for solvent in arguments.solvents for row in agreement(solvent)]
    append(arguments.output, record(arguments.platform, costs=found, slow_subspaces=rows))
    for text in tables(summarize(read_runs(arguments.output))).values():
        print(f"\n{text}")


if __name__ == "__main__":
    main()
