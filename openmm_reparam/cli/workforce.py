"""Who does the work of a command with many tasks, and how the user hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

from distributed import Client

from ..distributed.cluster import ClusterSettings, cluster_settings
from .settings import Console

__all__ = ["Workforce", "say_workers", "workforce"]


@dataclass(frozen=True)
class Workforce:
    """Who works, and on what is left.

    Attributes
    ----------
    cluster : ClusterSettings
    resources : mapping of str to float, or None
        What a task takes of its worker.
    resume : bool
        Go on with an earlier run.
    """

    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    resources: Mapping[str, float] | None = None
    resume: bool = False


def workforce(
    workers: int | None, cluster: str | None, resource: str | None, resume: bool = False
) -> Workforce:
    """Return what the options of a command say of its workers."""
    return Workforce(
        cluster_settings(cluster, workers), None if resource is None else {resource: 1}, resume
    )


def say_workers(client: Client | None, processes: int | None, console: Console) -> None:
    """Say how many workers there are, and where they can be watched."""
    if client is None:
        console.say("in this process")
        return
    if processes is None:
        console.say(f"{len(client.nthreads())} workers of {client.scheduler.address} so far")
    else:
        console.say(f"{processes} worker process{'es' * (processes > 1)}")
    # The page at that address is empty without bokeh; a scheduler elsewhere may have it.
    if client.cluster is None or find_spec("bokeh") is not None:
        console.say(f"Dask's dashboard: {client.dashboard_link}")
