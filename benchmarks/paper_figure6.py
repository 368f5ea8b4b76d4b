"""The paper's Figure 6: how learning rate and initialization change what Adam reaches on 2JOF.

    python benchmarks/paper_figure6.py                # several minutes
    python benchmarks/paper_figure6.py --plot         # tables and picture of the JSON alone

Adam on X, on the latents of the linear reparametrization, and on GNNs of one and two layers, each
a single stage from the extended chain at learning rates from 1e-4 to 1e-1. The GNN of two layers
starts exactly at the chain (X = X0 + ...), or as published: its output is fitted to the chain
first, and where the fit ends is where the descent begins. Then Adam on X from several
conformations.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from openmm import unit
from paper import (
    ADAM,
    CAP,
    IMAGES,
    LBFGS,
    PLATFORM,
    RESULTS,
    STAGE,
    TOLERANCE,
    Descent,
    descend,
    from_native,
    gnn,
    one_thread,
    openmm_minimizer,
    start,
    stereo_changes,
)
from report import write_json

from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.reparametrizations import Start, build
from openmm_reparam.structure.measures import rmsd

CODE = "2JOF"
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SEEDED = ("GNN, 1 layer", "GNN, 2 layers", "GNN, 2 layers, pre-fitted")
PEERS = ("LocalEnergyMinimizer", "preconditioned L-BFGS")
# The published pre-fit: Adam on the mean squared error in square angstroms.
FIT_RATE, FIT_STEPS, FIT_PATIENCE, FIT_DELTA = 1e-3, 1000, 20, 1e-6


def settings_of(method: str, count: int) -> dict:
    """Return what `minimize_reparam` is called with, but for the learning rate."""
    if method == "Adam on X":
        return ADAM
    if method == "linear":
        return {**STAGE, "reparametrization": "linear", "count": count}
    return gnn(count, layers=1 if "1 layer" in method else 2)


def prefitted(molecule: MolecularSystem, settings: dict, seed: int) -> tuple[Descent, dict]:
    """Fit a GNN, without X0 in it, to the molecule's positions; return where it starts, and a call.

    The Hessian's evaluations and the fit's seconds belong to the start.
    """
    began = time.process_time()
    x = molecule.positions.value_in_unit(unit.nanometer)
    x = torch.from_numpy(x - x.mean(axis=0))
    potential = Potential(molecule.simulation(PLATFORM).context)
    network = {name: value for name, value in settings.items() if name not in STAGE}
    begin = Start(potential, x.numpy(), np.random.default_rng(seed))
    module = build(network.pop("reparametrization"), begin, **network)
    module.anchor.zero_()
    optimizer = torch.optim.Adam(module.parameters(), lr=FIT_RATE)
    best, since = np.inf, 0
    for _ in range(FIT_STEPS):
        optimizer.zero_grad()
        loss = 100 * torch.nn.functional.mse_loss(module(), x)
        loss.backward()
        optimizer.step()
        best, since = (loss.item(), 0) if loss.item() < best - FIT_DELTA else (best, since + 1)
        if since >= FIT_PATIENCE:
            break
    fitted = module().detach().numpy()
    evaluations, seconds = potential.counter.total, time.process_time() - began
    return Descent(fitted, np.inf, evaluations, seconds), {**STAGE, "reparametrization": module}


def one(molecule: MolecularSystem, method: str, rate: float, seed: int) -> dict:
    """Run one stage at one learning rate."""
    settings, before = settings_of(method, 3 * molecule.topology.getNumResidues()), None
    if "pre-fitted" in method:
        before, settings = prefitted(molecule, settings, seed)
    descent = descend(molecule, {**settings, "learning_rate": rate}, before, seed=seed)
    first = before or Descent(molecule.positions.value_in_unit(unit.nanometer), np.inf)
    energy = Potential(molecule.simulation(PLATFORM).context).evaluate(first.positions)[0]
    return {
        "method": method,
        "rate": rate,
        "seed": seed,
        "initial_energy": energy,
        "initial_rmsd": rmsd(
            molecule.topology, first.positions, molecule.topology, molecule.positions, "all"
        ),
        **outcome(molecule, descent),
    }


def outcome(molecule: MolecularSystem, descent: Descent) -> dict:
    return {
        "energy": descent.energy,
        "force_evaluations": descent.evaluations,
        "seconds": descent.seconds,
        "rmsd": from_native(CODE, molecule, descent.positions),
        "stereo_changes": stereo_changes(molecule, descent.positions),
    }


def conformations(number: int) -> list[dict]:
    """Run Adam on X and preconditioned L-BFGS from the extended chain and from random coils."""
    found = []
    for seed in range(number):
        molecule = start(CODE, "coil", seed)
        for method, settings in (("Adam on X", ADAM), (PEERS[1], LBFGS)):
            descent = descend(molecule, settings)
            # Between ends of different starts, as the paper's panel c shows them.
            others = [
                rmsd(molecule.topology, descent.positions, molecule.topology, o["positions"])
                for o in found
                if o["method"] == method
            ]
            found.append(
                {
                    "seed": seed,
                    "method": method,
                    **outcome(molecule, descent),
                    "rmsd_to_other_ends": others,
                    "positions": descent.positions,
                }
            )
    return [{k: v for k, v in o.items() if k != "positions"} for o in found]


def table(outcomes: list[dict]) -> str:
    """Lowest energy over the seeds, with its evaluations; a column for each method."""
    methods = list(dict.fromkeys(o["method"] for o in outcomes))
    lines = [f"| learning rate | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for rate in dict.fromkeys(o["rate"] for o in outcomes):
        cells = []
        for method in methods:
            mine = [o for o in outcomes if (o["method"], o["rate"]) == (method, rate)]
            best = min(mine, key=lambda o: o["energy"])
            cells.append(f"{best['energy']:.0f} ({best['force_evaluations']})")
        lines.append(f"| {rate:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def starts_table(content: dict) -> str:
    """Where pre-fitted networks begin, and where other conformations lead."""
    fits = [o for o in content["outcomes"] if "pre-fitted" in o["method"]]
    off = [o["initial_rmsd"] for o in fits]
    energies = [o["initial_energy"] for o in fits]
    lines = [
        f"Pre-fitted networks begin {min(off):.3f} to {max(off):.3f} nm (all atoms) from the "
        f"chain, at {min(energies):.2g} to {max(energies):.2g} kJ/mol; stereo changes at the end: "
        f"{[o['stereo_changes'] for o in fits]}",
    ]
    for method in ("Adam on X", PEERS[1]):
        mine = [o for o in content["conformations"] if o["method"] == method]
        between = [d for o in mine for d in o["rmsd_to_other_ends"]]
        lines.append(
            f"{method} from {len(mine)} conformations: energies "
            f"{[round(o['energy']) for o in mine]}, C-alpha RMSD between ends "
            f"{min(between):.2f} to {max(between):.2f} nm, to the native "
            f"{[round(o['rmsd'], 2) for o in mine]}"
        )
    return "\n".join(lines)


def plot(content: dict, path: Path) -> None:
    """Draw energy against learning rate and evaluations, and over starting conformations."""
    figure = Figure(figsize=(13, 4.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    outcomes = content["outcomes"]
    for number, method in enumerate(dict.fromkeys(o["method"] for o in outcomes)):
        mine = [o for o in outcomes if o["method"] == method]
        rates = sorted({o["rate"] for o in mine})
        best = [min(o["energy"] for o in mine if o["rate"] == rate) for rate in rates]
        left.plot(rates, np.minimum(best, 0), "o-", color=f"C{number}", label=method, ms=4)
        middle.plot(
            [o["force_evaluations"] for o in mine],
            [min(o["energy"], 0) for o in mine],
            "o",
            color=f"C{number}",
            ms=4,
        )
    for peer, marker in zip(content["peers"], "*X", strict=True):
        middle.plot(
            peer["force_evaluations"], peer["energy"], f"k{marker}", ms=9, label=peer["method"]
        )
    for method, marker in (("Adam on X", "o"), (PEERS[1], "X")):
        mine = [o for o in content["conformations"] if o["method"] == method]
        label = f"{method}: {np.mean([o['rmsd'] for o in mine]):.1f} nm from the native on average"
        right.plot(
            [o["seed"] for o in mine], [o["energy"] for o in mine], f"{marker}-", label=label
        )
    left.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="final energy, kJ/mol (higher ones at 0)",
        ylim=(-1900, 900),
    )
    middle.set(xscale="log", xlabel="force evaluations", title="2JOF, extended chain")
    right.set(xlabel="start: 0 extended, others random coils")
    for axis in (left, middle, right):
        axis.legend(fontsize=8, loc="upper left")
    figure.savefig(path, dpi=100)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="networks of each kind and rate")
    parser.add_argument("--starts", type=int, default=6, help="conformations for Adam on X")
    parser.add_argument("--output", type=Path, default=RESULTS / "paper_figure6.json")
    parser.add_argument("--plot", action="store_true", help="tables and picture of the JSON alone")
    arguments = parser.parse_args()
    if not arguments.plot:
        one_thread()
        molecule = start(CODE, "coil", 0)
        peers = {PEERS[0]: openmm_minimizer(molecule), PEERS[1]: descend(molecule, LBFGS)}
        outcomes = []
        for method in ("Adam on X", "linear", *SEEDED):
            for rate in RATES:
                for seed in range(arguments.seeds if method in SEEDED else 1):
                    outcomes.append(one(molecule, method, rate, seed))
                    print({k: v for k, v in outcomes[-1].items() if k != "rmsd"}, flush=True)
        write_json(
            arguments.output,
            {
                "tolerance": TOLERANCE,
                "cap": CAP,
                "peers": [{"method": m, **outcome(molecule, d)} for m, d in peers.items()],
                "outcomes": outcomes,
                "conformations": conformations(arguments.starts),
            },
        )
    content = json.loads(arguments.output.read_text())
    print(f"{table(content['outcomes'])}\n\n{starts_table(content)}")
    plot(content, IMAGES / "paper-figure6.png")


if __name__ == "__main__":
    main()
