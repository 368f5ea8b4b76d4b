"""Gradual training: a network asks the genuine oracle only where it has just gone wrong.

First labels come from conformers on the way to the surrogate's minima. Then molecules walk along
the network's forces (see `collect`), what they meet is labelled, and after each label the network
takes some steps of Adam. Everything follows from the seed and the labels: a training that was
killed goes on from its file to the same labels.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ...units import whole_number
from ..programs import Oracle
from .buffer import LabelFile
from .checkpoint import read_checkpoint, write_checkpoint
from .collect import Source, Trajectories, Walks, WalkSettings
from .learner import Learner, LearningSettings
from .ledger import Ledger
from .metrics import Quality
from .model_file import TrainedOn, reference_energies
from .molecules import TrainingMolecule, fingerprint, training_molecules
from .network import NetworkSettings, PaiNN
from .oracles import LIMIT, OracleMaker, OraclePool, maker_of
from .validation import PURPOSES, Check, Validation, with_surrogates

__all__ = ["Schedule", "Training", "check_device", "train"]

# Held out from training where no molecules are named for validation.
VALIDATED, MOST_VALIDATED = 0.1, 16
# Training gives up when so many rounds of walks have brought no label.
IDLE = 10
# Without new labels a checkpoint is written after so many updates.
CHECKPOINT_UPDATES = 500
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Schedule:
    """How labels and updates follow each other.

    Attributes
    ----------
    first : float
        Share of the labels that are made before the first walk along the network.
    updates : float
        Steps of Adam per label. Published: 50 with 10 000 labels, 500 with 1000.
    last : float
        Share of the updates that come after the last label.
    checks : int
        Validations.
    patience : int
        Validations without a better one that end the training.
    """

    first: float = 0.2
    updates: float = 4.0
    last: float = 0.3
    checks: int = 15
    patience: int = 8


@dataclass(frozen=True)
class Training:
    """What a training made.

    Attributes
    ----------
    network : PaiNN
        The best by the validation, with averaged weights; without validation the last.
    trained_on : TrainedOn
        With the genuine calls for training, failures included.
    validation_calls : int
        Genuine calls for the validation.
    failures : int
        Genuine calls of either kind that failed.
    refused : int
        Episodes that ended without a question to the genuine oracle.
    checks : list of Check
    stopped_early : bool
    seconds : float
    """

    network: PaiNN
    trained_on: TrainedOn
    validation_calls: int
    failures: int
    refused: int
    checks: list[Check] = field(default_factory=list)
    stopped_early: bool = False
    seconds: float = 0.0


def train(
    molecules: Iterable,
    *,
    genuine: str | OracleMaker = "gfn2",
    surrogate: str | OracleMaker = "mmff",
    labels: int = 5000,
    validation: Iterable | None = None,
    difference: bool = True,
    trajectories: bool = False,
    network: NetworkSettings | None = None,
    learning: LearningSettings | None = None,
    walks: WalkSettings | None = None,
    schedule: Schedule | None = None,
    buffer: str | Path | None = None,
    checkpoint: int = 100,
    workers: int = 0,
    call_limit: float = LIMIT,
    device: str = "cpu",
    seed: int = 0,
    progress: bool = True,
) -> Training:
    """Train a network for a genuine oracle on many molecules.

    Parameters
    ----------
    molecules : iterable of rdkit.Chem.Mol or TrainingMolecule
        With all hydrogens and conformers, from which walks start.
    genuine, surrogate : str or callable
        One of `surrogates.oracles.POTENTIALS`, or a function of one of ``molecules`` that returns
        an oracle: (N, 3) positions in nm -> energy in kJ/mol, forces (N, 3) in kJ/mol/nm. The
        surrogate is cheap, and asked in this process.
    labels : int
        Genuine calls for training, failures included.
    validation : iterable, optional
        Molecules that are only relaxed; a tenth of ``molecules``, at most 16, by default. An empty
        list asks for none.
    difference : bool
        Learn the genuine energy minus the surrogate's, or the whole of it.
    trajectories : bool
        Label whole descents along the genuine forces in place of ends of walks: for comparisons.
    network, learning, walks, schedule : settings, optional
    buffer : path, optional
        The file of labels; a checkpoint is kept beside it. A training with the same arguments goes
        on from them.
    checkpoint : int
        Labels between two checkpoints. What came after the last one is learnt again.
    workers : int
        Processes that ask the genuine oracle; 0 asks in this one.
    call_limit : float
        Seconds for a genuine call, after which its process is ended and the call has failed.
        Without processes there is no limit.
    device : str
        torch's.
    seed : int
    progress : bool
        Show a bar.

    Raises
    ------
    ValueError
        No molecules, no labels, no such device, a buffer of another training, or none of the first
        labels can be learnt from.
    RuntimeError
        No walk ends where the genuine oracle could be asked, or its processes cannot begin.

    Notes
    -----
    Walks end where the surrogate's energy has risen by ``walks.rise`` per atom, not at its first
    rise as published: a network that learns well walks to genuine minima, and the surrogate's
    energy rises on the way there.

    References
    ----------
    Tsypin et al., "Gradual optimization learning for conformational energy minimization", ICLR
    2024.
    """
    given = list(molecules)
    checked = None if validation is None else list(validation)
    if not given:
        raise ValueError("there are no molecules to train on")
    labels, workers = whole_number(labels, "labels", 1), whole_number(workers, "workers", 0)
    seed = whole_number(seed, "seed", 0, LARGEST_SEED)
    check_device(device)
    if checked is None:
        given, checked = held_out(given, seed)
    every = training_molecules([*given, *checked])
    choices = Choices(
        labels,
        difference,
        trajectories,
        network or NetworkSettings(),
        learning or LearningSettings(),
        walks or WalkSettings(),
        schedule or Schedule(),
        seed,
        device,
    )
    make_surrogate = maker_of(surrogate)
    surrogates = [make_surrogate(molecule) for molecule in [*given, *checked]]
    description = choices.described() | {
        "molecules": fingerprint(every),
        "oracles": [oracle_name(genuine), oracle_name(surrogate)],
        "validation": len(checked),
    }
    path = None if buffer is None else Path(buffer)
    with (
        LabelFile(path, description) as file,
        OraclePool(maker_of(genuine), [*given, *checked], workers, call_limit) as pool,
    ):
        ledger = Ledger(file, pool)
        loop = Loop(every, len(given), surrogates, ledger, choices, path, checkpoint)
        return loop.run(oracle_name(genuine), oracle_name(surrogate), progress)


def check_device(device: str) -> None:
    """Raise ValueError where torch cannot compute on a device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch has no CUDA
        reason = str(error).splitlines()[0]
        raise ValueError(f"torch cannot compute on the device {device!r}: {reason}") from error


def held_out(molecules: Sequence, seed: int) -> tuple[list, list]:
    """Return molecules to train on, and a tenth of them for the validation."""
    count = min(MOST_VALIDATED, int(VALIDATED * len(molecules)))
    order = np.random.default_rng((seed, 4)).permutation(len(molecules)).tolist()
    chosen = set(order[:count])
    kept = [m for k, m in enumerate(molecules) if k not in chosen]
    return kept, [molecules[k] for k in sorted(chosen)]


def oracle_name(oracle: str | OracleMaker) -> str:
    """Return the name of a potential, or that of the function that makes it."""
    return oracle if isinstance(oracle, str) else getattr(oracle, "__qualname__", repr(oracle))


@dataclass(frozen=True)
class Choices:
    """All that a training follows from, besides molecules and oracles."""

    labels: int
    difference: bool
    trajectories: bool
    network: NetworkSettings
    learning: LearningSettings
    walks: WalkSettings
    schedule: Schedule
    seed: int
    device: str

    def described(self) -> dict:
        """Return the choices in JSON's types."""
        return asdict(self)

    @property
    def first_labels(self) -> int:
        """Labels before the first walk."""
        return max(1, round(self.schedule.first * self.labels))

    @property
    def updates(self) -> int:
        """Steps of Adam in all."""
        return max(1, round(self.schedule.updates * self.labels))

    def updates_by(self, labels: int) -> int:
        """Return the steps that should be done when there are so many labels."""
        return int((1 - self.schedule.last) * self.updates * labels / self.labels)


class Loop:
    """A training: its parts, and the order in which they act."""

    def __init__(
        self,
        molecules: Sequence[TrainingMolecule],
        trained: int,
        surrogates: Sequence[Oracle],
        ledger: Ledger,
        choices: Choices,
        path: Path | None,
        interval: int,
    ) -> None:
        own, cheap = molecules[:trained], surrogates[:trained]
        self._molecules, self._ledger, self._choices = own, ledger, choices
        self._checkpoint = None if path is None else path.with_name(path.name + ".state")
        self._learner = Learner(
            molecules,
            surrogates if choices.difference else None,
            choices.network,
            choices.learning,
            choices.updates,
            choices.seed,
            choices.device,
        )
        predict = self._learner.predict
        self._total = with_surrogates(surrogates, predict) if choices.difference else predict
        self._first = Walks(own, cheap, choices.walks, choices.seed)
        self._source: Source = (
            Trajectories(own, choices.walks, choices.seed)
            if choices.trajectories
            else Walks(own, cheap, choices.walks, choices.seed, predict, choices.difference)
        )
        held = molecules[trained:]
        self._validation = Validation(held, trained, ledger) if held else None
        self._interval = interval
        self._idle = 0
        self._labels, self._loss = 0, float("nan")
        self._checks: list[Check] = []
        self._best: dict | None = None
        self._saved = (0, 0)

    # --- Running ---

    def run(self, genuine: str, surrogate: str, progress: bool) -> Training:
        """Train to the end; the oracles' names go into the model."""
        begun = time.perf_counter()
        if not self._resume() and self._validation is not None:
            self._validation.find_minima()
        with tqdm(
            total=self._choices.updates,
            initial=self._learner.updates,
            disable=not progress,
            unit="update",
            desc="golf",
        ) as bar:
            self._collect(bar)
            self._finish(bar)
        self._save(always=True)
        names = genuine, surrogate if self._choices.difference else ""
        return self._made(names, time.perf_counter() - begun)

    def _collect(self, bar: tqdm) -> None:
        choices = self._choices
        while self._labels < choices.labels and not self._stale():
            first = self._labels < choices.first_labels
            limit = choices.first_labels if first else choices.labels
            self._round(first, limit - self._labels)
            bar.set_postfix(self._told(), refresh=False)
            if self._labels >= choices.first_labels:
                self._learn(choices.updates_by(self._labels), bar)
            self._check()
            self._save()

    def _round(self, first: bool, most: int) -> None:
        """Take a step of all molecules, and label what it asks for."""
        source: Source = self._first if first else self._source
        requests = source.advance()[:most]
        labels = list(self._ledger.ask("first" if first else "later", requests))
        for label in labels:
            self._learner.add(label, first)
        self._labels += len(labels)
        self._idle = 0 if labels else self._idle + 1
        if self._idle > IDLE * self._choices.walks.steps:
            raise RuntimeError(
                "no walk ends where the genuine oracle could be asked: does the surrogate fail on "
                "all molecules, or do their conformers lack bonds of theirs?"
            )
        if len(requests) < most or self._labels < self._choices.labels:
            source.tell(labels)

    def _learn(self, updates: int, bar: tqdm) -> None:
        if not self._learner.examples:
            failed = [label.message for label in self._ledger.taken if label.failed]
            why = f"the oracle failed, at last by {failed[-1]}" if failed else "they are absurd"
            raise ValueError(
                f"none of {self._labels} labels can be learnt from: {why}. Mend the genuine "
                "oracle, and begin a new file of labels"
            )
        while self._learner.updates < updates:
            self._loss = self._learner.update()
            bar.update()
            if self._learner.updates % 10 == 0:
                bar.set_postfix(self._told())

    def _finish(self, bar: tqdm) -> None:
        """Anneal after the last label."""
        while self._learner.updates < self._choices.updates and not self._stale():
            self._learn(min(self._learner.updates + 100, self._choices.updates), bar)
            self._check()
            self._save()

    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = {"labels": self._labels}
        if np.isfinite(self._loss):
            told["loss"] = f"{self._loss:.3g}"
        if self._validation is None:
            told["pct"] = "no validation molecules"
        elif self._checks:
            told["pct"] = f"{self._checks[-1].quality.pct:.1f}"
        return told

    # --- Validation ---

    def _check(self) -> None:
        """Validate when it is due."""
        if self._validation is None:
            return
        due = self._choices.schedule.checks * self._learner.updates // self._choices.updates
        last = self._checks[-1].updates if self._checks else 0
        if due <= self._choices.schedule.checks * last // self._choices.updates:
            return
        found = self._validation.check(self._total, self._labels, self._learner.updates)
        if not self._checks or found.score < min(c.score for c in self._checks):
            weights = self._learner.average.state_dict()
            self._best = {name: value.clone() for name, value in weights.items()}
        self._checks.append(found)

    def _stale(self) -> bool:
        """Tell whether the last validations were no better than those before."""
        scores = [check.score for check in self._checks]
        return bool(scores) and len(scores) - 1 - int(np.argmin(scores)) >= (
            self._choices.schedule.patience
        )

    # --- State ---

    def _save(self, always: bool = False) -> None:
        labels, updates = self._labels, self._learner.updates
        due = labels - self._saved[0] >= self._interval
        due |= updates - self._saved[1] >= CHECKPOINT_UPDATES
        if self._checkpoint is None or not (due or always):
            return
        self._saved = (labels, updates)
        write_checkpoint(self._checkpoint, self._state())

    def _state(self) -> dict:
        return {
            "position": self._ledger.position,
            "labels": self._labels,
            "learner": self._learner.state_dict(),
            "first": self._first.state_dict(),
            "source": self._source.state_dict(),
            "validation": self._validation.state_dict() if self._validation else None,
            "checks": [asdict(check) for check in self._checks],
            "best": self._best,
        }

    def _resume(self) -> bool:
        """Go on from the checkpoint; False where there is none."""
        state = None if self._checkpoint is None else read_checkpoint(self._checkpoint)
        # Without the labels that it has learnt a state is of another training.
        if state is None or state["position"] > self._ledger.recorded:
            return False
        self._ledger.position = state["position"]
        for label in self._ledger.taken:
            if label.purpose not in PURPOSES:
                self._learner.add(label, label.purpose == "first")
        self._labels = state["labels"]
        self._learner.load_state_dict(state["learner"])
        self._first.load_state_dict(state["first"])
        self._source.load_state_dict(state["source"])
        if self._validation is not None:
            self._validation.load_state_dict(state["validation"])
        self._checks = [_check_of(told) for told in state["checks"]]
        self._best = state["best"]
        self._saved = (self._labels, self._learner.updates)
        return True

    def _made(self, names: tuple[str, str], seconds: float) -> Training:
        network, offsets = self._learner.average, self._learner.offsets
        if self._best is not None:
            network.load_state_dict(self._best)
        seen = self._molecules
        known = [k for k in range(len(seen)) if np.isfinite(offsets[k])]
        numbers = [seen[k].numbers for k in known]
        labels = self._ledger.calls(("first", "later"))
        walked = (self._first, self._source)
        return Training(
            network.cpu(),
            TrainedOn(
                *names,
                elements=tuple(sorted({int(z) for m in seen for z in m.numbers})),
                charges=tuple(sorted({m.charge for m in seen})),
                references=reference_energies(numbers, offsets[known].tolist()),
                molecules=len(seen),
                labels=labels,
                force_error=min(self._checks, key=lambda check: check.score).force_error
                if self._checks
                else None,
            ),
            self._ledger.position - labels,
            self._ledger.failures(),
            sum(source.refused for source in walked if isinstance(source, Walks)),
            self._checks,
            self._learner.updates < self._choices.updates,
            seconds,
        )


def _check_of(told: dict) -> Check:
    return Check(**told | {"quality": Quality(**told["quality"])})
