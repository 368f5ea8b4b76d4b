"""Many tasks in worker processes, whatever becomes of one of them.

A task whose worker process dies is a result of its own, and the others are done all the same.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from typing import TypeVar

import torch

__all__ = ["default_workers", "ordered_results", "unordered_results"]

Task = TypeVar("Task")
Result = TypeVar("Result")

# Of the libraries that numpy and torch compute with, and of OpenMM's CPU platform by default.
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    "OPENMM_CPU_THREADS",
)
DIED = "the worker process died (out of memory?)"
# Results that wait, per worker, for a task before theirs.
RESULTS_AHEAD = 8


def default_workers() -> int:
    """Return half of the cores that this process may use, at least one."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return max(1, cores // 2)


def ordered_results(
    function: Callable[[Task], Result],
    failed: Callable[[Task, str], Result],
    tasks: Iterable[Task],
    workers: int,
) -> Generator[Result, None, None]:
    """Yield a result for each task, in the order of the tasks.

    Tasks are taken as they are needed, and few results are held back for one that takes long, so
    that a stream of any length fits in memory.

    Parameters
    ----------
    function : callable
        Of a module, so that a worker process finds it. It catches its own errors.
    failed : callable
        Makes the result of a task whose process died, of the task and a message.
    tasks : iterable
    workers : int
        Processes; each computes on one thread if there are several.

    Yields
    ------
    object
        What `function` or `failed` returned.

    Examples
    --------
    >>> list(ordered_results(abs, lambda task, message: 0, iter([-1, 2, -3]), workers=1))
    [1, 2, 3]
    """
    done: dict[int, Result] = {}
    emitted = 0

    def may_begin(index: int) -> bool:
        return index < emitted + workers * RESULTS_AHEAD

    with closing(_results(function, failed, tasks, workers, may_begin)) as finished:
        for index, result in finished:
            done[index] = result
            while emitted in done:
                yield done.pop(emitted)
                emitted += 1


def unordered_results(
    function: Callable[[Task], Result],
    failed: Callable[[Task, str], Result],
    tasks: Iterable[Task],
    workers: int,
) -> Generator[Result, None, None]:
    """Yield a result for each task as it ends; else as `ordered_results`.

    Parameters
    ----------
    function, failed : callable
    tasks : iterable
    workers : int

    Yields
    ------
    object
    """
    with closing(_results(function, failed, tasks, workers, lambda index: True)) as finished:
        for _, result in finished:
            yield result


def _results(function, failed, tasks, workers, may_begin):
    """Yield the number of a task and its result, as they end."""
    waiting = _Waiting(tasks)
    several = workers > 1
    while waiting.more():
        suspects = yield from _pool_results(function, waiting, workers, several, may_begin)
        for index, task in suspects:  # one of them ended its process, and took the pool along
            alone = _Waiting([task], index)
            if (yield from _pool_results(function, alone, 1, several, lambda index: True)):
                yield index, failed(task, DIED)


class _Waiting:
    """Numbered tasks that no worker has yet, read from their source one at a time."""

    def __init__(self, tasks: Iterable, first: int = 0) -> None:
        self._source: Iterator = iter(tasks)
        self._read: deque = deque()
        self.index = first

    def more(self) -> bool:
        """Say whether there is a task left, reading one if need be."""
        if not self._read:
            with suppress(StopIteration):
                self._read.append(next(self._source))
        return bool(self._read)

    def first(self):
        """Return the next task, which stays."""
        return self._read[0]

    def pop(self) -> tuple[int, object]:
        """Take the next task."""
        self.index += 1
        return self.index - 1, self._read.popleft()


def _pool_results(function, waiting, workers, single_threaded, may_begin):
    """Yield results of a pool while it lasts; return the tasks it held when it broke.

    No more tasks than workers are handed out, so that few are held at any time.
    """
    held = {}
    with _pool(workers, single_threaded) as pool, suppress(BrokenProcessPool):
        while held or waiting.more():
            while len(held) < workers and may_begin(waiting.index) and waiting.more():
                future = _submit(pool, function, waiting.first())
                held[future] = waiting.pop()
            for future in wait(held, return_when=FIRST_COMPLETED).done:
                result = future.result()
                index, _ = held.pop(future)
                yield index, result
    return list(held.values())


def _submit(pool: ProcessPoolExecutor, function: Callable, task) -> Future:
    """Hand a task out; a process that starts for it never sees Ctrl-C, only this one does."""
    if not hasattr(signal, "pthread_sigmask"):
        return pool.submit(function, task)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return pool.submit(function, task)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _pool(workers: int, single_threaded: bool) -> Iterator[ProcessPoolExecutor]:
    """Run a pool of fresh processes; whatever ends the block ends them."""
    others = set(multiprocessing.active_children())
    environment = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _begin_worker, (single_threaded,)
    )
    try:
        if single_threaded:  # libraries read these when they are loaded, before _begin_worker
            os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        pool.shutdown()


def _begin_worker(single_threaded: bool) -> None:
    """Prepare a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    if single_threaded:
        torch.set_num_threads(1)
