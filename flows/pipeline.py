"""The pipeline as a Prefect flow, each stage as a flow of its own, and a task for every shard.

Only the configuration and paths are passed between flows and tasks: the data is in the run's folder. The stages
themselves determine what is up to date, by content; in Prefect it has the state "Reused".
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger, runtime, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed, State
from prefect.task_runners import ThreadPoolTaskRunner

from augment.base.errors import Refused
from augment.base.interrupt import stop_if_asked
from augment.base.progress import say
from augment.base.randomness import RANDOM_STATE
from augment.base.storage.copies import forget
from augment.base.terminal import shown
from augment.config import Config
from augment.data.stage import dataset_root
from augment.gan.generators import with_start
from augment.pipeline.folder import locked_run
from augment.pipeline.stages import (
    STAGES,
    Outcome,
    Stage,
    check_settings,
    check_test,
    make_report,
    run_stage,
    stages_until,
)
from flows.artifacts import show_arms, show_progress, show_report, show_samples
from flows.notify import notify
from flows.runners import ClusterLost, task_runners, wait_for_scheduler, with_data_there

#: A value of ``until``: the name of a stage.
Until = Literal[tuple(stage.name for stage in STAGES)]

_TRIES = 5  # of a stage whose scheduler is lost
_CANCEL_LIMIT_S = 2.0  # Prefect itself would wait 30 s before it kills
_FOR_GOOD = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}

# Reuse is by the stages' digests, which are valid across runs and machines; Prefect's cache would be redundant.
_task = partial(task, cache_policy=NO_CACHE, persist_result=False)


def may_pass(task: Any, run: Any, state: State) -> bool:
    """Whether a retry can help: after a transient failure of network or disk, never for a wrong configuration."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, Refused) or (isinstance(error, OSError) and error.errno not in _FOR_GOOD)


@_task(name="shard", retries=3, retry_delay_seconds=[1, 10, 60], retry_condition_fn=may_pass)
def _shard_task(work: Callable[[], Path]) -> Path:
    return work()


def _one_task_each(
    function: Callable[[Sequence[str]], Path], shards: Sequence[Sequence[str]], *, name: str, parallel: bool,
    folders: Sequence[Path],
) -> Iterator[Path]:  # fmt: skip
    """A :data:`augment.stage.Spread` over the task runner of the current flow.

    With a single worker the shards run in the flow's own thread, where Ctrl-C reaches them. ``folders``: what a worker
    of a cluster must have.
    """
    if not shards:
        return
    if folders:
        function = partial(with_data_there, function=function, folders=folders, stage=name)
    shard_tasks = [_shard_task.with_options(task_run_name=f"{name} {k} of {len(shards)}")
                   for k in range(1, len(shards) + 1)]  # fmt: skip
    works = [partial(function, ids) for ids in shards]  # of a list of ids Prefect would visit every element, twice
    advance = show_progress(name, len(shards))
    if not parallel:
        for shard_task, work in zip(shard_tasks, works, strict=True):
            stop_if_asked()
            yield shard_task(work)
            advance()
        return
    futures = [shard_task.submit(work) for shard_task, work in zip(shard_tasks, works, strict=True)]
    try:
        for future in as_completed(futures):
            stop_if_asked()
            yield _result(future)
            advance()
    except TerminationSignal:
        _exit_soon()
        raise


def _exit_soon() -> None:
    """End the process although other threads are at work, which cannot be stopped: their writes are atomic."""
    timer = threading.Timer(_CANCEL_LIMIT_S, os._exit, [143])  # 128 + SIGTERM
    timer.daemon = True
    timer.start()


def _result(future: PrefectFuture[Path]) -> Path:
    """Raises :class:`ClusterLost` where the cluster forgot the shard."""
    try:
        return future.result()
    except (CancelledError, OSError) as error:
        # Dask's own errors of a connection are an OSError, which a shard may raise as well.
        if isinstance(error, OSError) and not type(error).__module__.startswith("distributed.comm"):
            raise
        lost = str(error).splitlines()[0]
        raise ClusterLost(f"the cluster lost a shard ({lost}). What was finished is kept.") from error


@_task(name="stage")
def _whole_stage_task(stage: Stage, config: Config) -> Outcome:
    return run_stage(stage, config)


def _in_parallel(config: Config) -> bool:
    """Whether several shards are made at once."""
    return config.flow.runner != "threads" or config.flow.workers > 1


def _run(stage: Stage, config: Config) -> State:
    if stage.accepts:
        folders = ()
        if config.flow.runner != "threads":
            run = config.folder.absolute()
            folders = run, dataset_root(config.data, run / "images").absolute()
        spread = partial(_one_task_each, name=stage.name, parallel=_in_parallel(config), folders=folders)
        outcome = run_stage(stage, config, spread)
        if folders:
            forget()  # workers may have written what was copied here before
    else:
        outcome = _whole_stage_task.with_options(task_run_name=stage.name)(stage, config)
    say(str(outcome))
    get_run_logger().info("%s", outcome)
    manifest = outcome.manifest
    result = {"manifest": shown(manifest.path), "digest": manifest.digest, "reused": outcome.reused}
    return Completed(name="Reused" if outcome.reused else "Completed", message=str(outcome), data=result)


def _stage_flow(stage: Stage):
    @flow(name=stage.name, description=f"Makes {stage.table} from {' and '.join(stage.needs) or 'the image folder'}.",
          flow_run_name=f"{{config.name}}: {stage.name}", persist_result=False)  # fmt: skip
    def run_it(config: Config) -> State:
        if runtime.flow_run.parent_flow_run_id is not None:  # part of a flow that holds the run
            return _run(stage, config)
        config = with_start(config)
        with locked_run(config):
            return _run(stage, config)

    return run_it


#: Stage name -> its flow: ``STAGE_FLOWS["poses"](config)`` works on the manifests in the run's folder.
STAGE_FLOWS = {stage.name: _stage_flow(stage) for stage in STAGES}


def _name_of_run() -> str:
    config, until = (runtime.flow_run.parameters.get(name) for name in ("config", "until"))
    return f"{Config.model_validate(config).name}: {until or 'everything'}"


@flow(name="augment", flow_run_name=_name_of_run, persist_result=False,
      on_failure=[notify], on_crashed=[notify], on_cancellation=[notify])  # fmt: skip
def pipeline_flow(config: Config, until: Until | None = None) -> dict[str, dict[str, Any]]:
    """All stages (or ``until`` and the stages that it needs), then the report.

    Returns for each stage its manifest's path and digest, and whether it was reused.
    """
    stages, config = stages_until(until), with_start(config)
    check_settings(stages, config)
    with locked_run(config), task_runners(config.flow) as make_runner, ThreadPoolExecutor(1) as other_thread:
        made: dict[str, Future] = {}
        try:
            left = list(stages)
            while left:
                ready = [stage for stage in left if made.keys() >= set(stage.needs)]
                beside = [stage for stage in ready if _can_run_concurrently(stage, stages, config)]
                stage = (beside or ready)[0]
                left.remove(stage)
                with tags(config.name, stage.name):
                    if beside:
                        make = partial(copy_context().run, _run_concurrently, stage, config, make_runner)
                        made[stage.name] = other_thread.submit(make)
                    else:
                        made[stage.name] = Future()
                        made[stage.name].set_result(_made(stage, config, make_runner))
                        check_test(stage, stages, config)
            done = {stage.name: made[stage.name].result() for stage in stages}
        except TerminationSignal:
            _exit_soon()
            raise
        except Exception as error:
            at_work = [name for name, future in made.items() if future.running()]
            if at_work:
                say(f"{error} Waiting for {' and '.join(at_work)} to finish; Ctrl-C stops that.")
            raise
        if until is None:
            page = _task(make_report, name="report")(config)
            show_arms(config)
            show_samples(config)
            show_report(config, page)
    return done


def _can_run_concurrently(stage: Stage, stages: Sequence[Stage], config: Config) -> bool:
    """Whether a stage is made while the next ones are: it is one piece of work in this process, and none needs it."""
    needed = {name for other in stages for name in other.needs}
    return _in_parallel(config) and not stage.accepts and stage.name not in needed and stage is not stages[-1]


def _run_concurrently(stage: Stage, config: Config, make_runner: Callable[[], Any]) -> dict[str, Any]:
    """As :func:`_made`, in another thread than that of the next stages."""
    with RANDOM_STATE:  # re-ID trains in processes of its own meanwhile
        try:
            return _made(stage, config, make_runner)
        except Exception as error:
            say(f"{stage.name} failed: {error} The other stages go on.")
            raise


def _made(stage: Stage, config: Config, make_runner: Callable[[], Any]) -> dict[str, Any]:
    """What the stage's flow returns. A Dask scheduler with an address may be started again: then the stage goes on."""
    address = config.flow.address if config.flow.runner == "dask" else None
    for left in reversed(range(_TRIES)):
        runner = make_runner() if stage.accepts else ThreadPoolTaskRunner(max_workers=1)
        try:
            return STAGE_FLOWS[stage.name].with_options(task_runner=runner)(config)
        except ClusterLost as lost:
            if not (left and address):
                raise ClusterLost(f"{lost} Make sure that its scheduler is reachable, then run the same command again."
                                  ) from lost  # fmt: skip
            say(f"{stage.name}: {lost} It continues as soon as {address} answers.")
            wait_for_scheduler(address)
    raise AssertionError("the last try has returned or raised")
