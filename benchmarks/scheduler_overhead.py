"""What the engine of many tasks costs besides the tasks: time and the memory of the client.

    python -m benchmarks.scheduler_overhead --tasks 100000 --workers 2

Tasks return their own number. A table shows, after each tenth of them, the milliseconds a task of
wall time and of the client's CPU time (the scheduler runs in its process), and its memory. On a
machine that others use, CPU time is the figure that counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import psutil

from openmm_reparam.distributed.cluster import ClusterSettings, open_cluster
from openmm_reparam.distributed.engine import unordered_results

MIB = 2**20


def measured(tasks: int, workers: int) -> Iterator[tuple[int, float, float, float]]:
    """Yield tasks done, wall and CPU seconds since the first, and the memory in MiB."""
    process = psutil.Process()
    with open_cluster(ClusterSettings(workers=workers)) as client:
        list(unordered_results(client, abs, failed, range(200)))  # connections are open, then
        begin, used = time.perf_counter(), time.process_time()
        results = unordered_results(client, abs, failed, range(tasks))
        for done, _ in enumerate(results, 1):
            if done % max(1, tasks // 10) == 0:
                wall, cpu = time.perf_counter() - begin, time.process_time() - used
                yield done, wall, cpu, process.memory_info().rss / MIB


def failed(task: int, message: str) -> int:
    raise RuntimeError(f"task {task}: {message}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    print(f"{'tasks':>9} {'wall ms/task':>13} {'CPU ms/task':>12} {'client MiB':>11}")
    for done, wall, cpu, memory in measured(given.tasks, given.workers):
        print(
            f"{done:>9} {1e3 * wall / done:>13.2f} {1e3 * cpu / done:>12.2f} {memory:>11.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
