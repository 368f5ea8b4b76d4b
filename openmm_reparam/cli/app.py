"""The command line: ``openmm-reparam minimize``, ``fold``, ``modes`` and ``doctor``.

Exit codes: 0 done, 1 not converged, 2 bad input, 70 an error that should not have happened, 130
interrupted. Errors are one line; OPENMM_REPARAM_DEBUG=1 shows their traceback.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..version import __version__

__all__ = ["app", "main"]

NAME = "openmm-reparam"
BAD_INPUT, BUG, INTERRUPTED = 2, 70, 130
# Of these kinds, and OpenMMException, are the errors that input can cause; NonFiniteError and
# UnsupportedSystemError are ValueErrors, missing files and an unreachable network OSErrors.
INPUT_ERRORS = (ValueError, TypeError, OSError, MemoryError, NotImplementedError)
# Typer carries a copy of click or depends on it, by its version: either way this is its base error.
ClickException: Any = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)

app = typer.Typer(
    name=NAME,
    help="Minimize molecules with OpenMM by neural reparametrization.",
    epilog="Exit codes: 0 done, 1 not converged, 2 bad input.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Solvent(str, Enum):
    """Surroundings of the molecule."""

    vacuum = "vacuum"
    gbn2 = "gbn2"
    obc2 = "obc2"
    tip3p = "tip3p"


class Restrained(str, Enum):
    """Atoms held by restraints."""

    none = "none"
    heavy = "heavy"


class Conformation(str, Enum):
    """Start of a chain."""

    extended = "extended"
    random_coil = "random-coil"


class ModeKind(str, Enum):
    """Which matrix the slow modes are of."""

    hessian = "hessian"
    backbone = "backbone"


class ModeSource(str, Enum):
    """Which terms of the force field that matrix is of."""

    full = "full"
    bonded = "bonded"


Structure = Annotated[Path, typer.Argument(metavar="FILE", help="A .pdb or .cif file.")]
# Defaults that depend on the command are given where an option is used.
Tolerance = Annotated[
    float, typer.Option(help="RMS force at which to stop, in kJ/mol/nm.", show_default=True)
]
MaxIterations = Annotated[int, typer.Option(min=0, help="Iterations at most; 0 for no limit.")]
MaxEvaluations = Annotated[
    int | None,
    typer.Option(
        "--max-force-evaluations", min=1, help="Force evaluations at most, Hessians included."
    ),
]
Reparametrization = Annotated[
    str,
    typer.Option(
        help="auto (that is spectral), gcn, linear, cartesian, or one a package of yours registers."
    ),
]
Search = Annotated[
    str | None,
    typer.Option(
        help="Go on to deeper minima until the force evaluations are used up: auto, slow-modes, "
        "population, annealed or neural. Ctrl-C ends it with the best."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Of every random choice.")]
PlatformName = Annotated[
    str | None,
    typer.Option("--platform", help="CUDA, OpenCL, CPU or Reference; by default OpenMM chooses."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the CPU platform.")]
ForceField = Annotated[
    list[str],
    typer.Option(
        "--forcefield",
        metavar="FILE",
        help="Force field file of OpenMM's or your own; repeat for several.",
    ),
]
SolventName = Annotated[
    Solvent, typer.Option("--solvent", help="tip3p adds a box of water; the others have no cutoff.")
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE|-", help="Write everything as JSON; - is stdout."),
]
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Draw a .png, .pdf or .svg.")
]
Compare = Annotated[
    bool,
    typer.Option("--compare", help="Run OpenMM's LocalEnergyMinimizer from the same start, too."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the structure: .pdb or .cif."),
]
AMBER14 = ("amber14-all.xml",)


def _show_version(show: bool) -> None:
    if show:
        import openmm

        print(f"{NAME} {__version__} (OpenMM {openmm.__version__})")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Minimize molecules with OpenMM by neural reparametrization."""


@app.command()
def minimize(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE|FOLDER", help="A .pdb or .cif file, or a folder of them."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE|FOLDER", help="Write the structure, or a folder's."
        ),
    ] = None,
    solvent: SolventName = Solvent.vacuum,
    forcefield: ForceField = list(AMBER14),  # noqa: B006 - Typer copies it
    restrain: Annotated[
        Restrained, typer.Option(help="Hold these atoms by harmonic restraints.")
    ] = Restrained.none,
    restraint: Annotated[
        float, typer.Option(min=0, help="Their force constant, in kcal/mol/A^2.")
    ] = 10.0,
    ph: Annotated[float, typer.Option(help="Protonation, where hydrogens are missing.")] = 7.0,
    keep_water: Annotated[
        bool, typer.Option("--keep-water", help="Keep the file's waters (tip3p).")
    ] = False,
    keep_heterogens: Annotated[
        bool, typer.Option("--keep-heterogens", help="Keep ions and ligands.")
    ] = False,
    build_missing_residues: Annotated[
        bool, typer.Option("--build-missing-residues", help="Build those inside a chain.")
    ] = False,
    tolerance: Tolerance = 10.0,
    max_iterations: MaxIterations = 0,
    max_force_evaluations: MaxEvaluations = None,
    reparametrization: Reparametrization = "auto",
    search: Search = None,
    seed: Seed = 0,
    platform: PlatformName = None,
    threads: Threads = None,
    compare: Compare = False,
    plot: Plot = None,
    json: Json = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes for a folder; half of the cores if unset.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Summary of a folder: FOLDER/summary.csv.")
    ] = None,
) -> int:
    """Repair a structure with PDBFixer, minimize it, report its violations before and after.

    Missing atoms and hydrogens are added, heterogens removed; what was done is printed. Of a
    folder every structure file is done, in parallel; a file that fails is reported.
    """
    from .batch import minimize_folder
    from .minimize import minimize_file
    from .settings import Outputs

    command: Callable[..., int] = minimize_file
    if file.is_dir():
        command = partial(minimize_folder, workers=workers, summary=csv)
    elif workers is not None or csv is not None:
        raise ValueError(f"--workers and --csv are for a folder of files, and {file} is none")
    return command(
        file,
        _settings(
            tolerance,
            max_iterations,
            max_force_evaluations,
            reparametrization,
            seed,
            platform,
            threads,
            compare,
            search=search,
        ),
        Outputs(output, plot, json),
        forcefield=forcefield,
        solvent=solvent.value,
        restraint=restraint if restrain is Restrained.heavy else None,
        ph=ph,
        keep_water=keep_water,
        keep_heterogens=keep_heterogens,
        build_missing_residues=build_missing_residues,
    )


@app.command()
def fold(
    target: Annotated[
        str,
        typer.Argument(
            metavar="CODE|SEQUENCE|FILE",
            help="A PDB code (2JOF), one-letter codes (YGGFM), or a file whose sequence is taken.",
        ),
    ],
    native: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Native structure, read after the minimization only."),
    ] = None,
    output: Output = None,
    start: Annotated[Conformation, typer.Option(help="Of the chain.")] = Conformation.extended,
    solvent: SolventName = Solvent.vacuum,
    forcefield: ForceField = list(AMBER14),  # noqa: B006
    tolerance: Tolerance = 1.0,
    max_iterations: MaxIterations = 0,
    max_force_evaluations: MaxEvaluations = None,
    reparametrization: Reparametrization = "auto",
    search: Search = None,
    seed: Seed = 0,
    platform: PlatformName = None,
    threads: Threads = None,
    compare: Compare = False,
    plot: Plot = None,
    json: Json = None,
) -> int:
    """Minimize a chain built from its sequence alone; then its RMSD from the native.

    Native coordinates never enter the run. They come from --native, from the FILE named, or from
    the Protein Data Bank if it can be reached.
    """
    from .fold import fold as fold_target
    from .settings import Outputs

    return fold_target(
        target,
        _settings(
            tolerance,
            max_iterations,
            max_force_evaluations,
            reparametrization,
            seed,
            platform,
            threads,
            compare,
            search=search,
        ),
        Outputs(output, plot, json),
        forcefield=forcefield,
        solvent=solvent.value,
        start=start.value,
        native=native,
    )


@app.command()
def modes(
    file: Structure,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Animate a mode: .pdb (models) or .dcd."
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many modes.")] = 20,
    kind: Annotated[
        ModeKind, typer.Option(help="Modes of the Hessian, or of its backbone's graph Laplacian.")
    ] = ModeKind.hessian,
    source: Annotated[
        ModeSource | None,
        typer.Option(
            help="Hessian of the whole force field (default for hessian) or of its bonded terms "
            "(default for backbone)."
        ),
    ] = None,
    minimize_first: Annotated[
        bool, typer.Option("--minimize/--no-minimize", help="Minimize before.")
    ] = True,
    mode: Annotated[int, typer.Option(min=1, help="Which one to animate, from 1.")] = 1,
    amplitude: Annotated[
        float, typer.Option(help="Largest displacement of an atom in the animation, in nm.")
    ] = 0.1,
    frames: Annotated[int, typer.Option(min=2, help="Of the animation.")] = 20,
    solvent: SolventName = Solvent.vacuum,
    forcefield: ForceField = list(AMBER14),  # noqa: B006
    tolerance: Tolerance = 1.0,
    max_iterations: MaxIterations = 0,
    reparametrization: Reparametrization = "auto",
    seed: Seed = 0,
    platform: PlatformName = None,
    threads: Threads = None,
    plot: Plot = None,
    json: Json = None,
) -> int:
    """Slow modes of a structure: table, plot, animation.

    Directions of least stiffness: no masses, no vibrations. Rigid motions are left out.
    """
    from .modes import modes_of_file
    from .settings import Outputs

    return modes_of_file(
        file,
        _settings(
            tolerance, max_iterations, None, reparametrization, seed, platform, threads, False
        ),
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


def _settings(
    tolerance, max_iterations, max_force_evaluations, reparametrization, *others, search=None
):
    from ..minimization.api import AUTO
    from ..reparametrizations import available
    from ..search import search_settings
    from .settings import RunSettings

    names = [AUTO, *available()]
    if reparametrization not in names:
        raise ValueError(
            f"--reparametrization {reparametrization}: choose one of {', '.join(names)}"
        )
    if search is not None:
        search_settings(search)
        if max_force_evaluations is None:
            raise ValueError(
                f"--search {search} needs --max-force-evaluations: 20000, say, is a minute for a "
                "small protein in vacuum"
            )
    return RunSettings(
        tolerance,
        max_iterations,
        max_force_evaluations,
        reparametrization,
        *others,
        search=search,
    )


@app.command()
def doctor() -> int:
    """Check this installation: versions, platforms, the C++ plugin, TorchForce.

    Says what to do about anything broken; the exit code is then 1.
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
    try:
        # Without standalone mode Typer returns what a command returns and raises its errors.
        code = app(args=arguments, prog_name=NAME, standalone_mode=False)
        if code == INTERRUPTED:  # newer Typers turn Ctrl-C into this code, silently
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except ClickException as error:
        message = error.format_message().replace("Value error, ", "")
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help text
            print(message, file=sys.stderr)
            return BAD_INPUT
        return _fail(f"{message} ({NAME} --help lists what there is)", BAD_INPUT)
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
    print(f"{NAME}: {' '.join(message.split())}", file=sys.stderr)
    return code


def _as_options(message: str) -> str:
    """Spell what a Python call would take as the option of the command line."""
    message = re.sub(
        r"\b(keep_water|keep_heterogens|build_missing_residues)=True",
        lambda found: "--" + found[1].replace("_", "-"),
        message,
    )
    return re.sub(r"\b(solvent|platform)=(['\"])(\w+)\2", r"--\1 \3", message)
