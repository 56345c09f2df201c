"""``augment quality``: measure generated images, and show the table."""

import click

from augment.commands.common import with_config
from augment.commands.run import dry_run_option, engine_option, execute
from augment.config import Config


@click.command()
@engine_option
@dry_run_option
@click.option("--beside", type=click.Choice(["market1501", "deepfashion"]),
              help="Put the figures that were published for this data set beside ours.")  # fmt: skip
@with_config
def quality(config: Config, engine: str, dry_run: bool, beside: str | None) -> None:
    """Measure how good generated images are.

    Runs what this stage of CONFIG needs first; what is up to date is reused. Other generators in the same table:
    --set 'quality.generators=[NAME, FILE, RUN, FOLDER_OF_IMAGES]'."""
    execute(config, engine, dry_run, until="quality")
    if not dry_run:
        _show(config, beside)


def _show(config: Config, layout: str | None) -> None:
    import pandas as pd

    from augment.base.console import output_console
    from augment.quality import tables
    from augment.quality.published import on_published_pairs
    from augment.run import Run

    table = pd.read_csv(config.folder / "quality" / "table.csv")
    if table.empty:
        return
    console = output_console(width=160)
    _print(console, tables.by_metric(table), "metric [95 % interval]")
    _print(console, tables.differences(table), f"paired difference to {table['arm'].iloc[0]}")
    if layout is not None:
        pairs = tables.measured_pairs(Run(config.folder.absolute()).frames["quality"])
        shown = tables.beside(table, layout, on_published_pairs(config, pairs))
        _print(console, shown, f"published for {layout} (in brackets: not comparable: other pairs or another variant)")
    for line, titles in tables.not_measured(table).items():
        console.print(f"Not measured: {', '.join(titles)}. Missing: {line}.", markup=False, soft_wrap=True)


def _print(console, table, title: str) -> None:
    from rich.table import Table

    shown = Table(title)
    for column in table.columns:
        shown.add_column(column, justify="right")
    for row in table.rows:
        shown.add_row(row.title, *row.cells)
    console.print(shown)
