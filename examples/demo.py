"""What this package does, in under a minute: one local minimization and one search.

The first job minimizes OpenMM's own test structure, a peptide in a box of rigid water, beside
`simulation.minimizeEnergy()`, to the same RMS force. OpenMM's minimizer is stopped after some
seconds; ``--seconds 1000`` lets it run to its end, about two minutes on two cores. The second job
folds the Trp-cage miniprotein 2JOF from its sequence, in vacuum, by a short search, beside
simulated annealing with the same number of force evaluations.

Run it:

    python examples/demo.py
    python examples/demo.py --seconds 1000 --evaluations 20000
"""

import argparse
import copy
import csv
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm as mm
from matplotlib.figure import Figure
from openmm import app, unit
from tqdm import tqdm

from openmm_reparam import ConvergenceWarning, minimize_reparam
from openmm_reparam.prepare.peptides import peptide

TEST_STRUCTURE = Path(app.__file__).parent / "data" / "test.pdb"
# Whole runs of this structure are in the benchmarks.
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "local.csv"
CASE = ("test.pdb", "10")
TOLERANCE = 10.0  # RMS force in kJ/mol/nm, OpenMM's default
# Of annealing, as in the benchmarks: K, 1/ps, ps; shares of the evaluations for both quenches.
HOT, FRICTION, STEP, COOLINGS = 600.0, 1.0, 0.001, 100
FIRST_SHARE, LAST_SHARE = 0.05, 0.1
# OpenMM's iterates violate constraints: every so many, one is judged with its constraints restored.
JUDGED = 25


@dataclass
class Run:
    """What a method reached: its curve has rows of (force evaluations, energy)."""

    energy: float
    evaluations: int
    seconds: float
    curve: list
    positions: np.ndarray
    remark: str
    stopped: bool = False


class Counter:
    """Counts force evaluations by a force that is zero."""

    def __init__(self, system: mm.System) -> None:
        self.count = 0
        self.system = copy.deepcopy(system)
        nothing = np.zeros((system.getNumParticles(), 3))

        def compute(state):
            self.count += 1
            return 0.0, nothing

        self.system.addForce(mm.PythonForce(compute, {}))


def simulation_of(topology, system, positions, integrator=None) -> app.Simulation:
    """Make a Simulation on the fastest platform."""
    integrator = integrator or mm.LangevinMiddleIntegrator(300, 1, 0.002)
    simulation = app.Simulation(topology, system, integrator)
    simulation.context.setPositions(positions)
    return simulation


def state_of(context) -> tuple[float, np.ndarray]:
    """Return energy and positions in kJ/mol and nm."""
    state = context.getState(energy=True, positions=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoules_per_mole)
    return energy, state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)


# --- Job 1: a minimization before a simulation ---


def water_box(path: Path):
    """Return topology, System and positions of a solvated structure, as for a simulation."""
    pdb = app.PDBFile(str(path))
    system = app.ForceField("amber14-all.xml", "amber14/tip3pfb.xml").createSystem(
        pdb.topology, nonbondedMethod=app.PME, constraints=app.HBonds
    )
    return pdb.topology, system, pdb.positions


def own_minimizer(topology, system, positions) -> Run:
    """Run `minimize_reparam` where ``simulation.minimizeEnergy()`` would stand."""
    simulation = simulation_of(topology, system, positions)
    result = minimize_reparam(simulation, TOLERANCE)
    history = result.history
    curve = list(zip(history["force_evaluations"], history["energy"], strict=True))
    remark = "converged" if result.converged else "not converged"
    _, x = state_of(simulation.context)
    return Run(result.energy, result.force_evaluations, result.seconds, curve, x, remark)


class Watch(mm.MinimizationReporter):
    """Stops OpenMM's minimizer when its time is over, and judges iterates on the way."""

    def __init__(self, counter: Counter, context, seconds: float) -> None:
        super().__init__()
        self.counter, self.context, self.limit = counter, context, seconds
        self.began, self.judging, self.iterates = time.perf_counter(), 0.0, 0
        self.curve: list[tuple[int, float]] = []
        self.energy, self.positions = np.inf, None
        self.stopped, self.stopped_after = False, 0.0
        self.bar = tqdm(
            desc="simulation.minimizeEnergy()", unit=" evaluations", leave=False, disable=None
        )

    @property
    def seconds(self) -> float:
        """Seconds so far, without those of judging."""
        return time.perf_counter() - self.began - self.judging

    def report(self, iteration, x, gradient, arguments) -> bool:
        """Judge every so many iterates, and the last; True stops the minimizer."""
        self.bar.update(self.counter.count - self.bar.n)
        over = self.seconds > self.limit
        if (over or self.iterates % JUDGED == 0) and not self.stopped:
            began = time.perf_counter()
            self.context.setPositions(np.reshape(x, (-1, 3)))
            self.context.applyConstraints(1e-5)
            energy, positions = state_of(self.context)
            self.curve.append((self.counter.count, energy))
            if energy < self.energy:
                self.energy, self.positions = energy, positions
            self.judging += time.perf_counter() - began
        if over and not self.stopped:
            self.stopped, self.stopped_after = True, self.seconds
        self.iterates += 1
        return over


def openmm_minimizer(topology, system, positions, seconds: float) -> Run:
    """Run ``simulation.minimizeEnergy()``, stopped after so many seconds."""
    counter = Counter(system)
    judge = simulation_of(topology, system, positions)
    simulation = simulation_of(topology, counter.system, positions)
    watch = Watch(counter, judge.context, seconds)
    simulation.minimizeEnergy(TOLERANCE, reporter=watch)
    spent = watch.seconds
    watch.bar.close()
    if watch.stopped:
        # Once stopped it makes its last steps in haste: the lowest structure on the way counts.
        count = watch.curve[-1][0]
        remark = f"stopped after {seconds:g} s"
        return Run(
            watch.energy, count, watch.stopped_after, watch.curve, watch.positions, remark, True
        )
    energy, x = state_of(simulation.context)
    curve = [*watch.curve, (counter.count, energy)]
    return Run(energy, counter.count, spent, curve, x, "ended by itself")


# --- Job 2: deeper minima ---


def own_search(chain, evaluations: int) -> Run:
    """Run a search with so many force evaluations."""
    simulation = chain.simulation(platform=None)
    with warnings.catch_warnings():
        # A search that has used up its evaluations need not have converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = minimize_reparam(
            simulation,
            TOLERANCE,
            search="auto",
            max_force_evaluations=evaluations,
        )
    best = np.minimum.accumulate(result.history["energy"])
    curve = list(zip(result.history["force_evaluations"], best, strict=True))
    _, x = state_of(simulation.context)
    remark = f"{len(result.minima)} minima visited"
    return Run(result.energy, result.force_evaluations, result.seconds, curve, x, remark)


class Budget(mm.MinimizationReporter):
    """Stops a minimization when evaluations are used up, and keeps its energies."""

    def __init__(self, counter: Counter, limit: float, curve: list) -> None:
        super().__init__()
        self.counter, self.limit, self.curve = counter, limit, curve

    def report(self, iteration, x, gradient, arguments) -> bool:
        """Keep the energy; True stops the minimizer."""
        self.curve.append((self.counter.count, arguments["system energy"]))
        return self.counter.count >= self.limit


def annealing(chain, evaluations: int) -> Run:
    """Cool Langevin dynamics from 600 K to nothing, between two minimizations."""
    counter, curve = Counter(chain.system), []
    integrator = mm.LangevinMiddleIntegrator(HOT, FRICTION, STEP)
    integrator.setRandomNumberSeed(1)
    simulation = simulation_of(chain.topology, counter.system, chain.positions, integrator)
    began = time.perf_counter()
    first = Budget(counter, FIRST_SHARE * evaluations, curve)
    simulation.minimizeEnergy(TOLERANCE, reporter=first)
    simulation.context.setVelocitiesToTemperature(HOT, 1)
    steps = max(1, int((1 - LAST_SHARE) * evaluations - counter.count) // COOLINGS)
    for stage in tqdm(range(COOLINGS), desc="annealing", leave=False, disable=None):
        integrator.setTemperature(HOT * (1 - stage / COOLINGS))
        simulation.step(steps)
        curve.append((counter.count, state_of(simulation.context)[0]))
    simulation.minimizeEnergy(TOLERANCE, reporter=Budget(counter, evaluations, curve))
    energy, x = state_of(simulation.context)
    seconds = time.perf_counter() - began
    remark = f"from {HOT:g} K to 0 K, between two minimizations"
    return Run(energy, counter.count, seconds, [*curve, (counter.count, energy)], x, remark)


# --- What came out ---


def table(runs: dict[str, Run]) -> str:
    """Return a line for each run."""
    return "\n".join(
        f"  {name:<28}{run.energy:>12.1f} kJ/mol{run.evaluations:>7} evaluations"
        f"{run.seconds:>7.1f} s   {run.remark}"
        for name, run in runs.items()
    )


def draw(panels: dict[str, dict[str, Run]], path: Path) -> None:
    """Draw energies against evaluations, a panel for each job."""
    figure = Figure(figsize=(10, 4), dpi=150, layout="constrained")
    for axes, (title, runs) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for name, run in runs.items():
            counts, energies = zip(*run.curve, strict=True)
            (line,) = axes.plot(counts, energies, label=f"{name}: {run.energy:.0f} kJ/mol")
            axes.plot(run.evaluations, run.energy, "o", color=line.get_color())
        # What a start's clashes cost is off the scale.
        ends = [run.energy for run in runs.values()]
        high = max(np.quantile([e for _, e in run.curve], 0.9) for run in runs.values())
        margin = 0.1 * (high - min(ends))
        axes.set(ylim=(min(ends) - margin, high + margin), title=title)
        axes.set(xscale="log", xlabel="force evaluations", ylabel="energy, kJ/mol")
        axes.legend(frameon=False, fontsize="small", loc="lower left")
    figure.savefig(path)


def write(path: Path, topology, positions) -> None:
    """Write a structure as a PDB file."""
    with open(path, "w") as file:
        app.PDBFile.writeFile(topology, positions * unit.nanometer, file)


def first_job(path: Path, seconds: float, folder: Path) -> dict[str, Run]:
    """Minimize the box of water, and say what was gained."""
    topology, system, positions = water_box(path)
    atoms = topology.getNumAtoms()
    print(f"\n1. {path.name}: {atoms} atoms, rigid water, to RMS force {TOLERANCE:g} kJ/mol/nm")
    own = own_minimizer(topology, system, positions)
    other = openmm_minimizer(topology, system, positions, seconds)
    runs = {"openmm-reparam": own, "simulation.minimizeEnergy()": other}
    print(table(runs))
    gain_in_words(path, own, other)
    write(folder / "minimized.pdb", topology, own.positions)
    return runs


def gain_in_words(path: Path, own: Run, other: Run) -> None:
    """Say what the first job gained; where OpenMM's run was cut, name its whole run."""
    difference = f"{abs(other.energy - own.energy):.0f} kJ/mol"
    place = "below" if own.energy < other.energy else "above"
    if not other.stopped:
        print(
            f"  openmm-reparam used {other.evaluations / own.evaluations:.0f} times fewer force "
            f"evaluations, was {other.seconds / own.seconds:.0f} times faster, and ended "
            f"{difference} {place} OpenMM's minimizer."
        )
        return
    sooner = next((count for count, energy in own.curve if energy <= other.energy), None)
    if sooner is not None:
        print(
            f"  OpenMM's minimizer was stopped {difference} above openmm-reparam, which passed its "
            f"energy\n  after {sooner} evaluations, {other.evaluations / sooner:.0f} times fewer."
        )
    if path == TEST_STRUCTURE and RESULTS.exists():  # not where this file was copied elsewhere
        print(whole_run())


def whole_run() -> str:
    """Say how the benchmark's runs of the same structure ended."""
    with open(RESULTS, newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["case"], row["tolerance"]) == CASE]
    newest = {row["method"]: row for row in sorted(rows, key=lambda row: row["date"])}
    own, other = newest["openmm-reparam"], newest["LocalEnergyMinimizer"]
    number = {name: float(other[name]) for name in ("force_evaluations", "seconds", "energy")}
    fewer = float(own["fewer_to_baseline"])
    return (
        "  In the benchmark's stored runs it went to its end: "
        f"{number['force_evaluations']:.0f} evaluations, {number['seconds']:.0f} s, "
        f"{number['energy']:.0f} kJ/mol.\n"
        "  openmm-reparam reached the same tolerance after "
        f"{float(own['force_evaluations']):.0f} evaluations, {float(own['seconds']):.0f} s, "
        f"at {float(own['energy']):.0f} kJ/mol;\n"
        f"  continued, it passed OpenMM's energy with {fewer:.0f} times fewer evaluations "
        f"({other['date']},\n  benchmarks/results/local.csv)."
    )


def second_job(sequence: str, evaluations: int, folder: Path) -> dict[str, Run]:
    """Search from the sequence, and say what was gained."""
    chain = peptide(sequence)
    print(f"\n2. {sequence} from its sequence, in vacuum, {evaluations} force evaluations each")
    own, other = own_search(chain, evaluations), annealing(chain, evaluations)
    runs = {"search": own, "annealing": other}
    print(table(runs))
    print(
        f"  The search ended {abs(other.energy - own.energy):.0f} kJ/mol "
        f"{'below' if own.energy < other.energy else 'above'} annealing."
    )
    write(folder / "folded.pdb", chain.topology, own.positions)
    return runs


def main() -> None:
    """Do both jobs, draw one picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--file", type=Path, default=TEST_STRUCTURE, help="a solvated PDB file")
    parser.add_argument("--seconds", type=float, default=15.0, help="of OpenMM's minimizer")
    parser.add_argument("--sequence", default="2JOF", help="a known code or one-letter sequence")
    parser.add_argument("--evaluations", type=int, default=2000, help="of search and of annealing")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write to")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    box = first_job(arguments.file, arguments.seconds, arguments.output)
    fold = second_job(arguments.sequence, arguments.evaluations, arguments.output)
    draw(
        {f"{arguments.file.name} in water": box, f"{arguments.sequence} from its sequence": fold},
        arguments.output / "energies.png",
    )
    print(f"\n{time.perf_counter() - began:.0f} s. Written to the folder {arguments.output}/:")
    print("  energies.png (the picture), minimized.pdb (job 1), folded.pdb (job 2)")


if __name__ == "__main__":
    main()
