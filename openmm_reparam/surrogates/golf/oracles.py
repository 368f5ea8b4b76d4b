"""What the network learns from: oracles of many molecules, asked in worker processes.

An oracle is a function of (N, 3) positions in nm that returns the energy in kJ/mol and the (N, 3)
forces in kJ/mol/nm. Here it is made for each molecule by a maker: a function of an RDKit molecule.
"""

from __future__ import annotations

import atexit
import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import openmm as mm
import torch
from openmm import unit

from ...constants import ANGSTROM
from ..oracles import POTENTIALS, molecule_oracle
from ..programs import Oracle

__all__ = [
    "LIMIT",
    "Answer",
    "NamedMaker",
    "OracleMaker",
    "OraclePool",
    "context_oracle",
    "maker_of",
]

OracleMaker = Callable[..., Oracle]

DIED = "the worker process died (out of memory?)"
# Seconds for a call, its oracle made if need be.
LIMIT = 600.0
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENMM_CPU_THREADS")


@dataclass(frozen=True)
class NamedMaker:
    """Makes oracles of one name; worker processes can be sent it.

    Parameters
    ----------
    name : str
        One of `surrogates.oracles.POTENTIALS`.

    Raises
    ------
    ValueError
        There is no such potential.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in POTENTIALS:
            raise ValueError(
                f"there is no potential {self.name!r}; there are {', '.join(POTENTIALS)}"
            )

    def __call__(self, molecule) -> Oracle:
        """Return the oracle of an RDKit molecule with a conformer."""
        return molecule_oracle(
            self.name, molecule, molecule.GetConformer().GetPositions() * ANGSTROM
        )


def maker_of(given: str | OracleMaker) -> OracleMaker:
    """Return a name of a potential as a maker of oracles; a maker passes.

    Raises
    ------
    TypeError, ValueError
        It is neither, or no potential has the name.
    """
    if isinstance(given, str):
        return NamedMaker(given)
    if not callable(given):
        raise TypeError(
            f"an oracle is a {type(given).__name__}; pass one of {', '.join(POTENTIALS)}, or a "
            "function of an RDKit molecule that returns a function of positions"
        )
    return given


def context_oracle(context: mm.Context) -> Oracle:
    """Return an OpenMM Context as a function of positions.

    Parameters
    ----------
    context : openmm.Context
        A maker makes it, so that each worker process has its own.

    Examples
    --------
    >>> system = mm.System()
    >>> _ = system.addParticle(1.0)
    >>> force = mm.CustomExternalForce("x^2")
    >>> _ = force.addParticle(0), system.addForce(force)
    >>> context = mm.Context(system, mm.VerletIntegrator(0.001))
    >>> energy, forces = context_oracle(context)(np.array([[2.0, 0.0, 0.0]]))
    >>> energy, forces[0, 0].item()
    (4.0, -4.0)
    """

    def evaluate(positions: np.ndarray) -> tuple[float, np.ndarray]:
        context.setPositions(positions)
        state = context.getState(energy=True, forces=True)
        forces = state.getForces(asNumpy=True)
        per_length = unit.kilojoule_per_mole / unit.nanometer
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        return energy, forces.value_in_unit(per_length)

    return evaluate


@dataclass(frozen=True)
class Answer:
    """Energy and forces, or why there are none.

    Attributes
    ----------
    energy : float
        In kJ/mol, NaN where there is none.
    forces : (N, 3) array or None
        In kJ/mol/nm.
    message : str
        Why it failed, empty where it did not.
    """

    energy: float
    forces: np.ndarray | None
    message: str = ""

    @classmethod
    def failure(cls, message: str) -> Answer:
        """Return an answer without energy."""
        return cls(float("nan"), None, message or "no reason given")


class OraclePool:
    """Oracles of many molecules, in worker processes of one thread each.

    Parameters
    ----------
    make : OracleMaker
        With worker processes, of a module that they can import.
    molecules : sequence of rdkit.Chem.Mol
        With a conformer each.
    workers : int
        Processes; 0 asks in this one.
    limit : float
        Seconds for a call; a process that takes longer is ended. Without processes there is none.

    Attributes
    ----------
    calls, failures : int
        Questions so far, and those without an answer.

    Raises
    ------
    ValueError
        The limit is not above zero.

    Notes
    -----
    An evaluation that raises is a failed answer. So is one that ends its process, or that takes too
    long; what the others were at then is asked again.

    Examples
    --------
    >>> pool = OraclePool(lambda molecule: lambda x: (0.5 * (x**2).sum(), -x), [None])
    >>> [answer.energy for answer in pool.ask([(0, np.ones((1, 3)))])]
    [1.5]
    """

    def __init__(
        self, make: OracleMaker, molecules: Sequence, workers: int = 0, limit: float = LIMIT
    ) -> None:
        if not 0 < limit < threading.TIMEOUT_MAX:
            raise ValueError(f"limit is {limit}: pass seconds, above zero")
        self.calls = self.failures = 0
        self._limit = limit
        self._others: set = set()
        self._make, self._molecules, self._workers = make, molecules, workers
        self._pool: ProcessPoolExecutor | None = None
        self._own = _Oracles(make, molecules)

    def ask(self, questions: Sequence[tuple[int, np.ndarray]]) -> Iterator[Answer]:
        """Yield the answers to questions in their order.

        Parameters
        ----------
        questions : sequence of (int, (N, 3) array)
            Places of molecules, and positions in nm.
        """
        answers = self._asked(questions) if self._workers else map(self._own.answer, questions)
        for answer in answers:
            self.calls += 1
            self.failures += bool(answer.message)
            yield answer

    def close(self, *, wait: bool = True) -> None:
        """End the worker processes.

        Parameters
        ----------
        wait : bool
            For what they evaluate now; otherwise they are ended in the middle of it.
        """
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=True)
            self._pool = None
        if not wait:
            for process in set(multiprocessing.active_children()) - self._others:
                process.terminate()

    def __enter__(self) -> OraclePool:
        return self

    def __exit__(self, error, *details) -> None:
        self.close(wait=error is None)

    def _asked(self, questions) -> Iterator[Answer]:
        futures = [self._submitted(question) for question in questions]
        for place, question in enumerate(questions):
            try:
                yield futures[place].result()
            except BrokenProcessPool:
                self.close()
                yield self._alone(question)
                left = [k for k in range(place + 1, len(questions)) if not _answered(futures[k])]
                # What else was in a process then; each could end the pool again.
                for later in left[: self._workers - 1]:
                    futures[later] = Future()
                    futures[later].set_result(self._alone(questions[later]))
                for later in left[self._workers - 1 :]:
                    futures[later] = self._submitted(questions[later])

    def _alone(self, question) -> Answer:
        """Ask with no other question in the pool, so that it is known which one ends a process."""
        self._require_workers()
        begun = time.monotonic()
        try:
            return self._submitted(question).result()
        except BrokenProcessPool:
            self.close()
        late = time.monotonic() - begun >= self._limit
        return Answer.failure(f"it took longer than {self._limit:g} s" if late else DIED)

    def _require_workers(self) -> None:
        try:
            self._executor().submit(_nothing).result()
        except BrokenProcessPool as error:
            self.close()
            raise RuntimeError(
                "worker processes of the genuine oracle end before they begin: can they import it? "
                'Does the script guard what it runs by if __name__ == "__main__"?'
            ) from error

    def _submitted(self, question) -> Future:
        with one_thread():
            return self._executor().submit(_answer, question)

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            given = (self._make, self._molecules, self._limit)
            self._others = set(multiprocessing.active_children())
            self._pool = ProcessPoolExecutor(self._workers, context, _begin, given)
        return self._pool


class _Oracles:
    """Oracles that are made when they are first asked."""

    def __init__(self, make: OracleMaker, molecules: Sequence) -> None:
        self._make, self._molecules = make, molecules
        self._made: dict[int, Oracle] = {}

    def answer(self, question: tuple[int, np.ndarray]) -> Answer:
        place, positions = question
        try:
            if place not in self._made:
                self._made[place] = self._make(self._molecules[place])
            energy, forces = self._made[place](np.array(positions))
            energy, forces = float(energy), np.asarray(forces, dtype=float)
        except (Exception, SystemExit) as error:  # a failed SCF, positions too close
            return Answer.failure(f"{type(error).__name__}: {error}")
        if forces.shape != positions.shape:
            return Answer.failure(f"forces have shape {forces.shape}, positions {positions.shape}")
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            return Answer.failure("no finite energy or forces")
        return Answer(energy, forces)


def _answered(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


@contextmanager
def one_thread() -> Iterator[None]:
    """Let processes that start within it load their libraries with one thread."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


# Of a worker process.
_oracles: _Oracles | None = None
_limit = LIMIT
# The watchdog writes a traceback.
_nowhere = open(os.devnull, "w")  # noqa: SIM115


def _begin(make: OracleMaker, molecules: Sequence, limit: float) -> None:
    global _oracles, _limit
    _limit = limit
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _oracles = _Oracles(make, molecules)
    # Libraries of oracles are gone when the interpreter frees what is left.
    atexit.register(_forget)


def _end_with_parent() -> None:
    """End this process when its parent ends, however that may be."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _forget() -> None:
    global _oracles
    _oracles = None


def _nothing() -> None:
    pass


def _answer(question: tuple[int, np.ndarray]) -> Answer:
    assert _oracles is not None
    # It ends the process even where a library holds the interpreter's lock.
    faulthandler.dump_traceback_later(_limit, exit=True, file=_nowhere)
    try:
        return _oracles.answer(question)
    finally:
        faulthandler.cancel_dump_traceback_later()
