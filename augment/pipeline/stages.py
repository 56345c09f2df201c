"""The stages in their order, and how they are called, by the local engine, the Prefect flows and the dry run alike."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.compute as pc

from augment.base.errors import UsageError
from augment.base.interrupt import stop_if_asked
from augment.base.progress import say
from augment.config import Config, Section
from augment.manifest import SCHEMAS, Manifest, read_manifest
from augment.pipeline.counts import count
from augment.pipeline.times import record_time
from augment.reid.checks import check_all, check_images
from augment.run import SECTIONS, TABLES
from augment.stage import Spread, one_by_one


@dataclass(frozen=True)
class Stage:
    """A row of :data:`STAGES`. The stage's folder in a run has the stage's name."""

    name: str
    needs: tuple[str, ...]  # stages whose manifests it reads, in the order of the function's arguments
    maker: str  # "folder:function"; the stage is augment/<folder>/stage.py, see augment/stage.py
    accepts: tuple[str, ...] = ()  # which of spread and shard_size the function takes

    @property
    def table(self) -> str:
        """The kind of its manifest, and the manifest's file name."""
        return TABLES[self.name]

    @property
    def section(self) -> str:
        """The name of its section of the configuration."""
        return SECTIONS[self.name]

    @property
    def module(self) -> ModuleType:
        """The stage's module, imported on first use: `augment --help` need not import torch."""
        return import_module(f"augment.{self.maker.partition(':')[0]}.stage")

    @property
    def function(self) -> Callable[..., Manifest]:
        """The stage function: (section, *manifests, folder, **accepts) -> manifest."""
        return getattr(self.module, self.maker.partition(":")[2])

    def settings(self, config: Config) -> Section:
        """The stage's section of the configuration."""
        return getattr(config, self.section)

    def path(self, run: Path) -> Path:
        """The path of its manifest in the folder of a run."""
        return run / self.name / f"{self.table}.parquet"

    def inputs(self, run: Path) -> list[Manifest]:
        """Its input manifests. Raises :class:`AugmentError` where one is missing."""
        return [read_manifest(stage.path(run), stage.table) for stage in map(stage_named, self.needs)]

    def identity(self, config: Config) -> dict[str, Any]:
        """The provenance under which it would make its table now."""
        run = config.folder.absolute()
        return self.module.identity(self.settings(config), *self.inputs(run), self.path(run).parent)


_SHARDED = ("spread", "shard_size")

STAGES: tuple[Stage, ...] = (
    Stage("images", (), "data:scan_images", _SHARDED),
    Stage("poses", ("images",), "pose:estimate_poses", _SHARDED),
    Stage("pairs", ("images", "poses"), "pairs:make_pairs"),
    Stage("gan", ("images", "poses", "pairs"), "gan:train_gan"),
    Stage("synthetic", ("images", "poses", "gan"), "synthesis:synthesize", _SHARDED),
    Stage("quality", ("images", "poses", "pairs", "gan"), "quality:measure_quality"),
    Stage("reid", ("images", "synthetic", "poses"), "reid:compare_arms", ("spread",)),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """The result of a stage."""

    stage: Stage
    manifest: Manifest
    reused: bool  # it existed already, and was not written again
    seconds: float

    def __str__(self) -> str:
        rows = f"{self.manifest.num_rows:,} rows"
        if "status" in SCHEMAS[self.manifest.kind].names:
            failed = pc.sum(pc.equal(self.manifest.columns("status")["status"], "failed")).as_py() or 0
            rows += f", {failed:,} of them failed" if failed else ""
        if self.reused:
            return f"{self.stage.name}: up to date, reused ({rows})"
        return f"{self.stage.name}: done in {timedelta(seconds=round(self.seconds))} ({rows})"


def stage_named(name: str) -> Stage:
    """The stage of that name. Raises :class:`UsageError` that lists the names."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise UsageError(f"no stage is called '{name}'. The stages are {', '.join(stage.name for stage in STAGES)}.")


def stages_until(name: str | None) -> list[Stage]:
    """The stages that a stage needs and itself, in order; all stages for None."""
    if name is None:
        return list(STAGES)
    wanted = {stage_named(name).name}
    for stage in reversed(STAGES):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in STAGES if stage.name in wanted]


def check_settings(stages: Collection[Stage], config: Config) -> None:
    """Raise :class:`AugmentError` where a setting would stop a stage that others run hours before."""
    from augment.base.devices import pick_device  # which imports torch

    for stage in stages:
        section = stage.settings(config)
        if (named_files := getattr(stage.module, "named_files", None)) is not None:
            named_files(section)
        device = getattr(section, "device", None)
        if device is not None and config.flow.runner == "threads":  # else on workers, with devices of their own
            pick_device(device)
    if "reid" in {stage.name for stage in stages}:
        check_images(config)


def check_test(stage: Stage, stages: Collection[Stage], config: Config) -> None:
    """After the first stage: raise :class:`AugmentError` where re-ID, which comes last, could not be measured."""
    if stage.name == "images" and "reid" in {other.name for other in stages}:
        images = read_manifest(stage.path(config.folder.absolute()), stage.table)
        rows = images.columns("split", "pid", "camid", "status").to_pandas()
        check_all(rows[rows["status"] == "ok"], images.path, config.reid)


def run_stage(stage: Stage, config: Config, spread: Spread = one_by_one) -> Outcome:
    """Run a stage on the manifests in the run's folder. Raises :class:`AugmentError` where one is missing."""
    stop_if_asked()
    run = config.folder.absolute()  # a worker on another machine has another working directory
    inputs = stage.inputs(run)
    offered = {"spread": spread, "shard_size": config.flow.shard_size}
    path = stage.path(run)
    before = _file_identity(path)
    fresh = not path.parent.exists()
    start = time.monotonic()
    accepts = {name: offered[name] for name in stage.accepts}
    manifest = stage.function(stage.settings(config), *inputs, path.parent, **accepts)
    outcome = Outcome(stage, manifest, before is not None and before == _file_identity(path), time.monotonic() - start)
    if fresh:
        counts = count(config, {**dict(zip(stage.needs, inputs, strict=True)), stage.name: manifest})
        estimate = stage.module.estimate(config, counts)
        record_time(run, stage.name, outcome.seconds, stage.settings(config), estimate)
    return outcome


def _file_identity(path: Path) -> tuple[int, int] | None:
    """A value that changes whenever the manifest is written, since writing replaces the file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def run_local(config: Config, until: str | None = None) -> list[Outcome]:
    """Run the stages one after the other in this process, then write the report."""
    from augment.gan.generators import with_start
    from augment.pipeline.folder import locked_run  # which imports this module

    outcomes, stages, config = [], stages_until(until), with_start(config)
    check_settings(stages, config)
    with locked_run(config):
        for stage in stages:
            outcomes.append(run_stage(stage, config))
            say(str(outcomes[-1]))
            check_test(stage, stages, config)
        if until is None:
            make_report(config)
    return outcomes


def make_report(config: Config) -> Path:
    """Write the page of a run from the existing manifests."""
    from augment.report.page import write_report

    return write_report(config.report, config, config.folder.absolute())
