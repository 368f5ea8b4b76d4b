"""``openmm-reparam golf train``: a network for many molecules, trained gradually.

A molecule that cannot be read, embedded or described by the surrogate is named and left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..golf import Golf
from ..prepare.ligand_files import LigandRecord, read_ligand
from ..surrogates.golf.molecules import with_conformers
from ..surrogates.golf.network import NetworkSettings
from ..surrogates.golf.oracles import NamedMaker
from ..surrogates.golf.train import Schedule, Training, check_device, train
from ..surrogates.oracles import POTENTIALS
from .ligands import require_programs

__all__ = ["TrainSettings", "train_molecules"]


# Molecules of which a tenth is one.
FEWEST = 10


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes
    ----------
    genuine, surrogate : str
        Of `POTENTIALS`.
    labels : int
        Genuine calls.
    updates : float
        Steps of Adam per label.
    conformers : int
        Of each molecule.
    features, interactions : int
        Size of the network.
    seed : int
    device : str
    workers : int
        Processes that ask the genuine potential, one or more.
    call_limit : float
        Seconds for a call of it.
    """

    genuine: str
    surrogate: str
    labels: int
    updates: float
    conformers: int
    features: int
    interactions: int
    seed: int
    device: str
    workers: int
    call_limit: float


def train_molecules(records: Iterable[LigandRecord], output: Path, settings: TrainSettings) -> int:
    """Train a network on molecules, write it, and print what came of it.

    Parameters
    ----------
    records : iterable of LigandRecord
    output : Path
        The model. Labels are kept beside it while it is trained, and afterwards.
    settings : TrainSettings

    Returns
    -------
    int
        The exit status, 0.

    Raises
    ------
    ValueError
        No molecule is left, the model is a folder, torch has no such device, or a potential is not
        known or not installed.
    OSError
        The model's folder cannot be made, or not be written to.
    KeyboardInterrupt
        After Ctrl-C, when it has been said how to go on.
    """
    for name in (settings.genuine, settings.surrogate):
        if name not in POTENTIALS:
            raise ValueError(f"there is no potential {name!r}; there are {', '.join(POTENTIALS)}")
        require_programs(name)
    check_device(settings.device)
    if output.is_dir():
        raise ValueError(f"-o {output} is a folder: name a file")
    output.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(output.parent, os.W_OK):
        raise PermissionError(f"-o {output}: the folder {output.parent} cannot be written to")
    molecules = list(_usable(records, settings))
    if not molecules:
        raise ValueError("there is no molecule to train on")
    if len(molecules) < FEWEST:
        print(
            f"No molecules are held out for validation: there are {len(molecules)}, and a tenth of "
            f"them is none. Nothing will say how good the network is: give {FEWEST} or more.",
            file=sys.stderr,
        )
    labels = output.with_name(output.name + ".labels")
    try:
        made = _train(molecules, labels, settings)
    except KeyboardInterrupt:
        print(f"\nThe same command goes on from {labels}.", file=sys.stderr)
        raise
    Golf(made.network, made.trained_on).save(output)
    print(f"{_summary(made)}\nWrote {output}; the labels are in {labels}.")
    return 0


def _usable(records: Iterable[LigandRecord], settings: TrainSettings) -> Iterable[Any]:
    """Yield different molecules with conformers; name those that cannot be used."""
    from rdkit import Chem

    make = NamedMaker(settings.surrogate)
    known: set[str] = set()
    for record in tqdm(records, desc="conformers", unit="molecule"):
        try:
            given = read_ligand(record)
            smiles = Chem.MolToSmiles(Chem.RemoveHs(given))
            if smiles in known:
                raise ValueError(f"{smiles} came before")
            molecule = with_conformers(given, settings.conformers, settings.seed)
            make(molecule)
        except ValueError as error:
            tqdm.write(f"{record.name} is left out: {error}", file=sys.stderr)
            continue
        known.add(smiles)
        molecule.SetProp("_Name", record.name)
        yield molecule


def _train(molecules: list[Any], labels: Path, settings: TrainSettings) -> Training:
    return train(
        molecules,
        genuine=settings.genuine,
        surrogate=settings.surrogate,
        labels=settings.labels,
        network=NetworkSettings(features=settings.features, interactions=settings.interactions),
        schedule=Schedule(updates=settings.updates),
        buffer=labels,
        workers=settings.workers,
        call_limit=settings.call_limit,
        device=settings.device,
        seed=settings.seed,
    )


def _summary(made: Training) -> str:
    trained = made.trained_on
    lines = [
        f"{trained.labels} labels of {trained.genuine} on {trained.molecules} molecules, "
        f"{made.validation_calls} calls for the validation; {made.failures} calls failed",
    ]
    if made.checks:
        q = min(made.checks, key=lambda check: check.score).quality
        lines.append(
            f"validation on {q.count} other molecules: pct {q.pct:.1f} %, residual "
            f"{q.residual:.1f} kJ/mol in the median, success {q.success:.0f} %, divergence "
            f"{q.divergence:.0f} %"
        )
    else:
        lines.append("no validation: relax a few molecules with --check-start to judge the network")
    if made.stopped_early:
        lines.append("ended early: the validation no longer improved")
    return "\n".join(lines)
