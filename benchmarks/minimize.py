"""Every minimizer from the same random coils: energies, force evaluations, seconds.

    python benchmarks/minimize.py                       # everything, about half an hour
    python benchmarks/minimize.py --proteins 1PLW --solvents vacuum --seeds 2

Force evaluations are all there are, those for Hessians and line searches too. Ratios compare runs
from the same start; "fewer by 3x" is three times fewer than LocalEnergyMinimizer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from peers import PEERS
from report import table, write_json

from openmm_reparam.prepare.peptides import peptide

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proteins", nargs="+", default=["1PLW", "5AWL", "2JOF"])
    parser.add_argument("--solvents", nargs="+", default=["vacuum", "gbn2"])
    parser.add_argument("--methods", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--seeds", type=int, default=5, help="random coils of each protein")
    parser.add_argument("--tolerance", type=float, default=1.0, help="RMS force, kJ/mol/nm")
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--output", type=Path, default=RESULTS / "minimize.json")
    arguments = parser.parse_args()

    # What torch and OpenMM load on first use belongs to no method's seconds.
    for method in arguments.methods:
        PEERS[method](peptide("AA"), 10.0, arguments.platform, 0)
    cases = []
    for solvent in arguments.solvents:
        for protein in arguments.proteins:
            outcomes = []
            for seed in range(arguments.seeds):
                molecule = peptide(protein, "random-coil", solvent=solvent, seed=seed)
                for method in arguments.methods:
                    outcome = PEERS[method](molecule, arguments.tolerance, arguments.platform, seed)
                    outcomes.append({"seed": seed, **outcome.to_dict()})
                    print(
                        f"{protein} {solvent} start {seed} {method:>22}: {outcome.energy:10.1f} "
                        f"kJ/mol, {outcome.force_evaluations:6d} evaluations, "
                        f"{outcome.seconds:6.2f} s",
                        flush=True,
                    )
            cases.append({"protein": protein, "solvent": solvent, "outcomes": outcomes})
            reference = arguments.methods[0]
            print(
                f"\n{protein} in {solvent}, {arguments.seeds} random coils, to RMS force "
                f"{arguments.tolerance:g}; ratios against {reference}\n"
            )
            print(table(outcomes, reference), "\n")
            write_json(
                arguments.output,
                {"tolerance": arguments.tolerance, "platform": arguments.platform, "cases": cases},
            )


if __name__ == "__main__":
    main()
