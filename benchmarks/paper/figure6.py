"""The paper's Figure 6: how learning rate and initialization change what Adam reaches on 2JOF.

    python -m benchmarks.paper.figure6                # several minutes

Adam on X, on the latents of the linear reparametrization, and on GNNs of one and two layers, each
a single stage from the extended chain at learning rates from 1e-4 to 1e-1. The GNN of two layers
starts exactly at the chain (X = X0 + ...), or as published: its output is fitted to the chain
first, and where the fit ends is where the descent begins. Then Adam on X from several
conformations.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from openmm import unit

from openmm_reparam.potentials.potential import Potential
from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.reparametrizations import Start, build
from openmm_reparam.structure.measures import rmsd

from ..report import append, grouped, markdown, origin, read_runs, record, runs_of
from .descents import (
    ADAM,
    LBFGS,
    PLATFORM,
    STAGE,
    Descent,
    descend,
    from_native,
    gnn,
    library_of,
    one_thread,
    openmm_minimizer,
    start,
    stereo_changes,
)

# ``part`` is "rates", "baselines" or "conformations".
SUMMARIES = {"figure6": ("part", "method", "rate", "seed")}
CODE = "2JOF"
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SEEDED = ("GNN, 1 layer", "GNN, 2 layers", "GNN, 2 layers, pre-fitted")
BASELINES = ("LocalEnergyMinimizer", "preconditioned L-BFGS")
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
        for method, settings in (("Adam on X", ADAM), (BASELINES[1], LBFGS)):
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
                    "nearest_end": min(others, default=None),
                    "farthest_end": max(others, default=None),
                    "positions": descent.positions,
                }
            )
    return [{k: v for k, v in o.items() if k != "positions"} for o in found]


COLUMNS = (
    *("initial_energy", "initial_rmsd", "energy", "force_evaluations", "seconds", "rmsd"),
    *("stereo_changes", "nearest_end", "farthest_end"),
)


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Return a line for each run."""
    rows = [
        told | {name: members[-1].get(name) for name in COLUMNS}
        for told, members in grouped(runs, SUMMARIES["figure6"])
    ]
    return {"figure6": rows}


def of_part(found: dict[str, list[dict]], part: str) -> list[dict]:
    return [row for row in found["figure6"] if row["part"] == part]


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return the table of learning rates, and what other starts lead to."""
    return {
        "paper-figure6": table(of_part(found, "rates")),
        "paper-figure6-starts": starts_text(found),
    }


def table(outcomes: list[dict]) -> str:
    """Lowest energy over the seeds, with its evaluations; a column for each method."""
    columns = list(dict.fromkeys((row["method"], row["version"]) for row in outcomes))
    lines = []
    for rate in dict.fromkeys(row["rate"] for row in outcomes):
        cells = []
        for column in columns:
            mine = [
                r for r in outcomes if (r["method"], r["version"], r["rate"]) == (*column, rate)
            ]
            best = min(mine, key=lambda row: row["energy"], default=None)
            cells.append(best and f"{best['energy']:.0f} ({best['force_evaluations']})")
        lines.append([f"{rate:g}", *cells])
    header = [f"{method} ({version})" for method, version in columns]
    return markdown(["learning rate", *header], lines)


def starts_text(found: dict[str, list[dict]]) -> str:
    """Say where pre-fitted networks begin, and where other conformations lead."""
    fits = [row for row in of_part(found, "rates") if "pre-fitted" in row["method"]]
    off = [row["initial_rmsd"] for row in fits]
    energies = [row["initial_energy"] for row in fits]
    lines = [
        f"Pre-fitted networks begin {min(off):.3f} to {max(off):.3f} nm (all atoms) from the "
        f"chain, at {min(energies):.2g} to {max(energies):.2g} kJ/mol; stereo changes at the end: "
        f"{[row['stereo_changes'] for row in fits]}.",
    ]
    ends = of_part(found, "conformations")
    for method, version in dict.fromkeys((row["method"], origin(row)) for row in ends):
        mine = [row for row in ends if (row["method"], origin(row)) == (method, version)]
        between = [row for row in mine if row["nearest_end"] is not None]
        lines.append(
            f"{method} ({version}) from {len(mine)} conformations: energies "
            f"{[round(row['energy']) for row in mine]}, C-alpha RMSD between ends "
            f"{min(row['nearest_end'] for row in between):.2f} to "
            f"{max(row['farthest_end'] for row in between):.2f} nm, to the native "
            f"{[round(row['rmsd'], 2) for row in mine]}."
        )
    return "\n\n".join(lines)


def plot_summary(found: dict[str, list[dict]], folder: Path) -> None:
    """Draw the figure."""
    plot(found, folder / "paper-figure6.png")


def plot(found: dict, path: Path) -> None:
    """Draw energy against learning rate and evaluations, and over starting conformations."""
    figure = Figure(figsize=(13, 4.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    outcomes = of_part(found, "rates")
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
    for baseline, marker in zip(of_part(found, "baselines"), "*X", strict=True):
        middle.plot(
            baseline["force_evaluations"],
            baseline["energy"],
            f"k{marker}",
            ms=9,
            label=baseline["method"],
        )
    for method, marker in (("Adam on X", "o"), (BASELINES[1], "X")):
        mine = [o for o in of_part(found, "conformations") if o["method"] == method]
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


def runs(seeds: int, starts: int):
    """Yield every run as it ends, with the part of the figure that it belongs to."""
    molecule = start(CODE, "coil", 0)
    baselines = {BASELINES[0]: openmm_minimizer(molecule), BASELINES[1]: descend(molecule, LBFGS)}
    for method, descent in baselines.items():
        yield {"part": "baselines", "method": method, **outcome(molecule, descent)}
    for method in ("Adam on X", "linear", *SEEDED):
        for rate in RATES:
            for seed in range(seeds if method in SEEDED else 1):
                yield {"part": "rates", **one(molecule, method, rate, seed)}
    for run in conformations(starts):
        yield {"part": "conformations", **run}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="networks of each kind and rate")
    parser.add_argument("--starts", type=int, default=6, help="conformations for Adam on X")
    parser.add_argument("--output", type=Path, default=runs_of("figure6"), help="to append to")
    arguments = parser.parse_args()
    one_thread()
    for run in runs(arguments.seeds, arguments.starts):
        append(arguments.output, record(PLATFORM, library_of(run["method"]), **run))
        print({name: value for name, value in run.items() if name != "rmsd"}, flush=True)
    for text in tables(summarize(read_runs(arguments.output))).values():
        print(f"\n{text}")


if __name__ == "__main__":
    main()
