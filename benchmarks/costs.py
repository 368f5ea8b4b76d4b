"""What the pieces cost in units of a force evaluation, and how far cheap slow modes agree.

    python benchmarks/costs.py

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
from report import write_json

from openmm_reparam.modes.slow_modes import backbone, laplacian, principal_angles, slow_modes
from openmm_reparam.optimizers.latents import torch_threads_for
from openmm_reparam.potentials.hessian import BondedHessian, dense_hessian
from openmm_reparam.potentials.potential import Potential
from openmm_reparam.precon.preconditioner import Preconditioner
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.reparametrizations import Start, build

RESULTS = Path(__file__).parent / "results"


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
    """Principal angles between the slow subspaces of the bonded and of the full backbone."""
    molecule = peptide("2JOF", solvent=solvent)
    potential = Potential(molecule.simulation("Reference").context)
    positions = potential.positions()
    bonded = BondedHessian(potential).evaluate(positions)
    print(f"dense Hessian of 2JOF in {solvent}...", flush=True)
    full = dense_hessian(potential, positions)
    rows = []
    for norm in ("sum-of-squares", "mean-norm"):
        for count in (10, 30, 60, 100):
            cheap = slow_modes(laplacian(backbone([bonded], norm)), count).vectors
            whole = slow_modes(laplacian(backbone([full], norm)), count).vectors
            angles = principal_angles(cheap, whole)
            rows.append(
                {
                    "solvent": solvent,
                    "norm": norm,
                    "modes": count,
                    "median angle, degrees": float(np.median(angles)),
                    "90th percentile": float(np.percentile(angles, 90)),
                    "largest": float(angles[-1]),
                    "shared": float(np.mean(np.cos(np.radians(angles)) ** 2)),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--solvents", nargs="*", default=["vacuum", "gbn2"])
    parser.add_argument("--output", type=Path, default=RESULTS / "costs.json")
    arguments = parser.parse_args()
    found = costs(arguments.platform)
    for name, value in found.items():
        print(f"{name:>60}: {value:.3g}")
    rows = [row for solvent in arguments.solvents for row in agreement(solvent)]
    names = list(rows[0]) if rows else []
    print("\n| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        cells = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |")
    write_json(arguments.output, {"costs": found, "slow subspaces": rows})


if __name__ == "__main__":
    main()
