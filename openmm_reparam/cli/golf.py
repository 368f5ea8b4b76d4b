"""``openmm-reparam golf``: networks that relax small molecules, trained and used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options

__all__ = ["app"]

app = typer.Typer(
    help="Train networks for many small molecules, and relax on them, verified.",
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
    typer.Option(
        "--model",
        "-m",
        metavar="FILE",
        help="What `openmm-reparam golf train` wrote.",
    ),
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
        metavar="NAME",
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
TrainingFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        callback=options.existing,
        help="Small molecules: .sdf, .mol, .mol2 or .smi.",
    ),
]
NewModel = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Write the model.")]
TrainedFor = Annotated[
    str,
    typer.Option(
        "--genuine",
        metavar="NAME",
        help="Potential to learn: gfn2, gfn1, gfnff, ani1ccx, ani1x or mmff.",
    ),
]
TrainedOnTop = Annotated[
    str,
    typer.Option(
        "--surrogate",
        metavar="NAME",
        help="Cheap potential, mmff or gfnff; the difference to it is learnt.",
    ),
]
Labels = Annotated[
    int, typer.Option(min=1, metavar="N", help="Evaluations of the genuine potential.")
]
Updates = Annotated[
    float, typer.Option(min=0.1, metavar="NUMBER", help="Steps of learning per label.")
]
Conformers = Annotated[
    int, typer.Option(min=1, metavar="N", help="Starts of each molecule, by ETKDG.")
]
Features = Annotated[
    int,
    typer.Option(min=2, metavar="N", help="Features of an atom in the network; published: 128."),
]
Interactions = Annotated[
    int, typer.Option(min=1, metavar="N", help="Layers of the network; published: 3.")
]
Evaluators = Annotated[
    int,
    typer.Option(
        "--workers",
        "--jobs",
        min=1,
        metavar="N",
        help="Processes that evaluate the genuine potential.",
    ),
]
CallLimit = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=1.0,
        help="An evaluation of the genuine potential that takes longer is ended, and has failed.",
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="Where the network learns: cpu or cuda.")]


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
    cluster: options.Cluster = None,
    resource: options.Resource = None,
    resume: options.Resume = False,
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
    from .workforce import workforce

    if bool(smiles) == (file is not None):
        raise ValueError("name a FILE of molecules, or molecules by --smiles")
    return relax_molecules(
        smiles_records(smiles) if smiles else ligand_records(file or ""),
        RelaxSettings(
            str(model), genuine, verify, check_start, tolerance, max_force_evaluations, seed
        ),
        Outputs(output, None, json),
        source=str(file or "--smiles"),
        workforce=workforce(workers, cluster, resource, resume),
        summary=csv,
    )


@app.command()
def train(
    file: TrainingFile,
    output: NewModel,
    genuine: TrainedFor = "gfn2",
    surrogate: TrainedOnTop = "mmff",
    labels: Labels = 5000,
    updates: Updates = 4.0,
    conformers: Conformers = 4,
    features: Features = 64,
    interactions: Interactions = 3,
    seed: options.Seed = 0,
    device: Device = "cpu",
    workers: Evaluators = 1,
    call_limit: CallLimit = 600.0,
) -> int:
    """Train a network for a potential, so that it relaxes molecules like those of a file.

    The network learns the difference to a cheap potential, and asks the genuine one only where its
    own descents end. A tenth of the molecules, at most 16, is held out to measure progress. Labels
    are written beside the model: interrupted (exit code 130) or killed, the same command goes on.
    """
    from ..prepare.ligand_files import ligand_records
    from .golf_train import TrainSettings, train_molecules

    return train_molecules(
        ligand_records(file),
        output,
        TrainSettings(
            *(genuine, surrogate, labels, updates, conformers, features, interactions),
            *(seed, device, workers, call_limit),
        ),
    )
