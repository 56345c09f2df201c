"""The dry run: what every stage would do and why, with the amount of work, disk space and time."""

import math
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from augment.base.console import output_console
from augment.base.devices import available_memory
from augment.base.disk import Room, bytes_text, rooms
from augment.base.storage.addresses import VARIABLE, is_copy
from augment.base.storage.copies import BOUND_VARIABLE, bound
from augment.config import Config
from augment.manifest import read_manifest
from augment.pipeline.counts import count, list_of_images
from augment.pipeline.folder import bring, check_folder
from augment.pipeline.reuse import Decision, decide
from augment.pipeline.stages import check_settings, stages_until
from augment.pipeline.times import has_gpu, read_times, time_needed
from augment.reid.checks import check_all
from augment.stage import Estimate, Share


@dataclass(frozen=True)
class Step:
    """A line of a plan."""

    stage: str
    decision: Decision
    estimate: Estimate
    seconds: float | None  # for what is still to be done; None: unknown
    source: str  # where the time is known from

    @property
    def shares(self) -> list[tuple[Share, float | None]]:
        """The parts that the estimate tells, each with what it takes of the seconds."""
        whole = self.estimate.seconds
        scale = None if self.seconds is None or not whole else self.seconds / whole
        return [(share, None if scale is None else share.seconds * scale) for share in self.estimate.shares]


@dataclass(frozen=True)
class Plan:
    """The steps, and the disk space for their output."""

    folder: Path
    steps: list[Step]
    rooms: list[Room]  # the first: on the disk of the run's folder
    memory: int | None  # bytes that can be had; None: not known

    @property
    def disk(self) -> float:
        """Bytes that are yet to be written."""
        return sum(step.estimate.disk for step in self.steps if step.decision.is_work)

    @property
    def seconds(self) -> float | None:
        """Time of all remaining work; None where the time of a step is unknown."""
        times = [step.seconds for step in self.steps if step.decision.is_work]
        return None if None in times else sum(times)

    @property
    def too_large(self) -> list[Step]:
        """Steps that need more memory than there is; with a GPU most of it is the GPU's."""
        if self.memory is None:
            return []
        return [step for step in self.steps if step.decision.is_work and step.estimate.memory > self.memory
                and not (step.estimate.on_gpu and has_gpu())]  # fmt: skip


def make_plan(config: Config, until: str | None = None) -> Plan:
    """The plan of a run; nothing is made. Raises :class:`AugmentError` where the run itself could not start."""
    run = config.folder.absolute()
    stages = stages_until(until)
    check_settings(stages, config)
    check_folder(config.folder)
    bring(run, unfinished=True)
    decisions: dict[str, Decision] = {}
    for stage in stages:
        remade = [name for name, decision in decisions.items() if decision.status != "reuse"]
        decisions[stage.name] = decide(stage, config, remade)
    tables = {stage.name: read_manifest(stage.path(run)) for stage in stages if decisions[stage.name].status == "reuse"}
    listed = list_of_images(config, tables)
    if "reid" in decisions:
        check_all(listed, config.data.root or run / "images", config.reid)
    counts, times = count(config, tables, listed), read_times(run)
    steps = []
    for stage in stages:
        decision, estimate = decisions[stage.name], stage.module.estimate(config, counts)
        needed = time_needed(stage.name, stage.settings(config), estimate, decision.done, times)
        steps.append(Step(stage.name, decision, estimate, *needed))
    return Plan(config.folder, steps, rooms(_needs(config.folder, steps)), available_memory())


def _needs(run: Path, steps: list[Step]) -> dict[Path, float]:
    """Bytes that are to be written below the run's folder and others."""
    needs = {run: 0.0}
    for estimate in (step.estimate for step in steps if step.decision.is_work):
        needs[run] += estimate.disk - sum(estimate.elsewhere.values())
        for folder, size in estimate.elsewhere.items():
            needs[folder] = needs.get(folder, 0) + size
    return {folder: min(size, bound()) if is_copy(folder.absolute()) else size for folder, size in needs.items()}


def show_plan(plan: Plan, console: Console | None = None) -> None:
    """Print the plan as a table."""
    if console is None:
        console = output_console(width=150)
    table = Table(title=f"Plan for {plan.folder} (nothing is run)", title_justify="left")
    for column in ("stage", "plan", "why", "amount"):
        table.add_column(column, overflow="fold")
    for column in ("disk", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("time from", overflow="fold")
    for step in plan.steps:
        decision, what = step.decision, step.estimate
        status = f"resume, {decision.done:,} done" if decision.status == "resume" else decision.status
        if not decision.is_work:
            table.add_row(step.stage, status, decision.why, what.amount, "", "", "")
        else:
            cost = bytes_text(what.disk), _time(step.seconds), step.source
            table.add_row(step.stage, status, decision.why, what.amount, *cost)
            for share, seconds in step.shares:
                amount = f"{share.images:,} images, {1000 * share.seconds_each:.3g} ms each"
                table.add_row("", "", f"  {share.name}", amount, "", _time(seconds), "", style="dim")
    table.add_section()
    table.add_row("total", "", "", "", bytes_text(plan.disk), _time(plan.seconds), "")
    console.print(table)
    for room in plan.rooms:
        if room is plan.rooms[0]:
            said = f"Free on that disk: {bytes_text(room.free)}."
            if is_copy(plan.folder):
                said = f"{bytes_text(room.needed)} of copies here ({VARIABLE}, {BOUND_VARIABLE}). " + said
        else:
            said = f"{bytes_text(room.needed)} of it at {room.folder}, on another disk; free there: "
            said += f"{bytes_text(room.free)}."
        if room.is_short:
            said += " That is not enough: free some, or choose another folder"
            said += " with --set output=FOLDER." if room is plan.rooms[0] else "."
        console.print(said, soft_wrap=True)
    for step in plan.too_large:
        console.print(
            f"{step.stage} takes about {bytes_text(step.estimate.memory)} of memory; {bytes_text(plan.memory or 0)} "
            "are free. That is not enough: lower its batch_size or the size of the set, or use a larger machine.",
            soft_wrap=True,
        )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"
