"""Many tasks on the workers of a Dask cluster, whatever becomes of one of them.

Tasks are read as workers become free, so that a stream of any length fits in memory. A task whose
worker process dies is tried again; one that ends its worker again and again is a failed result, and
the others are done all the same.
"""

from __future__ import annotations

import pickle
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import cloudpickle
import distributed
from distributed import Client, Future, KilledWorker

__all__ = ["ordered_results", "unordered_results"]

Task = TypeVar("Task")
Result = TypeVar("Result")

DIED = "the worker process died (out of memory?)"
# Tasks held by the scheduler for each thread of the workers: one runs, the next is there.
TASKS_PER_THREAD = 2
# Results, for each thread, that wait for a task before theirs.
RESULTS_AHEAD = 8
# Tasks that end before a name is used again.
KEYS_APART = 1000
# Seconds after which the workers are counted again: they come and go.
COUNTED_EVERY = 2.0


def ordered_results(
    client: Client | None,
    function: Callable[[Task], Result],
    failed: Callable[[Task, str], Result],
    tasks: Iterable[Task],
    *,
    resources: Mapping[str, float] | None = None,
) -> Generator[Result, None, None]:
    """Yield a result for each task, in the order of the tasks.

    Parameters
    ----------
    client : distributed.Client or None
        None works in this process, one task after the other.
    function : callable
        Of a module, so that a worker process finds it. An exception is a failed result.
    failed : callable
        Makes the result of a task that has none, of the task and a message.
    tasks : iterable
        Read as they are needed.
    resources : mapping of str to float, optional
        What a task takes of its worker, for example ``{"GPU": 1}``.

    Yields
    ------
    object
        What `function` or `failed` returned.

    Raises
    ------
    ConnectionError
        The scheduler is gone.

    Examples
    --------
    >>> list(ordered_results(None, abs, lambda task, message: message, [-1, 2, "a"]))
    [1, 2, "TypeError: bad operand type for abs(): 'str'"]
    """
    if client is None:
        yield from _in_this_process(function, failed, tasks)
        return
    workers = _Workers(client)
    done: dict[int, Result] = {}
    emitted = 0

    def may_begin(index: int) -> bool:
        return index < emitted + workers.threads() * RESULTS_AHEAD

    run = _Run(client, function, failed, workers, resources)
    with closing(run.results(tasks, may_begin)) as finished:
        for index, result in finished:
            done[index] = result
            while emitted in done:
                yield done.pop(emitted)
                emitted += 1


def unordered_results(
    client: Client | None,
    function: Callable[[Task], Result],
    failed: Callable[[Task, str], Result],
    tasks: Iterable[Task],
    *,
    resources: Mapping[str, float] | None = None,
) -> Generator[Result, None, None]:
    """Yield a result for each task as it ends; else as `ordered_results`.

    Parameters
    ----------
    client : distributed.Client or None
    function, failed : callable
    tasks : iterable
    resources : mapping of str to float, optional

    Yields
    ------
    object

    Raises
    ------
    ConnectionError
        The scheduler is gone.
    """
    if client is None:
        yield from _in_this_process(function, failed, tasks)
        return
    run = _Run(client, function, failed, _Workers(client), resources)
    with closing(run.results(tasks, lambda index: True)) as finished:
        for _, result in finished:
            yield result


def _in_this_process(
    function: Callable[[Task], Result],
    failed: Callable[[Task, str], Result],
    tasks: Iterable[Task],
) -> Generator[Result, None, None]:
    for task in tasks:
        try:
            result = function(task)
        except Exception as error:
            result = failed(task, _said(error))
        yield result


class _Workers:
    """How many threads the workers have, counted now and then."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._threads, self._counted = 1, -COUNTED_EVERY

    def threads(self) -> int:
        """Return the number of threads, one at least."""
        now = time.monotonic()
        if now - self._counted >= COUNTED_EVERY:
            self._counted = now
            self._threads = max(1, sum(self._client.nthreads().values()))
        return self._threads


class _Keys:
    """Names of tasks. They are used again: Dask remembers a hundred thousand of them."""

    def __init__(self, group: str) -> None:
        self._group, self._made = group, 0
        self._free: deque[tuple[str, int]] = deque()

    def take(self) -> tuple[str, int]:
        """Return a name that has not been used for long."""
        if len(self._free) > KEYS_APART:
            return self._free.popleft()
        self._made += 1
        return self._group, self._made

    def give_back(self, key: Any) -> None:
        """Take back the name of a task that has ended."""
        self._free.append(key)


class _Run(Generic[Task, Result]):
    """The tasks of one stream, those that the scheduler holds and those that ended a worker."""

    def __init__(
        self,
        client: Client,
        function: Callable[[Task], Result],
        failed: Callable[[Task, str], Result],
        workers: _Workers,
        resources: Mapping[str, float] | None,
    ) -> None:
        self._client, self._function, self._failed = client, function, failed
        self._workers, self._resources = workers, resources
        self._keys = _Keys(f"{getattr(function, '__name__', 'task')}-{uuid.uuid4().hex}")
        self._held: dict[Future, tuple[int, Task, bool]] = {}
        self._completed = distributed.as_completed(
            loop=client.loop, with_results=True, raise_errors=False
        )

    def results(
        self, tasks: Iterable[Task], may_begin: Callable[[int], bool]
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield the number of a task and its result, as they end."""
        waiting: Iterator[tuple[int, Task]] = iter(enumerate(tasks))
        suspects: deque[tuple[int, Task]] = deque()
        ahead = next(waiting, None)
        try:
            while ahead or self._held or suspects:
                while ahead and self._has_room(len(suspects)) and may_begin(ahead[0]):
                    self._submit(*ahead, alone=False)
                    ahead = next(waiting, None)
                if not self._held:  # nothing that a suspect could take along
                    self._submit(*suspects.popleft(), alone=True)
                for future, outcome in self._completed.next_batch():
                    index, task, alone = self._held.pop(future)
                    future.release()  # or its result is computed again if its worker dies
                    self._keys.give_back(future.key)
                    if _killed(outcome) and not alone:
                        suspects.append((index, task))
                    else:
                        yield index, self._result(outcome, task)
        finally:
            self._cancel()

    def _has_room(self, suspects: int) -> bool:
        """Say whether another task may begin. Suspects wait until no task is held."""
        room = self._workers.threads() * TASKS_PER_THREAD
        alone = any(alone for _, _, alone in self._held.values())
        return not alone and suspects < room and len(self._held) < room

    def _submit(self, index: int, task: Task, *, alone: bool) -> None:
        future = self._client.submit(
            _call,
            cloudpickle.dumps((self._function, task)),
            key=self._keys.take(),
            pure=False,
            resources=dict(self._resources) if self._resources else None,
        )
        self._held[future] = index, task, alone
        self._completed.add(future)

    def _result(self, outcome: Any, task: Task) -> Result:
        """Return what a task came to; ConnectionError where nobody knows."""
        if isinstance(outcome, _Ended):
            return outcome.result if outcome.error is None else self._failed(task, outcome.error)
        if _killed(outcome):
            tries = 2 * (outcome[1].allowed_failures + 1)  # among others, then alone
            return self._failed(task, f"{DIED}, {tries} times")
        if isinstance(outcome, tuple):  # Dask could not run it, or not send its result
            return self._failed(task, _said(outcome[1]))
        raise ConnectionError("the Dask scheduler is gone, or it dropped the tasks")

    def _cancel(self) -> None:
        """Let the scheduler drop what is not done; it may be gone."""
        if self._held:
            with suppress(Exception):
                self._client.cancel(list(self._held))
            self._held.clear()


@dataclass(frozen=True)
class _Ended:
    """What a worker sends back."""

    result: Any = None
    error: str | None = None


def _call(payload: bytes) -> _Ended:
    """Run a task where it has been sent to.

    The scheduler would read a task that is no bytes: it need not import what tasks are made of, and
    survives one that cannot be read.
    """
    try:
        function, task = pickle.loads(payload)
        return _Ended(function(task))
    except Exception as error:
        return _Ended(error=_said(error))


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _killed(outcome: Any) -> bool:
    """Say whether workers died of a task: Dask answers with an error's kind, the error, a trace."""
    return isinstance(outcome, tuple) and isinstance(outcome[1], KilledWorker)
