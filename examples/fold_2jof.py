"""The Trp-cage miniprotein 2JOF: the deepest structure that ten minutes on a laptop find.

The chain is built from the sequence alone, minimized, and searched for deeper minima until the time
is up, the last quarter of it near the lowest (Ctrl-C ends either part sooner). A native structure
is looked at only afterwards, and only if you name one. The deepest energy of a force field without
water need not be the fold: compare both numbers.

Run it (ten minutes, or as many as you give):

    python examples/fold_2jof.py
    python examples/fold_2jof.py --minutes 2 --native 2JOF.pdb --output folded
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import openmm as mm
from matplotlib.figure import Figure
from openmm import app, unit

from openmm_reparam import minimize_reparam
from openmm_reparam.plotting import plot_search
from openmm_reparam.prepare.peptides import peptide
from openmm_reparam.search import SEARCHES
from openmm_reparam.structure.measures import rmsd

parser = argparse.ArgumentParser(description="Search for the deepest minimum of 2JOF.")
parser.add_argument("--native", help="a PDB file of 2JOF, to compare with at the end")
parser.add_argument("--minutes", type=float, default=10.0)
parser.add_argument("--start", default="extended", choices=["extended", "random-coil"])
parser.add_argument("--solvent", default="vacuum", help="or gbn2, which takes ten times as long")
parser.add_argument("--sequence", default="2JOF", help="another code or one-letter sequence")
parser.add_argument("--search", default="auto", choices=list(SEARCHES))
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--output", type=Path, default=Path("fold_2jof"), help="folder to write to")
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)


class UntilTimeIsUp(mm.MinimizationReporter):
    """Returning True ends a run with the best structure so far."""

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self.end = time.monotonic() + 60 * minutes

    def report(self, iteration, x, gradient, info):
        """Say whether to stop."""
        return time.monotonic() > self.end


chain = peptide(arguments.sequence, arguments.start, solvent=arguments.solvent, seed=arguments.seed)
simulation = chain.simulation(platform=None)
search = SEARCHES[arguments.search]
wide = minimize_reparam(
    simulation,
    reporter=UntilTimeIsUp(0.75 * arguments.minutes),
    search=replace(search, refinement=0.0),
    max_force_evaluations=10_000_000,
    seed=arguments.seed,
)
near = minimize_reparam(
    simulation,
    reporter=UntilTimeIsUp(0.25 * arguments.minutes),
    search=replace(search, refinement=1.0),
    max_force_evaluations=10_000_000,
    seed=arguments.seed,
)
last = minimize_reparam(simulation, tolerance=1)
print(wide, near, last, sep="\n")
folded = simulation.context.getState(positions=True).getPositions(asNumpy=True)
with open(arguments.output / "folded.pdb", "w") as file:
    app.PDBFile.writeFile(chain.topology, folded, file)
# Where else the chain can go: the lowest minimum of each of the ten lowest clusters, as models.
clusters = {minimum.cluster: minimum for minimum in reversed(wide.minima)}
with open(arguments.output / "minima.pdb", "w") as file:
    app.PDBFile.writeHeader(chain.topology, file)
    for number, cluster in enumerate(sorted(clusters.keys() - {None})[:10], start=1):
        x = clusters[cluster].positions * unit.nanometer
        app.PDBFile.writeModel(chain.topology, x, file, number)
    app.PDBFile.writeFooter(chain.topology, file)
plot_search({"first three quarters": wide, "last quarter": near}, arguments.output / "energy.png")

# A picture: the backbone from its N-terminus (dark) to its C-terminus (light).
trace = [atom.index for atom in chain.topology.atoms() if atom.name == "CA"]
x = 10 * folded.value_in_unit(unit.nanometer)[trace]
figure = Figure(figsize=(5, 5), layout="constrained")
axes = figure.add_subplot(projection="3d")
axes.plot(*x.T, color="#666666")
axes.scatter(*x.T, c=np.arange(len(x)), s=80, depthshade=False)
axes.set(xlabel="A", aspect="equal", title=f"{arguments.sequence}: {last.energy:.1f} kJ/mol")
figure.savefig(arguments.output / "folded.png")

if arguments.native:
    native = app.PDBFile(arguments.native)
    nanometers = rmsd(chain.topology, folded, native.topology, native.positions)
    print(f"CA RMSD from {arguments.native} {10 * nanometers:.1f} A")
