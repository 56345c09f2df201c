"""Task runners for shards: threads of this process, or a Dask or Ray cluster."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from prefect.task_runners import ThreadPoolTaskRunner

from augment.base.errors import AugmentError, UsageError
from augment.base.interrupt import stop_if_asked
from augment.base.storage.copies import forget, is_folder
from augment.config import FlowConfig
from augment.pipeline.folder import bring

_SCHEDULER_LIMIT_S = 300.0  # after that a scheduler will not come back


class ClusterLost(AugmentError):
    """The cluster forgot what it was asked for: its scheduler died, or was out of reach for too long."""


@contextmanager
def task_runners(section: FlowConfig) -> Iterator[Callable[[], Any]]:
    """Yield a factory of task runners that share a cluster, so that it is started once and not for every stage.

    Raises :class:`AugmentError` where the runner's package is not installed, :class:`UsageError` where flow.cluster
    names no class.
    """
    if section.runner == "threads":
        yield lambda: ThreadPoolTaskRunner(max_workers=section.workers)
    elif section.runner == "dask":
        yield from _dask(section)
    else:
        yield from _ray(section)


def with_data_there(
    ids: Sequence[str], *, function: Callable[[Sequence[str]], Path], folders: Sequence[Path], stage: str
) -> Path:
    """A shard of a stage on a worker of a cluster, which must see the same ``folders``, the run's first.

    Else a worker without the images would report them as unreadable, each with a row. Of a run in object storage, the
    worker brings its copies up to date. Raises :class:`AugmentError` that names the worker.
    """
    forget()
    bring(folders[0], stage)
    missing = [folder for folder in folders if not is_folder(folder)]
    if missing:
        raise AugmentError(
            f"{missing[0]}: no such folder on the worker {socket.gethostname()} (process {os.getpid()}). Every worker "
            "needs the data set and the run's folder under the same paths: mount them there, or take it out of the "
            "cluster. What the others finished is kept."
        )
    return function(ids)


def wait_for_scheduler(address: str) -> None:
    """Return when the Dask scheduler answers; raises :class:`ClusterLost` where it does not within five minutes."""
    from distributed import Client

    limit = time.monotonic() + _SCHEDULER_LIMIT_S
    while True:
        stop_if_asked()
        try:
            Client(address, timeout=5).close()
        except OSError as error:
            if time.monotonic() > limit:
                raise ClusterLost(f"{address}: no scheduler answers ({error}). Start it and run the same command "
                                  "again; what was finished is kept.") from error  # fmt: skip
            time.sleep(1)
        else:
            return


def _dask(section: FlowConfig) -> Iterator[Callable[[], Any]]:
    try:
        import dask
        from distributed import LocalCluster
        from distributed.utils import get_mp_context
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise _missing("dask", error) from None
    if section.address:
        yield lambda: DaskTaskRunner(address=section.address)
        return
    options = {"class": "distributed.LocalCluster", **section.cluster}
    module, _, name = options.pop("class").rpartition(".")
    try:
        cluster_class = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"flow.cluster.class={module}.{name}: {error}. Install the package it comes from, or name "
                         "another class of Dask clusters.") from None  # fmt: skip
    if cluster_class is LocalCluster:
        options = {"n_workers": section.workers, "threads_per_worker": 1, "dashboard_address": None, **options}
    settings = {
        # A task is given up when so many workers died of it. On one machine it is more often the machine that is short.
        "distributed.scheduler.allowed-failures": 10,
        # Workers, those after a killed one too, are forks of a process that has imported what they need.
        "distributed.worker.multiprocessing-method": "forkserver",
        # Without Dask's MALLOC_TRIM_THRESHOLD_, by which freed memory is returned at once (base/memory.py).
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), 1),
        # What every process of a cluster does beside its work, by default 50, 10 and 2 times a second, and a hundred
        # stack traces a second, which nobody looks at: together a sixth of two cores.
        "distributed.admin.tick.interval": "500ms",
        "distributed.worker.memory.monitor-interval": "1s",
        "distributed.admin.system-monitor.interval": "10s",
        "distributed.worker.profile.enabled": False,
    }
    with dask.config.set(settings):
        get_mp_context().set_forkserver_preload(["distributed", "flows.pipeline"])
        with cluster_class(**options) as cluster:
            cluster.scale(section.workers)
            yield lambda: DaskTaskRunner(address=cluster.scheduler_address)


def _ray(section: FlowConfig) -> Iterator[Callable[[], Any]]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise _missing("ray", error) from None
    if section.address:
        yield lambda: RayTaskRunner(address=section.address)
    else:
        yield lambda: RayTaskRunner(init_kwargs={"num_cpus": section.workers, "include_dashboard": False})


def _missing(runner: str, error: ImportError) -> AugmentError:
    return AugmentError(
        f"flow.runner is {runner}, but {error.name} is not installed. "
        f"Install it with: pip install 'prefect-{runner}', or set flow.runner=threads."
    )
