"""``augment gan``: train, sample, compare and export generators."""

import math
from pathlib import Path

import click

from augment.base.terminal import echo
from augment.commands.common import LocalPath, RunFolder
from augment.commands.run import stage_command

_path = LocalPath()


@click.group()
def gan() -> None:
    """Train, sample, compare and export generators."""


gan.add_command(stage_command("train", "gan", "Train the generator."))


@gan.command()
@click.argument("weights", metavar="WEIGHTS")
@click.option("--source", type=_path, required=True, help="Image of the person.")
@click.option("--pose", "poses", multiple=True, required=True, metavar="IMAGE|FILE.csv:NAME",
              help="Target pose: that of an image, or a row of a key point file (NAME@HxW where its image is not of "
              "128x64); can be repeated.")  # fmt: skip
@click.option("--source-pose", metavar="IMAGE|FILE.csv:NAME", help="The source's pose; estimated where not given.")
@click.option("--output", type=_path, default="sample.png", show_default=True)
@click.option("--which", type=click.Choice(["average", "raw"]), default="average", show_default=True,
              help="Averaged weights, or those of the last iteration.")  # fmt: skip
@click.option("--device", default="auto", show_default=True)
def sample(weights: str, source: Path, poses: tuple[str, ...], source_pose: str | None, output: Path, which: str,
           device: str) -> None:  # fmt: skip
    """Generate a person in other poses with WEIGHTS: a shipped name, a weights file or a run's folder; a PNG grid."""
    from augment.gan.generators import find_generator
    from augment.gan.sample import sample as write_grid

    write_grid(find_generator(weights), source, poses, output, source_pose=source_pose,
               which=which, device=device)  # fmt: skip
    echo(f"{output}: source, its pose, target pose, image of that pose, generated; a row for each pose")


@gan.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=RunFolder())
@click.option("--output", type=_path, default=Path("outputs/comparison"), show_default=True, help="Folder to write to.")
@click.option("--pairs", type=click.IntRange(1), default=1000, show_default=True, help="Test pairs to score.")
@click.option("--examples", type=click.IntRange(1), default=32, show_default=True, help="Pairs to show.")
@click.option("--device", default="auto", show_default=True)
def compare(runs: tuple[Path, ...], output: Path, pairs: int, examples: int, device: str) -> None:
    """Compare the generators of several RUN folders: images and scores of the same test pairs, SSIM over iterations and
    time. The runs must share their data, poses and pairs; systems, widths, losses may differ."""
    from augment.report.systems import compare_generators

    scores = compare_generators(runs, output, pairs=pairs, examples=examples, device=device)
    for row in scores.loc[scores.groupby("run", sort=False)["iteration"].idxmax()].to_dict("records"):
        after = f"  after {row['iteration']:,} iterations, {row['minutes']:.1f} min" if row["iteration"] else ""
        error = "" if math.isnan(row["ssim_released ±"]) else f"± {row['ssim_released ±']:.3f}"  # of one person
        echo(f"{row['run']:16} SSIM {row['ssim_released']:.3f} {error:9}"
                   f"mask-SSIM {row['mask_ssim_released']:.3f}{after}")  # fmt: skip
    echo(f"{output / 'comparison.html'}")


@gan.command("list")
def list_shipped() -> None:
    """List the generators that come with the package: size, data, figures, terms."""
    from augment.gan.generators import read_card, shipped

    for name, path in shipped().items():
        card = read_card(path)
        settings = card["settings"]
        figures = ", ".join(f"{figure} {value}" for figure, value in card["figures"].items())
        network = f"{settings['system']} ({settings['fidelity']}, width {settings['width']:g})"
        size = f"{path.stat().st_size / 2**20:.1f} MiB"
        echo(f"{name}  {size}, {network}, {card['iterations']:,} iterations, {card['time']}")
        for title, text in (("data", card["data"]), ("figures", figures), ("intended use", card["intended_use"]),
                            ("terms", card["terms"])):  # fmt: skip
            echo(f"  {title}: {text}")


@gan.command()
@click.argument("weights", metavar="WEIGHTS...", nargs=-1, required=True)
@click.argument("name")
@click.option("--card", type=_path, required=True,
              help="JSON with data, time, figures (an object), intended_use and terms.")  # fmt: skip
@click.option("--output", type=_path, default=Path("."), show_default=True, help="Folder to write to.")
def export(weights: tuple[str, ...], name: str, card: Path, output: Path) -> None:
    """Write the averaged weights of WEIGHTS, a weights file or a run's folder, in half precision as
    NAME.safetensors, with a card in its header and beside it as NAME.json. Of several WEIGHTS, checkpoints of a
    training, say, their mean."""
    import json

    from augment.base.errors import UsageError
    from augment.gan.generators import export_generator

    try:
        statements = json.loads(card.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--card {card}: cannot be read as JSON ({error}).") from None
    path = export_generator(weights, name, statements, output)
    echo(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
