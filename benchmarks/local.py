"""Local minimization: ours against OpenMM's, scipy's and ASE's from the same starts, counted.

    python benchmarks/local.py --cases "2JOF vacuum extended" "2JOF tip3p rigid" --seeds 3
    python benchmarks/local.py --list

Each case is minimized to each tolerance. Two counts are given: the way to the tolerance, and the
way to LocalEnergyMinimizer's final energy. Where a run meets its tolerance above that energy, the
way there is that of the same minimizer from the same start to the tightest tolerance, marked "*";
where that does not get there either, the table says "not reached".

Structures of the Protein Data Bank are read from ../shared/pdb, or from the folder named by
OPENMM_REPARAM_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openmm as mm
from matplotlib.figure import Figure
from openmm import app, unit
from peers import Outcome, local_energy_minimizer, reparam, scipy_lbfgs
from report import spread, write_json

from openmm_reparam.prepare.molecular_system import MolecularSystem
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.prepare.structure_files import prepare_file

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
PDB = Path(os.environ.get("OPENMM_REPARAM_DATA", ROOT.parent / "shared" / "pdb"))
PEER = "LocalEnergyMinimizer"


def entry(code: str, solvent: str, **options) -> MolecularSystem:
    return prepare_file(
        PDB / f"{code}.pdb", forcefield="amber14-all.xml", solvent=solvent, **options
    )


def coil(code: str, solvent: str, seed: int) -> MolecularSystem:
    """Build the extended chain for seed 0, random coils for the others."""
    conformation = "extended" if seed == 0 else "random-coil"
    return peptide(code, conformation, solvent=solvent, seed=seed)


def nudged(molecule: MolecularSystem, seed: int, sigma: float = 0.005) -> MolecularSystem:
    """Move atoms by N(0, sigma^2), for a spread over starts of one structure; seed 0 moves none."""
    if seed == 0:
        return molecule
    x = np.array(molecule.positions.value_in_unit(unit.nanometer))
    x += np.random.default_rng(seed).normal(0.0, sigma, x.shape)
    return MolecularSystem(molecule.name, molecule.topology, molecule.system, x * unit.nanometer)


def openmm_test_pdb() -> MolecularSystem:
    """OpenMM's own protein in water, shipped in its wheel."""
    pdb = app.PDBFile(str(Path(app.__file__).parent / "data" / "test.pdb"))
    system = app.ForceField("amber14-all.xml", "amber14/tip3pfb.xml").createSystem(
        pdb.topology, nonbondedMethod=app.PME, constraints=app.HBonds
    )
    positions = np.array(pdb.positions.value_in_unit(unit.nanometer)) * unit.nanometer
    return MolecularSystem("test.pdb", pdb.topology, system, positions)


def four_site(code: str) -> MolecularSystem:
    """Solvate a protein in TIP4P-Ew, whose charge sits on a virtual site."""
    dry = entry(code, "vacuum")
    field = app.ForceField("amber14-all.xml", "amber14/tip4pew.xml")
    modeller = app.Modeller(dry.topology, dry.positions)
    modeller.addSolvent(field, model="tip4pew", padding=1.0 * unit.nanometer)
    system = field.createSystem(modeller.topology, nonbondedMethod=app.PME, constraints=app.HBonds)
    x = np.array(modeller.positions.value_in_unit(unit.nanometer))
    return MolecularSystem(f"{code} tip4pew", modeller.topology, system, x * unit.nanometer)


def membrane(code: str, seed: int) -> MolecularSystem:
    """Put a peptide into a patch of POPC and water (Modeller.addMembrane)."""
    dry = entry(code, "vacuum")
    field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller = app.Modeller(dry.topology, dry.positions)
    modeller.addMembrane(field, lipidType="POPC", minimumPadding=0.0 * unit.nanometer)
    system = field.createSystem(modeller.topology, nonbondedMethod=app.PME, constraints=app.HBonds)
    x = np.array(modeller.positions.value_in_unit(unit.nanometer))
    patch = MolecularSystem(f"{code} in POPC", modeller.topology, system, x * unit.nanometer)
    return nudged(patch, seed, 0.001)


def clashed(seed: int) -> MolecularSystem:
    """2JOF with every atom displaced by 0.05 nm: overlaps with forces up to 1e10 kJ/mol/nm."""
    return nudged(entry("2JOF", "vacuum"), seed + 1, 0.05)


CASES: dict[str, Callable[[int], MolecularSystem]] = {
    "2JOF vacuum pdb": lambda seed: nudged(entry("2JOF", "vacuum"), seed),
    "2JOF vacuum extended": lambda seed: coil("2JOF", "vacuum", seed),
    "2WXC vacuum pdb": lambda seed: nudged(entry("2WXC", "vacuum"), seed),
    "2WXC vacuum extended": lambda seed: coil("2WXC", "vacuum", seed),
    "2JOF gbn2 pdb": lambda seed: nudged(entry("2JOF", "gbn2"), seed),
    "2JOF gbn2 extended": lambda seed: coil("2JOF", "gbn2", seed),
    "2WXC gbn2 pdb": lambda seed: nudged(entry("2WXC", "gbn2"), seed),
    "2JOF tip3p rigid": lambda seed: entry("2JOF", "tip3p", seed=seed),
    "2JOF tip3p flexible": lambda seed: entry(
        "2JOF", "tip3p", seed=seed, constraints=None, rigid_water=False
    ),
    "2JOF tip4pew": lambda seed: nudged(four_site("2JOF"), seed, 0.001),
    "test.pdb": lambda seed: nudged(openmm_test_pdb(), seed),
    "2WXC tip3p 21 000": lambda seed: entry("2WXC", "tip3p", seed=seed, padding=1.6),
    "2WXC tip3p 100 000": lambda seed: entry("2WXC", "tip3p", seed=seed, padding=5.6),
    "5AWL in POPC": lambda seed: membrane("5AWL", seed),
    "clashed model": clashed,
}


def peers_for(molecule: MolecularSystem, names: list[str], seed: int) -> dict[str, Callable]:
    """Return the minimizers that can be run on a System; all of them on its first start only."""
    found = {PEER: local_energy_minimizer, "ours": reparam("ours")}
    if molecule.system.getNumConstraints() == 0 and seed == 0:
        found["scipy L-BFGS-B"] = scipy_lbfgs
        try:
            from ase_peers import fire, precon_lbfgs, usable
        except ImportError:
            print("ASE is not installed (pip install ase): its minimizers are left out")
        else:
            if usable(molecule):
                found |= {"FIRE": fire, "ASE PreconLBFGS": precon_lbfgs}
    return {name: peer for name, peer in found.items() if name in names}


def way_to(trace, energy: float) -> tuple[int, float] | None:
    """Return the evaluations and seconds after which a run first was at an energy, or None."""
    return next(((int(n), s) for n, s, e in trace if e <= energy), None)


def to_peers_energy(outcome: Outcome, tightest: Outcome, target: float | None) -> dict:
    """Count the way to the peer's energy, on the run to the tightest tolerance if need be."""
    ways = [target is not None and way_to(o.trace, target) for o in (outcome, tightest)]
    way = ways[0] or ways[1] or (None, None)
    return {
        "evaluations_to_peer": way[0],
        "seconds_to_peer": way[1],
        "to_peer_continued": not ways[0] and bool(ways[1]),
    }


def table(rows: list[dict]) -> str:
    lines = [
        "| case | tolerance | method | energy, kJ/mol | RMS force | force evaluations | fewer by "
        "| seconds | faster by | to the peer's energy: fewer by | faster by |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((r["case"], r["tolerance"], r["method"]) for r in rows)
    for case, tolerance, method in keys:
        mine = _rows(rows, case, tolerance, method)
        pairs = [(p, r) for r in mine for p in _rows(rows, case, tolerance, PEER, r["seed"])]
        there = [(p, r) for p, r in pairs if r["evaluations_to_peer"] is not None]
        reached = f"{len(there)}/{len(mine)}{'*' * any(r['to_peer_continued'] for r in mine)}"
        lines.append(
            f"| {case} | {tolerance:g} | {method} | {spread([r['energy'] for r in mine])} "
            f"| {np.median([r['rms_force'] for r in mine]):.2f} "
            f"| {spread([r['force_evaluations'] for r in mine])} "
            f"| {_ratio(pairs, 'force_evaluations', 'force_evaluations')} "
            f"| {spread([r['seconds'] for r in mine])} | {_ratio(pairs, 'seconds', 'seconds')} "
            f"| {_ratio(there, 'force_evaluations', 'evaluations_to_peer')} "
            f"({reached}) | {_ratio(there, 'seconds', 'seconds_to_peer')} |"
        )
    return "\n".join(lines)


def summary(rows: list[dict]) -> str:
    """Our way to the tolerance and to the peer's energy against the peer's: medians over starts."""
    lines = [
        "| case | starts | tolerance | fewer evaluations | faster | to the peer's energy: fewer "
        "evaluations | faster | the peer's RMS force at its end |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, tolerance in dict.fromkeys((r["case"], r["tolerance"]) for r in rows):
        mine = _rows(rows, case, tolerance, "ours")
        pairs = [(p, r) for r in mine for p in _rows(rows, case, tolerance, PEER, r["seed"])]
        there = [(p, r) for p, r in pairs if r["evaluations_to_peer"] is not None]
        reached = "" if len(there) == len(mine) else f" ({len(there)}/{len(mine)} reach it)"
        stopped = np.median([peer["rms_force"] for peer, _ in pairs])
        lines.append(
            f"| {case} | {len(mine)} | {tolerance:g} "
            f"| {_ratio(pairs, 'force_evaluations', 'force_evaluations')} "
            f"| {_ratio(pairs, 'seconds', 'seconds')} "
            f"| {_ratio(there, 'force_evaluations', 'evaluations_to_peer')}{reached} "
            f"| {_ratio(there, 'seconds', 'seconds_to_peer')} | {stopped:.1f} |"
        )
    return "\n".join(lines)


def _rows(rows, case, tolerance, method, seed=None) -> list[dict]:
    return [
        r
        for r in rows
        if (r["case"], r["tolerance"], r["method"]) == (case, tolerance, method)
        and seed in (None, r["seed"])
    ]


def _ratio(pairs, theirs: str, ours: str) -> str:
    """Median of what the peer used over what this run used, from the same starts."""
    if not pairs:
        return "not reached"
    return f"{np.median([peer[theirs] / run[ours] for peer, run in pairs]):.1f}x"


def plot(case: str, traces: dict[str, list], path: Path) -> None:
    """Energy above the lowest, against force evaluations and against seconds."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    lowest = min(energy for trace in traces.values() for _, _, energy in trace)
    for method, trace in traces.items():
        rows = np.array(trace, dtype=float)
        best = np.minimum.accumulate(rows[:, 2]) - lowest + 0.1
        for axis, column in zip(axes, (0, 1), strict=True):
            axis.loglog(np.maximum(rows[:, column], 1e-3), best, label=method)
    axes[0].set(xlabel="force evaluations", ylabel="energy above the lowest + 0.1, kJ/mol")
    axes[1].set(xlabel="seconds", title=case)
    axes[0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE"
    )
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--tolerances", nargs="+", type=float, default=[10.0, 1.0])
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[PEER, "ours", "scipy L-BFGS-B", "FIRE", "ASE PreconLBFGS"],
    )
    parser.add_argument("--seeds", type=int, default=3, help="starts of each case")
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--output", type=Path, default=RESULTS / "local.json")
    parser.add_argument(
        "--append", action="store_true", help="keep the output's rows of other cases"
    )
    parser.add_argument("--tables", action="store_true", help="print those of the output and stop")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
        return
    if arguments.tables:
        rows = json.loads(arguments.output.read_text())["rows"]
        print(f"{summary(rows)}\n\n{table(rows)}")
        return
    reparam("ours")(peptide("AA"), 10.0, arguments.platform, 0)

    rows: list[dict] = []
    if arguments.append and arguments.output.exists():
        before = json.loads(arguments.output.read_text())["rows"]
        rows = [row for row in before if row["case"] not in arguments.cases]
    for case in arguments.cases:
        for seed in range(arguments.seeds):
            molecule = CASES[case](seed)
            outcomes: dict[float, dict[str, Outcome]] = {}
            for tolerance in sorted(arguments.tolerances, reverse=True):
                outcomes[tolerance] = {}
                for name, peer in peers_for(molecule, arguments.methods, seed).items():
                    outcome = peer(molecule, tolerance, arguments.platform, seed)
                    outcomes[tolerance][name] = outcome
                    print(
                        f"{case} start {seed} tolerance {tolerance:g} {name:>22}: "
                        f"{outcome.energy:12.1f} kJ/mol, RMS {outcome.rms_force:8.3g}, "
                        f"{outcome.force_evaluations:6d} evaluations, {outcome.seconds:7.2f} s",
                        flush=True,
                    )
                if seed == 0:
                    traces = {name: o.trace for name, o in outcomes[tolerance].items()}
                    image = f"local-{case}-{tolerance:g}.png".replace(" ", "-")
                    plot(
                        f"{case}, tolerance {tolerance:g}", traces, arguments.output.parent / image
                    )
            for tolerance, by_name in outcomes.items():
                target = by_name[PEER].energy if PEER in by_name else None
                for name, outcome in by_name.items():
                    tightest = outcomes[min(outcomes)][name]
                    rows.append(
                        {
                            "case": case,
                            "atoms": molecule.topology.getNumAtoms(),
                            "tolerance": tolerance,
                            "seed": seed,
                            **outcome.to_dict(),
                            **to_peers_energy(outcome, tightest, target if name != PEER else None),
                        }
                    )
            write_json(
                arguments.output,
                {"platform": arguments.platform, "openmm": mm.version.full_version, "rows": rows},
            )
    print(table(rows))


if __name__ == "__main__":
    main()
