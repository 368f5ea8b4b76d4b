"""The Trp-cage miniprotein 2JOF from an extended chain: what a minimization does, and does not.

The chain is built from the sequence alone and minimized with the graph convolution's
reparametrization. A native structure is looked at only afterwards, and only if you name one. A
local minimization ends in a nearby minimum: do not expect the fold.

Run it (about ten seconds on two cores):

    python examples/fold_2jof.py
    python examples/fold_2jof.py --native 2JOF.pdb --seeds 1 2 3 --output folded
"""

import argparse
from pathlib import Path

from openmm import app

from openmm_reparam import minimize_reparam
from openmm_reparam.plots import plot_history
from openmm_reparam.structure import rmsd
from openmm_reparam.testsystems import peptide

parser = argparse.ArgumentParser(description="Minimize 2JOF from unfolded chains.")
parser.add_argument("--native", help="a PDB file of 2JOF, to compare with at the end")
parser.add_argument("--seeds", type=int, nargs="*", default=[], help="random coils to start from")
parser.add_argument("--sequence", default="2JOF", help="another code or one-letter sequence")
parser.add_argument("--tolerance", type=float, default=1.0, help="RMS force, kJ/mol/nm")
parser.add_argument("--output", type=Path, default=Path("fold_2jof"), help="folder to write to")
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)

chains = {"extended": peptide(arguments.sequence)}
for seed in arguments.seeds:
    chains[f"coil-{seed}"] = peptide(arguments.sequence, "random-coil", seed=seed)

results, minima = {}, {}
for name, chain in chains.items():
    simulation = chain.simulation(platform=None)
    results[name] = minimize_reparam(
        simulation, arguments.tolerance, reparametrization="gcn", hidden=(100,), seed=0
    )
    minima[name] = simulation.context.getState(positions=True).getPositions(asNumpy=True)
    print(f"\n{name}\n{results[name]}")
    with open(arguments.output / f"{name}.pdb", "w") as file:
        app.PDBFile.writeFile(chain.topology, minima[name], file)

plot_history(results, arguments.output / "energy.png", title=f"{arguments.sequence}, gcn")

if arguments.native:
    native = app.PDBFile(arguments.native)
    print()
    for name, chain in chains.items():
        nanometers = rmsd(chain.topology, minima[name], native.topology, native.positions)
        print(f"{name}: CA RMSD from {arguments.native} {10 * nanometers:.1f} A")
