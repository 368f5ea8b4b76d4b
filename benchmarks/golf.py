"""Networks trained by GOLF for GFN2-xTB, and what they are worth on molecules they never saw.

    python -m benchmarks.golf train golf-1000 --folder golf
    python -m benchmarks.golf judge golf-1000 first-1000 trajectories-1000 mmff --folder golf

Training, validation and test molecules are apart. ``golf_molecules`` has those for training,
``train.smi`` (drugs, and recombinations of their fragments by BRICS) and ``mutated.smi`` (the same
with atoms exchanged, groups added, acids and amines charged) and ``enumerated.smi`` (ring systems,
linkers and groups joined at random by `benchmarks.golf_enumeration`), and ``validation.smi``. The
test are the drugs of `benchmarks.molecules.REPORT` that have at most 60 atoms of the elements of
`ELEMENTS`, `UNSEEN` and `FRESH`. A training that is interrupted goes on where it stopped, and so
does a judgement.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version as installed
from itertools import product
from pathlib import Path

import numpy as np
from scipy import stats

from openmm_reparam import ConvergenceWarning, minimize_reparam
from openmm_reparam.constants import KCAL
from openmm_reparam.golf import Golf
from openmm_reparam.surrogates.golf.collect import WalkSettings
from openmm_reparam.surrogates.golf.descents import descend
from openmm_reparam.surrogates.golf.learner import LearningSettings
from openmm_reparam.surrogates.golf.metrics import quality
from openmm_reparam.surrogates.golf.molecules import TrainingMolecule, embedded
from openmm_reparam.surrogates.golf.network import NetworkSettings
from openmm_reparam.surrogates.golf.train import Schedule, train
from openmm_reparam.surrogates.oracles import molecule_simulation
from openmm_reparam.surrogates.programs import MMFF94, XTB

from .expensive import one_thread
from .molecules import CONFORMERS, FRESH, REPORT, UNSEEN, Start, start_of
from .optimizers_qm import CountedOracle
from .report import append, grouped, markdown, origin, quartiles, read_runs, record, runs_of

FOLDER = Path(__file__).parent / "golf_molecules"
GOLF, LEARNING = "golf", "golf-learning"
# What is recorded: judgements of a network alone and as a surrogate, and relaxations as users do.
TEST, RELAXED = "test", "relaxed"
SUMMARIES = {GOLF: ("oracle", "subset", "method"), LEARNING: ("method", "labels", "updates")}
ELEMENTS = {1, 6, 7, 8, 9, 15, 16, 17}
MOST_ATOMS = 60
# Evaluations of the network after which the genuine energy is looked at.
LEVELS = (10, 50, 100)
CALLS = ("10", "1")
MMFF = "mmff"
METHODS = {
    MMFF: "MMFF94 alone",
    "first-1000": "network, 1000 first labels",
    "trajectories-1000": "network, 1000 labels, trajectories",
    "golf-1000": "GOLF, 1000 labels",
    "published-1000": "GOLF, 1000 labels, published rule and loss",
    "golf-5000": "GOLF, 5000 labels on 310 molecules",
    "trajectories-5000": "network, 5000 labels, trajectories",
    "golf-wide-5000": "GOLF, 5000 labels",
    "golf-broad-5000": "GOLF, 5000 labels on 4000 molecules, 96 features",
}
# A verification ends after so many genuine calls; residuals in kJ/mol count as this one at most.
MOST_CALLS, WORST = 300, 1000.0


# --- Training ---


@dataclasses.dataclass(frozen=True)
class Case:
    """A training.

    Attributes
    ----------
    labels : int
    updates : float
        Steps of Adam per label.
    trajectories : bool
        Whether labels come from descents on the genuine oracle.
    first : float
        Share of labels made before the network moves anything.
    rise, residual_weight : float
        Of `WalkSettings` and `LearningSettings`; both are 0 as published.
    lists : tuple of str
        Of training molecules.
    conformers : int
        Of each training molecule.
    features : int
        Of the network.
    """

    labels: int
    updates: float
    trajectories: bool = False
    first: float = 0.2
    rise: float = 2.0
    residual_weight: float = 300.0
    lists: tuple[str, ...] = ("train", "mutated")
    conformers: int = 2
    features: int = 64


CASES = {
    "first-1000": Case(1000, 3.0, first=1.0),
    "trajectories-1000": Case(1000, 3.0, trajectories=True),
    "golf-1000": Case(1000, 3.0),
    "published-1000": Case(1000, 3.0, rise=0.0, residual_weight=0.0),
    "golf-5000": Case(5000, 1.0, lists=("train",), conformers=4),
    "golf-wide-5000": Case(5000, 1.0),
    "golf-broad-5000": Case(
        5000, 1.5, lists=("train", "mutated", "enumerated"), conformers=1, features=96
    ),
    "trajectories-5000": Case(5000, 1.0, trajectories=True),
}


def smiles(name: str) -> list[str]:
    """Return the SMILES of a list."""
    return (FOLDER / f"{name}.smi").read_text().split()


def train_case(name: str, folder: Path, seed: int) -> None:
    """Train a network and write it, with its validations, to a folder."""
    case = CASES[name]
    folder.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    made = train(
        embedded([s for part in case.lists for s in smiles(part)], case.conformers, seed),
        validation=embedded(smiles("validation"), 1, seed),
        genuine="gfn2",
        surrogate="mmff",
        labels=case.labels,
        trajectories=case.trajectories,
        # For one core of a CPU; published are 128 features and 3 interactions.
        network=NetworkSettings(features=case.features, interactions=2, rank=4),
        learning=LearningSettings(residual_weight=case.residual_weight),
        walks=WalkSettings(rise=case.rise),
        schedule=Schedule(first=case.first, updates=case.updates, checks=8),
        buffer=folder / f"{name}.labels",
        seed=seed,
    )
    Golf(made.network, made.trained_on).save(folder / f"{name}.pt")
    told = {"method": name, "cpu_seconds": time.process_time() - began, "seconds": made.seconds}
    told |= {n: getattr(made, n) for n in ("validation_calls", "failures", "refused")}
    for check in made.checks:
        append(runs_of(GOLF), record("CPU", kind="learning", **told, **dataclasses.asdict(check)))
    (folder / f"{name}.json").write_text(json.dumps(told))
    print(made)


# --- Judgement ---


TESTS = {"report": REPORT, "unseen": UNSEEN, "fresh": FRESH}


@cache
def test_names(subset: str) -> tuple[str, ...]:
    """Return the molecules of a subset that are only judged on."""
    names = [n for n in TESTS[subset] if set(start_of(n, 1, "etkdg").numbers) <= ELEMENTS]
    return tuple(n for n in names if len(start_of(n, 1, "etkdg").numbers) <= MOST_ATOMS)


def oracle_of(start: Start) -> XTB:
    """Return GFN2-xTB of a molecule."""
    return XTB(start.numbers, sum(a.GetFormalCharge() for a in start.molecule.GetAtoms()))


def judge(method: str, start: Start, folder: Path) -> dict:
    """Relax a conformer with a method, alone and verified; return what came of it."""
    cheap = MMFF94(start.molecule)
    if method != MMFF:
        cheap = golf_of(method, folder).oracle(start.molecule)
    genuine = oracle_of(start)
    molecule = TrainingMolecule.of(start.molecule)

    def evaluate(places, positions):
        found = [cheap(x) for x in positions]
        return np.array([energy for energy, _ in found]), [forces for _, forces in found]

    energies, promised = {}, []
    began = time.perf_counter()
    steps = descend([molecule], [start.positions], evaluate, LEVELS[-1])
    for step, descents in enumerate(steps, 1):
        promised.append(float(descents.energies()[0]))
        if step in LEVELS:
            energies[step] = energy_at(genuine, descents.positions()[0])
    told = {f"energy_{step}": energies[step] for step in LEVELS}
    told |= {"start_energy": energy_at(genuine, start.positions)}
    told |= {"promised": promised[0] - promised[-1], "seconds": time.perf_counter() - began}
    return told | verified(start, cheap)


@cache
def golf_of(method: str, folder: Path) -> Golf:
    """Return a trained network."""
    return Golf.load(folder / f"{method}.pt")


def energy_at(oracle, positions: np.ndarray) -> float | None:
    """Return an energy, or None where the oracle fails."""
    try:
        return oracle(positions)[0]
    except (RuntimeError, ValueError):
        return None


def verified(start: Start, cheap) -> dict:
    """Minimize the genuine energy with a surrogate that is descended on first."""

    def minimize(simulation):
        return minimize_reparam(
            simulation,
            1.0,
            surrogate=cheap,
            surrogate_first=True,
            max_force_evaluations=MOST_CALLS,
            progress=False,
        )

    return counted_calls(start, minimize)


def relaxed(start: Start, golf: Golf) -> dict:
    """Relax a conformer as users do: `Golf.relax`, verified."""

    def relax(simulation):
        return golf.relax(
            simulation, tolerance=1.0, max_force_evaluations=MOST_CALLS, progress=False
        ).result

    return counted_calls(start, relax)


def counted_calls(start: Start, minimize: Callable) -> dict:
    """Return genuine calls, energy and RMS force of a minimization of a Simulation."""
    counted = CountedOracle(oracle_of(start), 1.0, ends=False)
    simulation = molecule_simulation(start.molecule, counted, start.positions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = minimize(simulation)
    return {
        "verified_energy": result.energy,
        "verified_rms": result.rms_force,
        "converged": bool(result.converged),
        "calls": len(counted.trace),
        "call_failures": counted.failures,
        **{f"calls_{level}": counted.evaluations_to(float(level)) for level in CALLS},
    }


def judge_all(
    methods: Sequence[str], folder: Path, subsets: Sequence[str], kinds: Sequence[str]
) -> None:
    """Judge methods on all conformers of subsets; those in the file already are left out."""
    one_thread()
    there = {(r["kind"], r["method"], r.get("start")) for r in read_runs(runs_of(GOLF))}
    starts = [
        (name, conformer, subset)
        for subset, conformer in product(subsets, range(1, CONFORMERS + 1))
        for name in test_names(subset)
    ]
    # Methods side by side: what is judged so far can be compared in pairs.
    for (name, conformer, subset), method, kind in product(starts, methods, kinds):
        start = start_of(name, conformer, "etkdg")
        label = f"{name} {conformer}"
        if (kind, method, label) in there or (kind != TEST and method == MMFF):
            continue
        if kind == TEST:
            found = judge(method, start, folder)
        else:
            found = relaxed(start, golf_of(method, folder))
        told = {"kind": kind, "subset": subset}
        told |= {"oracle": f"tblite {installed('tblite')}"}
        told |= {"method": method, "start": label, "atoms": len(start.numbers)}
        append(runs_of(GOLF), record("Reference", **told, **found))
        print(method, kind, label, {k: _short(v) for k, v in found.items()}, flush=True)


def _short(value):
    return round(value, 2) if isinstance(value, float) else value


# --- Summary and tables ---


def summarize(runs: list[dict]) -> dict[str, list[dict]]:
    """Group judgements by method, and validations by training."""
    lowest = _lowest(runs)
    tests, relaxations = ([r for r in runs if r["kind"] == kind] for kind in (TEST, RELAXED))
    rows = []
    known = [run for run in tests if run["start"] in lowest]
    for told, members in grouped(known, SUMMARIES[GOLF]):
        own = [r for r in relaxations if all(r[k] == told[k] for k in ("subset", "method"))]
        rows.append(told | _summary(members, lowest, tests) | _relaxations(own))
    learning = []
    for run in (run for run in runs if run["kind"] == "learning"):
        (told, _) = grouped([run], SUMMARIES[LEARNING])[0]
        learning.append(told | {"score": run["score"]} | _percents(run["quality"]))
    return {GOLF: rows, LEARNING: learning}


def _percents(found: dict) -> dict:
    return {name: found[name] for name in ("pct", "residual", "success", "divergence")}


def _lowest(runs: list[dict]) -> dict[str, float]:
    """Return E* of each start: the genuine minimum that MMFF94 as surrogate leads to."""
    found = (r for r in runs if r["kind"] == TEST and r["method"] == MMFF and r["converged"])
    return {run["start"]: run["verified_energy"] for run in found}


def _ends(members: Sequence[dict], level: int) -> np.ndarray:
    energies = [run[f"energy_{level}"] for run in members]
    return np.array([np.inf if energy is None else energy for energy in energies])


def _residuals(members: Sequence[dict], lowest: dict[str, float]) -> np.ndarray:
    """Return ET - E* after the last level, at most `WORST`: those that failed count as this."""
    found = _ends(members, LEVELS[-1]) - np.array([lowest[run["start"]] for run in members])
    return np.minimum(found, WORST)


def _summary(members: list[dict], lowest: dict[str, float], tests: list[dict]) -> dict:
    begin = [run["start_energy"] for run in members]
    best = [lowest[run["start"]] for run in members]
    row: dict = {"judged": len(members)}
    for level in LEVELS:
        found = quality(begin, _ends(members, level), best)
        row |= {f"pct_{level}": found.pct}
    row |= {name: getattr(found, name) for name in ("success", "divergence", "residual")}
    own = [run["verified_energy"] for run in members]
    row["own_success"] = quality(begin, _ends(members, LEVELS[-1]), own).success
    row |= _calls(members, "calls")
    row["converged"] = sum(run["converged"] for run in members)
    return row | _against_trajectories(members, lowest, tests)


def _relaxations(members: Sequence[dict]) -> dict:
    converged = sum(run["converged"] for run in members) if members else None
    return _calls(members, "relaxed") | {"relaxed_converged": converged}


def _calls(members: Sequence[dict], name: str) -> dict:
    """Return quartiles of genuine calls; one that does not get there counts as `MOST_CALLS`."""
    found: dict = {}
    for level in CALLS:
        calls = [run[f"calls_{level}"] or MOST_CALLS for run in members]
        found |= quartiles(f"{name}_{level}", calls)
    return found


def _against_trajectories(
    members: list[dict], lowest: dict[str, float], tests: list[dict]
) -> dict[str, float | None]:
    """Compare residuals of the same starts with as many labels on whole trajectories."""
    method = members[0]["method"]
    name = f"trajectories-{method.rpartition('-')[2]}"
    other = {run["start"]: run for run in tests if run["method"] == name}
    pairs = [(run, other[run["start"]]) for run in members if run["start"] in other]
    if method in (MMFF, name) or not pairs:
        return {"trajectories_worse": None, "p_residual": None, "p_success": None}
    own, theirs = (_residuals([pair[k] for pair in pairs], lowest) for k in (0, 1))
    better = int(((own < KCAL) & (theirs >= KCAL)).sum())
    worse = int(((own >= KCAL) & (theirs < KCAL)).sum())
    # Of success a sign test (McNemar's, exact), of residuals Wilcoxon's.
    return {
        "trajectories_worse": float(np.median(theirs - own)),
        "p_residual": float(stats.wilcoxon(own, theirs).pvalue),
        "p_success": float(stats.binomtest(better, max(1, better + worse)).pvalue),
    }


def tables(found: dict[str, list[dict]]) -> dict[str, str]:
    """Return how good relaxations are, by method."""
    order = {name: place for place, name in enumerate(METHODS)}
    rows = sorted(found[GOLF], key=lambda row: (row["subset"], order[row["method"]]))
    header = [
        *("molecules", "method", "conformers", *(f"pct, {level} evaluations" for level in LEVELS)),
        *("residual, kJ/mol", "success %", "of its own minimum", "divergence %"),
        *(f"as surrogate: genuine calls to RMS {level}" for level in CALLS),
        *("converged", *(f"Golf.relax: genuine calls to RMS {level}" for level in CALLS)),
        *("converged", "trajectories' residual is larger by", "p", "p of success", "version"),
    ]
    return {GOLF: markdown(header, [_line(row) for row in rows])}


def _line(row: dict) -> list:
    percents = (f"{row[f'pct_{level}']:.1f}" for level in LEVELS)
    return [
        *(row["subset"], METHODS[row["method"]], row["judged"], *percents, row["residual"]),
        *(f"{row[name]:.0f}" for name in ("success", "own_success", "divergence")),
        *(_counts(row, f"calls_{level}") for level in CALLS),
        f"{row['converged']}/{row['judged']}",
        *(_counts(row, f"relaxed_{level}") for level in CALLS),
        "" if row["relaxed_converged"] is None else f"{row['relaxed_converged']}/{row['judged']}",
        *(row["trajectories_worse"], row["p_residual"], row["p_success"], origin(row)),
    ]


def _counts(row: dict, name: str) -> str:
    low, middle, high = (row[name + end] for end in ("_q1", "", "_q3"))
    if middle is None:
        return ""
    return f"{middle:g} ({low:g}..{high:g})"


def plot_summary(found: dict[str, list[dict]], folder: Path) -> None:
    """Draw validations over the updates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots(1, 2)
    for method, title in METHODS.items():
        rows = sorted(
            (row for row in found[LEARNING] if row["method"] == method),
            key=lambda row: row["updates"],
        )
        for axis, name in zip(axes, ("pct", "score"), strict=True):
            if rows:
                axis.plot(*([row[k] for row in rows] for k in ("updates", name)), label=title)
    axes[0].set(xlabel="updates", ylabel="pct on validation molecules")
    axes[1].set(xlabel="updates", ylabel="mean residual, kJ/mol", yscale="log")
    axes[0].legend(frameon=False, fontsize="small")
    figure.savefig(folder / "golf-learning.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train networks")
    training.add_argument("names", nargs="+", choices=list(CASES))
    training.add_argument("--seed", type=int, default=1)
    judging = commands.add_parser("judge", help="judge networks on the test molecules")
    judging.add_argument("names", nargs="+", choices=[*CASES, MMFF])
    judging.add_argument("--subsets", nargs="+", choices=list(TESTS), default=list(TESTS))
    judging.add_argument("--kinds", nargs="+", choices=[TEST, RELAXED], default=[TEST, RELAXED])
    for command in (training, judging):
        command.add_argument("--folder", type=Path, default=Path("golf"), help="of the networks")
    arguments = parser.parse_args()
    one_thread()
    if arguments.command == "judge":
        judge_all(arguments.names, arguments.folder, arguments.subsets, arguments.kinds)
        return
    for name in arguments.names:
        train_case(name, arguments.folder, arguments.seed)


if __name__ == "__main__":
    main()
