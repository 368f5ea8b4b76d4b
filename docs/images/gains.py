"""Draw gains.png from the summary of the local benchmark.

python docs/images/gains.py
"""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
SUMMARY = HERE.parents[1] / "benchmarks" / "results" / "local.csv"
METHOD = "openmm-reparam"
# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {"fewer": ("fewer force evaluations", "#0072B2"), "faster": ("faster", "#E69F00")}

# Words in place of the benchmark's short names.
WORDS = {
    "2JOF": "Trp-cage",
    "tip3p rigid": "in rigid water",
    "tip3p flexible": "in flexible water",
    "tip3p 21 000": "in rigid water, 21 000 atoms",
    "tip4pew": "in TIP4P-Ew",
    "gbn2": "in GBn2,",
    "vacuum": "in vacuum,",
    "pdb": "from the PDB",
    "test.from the PDB": "OpenMM's test.pdb, rigid water",
}


def in_words(case: str) -> str:
    """Return a case in words.

    >>> in_words("2JOF gbn2 pdb")
    'Trp-cage in GBn2, from the PDB'
    """
    for short, words in WORDS.items():
        case = case.replace(short, words)
    return case


def ratios(tolerance: str) -> dict[str, dict]:
    """Return a row for each case, of the version that was run from most starts, newest first."""
    with open(SUMMARY, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == METHOD]
    rows = [row for row in rows if row["tolerance"] == tolerance and row["fewer"]]
    # Seconds of a machine that did other work say little; rows without a load are older.
    rows = [row for row in rows if float(row["load"] or 0) <= 1.5 * float(row["cores"])]
    rows.sort(key=lambda row: (int(row["starts"]), row["date"]))
    return {row["case"]: row for row in rows}


def main() -> None:
    """Draw a panel for each tolerance."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True, sharex=True)
    loose = ratios("10")
    cases = sorted(loose, key=lambda case: float(loose[case]["fewer"]))
    y = np.arange(len(cases))
    for axes, tolerance in zip(panels, ("10", "1"), strict=True):
        found = ratios(tolerance)
        for shift, (column, (label, colour)) in zip((0.2, -0.2), COLOURS.items(), strict=True):
            values = [float(found[case][column]) if case in found else np.nan for case in cases]
            # Bars begin at 1: what reaches to the left is a loss.
            axes.barh(y + shift, np.array(values) - 1, 0.4, left=1, color=colour, label=label)
        axes.axvline(1, color="black", linewidth=1)
        axes.set(xscale="log", title=f"to RMS force {tolerance} kJ/mol/nm", yticks=y)
        axes.set(
            yticklabels=[in_words(case) for case in cases], xlabel="times, against minimizeEnergy()"
        )
        axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
    panels[0].legend(loc="lower right")
    figure.savefig(HERE / "gains.png", dpi=110)


if __name__ == "__main__":
    main()
