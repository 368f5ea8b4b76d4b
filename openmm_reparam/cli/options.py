"""Every option of the command line, defined once.

Defaults stand where an option is used: some depend on the command.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..prepare.ligand_files import LIGAND_ENDINGS
from ..prepare.sequences import SEQUENCES

__all__ = [
    "LIGAND_ENDINGS",
    "LIST_ENDINGS",
    "OF_FOLDERS",
    "OF_MANY",
    "OF_ONE",
    "OF_PROTEINS",
    "refuse",
]

KNOWN_CODES = ", ".join(SEQUENCES)
DEFAULT_FORCE_FIELD = ("amber14-all.xml",)


# Options of `minimize` that small molecules have no use for.
OF_PROTEINS = (
    *("solvent", "forcefield", "restrain", "restraint", "ph", "keep_water", "keep_heterogens"),
    *("build_missing_residues", "ligand", "compare", "plot", "report", "temperature"),
    *("islands", "database"),
)


# Options of `minimize` that a single structure has no use for.
OF_FOLDERS = ("resource", "resume", "csv")
OF_MANY = ("workers", "cluster", *OF_FOLDERS)
# Options of `minimize` for one structure file.
OF_ONE = ("ligand", "charges", "temperature", "islands", "database")
# A file with one of these endings lists structure files.
LIST_ENDINGS = (".txt", ".lst", ".list")


class SolventChoice(str, Enum):
    """Surroundings of the molecule."""

    vacuum = "vacuum"
    gbn2 = "gbn2"
    obc2 = "obc2"
    tip3p = "tip3p"


class RestrainedAtoms(str, Enum):
    """Atoms held by restraints."""

    none = "none"
    heavy = "heavy"


class StartChoice(str, Enum):
    """Start of a chain."""

    extended = "extended"
    random_coil = "random-coil"


class ModeKind(str, Enum):
    """Which matrix the slow modes are of."""

    hessian = "hessian"
    coupling_graph = "coupling-graph"


class ModeSource(str, Enum):
    """Which terms of the force field that matrix is of."""

    full = "full"
    bonded = "bonded"


def mode_kind(text: str) -> ModeKind:
    """Return the kind that a word names; "backbone" is the old name of the coupling graph."""
    try:
        return ModeKind("coupling-graph" if text == "backbone" else text)
    except ValueError:
        kinds = " or ".join(kind.value for kind in ModeKind)
        raise typer.BadParameter(f"{text!r} is no kind of modes: choose {kinds}") from None


def refuse(context: typer.Context, names: Sequence[str], others: str) -> None:
    """Raise ValueError if an option was given that does not go with the rest.

    Parameters
    ----------
    context : typer.Context
    names : sequence of str
        Of the options' parameters.
    others : str
        What they are for.
    """
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ValueError(f"--{name.replace('_', '-')} is for {others}")


def existing(path: Path | None) -> Path | None:
    """Refuse a file that is not there, before anything that takes seconds is imported."""
    if path is not None and not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    return path


def reachable(tolerance: float) -> float:
    """Refuse a tolerance that no run can reach, before the structure is prepared."""
    if not 0 < tolerance < math.inf:
        raise typer.BadParameter(f"a tolerance of {tolerance:g} has to be above zero and finite")
    return tolerance


# Input and output

StructureFile = Annotated[
    Path, typer.Argument(metavar="FILE", callback=existing, help="A .pdb or .cif file.")
]
FoldTarget = Annotated[
    str,
    typer.Argument(
        metavar="CODE|SEQUENCE|FILE",
        help=f"A PDB code, one-letter codes (YGGFM), or a file whose sequence is taken. The "
        f"sequences of these codes are known without network: {KNOWN_CODES}. Those of others are "
        "asked of the Protein Data Bank.",
    ),
]
Native = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Native structure, read after the minimization only."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the structure: .pdb or .cif."),
]
OutputFileOrFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE|FOLDER",
        help="Write the structure, or a folder's; of small molecules a .sdf or .mol file.",
    ),
]
AnimationOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Animate a mode: .pdb (models) or .dcd."),
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE|-", help="Write everything as JSON; - is stdout."),
]
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Draw a .png, .pdf or .svg.")
]
Report = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write a page to look at: 3D before and after, violations, plots; .html, works "
        "offline.",
    ),
]
Csv = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Table of a folder or a list (by default FOLDER/summary.csv, of outputs) or of small "
        "molecules: .csv, or .parquet for many.",
    ),
]

# Preparation

Solvent = Annotated[
    SolventChoice,
    typer.Option("--solvent", help="tip3p adds a box of water; the others have no cutoff."),
]
ForceField = Annotated[
    list[str],
    typer.Option(
        "--forcefield",
        metavar="FILE",
        help="Force field file of OpenMM's or your own; repeat for several.",
    ),
]
Restrain = Annotated[RestrainedAtoms, typer.Option(help="Hold these atoms by harmonic restraints.")]
RestraintConstant = Annotated[
    float,
    typer.Option(
        min=0, metavar="NUMBER", help="Force constant of the restraints, in kcal/mol/A^2."
    ),
]
Ph = Annotated[
    float, typer.Option(metavar="NUMBER", help="pH that decides which hydrogens are added.")
]
KeepWater = Annotated[bool, typer.Option("--keep-water", help="Keep the file's waters (tip3p).")]
KeepHeterogens = Annotated[bool, typer.Option("--keep-heterogens", help="Keep ions and ligands.")]
BuildMissingResidues = Annotated[
    bool, typer.Option("--build-missing-residues", help="Build residues missing inside a chain.")
]
StartConformation = Annotated[
    StartChoice, typer.Option("--start", help="Conformation that the chain starts in.")
]

# The run

Tolerance = Annotated[
    float,
    typer.Option(
        metavar="NUMBER",
        callback=reachable,
        help="RMS force at which to stop, in kJ/mol/nm.",
    ),
]
MaxIterations = Annotated[
    int, typer.Option(min=0, metavar="N", help="Iterations at most; 0 for no limit.")
]
MaxForceEvaluations = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Force evaluations at most, Hessians included."),
]
Reparametrization = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="auto (that is spectral: preconditioned L-BFGS), gcn (a graph network), linear, "
        "cartesian, or one a package of yours registers.",
    ),
]
Search = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Go on to deeper minima until the force evaluations are used up: auto, slow-modes, "
        "population, annealed or neural. Ctrl-C ends it with the best.",
    ),
]
Islands = Annotated[
    int | None,
    typer.Option(
        "--islands",
        min=1,
        metavar="N",
        help="With --search: so many searches at once that share the minima they find. "
        "--max-force-evaluations is for all together.",
        show_default=False,
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="FILE",
        help="With --search: keep all minima in this file. If it is there, the search goes on "
        "where it ended; see `openmm-reparam minima`.",
        show_default=False,
    ),
]
MinimaTemperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        metavar="K",
        help="With --search: free energies and populations of the lowest 20 minima at this "
        "temperature, as harmonic oscillators.",
        show_default=False,
    ),
]
# The largest that RDKit takes, less one.
LARGEST_SEED = 2**31 - 2
Seed = Annotated[
    int,
    typer.Option(min=0, max=LARGEST_SEED, metavar="INTEGER", help="Seed of every random choice."),
]
PlatformName = Annotated[
    str | None,
    typer.Option(
        "--platform",
        metavar="NAME",
        help="CUDA, OpenCL, CPU or Reference; by default OpenMM chooses.",
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Threads of the CPU platform.")
]
Compare = Annotated[
    bool,
    typer.Option("--compare", help="Run OpenMM's LocalEnergyMinimizer from the same start, too."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "--jobs",
        min=1,
        metavar="N",
        help="Processes for a folder, many molecules or islands; half of the cores if unset.",
    ),
]

Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS|FILE",
        help="Workers elsewhere: the address of a Dask scheduler, its scheduler file (.json), or "
        "a cluster to start (.yaml), by SLURM say.",
        show_default=False,
    ),
]
Resource = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="With --cluster: each task takes one of these of its worker, GPU say.",
        show_default=False,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with an earlier run: what is done and unchanged is left out."
    ),
]

# Small molecules

InputFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE|FOLDER|LIST",
        help="A .pdb or .cif file, a folder of them, a .txt file with a path a line, or small "
        "molecules: .sdf, .mol, .mol2 or .smi.",
        show_default=False,
    ),
]
Smiles = Annotated[
    list[str] | None,
    typer.Option(
        "--smiles",
        metavar="SMILES",
        help="A small molecule in place of a file; repeat for several.",
        show_default=False,
    ),
]
Potential = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Of small molecules: mmff, gaff, gfn2, gfn1, gfnff, ani1ccx or ani1x.",
    ),
]
Surrogate = Annotated[
    bool,
    typer.Option(
        "--surrogate/--no-surrogate",
        help="Find the steps of gfn2, gfn1 and ani on MMFF94, verified by the potential itself.",
    ),
]
Ligand = Annotated[
    list[Path] | None,
    typer.Option(
        "--ligand",
        metavar="FILE",
        help="Small molecules to put into the protein, placed in 3D, with GAFF2 parameters: .sdf, "
        ".mol or .mol2; repeat for several.",
        show_default=False,
    ),
]
Charges = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Of GAFF2: bcc (AM1-BCC, seconds each) or gas (Gasteiger, at once)."
    ),
]

# Modes

Count = Annotated[int, typer.Option(min=1, metavar="N", help="How many modes.")]
Kind = Annotated[
    ModeKind,
    typer.Option(
        parser=mode_kind,
        metavar="<hessian|coupling-graph>",
        help="Modes of the Hessian, or of its coupling graph's Laplacian.",
    ),
]
Source = Annotated[
    ModeSource | None,
    typer.Option(
        help="Hessian of the whole force field (default for hessian) or of its bonded terms "
        "(default for coupling-graph)."
    ),
]
MinimizeFirst = Annotated[
    bool, typer.Option("--minimize/--no-minimize", help="Minimize the structure first.")
]
AnimatedMode = Annotated[
    int, typer.Option(min=1, metavar="N", help="Number of the mode to animate, from 1.")
]
Amplitude = Annotated[
    float,
    typer.Option(metavar="NUMBER", help="Largest displacement of an atom in the animation, in nm."),
]
Frames = Annotated[int, typer.Option(min=2, metavar="N", help="Frames of the animation.")]

# Sampling

SampledFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        callback=existing,
        help="One molecule: a .pdb or .cif file, or a small one: .sdf, .mol, .mol2 or .smi.",
    ),
]
EnsembleOutput = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the structures: .dcd; weights beside it as .npz and .csv, atoms as .pdb.",
    ),
]
SamplingTemperature = Annotated[
    float, typer.Option("--temperature", metavar="K", help="Temperature of the ensemble.")
]
SamplingPlatform = Annotated[
    str, typer.Option("--platform", metavar="NAME", help="CUDA, OpenCL, CPU or Reference.")
]
Surfaces = Annotated[
    list[str] | None,
    typer.Option(
        "--fes",
        metavar="NAMES",
        help="Free energy along one or two of: phi, psi, omega, chi1 (with a residue's number: "
        '"phi 3"), "torsion 0 1 2 3", "distance 0 3", rg; with a comma between. Repeat for '
        "several.",
        show_default=False,
    ),
]
SamplingMethodName = Annotated[
    str,
    typer.Option("--method", metavar="NAME", help="conditional, minima (no training) or latent."),
]
Latents = Annotated[
    str,
    typer.Option(
        metavar="NAMES", help="Torsions that rotate, with commas between; auto: all single bonds."
    ),
]
SampleCount = Annotated[
    int, typer.Option("--samples", min=1, metavar="N", help="Structures to draw.")
]
TrainingEvaluations = Annotated[
    int | None,
    typer.Option(
        "--max-force-evaluations",
        min=0,
        metavar="N",
        help="Of the training, Hessians included; by default 450000, for minima 30000.",
        show_default=False,
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Written as the training goes; gone on with if it exists."),
]
Configurations = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Trajectory of dynamics (.dcd, .xtc) at the same temperature: are modes missing?",
    ),
]

# Relaxation of predictions

PredictedFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE|FOLDER|LIST",
        callback=existing,
        help="A .pdb or .cif file, a folder of them, or a .txt file with a path a line.",
    ),
]
RelaxedOutput = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE|FOLDER",
        help="Write the structure, in the format of the input; of many, a folder.",
    ),
]
RelaxationForceField = Annotated[
    str,
    typer.Option("--forcefield", metavar="FILE", help="Force field file of OpenMM's or your own."),
]
MaxRounds = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Rounds at most; AlphaFold's and ColabFold's pipelines stop after 3.",
    ),
]
