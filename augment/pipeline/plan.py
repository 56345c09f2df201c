"""The dry run: what every stage would do, why, how much, on how much disk and for how long."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from augment.config import Config
from augment.pipeline.estimates import Estimate, count, estimate
from augment.pipeline.reuse import Verdict, judge
from augment.pipeline.stages import read_times, stages_until


@dataclass(frozen=True)
class Step:
    """One line of a plan."""

    stage: str
    verdict: Verdict
    estimate: Estimate


@dataclass(frozen=True)
class Plan:
    """The steps, and the room there is for what they make."""

    folder: Path
    steps: list[Step]
    free: int  # bytes

    @property
    def disk(self) -> float:
        """Bytes that are still to be written."""
        return sum(step.estimate.disk for step in self.steps if step.verdict.status != "reuse")

    @property
    def seconds(self) -> float | None:
        """Of all that is to be done; None where one of the times is unknown."""
        times = [step.estimate.seconds for step in self.steps if step.verdict.status != "reuse"]
        return None if None in times else sum(times)


def make_plan(config: Config, until: str | None = None) -> Plan:
    """Look at what is there; nothing is made. Raises :class:`AugmentError` where the run itself could not begin."""
    stages = stages_until(until)
    verdicts: dict[str, Verdict] = {}
    for stage in stages:
        remade = [name for name, verdict in verdicts.items() if verdict.status != "reuse"]
        verdicts[stage.name] = judge(stage, config, remade)
    run = config.folder.absolute()
    counts = count(config, {name for name, verdict in verdicts.items() if verdict.status == "reuse"})
    times = read_times(run)
    steps = [
        Step(stage.name, verdicts[stage.name], estimate(stage, config, counts, times, verdicts[stage.name].done))
        for stage in stages
    ]
    existing = next(folder for folder in (run, *run.parents) if folder.exists())
    return Plan(config.folder, steps, shutil.disk_usage(existing).free)


def show_plan(plan: Plan, console: Console | None = None) -> None:
    """Print it as a table."""
    if console is None:
        console = Console()
        console = console if console.is_terminal else Console(width=150)
    table = Table(title=f"Plan for {plan.folder} (nothing is done)", title_justify="left")
    for column in ("stage", "plan", "why", "amount"):
        table.add_column(column, overflow="fold")
    for column in ("disk", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("time from", overflow="fold")
    for step in plan.steps:
        verdict, what = step.verdict, step.estimate
        status = {"reuse": "reuse", "run": "run", "partly": f"go on, {verdict.done:,} done"}[verdict.status]
        if verdict.status == "reuse":
            table.add_row(step.stage, status, verdict.why, what.amount, "", "", "")
        else:
            cost = _bytes(what.disk), _time(what.seconds), what.source
            table.add_row(step.stage, status, verdict.why, what.amount, *cost)
    table.add_section()
    table.add_row("in all", "", "", "", _bytes(plan.disk), _time(plan.seconds), "")
    console.print(table)
    room = f"Free on that disk: {_bytes(plan.free)}."
    if plan.free < plan.disk:
        room += " That is not enough: free some, or choose another folder with --set output=FOLDER."
    console.print(room, highlight=False, soft_wrap=True)


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


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
