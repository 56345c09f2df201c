"""``augment manifest``: show tables, verify their files, trace an image to its origins."""

from pathlib import Path

import click

from augment.base.errors import AugmentError, UsageError
from augment.base.terminal import echo
from augment.commands.common import RunFolder

_SHOWN = 20  # problems of a table


@click.group()
def manifest() -> None:
    """Show, verify and trace manifests."""


@manifest.command()
@click.argument("path", type=RunFolder())
@click.option("--rows", type=click.IntRange(0), default=10, show_default=True, help="How many rows to print.")
@click.option("--where", "conditions", multiple=True, metavar="COLUMN=VALUE", help="Only rows with this value.")
def show(path: Path, rows: int, conditions: tuple[str, ...]) -> None:
    """Print a summary of the manifest PATH, its provenance, and its first rows."""
    from augment.manifest import read_manifest
    from augment.pipeline.lineage import describe

    table = read_manifest(path)
    frame = table.frame()
    for condition in conditions:
        column, equals, value = condition.partition("=")
        if not equals or column not in frame:
            raise UsageError(f"--where {condition}: write COLUMN=VALUE with one of {', '.join(frame.columns)}.")
        values = frame[column]  # whole numbers beside a null are floats to pandas
        frame = frame[(values.astype(str) == value) | (values.convert_dtypes().astype(str) == value)]
    echo(describe(table))
    echo(f"\n{len(frame):,} rows")
    echo(frame.head(rows).to_string(index=False, max_colwidth=48))


@manifest.command()
@click.argument("path", type=RunFolder())
def verify(path: Path) -> None:
    """Verify the manifest PATH, or all manifests in the run folder PATH, and their files against their hashes."""
    from augment.pipeline.lineage import problems_of, problems_of_table

    if not path.exists():
        raise AugmentError(f"{path}: neither a run's folder, like outputs/demo, nor a .parquet file.")
    checked = list(problems_of(path)) if path.is_dir() else [problems_of_table(path)]
    if not checked:
        raise AugmentError(f"{path}: holds no manifest. Give a run's folder, like outputs/demo, or a .parquet file.")
    for table, rows, problems in checked:
        echo(f"{table}: {rows:,} rows, {len(problems)} problems")
        for problem in problems[:_SHOWN]:
            echo(f"  {problem}")
        if len(problems) > _SHOWN:
            echo(f"  and {len(problems) - _SHOWN:,} more")
    if damaged := sum(len(problems) for _, _, problems in checked):
        raise AugmentError(
            f"{damaged:,} files differ from their manifests, or are missing. The command that made the run restores "
            "what it made; where the images of the data set were moved, add --set data.root=FOLDER."
        )


@manifest.command()
@click.argument("row_id", metavar="ID")
@click.option("--run", "folder", type=RunFolder(), help="The run's folder; default: any in outputs/.")
def trace(row_id: str, folder: Path | None) -> None:
    """Trace ID, a row of any manifest, to its source image, pose source, checkpoint, configuration and files."""
    from augment.base.console import output_console
    from augment.pipeline.lineage import find_run, trace

    output_console(width=400).print(trace(folder or find_run(row_id), row_id))
