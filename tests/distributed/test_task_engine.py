"""Streams of tasks on real worker processes of this machine, some of which die."""

import os
import signal
import sys
import time
from importlib.util import find_spec

import cloudpickle
import dask
import psutil
import pytest

from openmm_reparam.distributed.cluster import ClusterSettings, cluster_settings, open_cluster
from openmm_reparam.distributed.engine import ordered_results, unordered_results

# Workers cannot import this file: its functions travel with the tasks.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Two workers, started in an empty folder; a task may end two workers, and then two alone."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("empty"))
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        open_cluster(ClusterSettings(workers=2)) as client,
    ):
        yield client
    assert os.listdir() == []
    os.chdir(before)
    assert not [p for p in psutil.Process().children(recursive=True) if _is_worker(p)]


def _is_worker(process):
    """Say whether a process goes on: a zombie has ended."""
    alive = process.status() != psutil.STATUS_ZOMBIE
    return alive and "spawn_main" in " ".join(process.cmdline())


def double(task):
    time.sleep(0.02)
    return 2 * task if isinstance(task, int) else task.no_such_attribute


def failed(task, message):
    return f"{task}: {message}"


def end_this_process():
    time.sleep(0.5)  # as long as the worker's parent takes to hear that it has begun
    os.kill(os.getpid(), signal.SIGSEGV)


class Fatal:
    """Ends the process that reads it."""

    def __reduce__(self):
        return end_this_process, ()

    def __str__(self):
        return "fatal"


def test_no_port_is_open_beyond_the_loopback_interface(client):
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 4  # scheduler, dashboard, workers
    assert set(listening) == {"127.0.0.1"}
    assert client.dashboard_link.startswith("http://127.0.0.1:")


def test_libraries_of_workers_compute_on_one_thread(client):
    found = client.run(lambda: (os.environ["OMP_NUM_THREADS"], os.environ["OPENMM_CPU_THREADS"]))
    assert list(found.values()) == [("1", "1")] * 2


def test_results_are_in_order_and_tasks_read_as_they_are_needed(client):
    taken = []

    def tasks():
        for number in range(10_000):
            taken.append(number)
            yield number

    results = ordered_results(client, double, failed, tasks())
    assert [next(results) for _ in range(50)] == [2 * number for number in range(50)]
    results.close()
    assert len(taken) < 50 + 40
    assert _left(client) == 0  # what had begun is dropped


def _left(client):
    """Return how many tasks the scheduler still knows, once it has heard of all."""
    deadline = time.monotonic() + 20
    while (
        left := client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    ) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def test_an_error_is_the_result_of_its_task(client):
    results = list(ordered_results(client, double, failed, [1, "a", 2]))
    assert results == [2, "a: AttributeError: 'str' object has no attribute 'no_such_attribute'", 4]


def test_a_task_that_ends_its_workers_is_named_and_the_others_done_once(client):
    tasks = [*range(6), Fatal(), *range(6, 12)]
    results = list(unordered_results(client, double, failed, tasks))
    (wrong,) = (result for result in results if isinstance(result, str))
    assert wrong == "fatal: the worker process died (out of memory?), 4 times"
    assert sorted(set(results) - {wrong}) == [2 * number for number in range(12)]
    assert len(results) == len(tasks)


def test_a_worker_that_is_killed_loses_nothing(client):
    client.wait_for_workers(2, timeout=60)
    victim = next(iter(client.run(os.getpid).values()))
    results = []
    for result in ordered_results(client, double, failed, range(60)):
        results.append(result)
        if len(results) == 10:
            os.kill(victim, signal.SIGKILL)
    assert results == [2 * number for number in range(60)]


def test_a_queue_is_started_by_its_description_and_ctrl_c_stays_python_s(tmp_path, monkeypatch):
    """The queue is dask-jobqueue's for tests: its jobs are processes of this machine."""
    if find_spec("dask_jobqueue") is None:  # its import would set a handler of Ctrl-C
        pytest.skip("needs dask-jobqueue")
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "class: dask_jobqueue.local.LocalCluster\n"
        "workers: 1\n"
        "arguments:\n"
        "  {cores: 1, processes: 1, memory: 1GB, interface: lo,\n"
        f"  log_directory: {tmp_path}, local_directory: {tmp_path},\n"
        "  scheduler_options: {interface: lo, dashboard_address: '127.0.0.1:0'}}\n"
    )
    # Jobs count as begun when their log says so, and the cluster above keeps the logs silent.
    monkeypatch.delenv("DASK_LOGGING__DISTRIBUTED", raising=False)
    handler = signal.getsignal(signal.SIGINT)
    with open_cluster(cluster_settings(path, None)) as client:
        assert signal.getsignal(signal.SIGINT) is handler
        assert list(ordered_results(client, double, failed, range(5))) == [0, 2, 4, 6, 8]


def test_no_scheduler_and_no_description_are_said(tmp_path):
    for text, words in (
        ("workers: 3\n", "names no class"),
        ("class: dask_jobqueue.SLURMCluster\nqueue: x\n", "unknown queue"),
        ("class: dask_jobqueue.NoSuchCluster\n", "there is no class"),
        ("class: [\n", "no YAML"),
    ):
        path = tmp_path / "cluster.yaml"
        path.write_text(text)
        with pytest.raises(ValueError, match=words), open_cluster(cluster_settings(path, None)):
            pass
    with pytest.raises(ValueError, match="has its own workers"):
        cluster_settings("tcp://127.0.0.1:8786", 3)
    with (
        pytest.raises(FileNotFoundError, match="scheduler file"),
        open_cluster(cluster_settings(tmp_path / "none.json", None)),
    ):
        pass
