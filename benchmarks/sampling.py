"""Free energies at equal numbers of force evaluations: the package's samplers beside dynamics.

    python -m benchmarks.sampling --cases dipeptide-ff96-obc2-300K --budgets 450000 --starts 3

Evaluations of training and of the structures drawn count together. References are biased dynamics
(sampling_references.py), run first; baselines are in sampling_baselines.py. The double well of
Schöberl, Zabaras and Koutsourelakis (arXiv:2002.10148) is a case of its own.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from openmm import unit
from scipy.special import softmax

from openmm_reparam.sampling.batch_energy import BatchEnergy
from openmm_reparam.sampling.conditional_sampler import ConditionalSampler
from openmm_reparam.sampling.double_well import DoubleWell
from openmm_reparam.sampling.importance import (
    effective_sample_size,
    forward_check,
    log_partition_function,
    log_weights,
    pareto_k,
)
from openmm_reparam.sampling.internal_map import InternalMap, wrap
from openmm_reparam.sampling.latent import LatentSampler, latent_information
from openmm_reparam.sampling.latent_model import LatentModel
from openmm_reparam.sampling.method import SamplingMethod
from openmm_reparam.sampling.minima_mixture import MinimaMixture
from openmm_reparam.sampling.rungs import Rungs
from openmm_reparam.sampling.target import boltzmann_target
from openmm_reparam.sampling.tempered_training import TemperedTraining
from openmm_reparam.structure.stereochemistry import Stereochemistry

from .report import (
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
from .sampling_baselines import molecular_dynamics, parallel_tempering
from .sampling_cases import CASES, SamplingCase, backbone_torsions, simulation_factory
from .sampling_measures import (
    BASINS,
    basin_free_energy,
    divergence,
    ramachandran_histogram,
)
from .sampling_references import load_reference

SUMMARIES = {"sampling": ("case", "budget", "method"), "double-well": ("budget", "method")}
DOUBLE_WELL, EXACT = "double-well", 4.777  # kT, right over left
# Structures drawn at the end, as a share of the evaluations and at most; at once.
DRAWN_SHARE, MOST_DRAWN, CHUNK = 0.4, 20_000, 1000
# Configurations of the reference for the forward check; structures whose stereochemistry is looked
# at.
CHECKED, LOOKED_AT = 2000, 200
# Cases of which no reference is good enough to compare with yet: neither KLD nor forward check.
UNREFERENCED = ("aspirin-gaff2-300K", "enkephalin-ff96-obc2-300K")
PICTURED = ("dipeptide-ff96-obc2-300K", 450_000)


@dataclass
class Drawn:
    """What a method gives: structures in nm with weights, and what it says of itself."""

    positions: np.ndarray
    weights: np.ndarray
    evaluations: int
    told: dict = field(default_factory=dict)


# --- Methods ---


def dynamics(run):
    """Make a method of a baseline."""

    def sample(case: SamplingCase, budget: int, seed: int) -> Drawn:
        make = simulation_factory(case.molecule(), case.platform)
        return Drawn(*run(make, case.temperature, budget, seed), budget)

    return sample


def trained(make):
    """Make a method of a sampler: (target, generator) -> SamplingMethod."""

    def sample(case: SamplingCase, budget: int, seed: int) -> Drawn:
        molecule = case.molecule()
        threads = 1 if case.platform == "CPU" else None
        simulation = molecule.simulation(case.platform, threads=threads)
        target = boltzmann_target(simulation, case.temperature)
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        method = make(target, generator)
        count = min(MOST_DRAWN, int(DRAWN_SHARE * budget))
        for _ in method.training_steps(budget - count - target.energy.evaluations):
            pass
        trained_with = target.energy.evaluations
        x, log_q, energies = draw(method, target.energy, count, generator)
        logs = log_weights(energies, log_q, target.beta)
        told = {
            "ess": effective_sample_size(logs),
            "pareto_k": pareto_k(logs),
            "log_z": log_partition_function(logs).value,
            "training_evaluations": trained_with,
        }
        if not isinstance(method, LatentSampler):
            if case.name not in UNREFERENCED:
                told |= checked(case, method, target, logs)
        else:
            told["information"] = information(method, case, generator)
        return Drawn(x, softmax(logs), target.energy.evaluations, told)

    return sample


def draw(
    method: SamplingMethod, energy: BatchEnergy, count: int, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions, log densities and energies of structures."""
    parts = []
    for first in range(0, count, CHUNK):
        x, log_q = method.sample(min(CHUNK, count - first), generator)
        parts.append((x.numpy(), log_q.numpy(), energy(x)[0].numpy()))
    x, log_q, energies = map(np.concatenate, zip(*parts, strict=True))
    return x, log_q, energies


def checked(case: SamplingCase, method: SamplingMethod, target, logs: np.ndarray) -> dict:
    """Compare with configurations of the reference; these evaluations are not counted."""
    x = relabelled(target.internal, load_reference(case).resampled(CHECKED))
    energies, _ = BatchEnergy(target.potential.context)(x)
    log_q = torch.cat([method.log_density(part) for part in torch.as_tensor(x).split(CHUNK)])
    check = forward_check(logs, -target.beta * energies - log_q.numpy())
    return {
        "forward_ess": check.effective_sample_size,
        "reference_log_z": check.log_z.value,
        "missing": check.missing.value,
        "lost_mode": check.lost_mode,
    }


def relabelled(internal: InternalMap, positions: np.ndarray) -> np.ndarray:
    """Exchange two like atoms of each rotor where they stand the other way round.

    Hydrogens are added in a random order: that of a methyl group in stored frames may be the mirror
    image of the target's, which is the same structure with other labels.
    """
    zmatrix, found = internal.zmatrix, positions.copy()
    for rotor in internal.rotors.tolist():
        relatives = np.flatnonzero((zmatrix.leaders == rotor) & (zmatrix.classes == "relative"))
        values = internal.coordinates(torch.as_tensor(found))[0][:, internal.columns["torsions"]]
        off = wrap(values - internal.torsion_centres)[:, relatives].abs()
        other = (off > math.radians(60)).all(1).numpy()
        first, second = zmatrix.torsions[relatives[:2], 0]
        found[np.ix_(other, [first, second])] = found[np.ix_(other, [second, first])]
    return found


def information(method: LatentSampler, case: SamplingCase, generator: torch.Generator) -> list:
    """Return what the latents say of the torsions: mutual information over entropy."""
    x, z, _ = method.sample_with_latents(MOST_DRAWN, generator)
    torsions = case.torsions(x.numpy())
    return latent_information(z, torch.as_tensor(torsions.reshape(len(x), -1)))


def published(target, generator: torch.Generator) -> LatentSampler:
    """Return the published model: Cartesian coordinates, six of them pinned."""
    return LatentSampler(target, generator, "cartesian")


METHODS = {
    "molecular dynamics": (dynamics(molecular_dynamics), "openmm"),
    "parallel tempering": (dynamics(parallel_tempering), "openmm"),
    "latent, Cartesian (published)": (trained(published), PACKAGE),
    "latent, internal": (trained(LatentSampler), PACKAGE),
    "minima": (trained(MinimaMixture), PACKAGE),
    "conditional": (trained(ConditionalSampler), PACKAGE),
}


# --- Runs ---


def work(name: str, budget: int, method: str, start: int) -> dict:
    """Do one run and score it."""
    case = CASES[name]
    run, library = METHODS[method]
    wall, cpu = time.perf_counter(), time.process_time()
    drawn = run(case, budget, start)
    spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return record(
        case.platform,
        library,
        case=name,
        budget=budget,
        method=method,
        start=start,
        evaluations=drawn.evaluations,
        **spent,
        **drawn.told,
        **scores(case, drawn),
    )


def scores(case: SamplingCase, drawn: Drawn) -> dict:
    """Return divergences and free energies of basins, the mean over pairs, and chirality."""
    torsions = case.torsions(drawn.positions)
    found: dict = {}
    histograms = [
        ramachandran_histogram(torsions[:, r], drawn.weights) for r in range(torsions.shape[1])
    ]
    found["histograms"] = [np.round(histogram, 7).tolist() for histogram in histograms]
    if case.name not in UNREFERENCED:
        reference = load_reference(case)
        wanted = case.torsions(reference.positions)
        exact = [
            ramachandran_histogram(wanted[:, r], reference.weights)
            for r in range(torsions.shape[1])
        ]
        found["kld"] = float(np.mean(list(map(divergence, exact, histograms))))
    for basin in case.basins:
        values = [
            basin_free_energy(torsions[:, r], drawn.weights, basin, case.temperature)
            for r in case.basin_pairs
        ]
        # JSON has no infinity; None stands for a basin that was never visited.
        found[basin] = float(np.mean(values)) if np.isfinite(values).all() else None
    stereo = Stereochemistry(case.molecule().topology)
    start = case.molecule().positions.value_in_unit(unit.nanometer)
    chosen = np.random.default_rng(0).choice(len(torsions), LOOKED_AT, p=drawn.weights)
    changed = [bool(stereo.changes(np.array(start), drawn.positions[k])) for k in chosen]
    return found | {"stereo_changed": sum(changed)}


def double_well(budget: int, method: str, start: int) -> dict:
    """Train the published model on the double well."""
    torch.manual_seed(start)
    generator = torch.Generator().manual_seed(start)
    density = DoubleWell()
    rungs = Rungs(LatentModel(density.periodic, 1))
    first = {"tempered": 1e-10, "untempered": 1.0}[method]
    began = time.perf_counter()
    for _ in TemperedTraining(rungs, density, generator, first).steps(budget - MOST_DRAWN):
        pass
    with torch.no_grad():
        x, _, log_q = rungs.sample(MOST_DRAWN, generator)
        logs = (density(x)[1] - log_q).numpy()
    right = softmax(logs)[x[:, 0].numpy() > 0].sum()
    return record(
        "none",
        case=DOUBLE_WELL,
        budget=budget,
        method=method,
        start=start,
        ess=effective_sample_size(logs),
        pareto_k=pareto_k(logs),
        difference=math.log((1 - right) / right) if right > 0 else None,
        seconds=time.perf_counter() - began,
    )


# --- Summary and tables ---


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Group runs: quartiles of what was measured, counts of what was never visited."""
    rows: dict[str, list[dict]] = {"sampling": [], "double-well": []}
    wells = [run for run in runs if run["case"] == DOUBLE_WELL]
    for told, members in grouped(wells, SUMMARIES["double-well"]):
        row = dict(told)
        for name in ("difference", "ess", "seconds"):
            row |= quartiles(name, [r[name] for r in members if r.get(name) is not None])
        row["lost"] = sum(run["difference"] is None for run in members)
        rows["double-well"].append(row)
    molecules = [run for run in runs if run["case"] != DOUBLE_WELL]
    names = ("ess", "pareto_k", "forward_ess", "kld", "log_z", "reference_log_z", "evaluations")
    for told, members in grouped(molecules, SUMMARIES["sampling"]):
        row = dict(told)
        for name in (*names, "seconds", "cpu_seconds", *BASINS):
            row |= quartiles(name, [r[name] for r in members if r.get(name) is not None])
        for basin in BASINS:
            never = [run[basin] is None for run in members if basin in run]
            row[f"never {basin}"] = sum(never) if never else None
        row["stereo_changed"] = sum(run["stereo_changed"] for run in members)
        row["lost_mode"] = sum(run.get("lost_mode", False) for run in members)
        information = [run["information"] for run in members if "information" in run]
        row["information"] = float(np.mean(information)) if information else None
        rows["sampling"].append(row)
    return rows


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return a table of each case, and one of the double well."""
    texts = {}
    rows = found["sampling"]
    for case in sorted({row["case"] for row in rows}):
        mine = [row for row in rows if row["case"] == case]
        mine.sort(key=lambda row: (row["budget"], list(METHODS).index(row["method"])))
        basins = CASES[case].basins
        header = [*HEADER, *(f"{basin}, kJ/mol" for basin in basins), *LAST]
        texts[f"sampling-{case}"] = markdown(header, [_line(row, basins) for row in mine])
    if found["double-well"]:
        header = [
            "method",
            "evaluations",
            "starts",
            "difference, kT",
            "well lost",
            "ESS",
            "version",
        ]
        texts["sampling-double-well"] = markdown(
            header,
            [
                [
                    *(row["method"], row["budget"], row["starts"], cell(row, "difference", 3)),
                    *(row["lost"], cell(row, "ess"), origin(row)),
                ]
                for row in found["double-well"]
            ],
        )
    return texts


HEADER = ["method", "evaluations", "starts", "ESS", "Pareto k", "forward ESS", "KLD"]
LAST = ["log Z", "log Z by MD", "CPU seconds", "version"]


def _line(row: dict, basins: Sequence[str]) -> list:
    return [
        *(row["method"], row["budget"], row["starts"]),
        *(cell(row, name, 3) for name in ("ess", "pareto_k", "forward_ess", "kld")),
        *(_basin(row, basin) for basin in basins),
        *(cell(row, name, 2) for name in ("log_z", "reference_log_z")),
        cell(row, "cpu_seconds"),
        origin(row),
    ]


def _basin(row: dict, basin: str) -> str:
    never = row[f"never {basin}"]
    return cell(row, basin, 2) + (f" never in {never}" if never else "")


def plot_summary(found: dict[str, list[dict]], folder: Path) -> None:
    """Draw the Ramachandran maps of one case side by side, from the first runs of each method."""
    case, budget = PICTURED
    runs = [r for r in read_runs(runs_of("sampling")) if r["case"] == case]
    runs = [r for r in runs if r["budget"] == budget or r["method"] == "minima"]
    if not runs:
        return
    maps = {run["method"]: np.array(run["histograms"][0]) for run in runs}
    reference = load_reference(CASES[case])
    torsions = backbone_torsions(CASES[case].molecule().topology, reference.positions)
    maps = {"biased dynamics": ramachandran_histogram(torsions[:, 0], reference.weights)} | maps
    plot(maps, CASES[case].temperature, folder / "sampling-ramachandran.png")


def plot(maps: dict[str, np.ndarray], temperature: float, path: Path) -> None:
    """Draw free energies of phi and psi, up to 30 kJ/mol, one panel a method."""
    columns = math.ceil(len(maps) / 2)
    figure = Figure(figsize=(2.4 * columns + 0.8, 5), layout="constrained")
    axes = figure.subplots(2, columns, sharex=True, sharey=True, squeeze=False)
    kt = 0.0083145 * temperature
    for axis, (name, histogram) in zip(axes.flat, maps.items(), strict=False):
        with np.errstate(divide="ignore"):
            energies = -kt * np.log(histogram / histogram.max())
        image = axis.imshow(
            energies.T, origin="lower", extent=(-180, 180, -180, 180), vmin=0, vmax=30
        )
        axis.set_title(name, fontsize=8)
        axis.set_xticks([-180, 0, 180])
        axis.set_yticks([-180, 0, 180])
    for axis in axes.flat[len(maps) :]:
        axis.axis("off")
    figure.supxlabel("phi, degrees")
    figure.supylabel("psi, degrees")
    figure.colorbar(image, ax=axes, label="free energy, kJ/mol", shrink=0.7)
    figure.savefig(path, dpi=100)
    print(f"wrote {path}")


# --- Running ---


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cases = [*CASES, DOUBLE_WELL]
    parser.add_argument("--cases", nargs="+", default=cases, choices=cases, metavar="CASE")
    parser.add_argument("--budgets", nargs="+", type=int, default=[450_000])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--starts", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--output", type=Path, default=runs_of("sampling"), help="to append to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for case in arguments.cases:
        for budget in arguments.budgets:
            for start in arguments.starts:
                if case == DOUBLE_WELL:
                    for method in ("tempered", "untempered"):
                        append(arguments.output, double_well(budget, method, start))
                    continue
                for method in arguments.methods:
                    run = work(case, budget, method, start)
                    append(arguments.output, run)
                    print({k: v for k, v in run.items() if k != "histograms"}, flush=True)


if __name__ == "__main__":
    main()
