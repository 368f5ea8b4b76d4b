"""``openmm-reparam minima``: what a search has kept in its database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options

__all__ = ["app"]

app = typer.Typer(
    help="Show and export the minima that a search has kept by --database.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DatabaseFile = Annotated[
    Path, typer.Argument(metavar="DB", help="What --database wrote; the search may still run.")
]
Lowest = Annotated[int | None, typer.Option(min=1, metavar="N", help="Only so many, the lowest.")]
Within = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="KJ", help="Only those no higher than this above the lowest, in kJ/mol."
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        metavar="K",
        help="Free energies and populations at this temperature, as harmonic oscillators: a "
        "Hessian for each minimum shown.",
        show_default=False,
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write .pdb (models), .dcd (with a .pdb beside it) or .sdf (proteins).",
    ),
]


@app.command()
def show(
    database: DatabaseFile,
    lowest: Lowest = 20,
    within: Within = None,
    temperature: Temperature = None,
    json: options.Json = None,
) -> int:
    """Show the lowest minima: energies, RMS forces, who found them and when."""
    from .minima_files import show_minima

    return show_minima(database, lowest, within, temperature, json)


@app.command()
def export(
    database: DatabaseFile,
    output: Output,
    lowest: Lowest = None,
    within: Within = None,
) -> int:
    """Write minima to a structure file, lowest first, laid onto the lowest."""
    from .minima_files import export_minima

    return export_minima(database, output, lowest, within)
