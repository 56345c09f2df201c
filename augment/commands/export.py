"""``augment export``: a run's images for other programs."""

import shlex
from pathlib import Path

import click

from augment.base.terminal import echo, shown
from augment.commands.common import LocalPath, RunFolder

_path = LocalPath()
_FORMATS = ("market1501", "imagefolder", "webdataset", "coco", "parquet")


@click.command()
@click.argument("run", type=RunFolder())
@click.argument("destination", metavar="DEST", type=_path)
@click.option("--to", type=click.Choice(_FORMATS), required=True)
@click.option("--kept-only", is_flag=True, help="Of the synthetic images only those that re-ID trains on.")
@click.option("--per-image", type=click.IntRange(0), metavar="N", help="At most N synthetic images of each source.")
@click.option("--where", metavar="SQL", help="Only images for which this is true or null: 'rank < 3' filters the "
              "synthetic images only, 'synthetic' selects them, 'pid <= 60' filters all.")  # fmt: skip
@click.option("--labels", type=click.Choice(["hard", "own", "soft"]), default="hard", show_default=True,
              help="Class of a synthetic image. hard: its source's; own: a new class for each person; soft: its "
              "source's with a probability, --certainty.")  # fmt: skip
@click.option("--certainty", type=click.FloatRange(0, 1), metavar="P", help="Of soft labels, 0.9 by default; the rest "
              "is spread evenly over all training people. 0: uniform labels, as LSRO's.")  # fmt: skip
@click.option("--terms", metavar="TEXT", help="Terms of the source images, for the data card.")
def export(run: Path, destination: Path, to: str, kept_only: bool, per_image: int | None, where: str | None,
           labels: str, certainty: float | None, terms: str | None) -> None:  # fmt: skip
    """Write a run's images in another format.

    Real and synthetic, from the run folder RUN to the new folder DEST. market1501: folders and names of Market-1501
    (torchreid, fast-reid, ...). imagefolder, parquet: Hugging Face datasets. webdataset: tar shards. coco: key points.
    A README.md says what the folder holds.
    """
    from augment.export.job import export as write
    from augment.export.selection import Filters

    if certainty is not None and labels != "soft":
        raise click.UsageError("--certainty requires --labels soft.")
    filters = Filters(kept_only, per_image, where, labels, Filters.certainty if certainty is None else certainty)
    options = {"--per-image": per_image, "--where": where, "--certainty": certainty, "--terms": terms}
    words = ["augment", "export", shown(run), shown(destination), "--to", to, *(["--kept-only"] if kept_only else [])]
    words += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    words += ["--labels", labels] if labels != "hard" else []
    selection = write(run, destination, to, filters, terms=terms, command=shlex.join(words))  # fmt: skip
    for split, count in selection.counts().items():
        echo(f"{split:8} {count['images']:>7,} images ({count['synthetic']:,} synthetic), "
                   f"{count['people']:,} people, {count['cameras']} cameras")  # fmt: skip
    echo(f"{destination}: README.md describes its contents and how to read them")
