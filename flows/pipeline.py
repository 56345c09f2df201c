"""The whole pipeline as a Prefect flow, each stage as a flow of its own, and one task for every shard.

Only the configuration and paths pass between flows and tasks: the data lies in the run's folder.
What is up to date is found out by the stages themselves, by content, and shows in Prefect as the state "Reused".
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.states import Completed, State
from prefect.task_runners import ThreadPoolTaskRunner

from augment.base.interrupt import stop_if_asked
from augment.base.progress import say
from augment.config import Config
from augment.pipeline.arms import arms_cells
from augment.pipeline.stages import STAGES, Outcome, Stage, make_report, run_stage, stages_until
from flows.runners import task_runners

# Reuse goes by the stages' digests, which hold across runs and machines. Prefect's cache would be a second opinion.
_task = partial(task, cache_policy=NO_CACHE, persist_result=False)


@_task(name="shard")
def _shard_task(function: Callable[[Sequence[str]], Path], ids: Sequence[str]) -> Path:
    return function(ids)


def _one_task_each(
    function: Callable[[Sequence[str]], Path], shards: Sequence[Sequence[str]], *, name: str, parallel: bool
) -> Iterator[Path]:
    """A :data:`augment.stage.Spread` over the task runner of the flow that is running.

    With one worker the shards run in the flow's own thread, where Ctrl-C reaches them.
    """
    shard_tasks = [_shard_task.with_options(task_run_name=f"{name} {k} of {len(shards)}")
                   for k in range(1, len(shards) + 1)]  # fmt: skip
    if not parallel:
        for shard_task, ids in zip(shard_tasks, shards, strict=True):
            stop_if_asked()
            yield shard_task(function, ids)
        return
    futures = [shard_task.submit(function, ids) for shard_task, ids in zip(shard_tasks, shards, strict=True)]
    for future in as_completed(futures):
        stop_if_asked()
        yield future.result()


@_task(name="stage")
def _whole_stage_task(stage: Stage, config: Config) -> Outcome:
    return run_stage(stage, config)


def _run(stage: Stage, config: Config) -> State:
    if stage.seams:
        parallel = config.flow.workers > 1 or config.flow.runner != "threads"
        outcome = run_stage(stage, config, partial(_one_task_each, name=stage.name, parallel=parallel))
    else:
        outcome = _whole_stage_task.with_options(task_run_name=stage.name)(stage, config)
    say(str(outcome))
    manifest = outcome.manifest
    result = {"manifest": str(manifest.path), "digest": manifest.digest, "reused": outcome.reused}
    return Completed(name="Reused" if outcome.reused else "Completed", message=str(outcome), data=result)


def _stage_flow(stage: Stage):
    @flow(name=stage.name, description=f"Makes {stage.table} from {' and '.join(stage.needs) or 'the image folder'}.",
          persist_result=False)  # fmt: skip
    def run_it(config: Config) -> State:
        return _run(stage, config)

    return run_it


#: Stage name -> its flow: ``STAGE_FLOWS["poses"](config)`` works on the manifests in the run's folder.
STAGE_FLOWS = {stage.name: _stage_flow(stage) for stage in STAGES}


@flow(name="augment", persist_result=False)
def pipeline_flow(config: Config, until: str | None = None) -> dict[str, dict[str, Any]]:
    """All stages (or those up to ``until`` and what it needs), then the report.

    Returns for each stage its manifest's path and digest and whether it was reused.
    """
    done = {}
    with task_runners(config.flow) as make_runner:
        for stage in stages_until(until):
            runner = make_runner() if stage.seams else ThreadPoolTaskRunner(max_workers=1)
            done[stage.name] = STAGE_FLOWS[stage.name].with_options(task_runner=runner)(config)
    if until is None:
        _task(make_report, name="report")(config)
        _show_arms(config)
    return done


def _show_arms(config: Config) -> None:
    """The table of the arms in Prefect's pages. A courtesy: nothing that goes wrong here may fail a run."""
    try:
        header, *lines = arms_cells(config)
        rows = [header, ["---"] * len(header), *lines]
        markdown = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        create_markdown_artifact(key="arms", markdown=markdown, description=f"Re-ID of {config.name}, in percent")
    except Exception as error:
        get_run_logger().warning("the arms table did not become an artifact: %r", error)
