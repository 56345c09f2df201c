"""Task runners for shards: threads of this process, or a Dask or Ray cluster."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect.task_runners import ThreadPoolTaskRunner

from augment.base.errors import AugmentError
from augment.config import FlowConfig


@contextmanager
def task_runners(section: FlowConfig) -> Iterator[Callable[[], Any]]:
    """Yield a factory of task runners that share a cluster, so that it is started once and not for every stage.

    Raises :class:`AugmentError` where the runner's package is not installed.
    """
    if section.runner == "threads":
        yield lambda: ThreadPoolTaskRunner(max_workers=section.workers)
    elif section.runner == "dask":
        yield from _dask(section)
    else:
        yield from _ray(section)


def _dask(section: FlowConfig) -> Iterator[Callable[[], Any]]:
    try:
        from distributed import LocalCluster
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise _missing("dask", error) from None
    if section.address:
        yield lambda: DaskTaskRunner(address=section.address)
        return
    with LocalCluster(n_workers=section.workers, threads_per_worker=1, dashboard_address=None) as cluster:
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
