"""``openmm-reparam golf``: networks that relax small molecules, trained and used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options

__all__ = ["app"]

app = typer.Typer(
    help="Relax small molecules on a trained network, verified.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Molecules = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE",
        help="Small molecules: .sdf, .mol, .mol2 or .smi.",
        show_default=False,
    ),
]
Model = Annotated[
    Path,
    typer.Option("--model", "-m", metavar="FILE", help="What `openmm-reparam golf train` wrote."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the relaxed molecules: .sdf, or of one molecule .mol.",
    ),
]
Genuine = Annotated[
    str | None,
    typer.Option(
        help="Potential that verifies: gfn2, gfn1, gfnff, ani1ccx, ani1x or mmff; by default that "
        "of the training.",
        show_default=False,
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify",
        help="Go on with the genuine potential to its own minimum; otherwise nothing is verified.",
    ),
]
CheckStart = Annotated[
    bool | None,
    typer.Option(
        "--check-start/--no-check-start",
        help="One genuine evaluation of the start, to compare what the network promised; by "
        "default where there is reason to doubt it.",
        show_default=False,
    ),
]
Table = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table as CSV.")]


@app.command()
def relax(
    model: Model,
    file: Molecules = None,
    output: Output = None,
    smiles: options.Smiles = None,
    genuine: Genuine = None,
    verify: Verify = True,
    check_start: CheckStart = None,
    tolerance: options.Tolerance = 10.0,
    max_force_evaluations: options.MaxForceEvaluations = None,
    seed: options.Seed = 0,
    json: options.Json = None,
    workers: options.Workers = None,
    csv: Table = None,
) -> int:
    """Relax small molecules on a network, verified by the potential it stands in for.

    Molecules get missing hydrogens, and a conformer if they have none in 3D. The table says how
    often the genuine potential was asked, what the network promised, what was found, and what
    became of stereo and bonds. Molecules unlike those of the training are said to be so.
    """
    from ..prepare.ligand_files import ligand_records, smiles_records
    from .golf_relax import RelaxSettings, relax_molecules
    from .settings import Outputs

    if bool(smiles) == (file is not None):
        raise ValueError("name a FILE of molecules, or molecules by --smiles")
    return relax_molecules(
        smiles_records(smiles) if smiles else ligand_records(file or ""),
        RelaxSettings(
            str(model), genuine, verify, check_start, tolerance, max_force_evaluations, seed
        ),
        Outputs(output, None, json),
        source=str(file or "--smiles"),
        workers=workers,
        summary=csv,
    )
