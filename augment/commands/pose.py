"""``augment pose``: train and measure a pose estimator, convert key points."""

from pathlib import Path

import click

from augment.base.errors import UsageError
from augment.base.terminal import echo
from augment.commands.common import LocalPath

_path = LocalPath()


@click.group()
def pose() -> None:
    """Train and measure pose estimators, convert key point files."""


@pose.command()
@click.argument("output", type=_path)
@click.option("--crops", "sources", type=(_path, _path), multiple=True, required=True, metavar="FOLDER FILE",
              help="Crops and their key points (.csv or .json); can be repeated.")  # fmt: skip
@click.option("--start", default="crops", show_default=True, help="Checkpoint to fine-tune.")
@click.option("--start-sha256", help="SHA-256 of --start; required for a file.")
@click.option("--minutes", type=click.FloatRange(0, 1e6), default=60.0, show_default=True,
              help="Training time, that before an interruption included.")  # fmt: skip
@click.option("--count", type=click.IntRange(1), help="Size of a random sample of each folder; by default all crops.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
def train(output: Path, sources: tuple[tuple[Path, Path], ...], start: str, start_sha256: str | None, minutes: float,
          count: int | None, seed: int) -> None:  # fmt: skip
    """Fine-tune an openpifpaf checkpoint on crops and write it to OUTPUT; the same command resumes it."""
    from augment.pose.estimator.checkpoints import find_checkpoint
    from augment.pose.estimator.labelled import load_examples
    from augment.pose.estimator.training import train_estimator

    checkpoint = find_checkpoint(start, start_sha256)
    examples = [example for folder, file in sources for example in load_examples(folder, file, count=count, seed=seed)]
    train_estimator(examples, output, start=checkpoint, minutes=minutes, seed=seed)


@pose.command()
@click.argument("images", metavar="FOLDER", type=_path)
@click.argument("annotations", metavar="FILE", type=_path)
@click.option("--checkpoint", default="crops", show_default=True)
@click.option("--checkpoint-sha256", help="SHA-256 of --checkpoint; required for a file.")
@click.option("--count", type=click.IntRange(1), default=1000, show_default=True,
              help="Size of a random sample of the crops.")  # fmt: skip
@click.option("--device", default="auto", show_default=True)
def evaluate(images: Path, annotations: Path, checkpoint: str, checkpoint_sha256: str | None, count: int,
             device: str) -> None:  # fmt: skip
    """Measure a checkpoint on the crops in FOLDER with joints in FILE (.csv or .json): PCK relative to crop height."""
    from augment.pose.estimator.evaluation import evaluate_estimator

    table, averages = evaluate_estimator(
        images, annotations, checkpoint=checkpoint, checkpoint_sha256=checkpoint_sha256, count=count, device=device
    )
    echo(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    echo(
        f"{averages['crops']:.0f} crops; on average found {averages['found']:.1%}, PCK@0.1 {averages['pck@0.1']:.1%}, "
        f"PCK@0.05 {averages['pck@0.05']:.1%}; torso complete in {averages['torso']:.1%}."
    )


@pose.command()
@click.argument("source", type=_path)
@click.argument("target", type=_path)
def convert(source: Path, target: Path) -> None:
    """Convert key points from SOURCE (.csv, .json, or a manifest of poses) to TARGET (.csv or .json)."""
    from augment.pose.annotations import read_coco_json, read_posegan_csv, write_coco_json, write_posegan_csv

    readers = {".csv": read_posegan_csv, ".json": read_coco_json, ".parquet": _poses}
    writers = {".csv": write_posegan_csv, ".json": write_coco_json}
    for path, known in ((source, readers), (target, writers)):
        if path.suffix not in known:
            raise UsageError(f"{path}: must end in {' or '.join(known)}: .csv is the paper's format, .json is COCO's.")
    frame = readers[source.suffix](source)
    writers[target.suffix](frame, target)
    echo(f"{target}: {len(frame):,} images")


def _poses(path: Path):
    from augment.manifest import read_manifest

    frame = read_manifest(path, "poses").frame()
    return frame.assign(name=[Path(path).name for path in frame["path"]])
