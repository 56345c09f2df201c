"""``augment run`` and a command per stage: the pipeline, or the part of it that a stage needs."""

from pathlib import Path

import click

from augment.base.terminal import echo
from augment.commands.common import RunFolder, with_config
from augment.config import Config

engine_option = click.option(
    "--engine", type=click.Choice(["prefect", "local"]), default="prefect", show_default=True,
    help="prefect: as a flow, on its server. local: the same functions in sequence, without Prefect.",
)  # fmt: skip
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be made or reused, disk and time.")


@click.command()
@engine_option
@dry_run_option
@with_config
def run(config: Config, engine: str, dry_run: bool) -> None:
    """Run the whole pipeline of CONFIG, reusing what is up to date."""
    execute(config, engine, dry_run, until=None)


def stage_command(name: str, stage: str, text: str) -> click.Command:
    """A command that makes a stage's manifest, after the stages it needs."""

    def command(config: Config, engine: str, dry_run: bool) -> None:
        execute(config, engine, dry_run, until=stage)

    command.__doc__ = f"{text}\n\nRuns what this stage of CONFIG needs first; what is up to date is reused."
    return click.command(name)(engine_option(dry_run_option(with_config(command))))


def execute(config: Config, engine: str, dry_run: bool, until: str | None) -> None:
    """Plan or run the stages, and show the results."""
    if dry_run:
        from augment.data.patterns import parse_folder
        from augment.pipeline.plan import make_plan, show_plan

        if config.data.root is not None and config.data.pattern is not None:
            echo(parse_folder(config.data.root, config.data.pattern).preview())
        show_plan(make_plan(config, until))
        return
    from augment.base.interrupt import interruptible
    from augment.pipeline.folder import locked_run
    from augment.pipeline.stages import run_local, stage_named

    # The engines check the settings before the folder has this configuration.
    with locked_run(config, keep_config=True) as folder, interruptible():
        if engine == "local":
            run_local(config, until)
        else:
            _run_flow(config, folder, until)
    if until is None:
        _show_result(config)
    else:
        echo(f"{stage_named(until).path(config.folder)}")


def _run_flow(config: Config, folder: Path, until: str | None) -> None:
    from flows.server import server_of_run

    with server_of_run(folder):
        from flows.pipeline import pipeline_flow

        pipeline_flow(config, until)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=RunFolder())
def compare(runs: tuple[Path, ...]) -> None:
    """Pool the arms of several runs.

    RUNS are folders of runs whose data subset, generator or other seeds differ.
    """
    from augment.pipeline.arms import pooled_cells

    cells, words = pooled_cells(runs)
    _print_table(cells)
    for line in words:
        echo(line)


def _show_result(config: Config) -> None:
    from augment.pipeline.arms import arms_cells

    _print_table(arms_cells(config))
    echo(f"Report: {config.folder / 'report.html'}")


def _print_table(cells: list[list[str]]) -> None:
    from rich.table import Table

    from augment.base.console import output_console

    header, *lines = cells
    table = Table()
    for title in header:
        table.add_column(title, overflow="fold")
    for line in lines:
        table.add_row(*line)
    output_console(width=110).print(table)
