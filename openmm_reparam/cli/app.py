"""The command line: ``openmm-reparam minimize``, ``fold``, ``minima``, ``modes``, ``sample``, ...

Exit codes: 0 done, 1 not converged, 2 bad input, 70 an error that should not have happened, 130
interrupted. Errors are one line; OPENMM_REPARAM_DEBUG=1 shows their traceback.
"""

from __future__ import annotations

import io
import os
import re
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from ..version import __version__
from . import golf, minima, options

__all__ = ["app", "main"]

PROGRAM = "openmm-reparam"
SUMMARY = "Minimize molecules with OpenMM by reparametrization: preconditioned L-BFGS by default."
BAD_INPUT, BUG, INTERRUPTED = 2, 70, 130
# Of these kinds, and OpenMMException, are the errors that input can cause; NonFiniteError and
# UnsupportedSystemError are ValueErrors, missing files and an unreachable network OSErrors.
INPUT_ERRORS = (ValueError, TypeError, OSError, MemoryError, NotImplementedError)
# Typer carries a copy of click or depends on it, by its version: either way this is its base error.
ClickException: Any = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)

app = typer.Typer(
    name=PROGRAM,
    help=SUMMARY,
    epilog="Exit codes: 0 done, 1 not converged, 2 bad input, 130 ended by Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(golf.app, name="golf")
app.add_typer(minima.app, name="minima")


def _show_version(show: bool) -> None:
    if show:
        import openmm

        print(f"{PROGRAM} {__version__} (OpenMM {openmm.__version__})")
        raise typer.Exit


@app.callback(help=SUMMARY)
def begin(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options that come before a command."""


# A run's settings (tolerance, platform, ...) are taken from the context by their names: a command
# declares which of them it has, and with which defaults.
@app.command()
def minimize(
    context: typer.Context,
    file: options.InputFile = None,
    output: options.OutputFileOrFolder = None,
    smiles: options.Smiles = None,
    potential: options.Potential = "mmff",
    surrogate: options.Surrogate = True,
    ligand: options.Ligand = None,
    charges: options.Charges = "bcc",
    solvent: options.Solvent = options.SolventChoice.vacuum,
    forcefield: options.ForceField = list(options.DEFAULT_FORCE_FIELD),  # noqa: B006 - copied
    restrain: options.Restrain = options.RestrainedAtoms.none,
    restraint: options.RestraintConstant = 10.0,
    ph: options.Ph = 7.0,
    keep_water: options.KeepWater = False,
    keep_heterogens: options.KeepHeterogens = False,
    build_missing_residues: options.BuildMissingResidues = False,
    tolerance: options.Tolerance = 10.0,
    max_iterations: options.MaxIterations = 0,
    max_force_evaluations: options.MaxForceEvaluations = None,
    reparametrization: options.Reparametrization = "auto",
    search: options.Search = None,
    islands: options.Islands = None,
    database: options.Database = None,
    temperature: options.MinimaTemperature = None,
    seed: options.Seed = 0,
    platform: options.PlatformName = None,
    threads: options.Threads = None,
    compare: options.Compare = False,
    plot: options.Plot = None,
    json: options.Json = None,
    report: options.Report = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    resource: options.Resource = None,
    resume: options.Resume = False,
    csv: options.Csv = None,
) -> int:
    """Minimize a structure file, a folder or list of them, or small molecules.

    Of proteins and nucleic acids PDBFixer adds missing atoms and hydrogens and removes heterogens;
    what was done is printed, and the structure's violations before and after. Of a folder or
    a list every structure file is done, in parallel; a file that fails is reported.

    Small molecules (.sdf, .mol, .mol2, .smi, --smiles) get missing hydrogens, and a conformer if
    they have none in 3D. They keep stereo and bonds, or what changed is said.
    """
    if smiles or (file is not None and file.suffix.lower() in options.LIGAND_ENDINGS):
        return _minimize_ligands(context)
    if file is None:
        raise ValueError("name a FILE or FOLDER, or a molecule by --smiles")
    options.refuse(
        context, ("potential", "surrogate"), "small molecules (.sdf, .mol, .mol2, .smi, --smiles)"
    )
    options.existing(file)
    from .minimize import minimize_file
    from .settings import Outputs, run_settings

    command: Callable[..., int]
    if file.is_dir() or file.suffix.lower() in options.LIST_ENDINGS:
        from .batch import minimize_files_of
        from .workforce import workforce

        options.refuse(context, options.OF_ONE, "one structure file")
        command = partial(
            minimize_files_of, workforce=workforce(workers, cluster, resource, resume), summary=csv
        )
    else:
        of_many = options.OF_MANY if islands is None else options.OF_FOLDERS
        options.refuse(context, of_many, f"a folder or a list of files, and {file} is none")
        command = partial(minimize_file, ligands=ligand or (), charges=charges)
    return command(
        file,
        run_settings(context.params),
        Outputs(output, plot, json, report),
        forcefield=forcefield,
        solvent=solvent.value,
        restraint=restraint if restrain is options.RestrainedAtoms.heavy else None,
        ph=ph,
        keep_water=keep_water,
        keep_heterogens=keep_heterogens,
        build_missing_residues=build_missing_residues,
    )


def _minimize_ligands(context: typer.Context) -> int:
    """Minimize small molecules, as the options of `minimize` say."""
    from ..prepare.ligand_files import ligand_records, smiles_records
    from .ligands import minimize_ligands
    from .settings import Outputs, run_settings
    from .workforce import workforce

    given = context.params
    options.refuse(context, options.OF_PROTEINS, "proteins and nucleic acids")
    if given["smiles"] and given["file"]:
        raise ValueError(f"--smiles and {given['file']}: name one of them")
    return minimize_ligands(
        smiles_records(given["smiles"]) if given["smiles"] else ligand_records(given["file"]),
        run_settings(given),
        Outputs(given["output"], given["plot"], given["json"]),
        source=str(given["file"] or "--smiles"),
        potential=given["potential"],
        charges=given["charges"],
        surrogate=given["surrogate"],
        workforce=workforce(given["workers"], given["cluster"], given["resource"], given["resume"]),
        summary=given["csv"],
    )


@app.command()
def relax(
    context: typer.Context,
    file: options.PredictedFile,
    output: options.RelaxedOutput = None,
    forcefield: options.RelaxationForceField = "amber99sb.xml",
    restraint: options.RestraintConstant = 10.0,
    tolerance: options.Tolerance = 10.0,
    max_rounds: options.MaxRounds = 20,
    max_force_evaluations: options.MaxForceEvaluations = None,
    ph: options.Ph = 7.0,
    seed: options.Seed = 0,
    platform: options.PlatformName = None,
    threads: options.Threads = None,
    json: options.Json = None,
    report: options.Report = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    resource: options.Resource = None,
    resume: options.Resume = False,
    csv: options.Csv = None,
) -> int:
    """Relax predicted structures as AlphaFold and ColabFold do.

    Hydrogens and missing atoms are added; rounds of restrained minimization release the residues
    that have violations. pLDDT (B-factors), chains, residue numbers, insertion codes and all other
    records and mmCIF categories are kept. What was left out or replaced is said.
    """
    from .relax import relax_file_of, relax_files_of, relaxation_settings
    from .workforce import workforce

    settings = relaxation_settings(
        forcefield=forcefield,
        restraint=restraint,
        tolerance=tolerance,
        max_rounds=max_rounds,
        max_force_evaluations=max_force_evaluations,
        ph=ph,
        seed=seed,
        platform=platform,
        threads=threads,
    )
    if file.is_dir() or file.suffix.lower() in options.LIST_ENDINGS:
        options.refuse(context, ("json",), "one structure file")
        chosen = workforce(workers, cluster, resource, resume)
        return relax_files_of(file, settings, output, workforce=chosen, summary=csv, page=report)
    options.refuse(context, options.OF_MANY, f"a folder or a list of files, and {file} is none")
    return relax_file_of(file, settings, output, json, report)


@app.command()
def fold(
    context: typer.Context,
    target: options.FoldTarget,
    native: options.Native = None,
    output: options.Output = None,
    start: options.StartConformation = options.StartChoice.extended,
    solvent: options.Solvent = options.SolventChoice.vacuum,
    forcefield: options.ForceField = list(options.DEFAULT_FORCE_FIELD),  # noqa: B006
    tolerance: options.Tolerance = 1.0,
    max_iterations: options.MaxIterations = 0,
    max_force_evaluations: options.MaxForceEvaluations = None,
    reparametrization: options.Reparametrization = "auto",
    search: options.Search = None,
    islands: options.Islands = None,
    database: options.Database = None,
    temperature: options.MinimaTemperature = None,
    seed: options.Seed = 0,
    platform: options.PlatformName = None,
    threads: options.Threads = None,
    compare: options.Compare = False,
    plot: options.Plot = None,
    json: options.Json = None,
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    report: options.Report = None,
) -> int:
    """Minimize a chain built from its sequence.

    Then its RMSD from the native structure is printed. Native coordinates never enter the run. They
    come from --native, from the FILE named, or from the Protein Data Bank if it can be reached.
    """
    from .fold import fold as fold_target
    from .settings import Outputs, run_settings

    return fold_target(
        target,
        run_settings(context.params),
        Outputs(output, plot, json, report),
        forcefield=forcefield,
        solvent=solvent.value,
        start=start.value,
        native=native,
    )


@app.command()
def modes(
    context: typer.Context,
    file: options.StructureFile,
    output: options.AnimationOutput = None,
    count: options.Count = 20,
    kind: options.Kind = options.ModeKind.hessian.value,  # type: ignore[assignment] # parsed
    source: options.Source = None,
    minimize_first: options.MinimizeFirst = True,
    mode: options.AnimatedMode = 1,
    amplitude: options.Amplitude = 0.1,
    frames: options.Frames = 20,
    solvent: options.Solvent = options.SolventChoice.vacuum,
    forcefield: options.ForceField = list(options.DEFAULT_FORCE_FIELD),  # noqa: B006
    tolerance: options.Tolerance = 1.0,
    max_iterations: options.MaxIterations = 0,
    reparametrization: options.Reparametrization = "auto",
    seed: options.Seed = 0,
    platform: options.PlatformName = None,
    threads: options.Threads = None,
    plot: options.Plot = None,
    json: options.Json = None,
) -> int:
    """Slow modes of a structure: table, plot, animation.

    Directions of least stiffness: no masses, no vibrations. Rigid motions are left out.
    """
    from .modes import modes_of_file
    from .settings import Outputs, run_settings

    return modes_of_file(
        file,
        run_settings(context.params),
        Outputs(output, plot, json),
        forcefield=forcefield,
        solvent=solvent.value,
        kind=kind.value,
        source=None if source is None else source.value,
        count=count,
        minimize=minimize_first,
        mode=mode,
        amplitude=amplitude,
        frames=frames,
    )


@app.command()
def sample(
    context: typer.Context,
    file: options.SampledFile,
    output: options.EnsembleOutput = None,
    temperature: options.SamplingTemperature = 300.0,
    fes: options.Surfaces = None,
    samples: options.SampleCount = 20_000,
    method: options.SamplingMethodName = "conditional",
    latents: options.Latents = "auto",
    max_force_evaluations: options.TrainingEvaluations = None,
    configurations: options.Configurations = None,
    checkpoint: options.Checkpoint = None,
    solvent: options.Solvent = options.SolventChoice.vacuum,
    forcefield: options.ForceField = list(options.DEFAULT_FORCE_FIELD),  # noqa: B006
    potential: options.Potential = "mmff",
    charges: options.Charges = "bcc",
    seed: options.Seed = 0,
    platform: options.SamplingPlatform = "CPU",
    threads: options.Threads = None,
    plot: options.Plot = None,
    json: options.Json = None,
) -> int:
    """Free energies of one molecule without dynamics: independent structures with weights.

    For a small molecule or peptide in vacuum or implicit solvent. It is minimized first. Ctrl-C
    ends the training, and structures are drawn from what is trained; while they are drawn, it keeps
    those that are. The exit code is then 1. Killed, the same command goes on from --checkpoint.
    """
    from .sample import SamplingSettings, sample_file
    from .settings import Outputs

    small = file.suffix.lower() in options.LIGAND_ENDINGS
    options.refuse(
        context,
        ("solvent", "forcefield") if small else ("potential", "charges"),
        "proteins" if small else "small molecules (.sdf, .mol, .mol2, .smi)",
    )
    settings = SamplingSettings(
        temperature,
        samples,
        method,
        latents,
        max_force_evaluations,
        seed,
        platform,
        threads,
        tuple(fes or ()),
        configurations,
        checkpoint,
    )
    return sample_file(
        file,
        settings,
        Outputs(output, plot, json),
        small=small,
        forcefield=forcefield,
        solvent=solvent.value,
        potential=potential,
        charges=charges,
    )


@app.command()
def doctor() -> int:
    """Check this installation.

    Looks at versions, platforms, the C++ plugin, TorchForce and the optional programs (RDKit, xTB,
    AmberTools, ...), and says what to do about anything broken; the exit code is then 1.
    """
    from ..diagnostics import diagnose

    return 0 if diagnose().ok else 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit code: 0 done, 1 not converged, 2 bad input, 70 a bug, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not fit the terminal
            stream.reconfigure(errors="backslashreplace")
    try:
        # Without standalone mode Typer returns what a command returns and raises its errors.
        code = app(args=arguments, prog_name=PROGRAM, standalone_mode=False)
        if code == INTERRUPTED:  # newer Typers turn Ctrl-C into this code, silently
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except ClickException as error:
        message = error.format_message().replace("Value error, ", "")
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help text
            print(message, file=sys.stderr)
            return BAD_INPUT
        context = getattr(error, "ctx", None)
        command = PROGRAM if context is None else context.command_path
        return _fail(f"{message} ({command} --help lists what there is)", BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        if isinstance(error, INPUT_ERRORS) or _is_openmm_error(error):
            return _fail(_as_options(str(error) or type(error).__name__), BAD_INPUT)
        return _fail(
            f"{type(error).__name__}: {error} (this should not have happened; "
            "OPENMM_REPARAM_DEBUG=1 shows where)",
            BUG,
        )


def _is_openmm_error(error: Exception) -> bool:
    """Say whether OpenMM raised it, without importing OpenMM: showing the help needs none."""
    openmm = sys.modules.get("openmm")
    return openmm is not None and isinstance(error, openmm.OpenMMException)


def _fail(message: str, code: int) -> int:
    """Print a message as one line, behind its traceback if that is wanted."""
    if os.environ.get("OPENMM_REPARAM_DEBUG") == "1":
        traceback.print_exc()
    print(f"{PROGRAM}: {' '.join(message.split())}", file=sys.stderr)
    return code


def _as_options(message: str) -> str:
    """Spell what a Python call would take as the option of the command line."""
    message = re.sub(
        r"\b(keep_water|keep_heterogens|build_missing_residues)=True",
        lambda found: "--" + found[1].replace("_", "-"),
        message,
    )
    return re.sub(r"\b(solvent|platform)=(['\"])(\w+)\2", r"--\1 \3", message)
