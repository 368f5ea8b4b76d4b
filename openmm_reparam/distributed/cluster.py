"""Worker processes: on this machine, of a queueing system, or of a scheduler that runs already."""

from __future__ import annotations

import importlib
import logging
import multiprocessing.resource_tracker
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask
import distributed
import psutil
from distributed.scheduler import DEFAULT_EXTENSIONS
from distributed.spans import SpanMetadata, SpansSchedulerExtension
from tornado.ioloop import PeriodicCallback

__all__ = ["ClusterSettings", "cluster_settings", "default_workers", "open_cluster", "workers_for"]

LOOPBACK = "127.0.0.1"
# Of the libraries that numpy and torch compute with, and of OpenMM's CPU platform by default.
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    "OPENMM_CPU_THREADS",
)
LOG_VARIABLE = "DASK_LOGGING__DISTRIBUTED"
CONNECT_TIMEOUT = "10s"
DESCRIPTION_ENDINGS = (".yaml", ".yml")
CONFIGURATION_KEYS = {"class", "workers", "arguments"}
# A worker that is away for longer is given up, and another started in its place.
LOST_WORKER_TIMEOUT = "5 minutes"
REFILLED_EVERY_MS = 10_000
# Of workers on this machine. A worker gets its next task when it has ended one, so that a task is
# never blamed for another's worker. Results are small: nothing is spilled, and no worker pauses.
LOCAL_CONFIGURATION = {
    "distributed.deploy.lost-worker-timeout": LOST_WORKER_TIMEOUT,
    "distributed.admin.low-level-log-length": 100,
    "distributed.admin.system-monitor.log-length": 600,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.profile.enabled": False,
}


@dataclass(frozen=True)
class ClusterSettings:
    """Which workers to compute with: by default processes on this machine.

    Attributes
    ----------
    workers : int or None
        Processes; None is half of the cores of this machine, or what `configuration` says.
    address : str or None
        Of a Dask scheduler that runs already (``"tcp://10.0.0.1:8786"``), or the path of its
        scheduler file (``"scheduler.json"``). It has its own workers.
    configuration : Path or None
        A YAML file with the cluster to start: ``class``, ``workers`` and ``arguments``.
    threads : int or None
        Of the numerical libraries in each process on this machine. None is 1, or as the libraries
        choose where there is a single worker.

    Raises
    ------
    ValueError
        Both an address and a configuration, or workers for a scheduler that has its own.

    Examples
    --------
    >>> ClusterSettings(workers=4).workers
    4
    """

    workers: int | None = None
    address: str | None = None
    configuration: Path | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.address is not None and self.configuration is not None:
            raise ValueError("name the address of a scheduler or a configuration, not both")
        if self.address is not None and self.workers is not None:
            raise ValueError(f"the scheduler {self.address} has its own workers: name no number")

    @property
    def local(self) -> bool:
        """Whether the workers are processes that are started on this machine."""
        return self.address is None and self.configuration is None

    def processes(self, tasks: int | None = None) -> int | None:
        """Return how many processes to start here for so many tasks; None if others have them."""
        if not self.local:
            return None
        wanted = self.workers or default_workers()
        return wanted if tasks is None else max(1, min(wanted, tasks))


def cluster_settings(cluster: str | Path | None, workers: int | None) -> ClusterSettings:
    """Return which workers are meant by what a user named.

    Parameters
    ----------
    cluster : str, Path or None
        Address of a scheduler, its scheduler file (.json) or the description of a cluster (.yaml);
        None is this machine.
    workers : int or None

    Returns
    -------
    ClusterSettings

    Examples
    --------
    >>> cluster_settings("tcp://10.0.0.1:8786", None).local
    False
    >>> cluster_settings("slurm.yaml", 20).configuration.name
    'slurm.yaml'
    """
    if cluster is None:
        return ClusterSettings(workers)
    if str(cluster).lower().endswith(DESCRIPTION_ENDINGS):
        return ClusterSettings(workers, configuration=Path(cluster))
    return ClusterSettings(workers, address=str(cluster))


@contextmanager
def workers_for(
    tasks: int | None, settings: ClusterSettings
) -> Iterator[distributed.Client | None]:
    """Connect to workers, no more than there are tasks; a single task on this machine needs none.

    Parameters
    ----------
    tasks : int or None
        None if nobody knows.
    settings : ClusterSettings

    Yields
    ------
    distributed.Client or None
        None is this process.
    """
    if settings.local and tasks is not None and tasks < 2:
        yield None
        return
    processes = settings.processes(tasks)
    with open_cluster(replace(settings, workers=processes or settings.workers)) as client:
        yield client


def default_workers() -> int:
    """Return half of the cores that this process may use, at least one."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return max(1, cores // 2)


@contextmanager
def open_cluster(settings: ClusterSettings) -> Iterator[distributed.Client]:
    """Connect to workers for the length of a ``with`` block.

    Workers on this machine are fresh processes of one thread each, and listen on the loopback
    interface only. Whatever ends the block ends them. A scheduler that was named by its address
    goes on.

    Parameters
    ----------
    settings : ClusterSettings

    Yields
    ------
    distributed.Client

    Raises
    ------
    ConnectionError
        No scheduler answers at the address.
    ValueError
        The configuration file makes no cluster.

    Examples
    --------
    >>> with open_cluster(ClusterSettings(workers=1)) as client:  # doctest: +SKIP
    ...     client.submit(sum, [1, 2]).result()
    3
    """
    if settings.address is not None:
        opened = _running_cluster(settings.address)
    elif settings.configuration is not None:
        opened = _configured_cluster(settings.configuration, settings.workers)
    else:
        opened = _local_cluster(settings.workers or default_workers(), settings.threads)
    with opened as client:
        yield client


@contextmanager
def _running_cluster(address: str) -> Iterator[distributed.Client]:
    """Connect to a scheduler that goes on when the block has ended."""
    where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    if "scheduler_file" in where and not Path(address).is_file():
        raise FileNotFoundError(f"there is no scheduler file {address}")
    with _quiet():
        try:
            client = distributed.Client(**where, timeout=CONNECT_TIMEOUT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"no Dask scheduler answers at {address} ({error}): start one by `dask scheduler`"
            ) from error
        with client:
            yield client


@contextmanager
def _configured_cluster(path: Path, workers: int | None) -> Iterator[distributed.Client]:
    """Start the cluster that a file describes."""
    described = read_configuration(path)
    make = _cluster_class(described["class"], path)
    with (
        _quiet(),
        dask.config.set({"distributed.deploy.lost-worker-timeout": LOST_WORKER_TIMEOUT}),
        make(**described.get("arguments", {})) as cluster,
        _kept_at(cluster, workers or described.get("workers", 1)),
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _kept_at(cluster: Any, workers: int) -> Iterator[None]:
    """Ask for workers, and again for those that are lost: at the end of a job, say."""
    refill = PeriodicCallback(lambda: cluster.scale(workers), REFILLED_EVERY_MS)
    cluster.scale(workers)
    cluster.loop.add_callback(refill.start)
    try:
        yield
    finally:
        cluster.loop.add_callback(refill.stop)


def read_configuration(path: Path) -> Mapping[str, Any]:
    """Read the description of a cluster to start.

    Parameters
    ----------
    path : Path
        YAML with ``class`` (``dask_jobqueue.SLURMCluster``), ``workers`` (how many) and
        ``arguments`` of the class.

    Returns
    -------
    mapping

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is no such description.
    """
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        described = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error
    if not isinstance(described, dict) or not isinstance(described.get("class"), str):
        raise ValueError(f"{path} names no class: write 'class: dask_jobqueue.SLURMCluster', say")
    unknown = set(described) - CONFIGURATION_KEYS
    if unknown:
        raise ValueError(
            f"{path}: unknown {', '.join(sorted(map(str, unknown)))}; there are "
            f"{', '.join(sorted(CONFIGURATION_KEYS))}"
        )
    return described


def _cluster_class(name: str, path: Path) -> Callable[..., Any]:
    """Return the class of a dotted name."""
    module, _, attribute = name.rpartition(".")
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path}: there is no class {name} ({error}); queues need dask-jobqueue: pip install "
            "'openmm-reparam[cluster]'"
        ) from error
    finally:  # dask-jobqueue sets its own when it is imported
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt)


@contextmanager
def _local_cluster(workers: int, threads: int | None) -> Iterator[distributed.Client]:
    """Start processes on this machine."""
    limited = threads or (1 if workers > 1 else None)
    with (
        _quiet(),
        _environment_of_children(limited),
        tempfile.TemporaryDirectory(prefix="openmm-reparam-") as scratch,
        _local_processes(workers, scratch) as cluster,
        _kept_at(cluster, workers),
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


class _Spans(SpansSchedulerExtension):
    """Spans without metadata: Dask keeps that of every task for as long as the scheduler runs."""

    def observe_tasks(self, tss: Any, code: Any, span_metadata: Any) -> Any:
        return super().observe_tasks(tss, code=code, span_metadata=SpanMetadata(collections=[]))


class _LocalCluster(distributed.LocalCluster):
    """A cluster that bears a worker which is lost before it has heard of it.

    Dask 2026.8 raises KeyError then, when the cluster is closed, and does not close it.
    """

    def _update_worker_status(self, op: str, msg: Any) -> None:
        if op == "add" or msg in self.scheduler_info["workers"]:
            super()._update_worker_status(op, msg)


@contextmanager
def _local_processes(workers: int, scratch: str) -> Iterator[distributed.LocalCluster]:
    """Start a scheduler in this process and workers in others; an error ends them at once."""
    with dask.config.set(LOCAL_CONFIGURATION), _interrupts_of_parent():
        cluster = _LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            local_directory=scratch,
            memory_limit=1.0 / workers,
            silence_logs=logging.CRITICAL,
            scheduler_kwargs={"extensions": DEFAULT_EXTENSIONS | {"spans": _Spans}},
        )
    try:
        yield cluster
    except BaseException:
        _kill_workers(cluster)
        raise
    finally:
        cluster.close()


def _kill_workers(cluster: distributed.LocalCluster) -> None:
    """End the worker processes, and what they have started, without asking them."""
    for nanny in cluster.workers.values():
        pid = nanny.pid
        nanny.close_gracefully()  # or it starts another one
        if pid is None:
            continue
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for one in [*process.children(recursive=True), process]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()


@contextmanager
def _interrupts_of_parent() -> Iterator[None]:
    """Leave Ctrl-C to this process: what starts in the block, and its children, never see it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # it would unblock the signal when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment_of_children(threads: int | None) -> Iterator[None]:
    """Set the threads of libraries in processes that start in the block, and silence their logs.

    Libraries read these variables when they are loaded: they must be there before.
    """
    names = (*THREAD_VARIABLES, LOG_VARIABLE, "PYTHONHASHSEED")
    before = {name: os.environ.get(name) for name in names}
    os.environ.setdefault(LOG_VARIABLE, "critical")
    if threads is not None:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:  # Dask leaves some behind, too
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's logs off the terminal: what becomes of a task is told by its result."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
