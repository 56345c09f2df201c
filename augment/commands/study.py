"""``augment study``: users tell real images from generated ones."""

import math
from pathlib import Path

import click

from augment.base.errors import AugmentError
from augment.base.terminal import echo
from augment.commands.common import LocalPath


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=LocalPath())
@click.option("--results", is_flag=True, help="Print R2G, G2R and d' of every RUN instead.")
@click.option("--images", type=click.IntRange(1), default=55, show_default=True, help="Test images of each kind.")
@click.option("--training", type=click.IntRange(0), default=10, show_default=True,
              help="Practice images of each kind, before the test, with the answers shown.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen on; for any but localhost the link contains a token.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8008, show_default=True, help="0: any free port.")
@click.option("--device", default="auto", show_default=True)
def study(runs: tuple[Path, ...], results: bool, images: int, training: int, host: str, port: int,
          device: str) -> None:  # fmt: skip
    """Serve the user study of the paper.

    Sec. 6.2: a page on which users tell real images from those of RUN's generator: in random order, a second each,
    "real" or "generated" by key or touch. Any number of people may take part at once.
    """
    if results:
        _print_results(runs)
        return
    if len(runs) > 1:
        raise click.UsageError("A study shows the images of one RUN; only --results takes several.")
    from augment.study.protocol import Protocol
    from augment.study.server import held, serve
    from augment.study.stimuli import make_stimuli

    (run,) = runs
    if not run.is_dir():
        raise AugmentError(f"{run}: no such folder. Name the folder of a run.")
    with held(run / "study"):
        make_stimuli(Protocol(images=images, training=training), run, device)
        serve(run / "study", host, port)
    _print_results(runs)


def _print_results(runs: tuple[Path, ...]) -> None:
    from rich.table import Column, Table

    from augment.base.console import output_console
    from augment.study.answers import write_answers
    from augment.study.results import PUBLISHED, read_results, result_cells

    table = Table(Column("run", overflow="fold"), "users")
    for title in ("R2G %", "G2R %", "d'", "on time %", "unfinished"):
        table.add_column(title, no_wrap=True)
    for run in runs:
        if not (run / "study" / "stimuli.parquet").is_file():
            raise AugmentError(f"{run}: no study there yet. `augment study {run}` serves one.")
        write_answers(run / "study")
        found = read_results(run / "study")
        on_time = "–" if math.isnan(found.on_time) else f"{100 * found.on_time:.1f}"
        table.add_row(str(run), *result_cells(found), on_time, str(found.unfinished))
    output_console(width=120).print(table)
    echo("R2G: real images rated as generated; G2R: generated images rated as real; 95 % bootstrap over users. "
         "On time: images shown for 0.9 to 1.1 s.")  # fmt: skip
    for layout, systems in PUBLISHED.items():
        figures = "; ".join(f"{system}: {r2g:g}, {g2r:g}" for system, (r2g, g2r) in systems.items())
        echo(f"Published for {layout} (Tab. 2, R2G and G2R): {figures}.")
