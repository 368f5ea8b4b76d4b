"""Genuine calls, counted and written down; what is written down already is not asked again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .buffer import Label, LabelFile
from .collect import Request
from .oracles import Answer, OraclePool

__all__ = ["Ledger"]


class Ledger:
    """Labels in the order in which they are asked for, from a file as long as it has them.

    Training is a function of its seed and of its labels: after a kill the same questions come
    again, and are answered from the file up to the last one that was answered then.

    Parameters
    ----------
    file : LabelFile
    pool : OraclePool
        Of the genuine oracle.

    Attributes
    ----------
    position : int
        Labels taken so far; a training that goes on from a checkpoint sets it.
    """

    def __init__(self, file: LabelFile, pool: OraclePool) -> None:
        self._file, self._pool = file, pool
        self.position = 0

    @property
    def recorded(self) -> int:
        """Labels of the file."""
        return len(self._file.labels)

    @property
    def taken(self) -> list[Label]:
        """The labels up to now."""
        return self._file.labels[: self.position]

    def calls(self, purposes: Sequence[str]) -> int:
        """Return the genuine calls for some purposes up to now, failures included."""
        return sum(label.purpose in purposes for label in self.taken)

    def failures(self) -> int:
        """Return the genuine calls that failed."""
        return sum(label.failed for label in self.taken)

    def ask(self, purpose: str, requests: Sequence[Request]) -> Iterator[Label]:
        """Yield the labels of requests in their order.

        Raises
        ------
        ValueError
            The file's next label is of something else.
        """
        recorded = self._file.labels[self.position : self.position + len(requests)]
        for label, request in zip(recorded, requests, strict=False):
            _compare(label, purpose, request)
            self.position += 1
            yield label
        new = requests[len(recorded) :]
        answers = self._pool.ask([(r.molecule, r.positions) for r in new])
        for request, answer in zip(new, answers, strict=True):
            label = _label(purpose, request, answer)
            self._file.append(label)
            self.position += 1
            yield label


def _label(purpose: str, request: Request, answer: Answer) -> Label:
    if answer.forces is None:
        return Label(purpose, request.molecule, request.positions, message=answer.message)
    return Label(purpose, request.molecule, request.positions, answer.energy, answer.forces)


def _compare(label: Label, purpose: str, request: Request) -> None:
    same = (label.purpose, label.molecule) == (purpose, request.molecule)
    if not same or not np.array_equal(label.positions, request.positions):
        raise ValueError(
            "the training goes another way than that of its file of labels. It goes the same way "
            "with the same versions on the same machine and one thread (OMP_NUM_THREADS=1); "
            "otherwise begin a new file"
        )
